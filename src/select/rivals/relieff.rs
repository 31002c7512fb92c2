//! Relevance by nearest neighbours.

use super::labelled::Labelled;
use crate::check;
use crate::error::Result;
use crate::kernels::linear::distance::Manhattan;
use crate::kernels::linear::neighbours::Points;
use crate::select::{Preparation, Ranking, Selector};
use candle_core::Tensor;

/// ReliefF: a feature is relevant where it tells a sample from its nearest neighbours of other classes and not from those of
/// its own. With two classes and one neighbour it is Relief (with differences where the first Relief squares them).
///
/// Formula: `score_a = sum_n [-mean over hits h of diff(n, h) + sum_{c != y_n} P(c) / (1 - P(y_n)) mean over misses m of class
/// c of diff(n, m)] / N`, where `diff` is `|x_na - x_ma|` divided by the range of the feature, hits and misses are the nearest
/// samples by the sum of all diffs, of equally near ones the first, and `P(c)` is the share of class c. Ranges make up for
/// any scale: of standardized features the scores are the same, and only constant ones are refused.
///
/// Errors: no neighbours; those of [`Problem::classification`](crate::select::Problem::classification).
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::select::{Preparation, ReliefF, Selector};
/// # fn main() -> candle_prob::Result<()> {
/// let labels = Tensor::new(&[0u32, 0, 1, 1], &Device::Cpu)?;
/// let x = Tensor::new(&[[0.3, 0.1], [0.1, 0.], [0.2, 0.9], [0.4, 1.]], &Device::Cpu)?;
/// let ranking = ReliefF::default().rank(&x, &labels, &Preparation::default())?;
/// assert_eq!(ranking.order(), [1, 0]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: every sample is asked, so nothing is drawn. The time is that of `N^2 d` differences, on all threads, the memory
/// that of `N d` numbers and `N C` neighbours for each of `neighbours`. A sample that is alone in its class has no hits and a constant feature no differences.
///
/// Source: Kira and Rendell (1992), A Practical Approach to Feature Selection; Kononenko (1994), Estimating Attributes:
/// Analysis and Extensions of RELIEF, for many classes and neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReliefF {
    /// Hits, and misses of each class, that a sample is compared with: all there are in a class that has fewer.
    pub neighbours: usize,
}

impl Default for ReliefF {
    fn default() -> Self {
        ReliefF { neighbours: 10 }
    }
}

impl Selector for ReliefF {
    fn rank(&self, x: &Tensor, y: &Tensor, how: &Preparation) -> Result<Ranking> {
        let op = "ReliefF::rank";
        check::at_least_one(op, &[("neighbours", self.neighbours)])?;
        let data = Labelled::new(op, x, y, how)?;
        let (samples, features) = (data.samples(), data.features.len());
        let rows = scaled_rows(&data);
        let all: Vec<&[f64]> = rows.chunks_exact(features).collect();
        let mut classes = vec![vec![]; data.classes];
        // Where a sample is among those of its class.
        let mut places = vec![];
        for (row, label) in all.iter().zip(&data.labels) {
            places.push(classes[*label as usize].len());
            classes[*label as usize].push(*row);
        }
        let near = |(class, points): (usize, &Vec<&[f64]>)| {
            let own = |n: usize| (data.labels[n] as usize == class).then_some(places[n]);
            Points::planted(features, points, false).nearest(Manhattan, &all, self.neighbours, own)
        };
        let near: Vec<_> = classes.iter().enumerate().map(near).collect();
        let mut scores = vec![0.; features];
        for (n, row) in all.iter().enumerate() {
            let own = data.labels[n] as usize;
            let others = (samples - classes[own].len()) as f64;
            for (class, points) in classes.iter().enumerate() {
                let share = match class == own {
                    true => -1.,
                    false => points.len() as f64 / others,
                };
                let near = near[class].of(n);
                let weight = share / (near.len() * samples) as f64;
                for neighbour in near {
                    let other = points[neighbour.index];
                    for (score, (a, b)) in scores.iter_mut().zip(row.iter().zip(other)) {
                        *score += weight * (a - b).abs();
                    }
                }
            }
        }
        Ok(Ranking::new(scores, &vec![0.; features]))
    }
}

/// Samples in rows, each feature divided by its range.
fn scaled_rows(data: &Labelled) -> Vec<f64> {
    let features = data.features.len();
    let mut rows = vec![0.; data.samples() * features];
    for (i, values) in data.features.iter().enumerate() {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if low == high {
            continue;
        }
        for (n, x) in values.iter().enumerate() {
            // Halves, so that the range of finite numbers is finite.
            rows[n * features + i] = (x / 2. - low / 2.) / (high / 2. - low / 2.);
        }
    }
    rows
}

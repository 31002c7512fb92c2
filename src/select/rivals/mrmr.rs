//! Relevance without redundancy, by mutual information.

use super::labelled::{Labelled, mean};
use crate::error::Result;
use crate::information::CountedInformation;
use crate::select::{Preparation, Ranking, Selector};
use candle_core::Tensor;

/// Minimal redundancy and maximal relevance, by the difference of mutual informations (MID).
///
/// Formula: features are taken one by one, always the one of the largest `I(x_i; y) - mean over the taken j of I(x_i; x_j)`;
/// of equal ones the first. Each feature has three states: below its mean less one standard deviation, above its mean plus
/// one, and between them. The states are those of standardized features too: then only constant features are refused.
///
/// Scores are the relevances `I(x_i; y)`. The order has the `k` features as they were taken, then the others by relevance.
///
/// Units: nats. Errors: no features or more than there are; those of
/// [`Problem::classification`](crate::select::Problem::classification).
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::select::{Mrmr, Preparation, Selector};
/// # fn main() -> candle_prob::Result<()> {
/// let labels = Tensor::new(&[0u32, 0, 1, 1, 2, 2], &Device::Cpu)?;
/// // The second feature repeats the first, the third adds to it.
/// let x = [[0., 0., 0.], [0., 0., 0.], [0., 0., 1.], [0., 0., 1.], [1., 1., 0.], [1., 1., 0.]];
/// let x = Tensor::new(&x, &Device::Cpu)?;
/// let ranking = Mrmr { k: 2 }.rank(&x, &labels, &Preparation::default())?;
/// assert_eq!(ranking.order(), [0, 2, 1]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Peng, Long and Ding (2005), Feature Selection Based on Mutual Information: Criteria of Max-Dependency,
/// Max-Relevance, and Min-Redundancy, equations 4 to 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mrmr {
    /// Features to take.
    pub k: usize,
}

impl Selector for Mrmr {
    fn rank(&self, x: &Tensor, y: &Tensor, how: &Preparation) -> Result<Ranking> {
        let op = "Mrmr::rank";
        let data = Labelled::new(op, x, y, how)?;
        data.check_k(op, self.k)?;
        let features: Vec<Vec<u32>> = data.features.iter().map(|x| states(x)).collect();
        let information = CountedInformation::new(data.samples());
        let labels = (&data.labels[..], data.classes);
        let relevance: Vec<f64> = features
            .iter()
            .map(|x| information.between((x, 3), labels))
            .collect();
        let mut redundancy = vec![0.; features.len()];
        let mut left: Vec<usize> = (0..features.len()).collect();
        let mut order = Vec::with_capacity(left.len());
        while order.len() < self.k {
            let taken = order.len().max(1) as f64;
            let value = |i: usize| relevance[i] - redundancy[i] / taken;
            let better = |best: usize, at: usize| match value(left[at]) > value(left[best]) {
                true => at,
                false => best,
            };
            let new = left.remove((1..left.len()).fold(0, better));
            order.push(new);
            for i in &left {
                redundancy[*i] += information.between((&features[*i], 3), (&features[new], 3));
            }
        }
        left.sort_by(|a, b| relevance[*b].total_cmp(&relevance[*a]));
        order.extend(left);
        Ok(Ranking::listed(order, relevance))
    }
}

/// 0 below the mean less one standard deviation, 2 above the mean plus one, else 1.
fn states(values: &[f64]) -> Vec<u32> {
    // Scaled, so that no square is too large.
    let largest = values.iter().fold(0f64, |most, x| most.max(x.abs()));
    if largest == 0. {
        return vec![1; values.len()];
    }
    let values: Vec<f64> = values.iter().map(|x| x / largest).collect();
    let mean = mean(&values);
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    let deviation = (squares / (values.len() - 1) as f64).sqrt();
    let state = |x: &f64| match x - mean {
        low if low < -deviation => 0,
        high if high > deviation => 2,
        _ => 1,
    };
    values.iter().map(state).collect()
}

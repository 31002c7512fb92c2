//! Samples of two variables in pairs, and the neighbours of pairs.

use super::KnnConfig;
use super::counts::{mean_digamma, others_within};
use super::space::{Samples, distance, joint, same_count, tie_share};
use crate::error::Result;
use crate::neighbours::{Bound, Metric, NearestNeighbours};
use crate::rng::Rng;
use candle_core::{Device, Tensor};

/// Pairs that are looked at in a row, times neighbours of each: so many numbers lie in memory.
const AT_ONCE: usize = 1 << 21;

pub(super) struct Pair {
    pub(super) x: Samples,
    pub(super) y: Samples,
    near_x: NearestNeighbours,
    near_y: NearestNeighbours,
    metric: Metric,
}

/// The k nearest others of each pair.
pub(super) struct Nearest {
    /// `[N, k]`, in no order.
    pub(super) index: Vec<u32>,
    /// The distance of the farthest of them.
    pub(super) radius: Vec<f64>,
}

impl Pair {
    pub(super) fn new(
        op: &'static str,
        x: &Tensor,
        y: &Tensor,
        config: &KnnConfig,
        rng: &mut Rng,
    ) -> Result<Self> {
        let x = Samples::new(op, "x", x, config, rng)?;
        same_count(op, "y", y, x.len())?;
        let y = Samples::new(op, "y", y, config, rng)?;
        config.check(op, x.len())?;
        Ok(Pair {
            near_x: x.neighbours(config.metric)?,
            near_y: y.neighbours(config.metric)?,
            x,
            y,
            metric: config.metric,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.x.len()
    }

    pub(super) fn dims(&self) -> Vec<usize> {
        vec![self.x.dims, self.y.dims]
    }

    pub(super) fn ties(&self) -> f64 {
        tie_share(&[&self.x, &self.y])
    }

    /// `<psi(n_x + more) + psi(n_y + more)>`, n the others within a radius around each pair, of `x_n` with the y that
    /// `order` puts there. What is counted among all y does not depend on the order, so radii are put in theirs.
    pub(super) fn mean_digammas(
        &self,
        order: &[usize],
        radius: [Vec<f64>; 2],
        bound: Bound,
        more: u32,
    ) -> Result<f64> {
        let [radius_x, paired] = radius;
        let mut radius_y = vec![0.; order.len()];
        for (at, radius) in order.iter().zip(paired) {
            radius_y[*at] = radius;
        }
        let x = mean_digamma(&others_within(&self.near_x, radius_x, bound)?, more);
        let y = mean_digamma(&others_within(&self.near_y, radius_y, bound)?, more);
        Ok(x + y)
    }

    /// The k nearest other pairs, by the longer of the distances in x and in y.
    pub(super) fn nearest(&self, order: &[usize], k: usize) -> Result<Nearest> {
        let same: Vec<usize> = (0..self.len()).collect();
        let spaces = [(&self.x, same.as_slice()), (&self.y, order)];
        // In a space of one dimension all metrics are one.
        if self.metric == Metric::Chebyshev || self.dims() == [1, 1] {
            let points = joint(&spaces).neighbours(Metric::Chebyshev)?;
            let found = points.nearest_others(k)?;
            let radius = found.distance.narrow(1, k - 1, 1)?;
            return Ok(Nearest {
                index: found.index.flatten_all()?.to_vec1()?,
                radius: radius.flatten_all()?.to_vec1()?,
            });
        }
        self.among_candidates(&joint(&spaces), order, k)
    }

    /// As [`nearest`](Self::nearest), where the joint distance is no metric that points are searched by. That metric of all
    /// coordinates together is the joint distance or longer, at most `stretch` times: whoever it puts farther than that is
    /// no neighbour, and the others are looked at.
    fn among_candidates(&self, rows: &Samples, order: &[usize], k: usize) -> Result<Nearest> {
        let stretch = match self.metric {
            Metric::Euclidean => 2f64.sqrt(),
            Metric::Manhattan => 2.,
            Metric::Chebyshev => 1.,
        };
        // Both distances are rounded.
        let stretch = stretch * (1. + 1e-9);
        let (n, points) = (self.len(), rows.neighbours(self.metric)?);
        let mut nearest = Nearest {
            index: vec![0; n * k],
            radius: vec![0.; n],
        };
        let mut open: Vec<usize> = (0..n).collect();
        let mut most = k;
        while !open.is_empty() {
            most = most.saturating_mul(4).min(n - 1);
            let mut left = vec![];
            for asked in open.chunks((AT_ONCE / most).max(1)) {
                let queries: Vec<f64> = asked.iter().flat_map(|i| rows.row(*i)).copied().collect();
                let queries = Tensor::from_vec(queries, (asked.len(), rows.dims), &Device::Cpu)?;
                // One of them is the pair itself, or at its place.
                let found = points.nearest(&queries, most + 1)?;
                let index: Vec<u32> = found.index.flatten_all()?.to_vec1()?;
                let far = found.distance.narrow(1, most, 1)?.flatten_all()?;
                let far = far.to_vec1::<f64>()?;
                for ((i, index), far) in asked.iter().zip(index.chunks_exact(most + 1)).zip(far) {
                    let others = index.iter().filter(|j| **j as usize != *i);
                    let gap = |j: &u32| self.distance(order, *i, *j as usize);
                    let mut others: Vec<(f64, u32)> = others.map(|j| (gap(j), *j)).collect();
                    let by =
                        |a: &(f64, u32), b: &(f64, u32)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
                    let (_, last, _) = others.select_nth_unstable_by(k - 1, by);
                    let radius = last.0;
                    if most < n - 1 && far < radius * stretch {
                        left.push(*i);
                        continue;
                    }
                    nearest.radius[*i] = radius;
                    let places = nearest.index[*i * k..][..k].iter_mut();
                    places.zip(&others).for_each(|(place, (_, j))| *place = *j);
                }
            }
            open = left;
        }
        Ok(nearest)
    }

    fn distance(&self, order: &[usize], i: usize, j: usize) -> f64 {
        let [x, y] = self.distances(order, i, j);
        x.max(y)
    }

    /// How far two pairs are from each other in x and in y.
    pub(super) fn distances(&self, order: &[usize], i: usize, j: usize) -> [f64; 2] {
        [
            distance(self.metric, self.x.row(i), self.x.row(j)),
            distance(self.metric, self.y.row(order[i]), self.y.row(order[j])),
        ]
    }

    /// How many other pairs are equal to each one whose radius is 0.
    pub(super) fn equal(&self, order: &[usize], radius: &[f64]) -> Result<Vec<u32>> {
        let same: Vec<usize> = (0..self.len()).collect();
        let points = joint(&[(&self.x, &same), (&self.y, order)]).neighbours(Metric::Chebyshev)?;
        let nothing = |r: &f64| if *r == 0. { 0. } else { -1. };
        others_within(&points, radius.iter().map(nothing).collect(), Bound::Closed)
    }
}

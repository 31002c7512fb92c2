//! The mutual information of Kraskov, Stoegbauer and Grassberger.

use super::counts::{digamma, mean_digamma, others_within};
use super::space::{Samples, chebyshev, joint, max_norm, same_count, tie_share};
use super::{Estimate, KnnConfig, Null};
use crate::error::Result;
use crate::neighbours::{Bound, NearestNeighbours};
use crate::rng::Rng;
use candle_core::Tensor;

/// The two forms of the estimator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ksg {
    /// Cubes: `psi(k) + psi(N) - <psi(n_x + 1) + psi(n_y + 1)>`, n the others that are strictly closer than the k-th
    /// neighbour in the joint space (eq. 8). The smaller variance.
    #[default]
    First,
    /// Boxes: `psi(k) - 1 / k + psi(N) - <psi(n_x) + psi(n_y)>`, n the others that are no farther in a space than the
    /// farthest of the k neighbours is there (eq. 9). The smaller bias in many dimensions.
    Second,
}

/// The mutual information of continuous variables that samples come from in pairs.
///
/// Formula: that of the [`Ksg`] form; the distance of two pairs is the longer of their distances in x and in y.
///
/// Shapes: `x` `[N, d_x]` and `y` `[N, d_y]`, of any floating-point dtypes. Units: nats. Gradients: none.
///
/// Null: y in random orders.
///
/// Errors: other shapes; elements that are not finite; k of 0 or N and more; a negative jitter; 1 shuffle; another metric
/// than Chebyshev where x or y has several dimensions.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_prob::Rng;
/// use candle_prob::information::knn::{KnnConfig, Ksg, mutual_information};
/// # fn main() -> candle_prob::Result<()> {
/// let mut rng = Rng::new(0);
/// let x = rng.normal((2000, 1), DType::F64, &Device::Cpu)?;
/// let noise = rng.normal((2000, 1), DType::F64, &Device::Cpu)?;
/// let y = ((&x * 0.9)? + noise * 0.19f64.sqrt())?; // correlation 0.9
/// let config = KnnConfig { shuffles: 10, ..KnnConfig::default() };
/// let found = mutual_information(&x, &y, Ksg::First, &config, &mut rng)?;
/// assert!((found.nats - 0.8304).abs() < 0.05);
/// let null = found.null.unwrap();
/// assert!(null.mean.abs() < 0.05 && null.sd < 0.05);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: distances are f64, and the bits are the same at any number of threads; exchanging x and y changes none of
/// them. A null searches the joint space anew and keeps those of x and y.
///
/// Source: Kraskov, Stoegbauer and Grassberger (2004), eqs. 8 and 9; Gao, Ver Steeg and Galstyan (2015) on how many samples
/// an information asks for.
#[doc(alias = "ksg")]
pub fn mutual_information(
    x: &Tensor,
    y: &Tensor,
    form: Ksg,
    config: &KnnConfig,
    rng: &mut Rng,
) -> Result<Estimate> {
    let op = "knn::mutual_information";
    let x = Samples::new(op, "x", x, config, rng)?;
    let n = x.len();
    same_count(op, "y", y, n)?;
    let y = Samples::new(op, "y", y, config, rng)?;
    config.check(op, n)?;
    max_norm(op, config.metric, &[&x, &y])?;
    let pair = Pair {
        near_x: x.neighbours(config.metric)?,
        near_y: y.neighbours(config.metric)?,
        x,
        y,
    };
    let same: Vec<usize> = (0..n).collect();
    let value = |order: &[usize]| pair.estimate(form, config.k, &same, order);
    let nats = value(&same)?;
    let ties = tie_share(&[&pair.x, &pair.y]);
    let dims = vec![pair.x.dims, pair.y.dims];
    let estimate = Estimate::new(nats, config.k, n, dims, ties);
    let mut estimate = estimate
        .not_negative()
        .continuous()
        .at_most(digamma(n) - digamma(config.k));
    estimate.null = Null::shuffled(config.shuffles, || value(&rng.permutation(n)))?;
    Ok(estimate)
}

struct Pair {
    x: Samples,
    y: Samples,
    near_x: NearestNeighbours,
    near_y: NearestNeighbours,
}

impl Pair {
    /// Of pairs of `x_n` with y at place n of an order.
    fn estimate(&self, form: Ksg, k: usize, same: &[usize], order: &[usize]) -> Result<f64> {
        let n = same.len();
        let found = joint(&[(&self.x, same), (&self.y, order)])?.nearest_others(k)?;
        let mut radius_y = vec![0.; n];
        let (radius_x, bound, more) = match form {
            Ksg::First => {
                let radius = found.distance.narrow(1, k - 1, 1)?;
                let radius: Vec<f64> = radius.flatten_all()?.to_vec1()?;
                order
                    .iter()
                    .zip(&radius)
                    .for_each(|(at, r)| radius_y[*at] = *r);
                (radius, Bound::Open, 1)
            }
            Ksg::Second => {
                let index: Vec<u32> = found.index.flatten_all()?.to_vec1()?;
                let mut radius_x = Vec::with_capacity(n);
                for (i, near) in index.chunks_exact(k).enumerate() {
                    let near = || near.iter().map(|j| *j as usize);
                    let in_x = near().map(|j| chebyshev(self.x.row(i), self.x.row(j)));
                    radius_x.push(in_x.fold(0., f64::max));
                    let own = self.y.row(order[i]);
                    let in_y = near().map(|j| chebyshev(own, self.y.row(order[j])));
                    radius_y[order[i]] = in_y.fold(0., f64::max);
                }
                (radius_x, Bound::Closed, 0)
            }
        };
        let x = mean_digamma(&others_within(&self.near_x, radius_x, bound)?, more);
        let y = mean_digamma(&others_within(&self.near_y, radius_y, bound)?, more);
        let of_k = match form {
            Ksg::First => digamma(k),
            Ksg::Second => digamma(k) - 1. / k as f64,
        };
        Ok(of_k + digamma(n) - (x + y))
    }
}

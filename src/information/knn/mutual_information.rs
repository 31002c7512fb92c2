//! The mutual information of Kraskov, Stoegbauer and Grassberger.

use super::counts::digamma;
use super::pair::Pair;
use super::{Estimate, KnnConfig, Null};
use crate::error::Result;
use crate::neighbours::Bound;
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
/// Errors: other shapes; elements that are not finite; k of 0 or N and more; a negative jitter; 1 shuffle.
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
/// them. A null searches the joint space anew and keeps those of x and y. The metric is that of x and of y; unless it is
/// the max-norm, neighbours of pairs are picked from more candidates, which takes longer, the more so the more unlike
/// `d_x` and `d_y` are.
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
    let pair = Pair::new(op, x, y, config, rng)?;
    let (n, k) = (pair.len(), config.k);
    let value = |order: &[usize]| ksg(&pair, form, k, order);
    let same: Vec<usize> = (0..n).collect();
    let estimate = Estimate::new(value(&same)?, k, n, pair.dims(), pair.ties());
    let mut estimate = estimate
        .not_negative()
        .continuous()
        .at_most(digamma(n) - digamma(k));
    estimate.null = Null::shuffled(config.shuffles, || value(&rng.permutation(n)))?;
    Ok(estimate)
}

/// Of pairs of `x_n` with y at place n of an order.
fn ksg(pair: &Pair, form: Ksg, k: usize, order: &[usize]) -> Result<f64> {
    let nearest = pair.nearest(order, k)?;
    let (of_k, counted) = match form {
        Ksg::First => {
            let radius = [nearest.radius.clone(), nearest.radius];
            let counted = pair.mean_digammas(order, radius, Bound::Open, 1)?;
            (digamma(k), counted)
        }
        Ksg::Second => {
            let mut radius = [vec![], vec![]];
            for (i, near) in nearest.index.chunks_exact(k).enumerate() {
                let near = near.iter().map(|j| pair.distances(order, i, *j as usize));
                let [x, y] = near.fold([0f64; 2], |[x, y], [a, b]| [x.max(a), y.max(b)]);
                radius[0].push(x);
                radius[1].push(y);
            }
            let counted = pair.mean_digammas(order, radius, Bound::Closed, 0)?;
            (digamma(k) - 1. / k as f64, counted)
        }
    };
    Ok(of_k + digamma(order.len()) - counted)
}

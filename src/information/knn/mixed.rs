//! The mutual information of Gao, Kannan, Oh and Viswanath, for mixtures.

use super::counts::digamma;
use super::pair::Pair;
use super::{Estimate, KnnConfig, Null};
use crate::error::Result;
use crate::neighbours::Bound;
use crate::rng::Rng;
use candle_core::Tensor;

/// The mutual information of variables that may be continuous, discrete, or now the one and now the other: a sensor that
/// saturates, a count beside a length.
///
/// Formula: `<psi(k_n)> + ln N - <psi(n_x + 1) + psi(n_y + 1)>`. Where the k-th neighbour in the joint space is at some
/// distance, `k_n = k` and n counts the others that are strictly closer in a space; where it is at distance 0, n counts
/// those that are equal, `k_n - 1` those that are in both. Of samples without ties it is the first [`Ksg`](super::Ksg)
/// form with ln N for psi(N), of discrete ones that repeat the plug-in estimate with digammas for logarithms.
///
/// Shapes: `x` `[N, d_x]` and `y` `[N, d_y]`, of any floating-point dtypes. Units: nats. Gradients: none.
///
/// Null: y in random orders.
///
/// Errors: those of [`mutual_information`](super::mutual_information).
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_prob::Rng;
/// use candle_prob::information::knn::{KnnConfig, mixed_mutual_information};
/// # fn main() -> candle_prob::Result<()> {
/// let mut rng = Rng::new(0);
/// let x = rng.normal((1000, 1), DType::F64, &Device::Cpu)?.relu()?; // half of them 0
/// let found = mixed_mutual_information(&x, &x.gt(0.)?.to_dtype(DType::F64)?, &KnnConfig::default(), &mut rng)?;
/// assert!((found.nats - 2f64.ln()).abs() < 0.02);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: as [`mutual_information`](super::mutual_information). Ties are told in [`Estimate::ties`] and no warning.
///
/// Source: Gao, Kannan, Oh and Viswanath (2017), algorithm 1, with digammas of `n + 1` and strict counts as in their
/// program: the logarithms of the text leave a bias at small k.
#[doc(alias = "mixed_ksg")]
pub fn mixed_mutual_information(
    x: &Tensor,
    y: &Tensor,
    config: &KnnConfig,
    rng: &mut Rng,
) -> Result<Estimate> {
    let op = "knn::mixed_mutual_information";
    let pair = Pair::new(op, x, y, config, rng)?;
    let (n, k) = (pair.len(), config.k);
    let value = |order: &[usize]| mixed(&pair, k, order);
    let same: Vec<usize> = (0..n).collect();
    let estimate = Estimate::new(value(&same)?, k, n, pair.dims(), pair.ties());
    let mut estimate = estimate.not_negative().at_most(digamma(n) - digamma(k));
    estimate.null = Null::shuffled(config.shuffles, || value(&rng.permutation(n)))?;
    Ok(estimate)
}

fn mixed(pair: &Pair, k: usize, order: &[usize]) -> Result<f64> {
    let radius = pair.nearest(order, k)?.radius;
    let n = radius.len() as f64;
    let apart = radius.iter().filter(|r| **r > 0.).count();
    let mut of_k = apart as f64 * digamma(k);
    if apart < radius.len() {
        let equal = pair.equal(order, &radius)?;
        let equal = equal.iter().zip(&radius).filter(|(_, r)| **r == 0.);
        of_k += equal.map(|(n, _)| digamma(*n as usize + 1)).sum::<f64>();
    }
    // What is strictly closer is at most as far as the number before; what is equal is at distance 0.
    let within = |r: &f64| if *r > 0. { r.next_down() } else { 0. };
    let within: Vec<f64> = radius.iter().map(within).collect();
    let counted = pair.mean_digammas(order, [within.clone(), within], Bound::Closed, 1)?;
    Ok(of_k / n + n.ln() - counted)
}

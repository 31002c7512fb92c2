//! The entropy of Kozachenko and Leonenko.

use super::counts::{digamma, radii};
use super::space::{Samples, tie_share};
use super::{Estimate, KnnConfig};
use crate::error::Result;
use crate::kernels::number::lgamma;
use crate::neighbours::Metric;
use crate::rng::Rng;
use candle_core::Tensor;
use std::f64::consts::{LN_2, PI};

/// The differential entropy of a density that samples come from.
///
/// Formula: `H = psi(N) - psi(k) + ln V_d + d <ln r>`, r the distance from a sample to the k-th nearest other, `V_d` the
/// volume of the unit ball: `2^d` in max-norm, `pi^(d/2) / Gamma(d/2 + 1)` for Euclidean, `2^d / d!` for Manhattan
/// distances.
///
/// Shapes: `x` `[N, d]`, of any floating-point dtype. Units: nats, of x in its own units. Gradients: none.
///
/// Errors: other shapes; elements that are not finite; k of 0 or N and more; a negative jitter. There is no null:
/// `shuffles` is not looked at.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_prob::Rng;
/// use candle_prob::information::knn::{KnnConfig, entropy};
/// # fn main() -> candle_prob::Result<()> {
/// let mut rng = Rng::new(0);
/// let x = rng.normal((2000, 1), DType::F64, &Device::Cpu)?;
/// let h = entropy(&x, &KnnConfig::default(), &mut rng)?;
/// assert!((h.nats - 1.4189).abs() < 0.08);
/// assert!(h.warnings.is_empty());
/// # Ok(())
/// # }
/// ```
///
/// Numerics: distances are f64. A sample with k equal ones makes the entropy `-inf`, as a law with such samples has it;
/// [`Warning::Ties`](super::Warning::Ties) says so.
///
/// Source: Kozachenko and Leonenko (1987); Kraskov, Stoegbauer and Grassberger (2004), eq. 20.
#[doc(alias = "kozachenko_leonenko")]
pub fn entropy(x: &Tensor, config: &KnnConfig, rng: &mut Rng) -> Result<Estimate> {
    let op = "knn::entropy";
    let x = Samples::new(op, "x", x, config, rng)?;
    let (n, k, d) = (x.len(), config.k, x.dims as f64);
    config.check(op, n)?;
    let radii = radii(&x.neighbours(config.metric)?, k)?;
    let mean_log = radii.iter().map(|r| r.ln()).sum::<f64>() / n as f64;
    let volume = log_unit_ball(x.dims, config.metric);
    let nats = digamma(n) - digamma(k) + volume + d * mean_log;
    let ties = tie_share(&[&x]);
    Ok(Estimate::new(nats, k, n, vec![x.dims], ties).continuous())
}

/// `ln V_d`.
fn log_unit_ball(dims: usize, metric: Metric) -> f64 {
    let d = dims as f64;
    match metric {
        Metric::Euclidean => 0.5 * d * PI.ln() - lgamma(0.5 * d + 1.),
        Metric::Manhattan => d * LN_2 - lgamma(d + 1.),
        Metric::Chebyshev => d * LN_2,
    }
}

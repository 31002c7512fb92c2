//! The two parts of a variational objective, and their weighted sum.

use crate::error::Result;
use crate::{check, shape};
use candle_core::Tensor;

/// What a code loses and what it costs: the parts of every evidence lower bound and bottleneck objective, in nats.
///
/// Formula: `total = distortion + beta * rate`. With `beta = 1` and one code for each example it is the negative evidence lower
/// bound.
///
/// Gradients: those of both parts; at `beta = 0` those of the distortion alone, so that a rate that is infinite has no say.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::DistortionRate;
/// # fn main() -> candle_prob::Result<()> {
/// let new = |x: [f64; 2]| Tensor::new(&x, &Device::Cpu);
/// let (distortion, rate) = (new([1., 2.])?, new([4., f64::INFINITY])?);
/// let parts = DistortionRate::new(distortion, rate, 0.5)?;
/// assert_eq!(parts.total.to_vec1::<f64>()?, [3., f64::INFINITY]);
/// // The same parts under another weight, as for a curve of rates and distortions.
/// let free = DistortionRate::new(parts.distortion, parts.rate, 0.)?;
/// assert_eq!(free.total.to_vec1::<f64>()?, [1., 2.]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Higgins et al. (2017), beta-VAE, eq. 4; Alemi et al. (2018), Fixing a broken ELBO, section 3, for the names.
#[derive(Debug, Clone)]
pub struct DistortionRate {
    /// `-E[ln p(x | z)]`, or of the label: what the code loses.
    pub distortion: Tensor,
    /// `KL(q(z | x) || p(z))`: what the code costs.
    pub rate: Tensor,
    /// `distortion + beta * rate`: its mean over the batch is the loss.
    pub total: Tensor,
}

impl DistortionRate {
    /// From two parts of one shape and the weight of the rate.
    ///
    /// Errors: parts of two shapes, dtypes or devices; a `beta` that is negative or not finite.
    pub fn new(distortion: Tensor, rate: Tensor, beta: f64) -> Result<Self> {
        const OP: &str = "DistortionRate::new";
        check::non_negative(OP, "beta", beta)?;
        shape::same_kind(OP, "rate", &rate, &distortion)?;
        shape::exactly(OP, "rate", rate.dims(), distortion.dims())?;
        let total = match beta {
            // 0 times infinity is NaN.
            0. => distortion.clone(),
            _ => (&distortion + (&rate * beta)?)?,
        };
        Ok(DistortionRate {
            distortion,
            rate,
            total,
        })
    }
}

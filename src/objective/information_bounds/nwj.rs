//! The bound of Nguyen, Wainwright and Jordan.

use super::{LowerBound, Scores};
use crate::divergence::{KullbackLeibler, f_gan};
use crate::error::Result;

/// The bound of Nguyen, Wainwright and Jordan, also called f-GAN KL and MINE-f.
///
/// Formula: `E_p[f] - E_q[e^(f - 1)]`, p of pairs and q of the marginals: [`f_gan`](crate::divergence::f_gan) of the
/// Kullback-Leibler divergence. Unbiased; equal to the information for `f = 1 + ln r`.
///
/// Units: nats. Gradients: exact; of the value itself.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::information_bounds::{Scores, nwj};
/// # fn main() -> candle_prob::Result<()> {
/// let (joint, marginal) = (Tensor::new(&[2f64, 3.], &Device::Cpu)?, Tensor::new(&[1f64, 1.], &Device::Cpu)?);
/// assert_eq!(nwj(&Scores::apart(&joint, &marginal)?)?.nats()?, 1.5);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: from scores of 76 (f32) and 651 (f64) on the exponential goes on along its tangent, so that value and slope are
/// finite; so far above any information it is no bound any more. In f16 scores of 12 and more have no finite exponential.
///
/// Source: Nguyen, Wainwright and Jordan (2010), Estimating divergence functionals and the likelihood ratio by convex risk
/// minimization; Poole et al. (2019), section 2.1.
pub fn nwj(scores: &Scores) -> Result<LowerBound> {
    let bound = f_gan(&KullbackLeibler, scores.joint(), scores.marginal())?;
    Ok(LowerBound::new(bound.bound().clone()))
}

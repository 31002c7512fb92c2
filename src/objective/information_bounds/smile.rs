//! Clipped ratios.

use super::scores::mean;
use super::{InformationEstimate, Scores};
use crate::check;
use crate::divergence::{Gan, f_gan};
use crate::error::Result;
use crate::special::logmeanexp;

/// The smoothed estimator of Song and Ermon: the bound of Donsker and Varadhan with scores of the marginals that are clipped, so
/// that its variance is bounded.
///
/// Formula: `E_p[f] - ln E_q[clip(e^f, e^-clip, e^clip)]`. It is no bound: what the clip cuts off makes it too large where scores
/// are high. The critic learns by the objective of [`jensen_shannon`](super::jensen_shannon), as the clip leaves it no slope where
/// it is wrong. As `clip` grows it becomes [`donsker_varadhan`](super::donsker_varadhan); 1 to 10 are usual.
///
/// Units: nats. Gradients: exact, of both; none through a score that is clipped.
///
/// Errors: a clip that is not positive and finite.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::information_bounds::{Scores, smile};
/// # fn main() -> candle_prob::Result<()> {
/// let (joint, marginal) = (Tensor::new(&[7f64], &Device::Cpu)?, Tensor::new(&[1e4f64], &Device::Cpu)?);
/// assert_eq!(smile(&Scores::apart(&joint, &marginal)?, 5.)?.nats()?, 2.);
/// # Ok(())
/// # }
/// ```
///
/// Source: Song and Ermon (2020), Understanding the limitations of variational mutual information estimators, section 5; the
/// objective is that of their program.
pub fn smile(scores: &Scores, clip: f64) -> Result<InformationEstimate> {
    check::positive_finite("information_bounds::smile", "clip", clip)?;
    let (joint, marginal) = (scores.joint(), scores.marginal());
    let high = (marginal.ones_like()? * clip)?;
    let clipped = marginal.ge(clip)?.where_cond(&high, marginal)?;
    let clipped = clipped.le(-clip)?.where_cond(&high.neg()?, &clipped)?;
    Ok(InformationEstimate {
        value: (mean(joint)? - logmeanexp(&clipped, 0)?)?,
        objective: f_gan(&Gan, joint, marginal)?.bound().clone(),
    })
}

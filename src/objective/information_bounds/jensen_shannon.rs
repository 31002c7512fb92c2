//! A critic that learns to classify.

use super::{LowerBound, Scores, nwj};
use crate::divergence::{Gan, f_gan};
use crate::error::Result;
use candle_core::Tensor;

/// What [`jensen_shannon`] returns.
#[derive(Debug, Clone)]
pub struct JensenShannonBound {
    /// What the critic maximizes, a scalar with gradients: a lower bound of twice the Jensen-Shannon divergence of `p(x, y)` and
    /// `p(x) p(y)`, at most `2 ln 2`. No bound of the information.
    pub divergence: Tensor,
    /// What the same scores say of the information, without a gradient.
    pub information: LowerBound,
}

impl JensenShannonBound {
    /// What the critic minimizes: the negative of the divergence.
    pub fn loss(&self) -> Result<Tensor> {
        Ok(self.divergence.neg()?)
    }
}

/// The critic that tells pairs from draws of the marginals, as the discriminator of a GAN does: it learns the log-ratio with less
/// variance than a bound of the information teaches it.
///
/// Formula: the divergence `ln 4 - E_p[softplus(-f)] - E_q[softplus(f)]`, whose best f is `ln r`; the information is
/// [`nwj`] of `f + 1`, `1 + E_p[f] - E_q[e^f]`.
///
/// Units: nats. Gradients: exact, of the divergence; none of the information.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::information_bounds::{Scores, jensen_shannon};
/// # fn main() -> candle_prob::Result<()> {
/// let zeros = Tensor::zeros((3, 3), candle_core::DType::F64, &Device::Cpu)?;
/// let bound = jensen_shannon(&Scores::matrix(&zeros)?)?;
/// assert!(bound.divergence.to_scalar::<f64>()?.abs() < 1e-15);
/// assert!(bound.information.nats()?.abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Source: Hjelm et al. (2019), Learning deep representations by mutual information estimation and maximization, eq. 4; Poole et al.
/// (2019), section 2, for the information.
pub fn jensen_shannon(scores: &Scores) -> Result<JensenShannonBound> {
    let (joint, marginal) = (scores.joint(), scores.marginal());
    let divergence = f_gan(&Gan, joint, marginal)?.bound().clone();
    let shifted = Scores::apart(&(joint.detach() + 1.)?, &(marginal.detach() + 1.)?)?;
    Ok(JensenShannonBound {
        divergence,
        information: nwj(&shifted)?,
    })
}

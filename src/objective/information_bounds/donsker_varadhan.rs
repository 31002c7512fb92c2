//! The bound of Donsker and Varadhan.

use super::scores::mean;
use super::{LowerBound, Scores};
use crate::error::Result;
use crate::special::logmeanexp;

/// The bound of Donsker and Varadhan.
///
/// Formula: `E_p[f] - ln E_q[e^f]`, p of pairs and q of the marginals; equal to the information for `f = ln r + c`.
///
/// Units: nats. Gradients: exact, of this value: `softmax` weights the marginal scores. The expectation in the logarithm is that of
/// M draws, so that value and gradient of a batch are biased, upwards by about `Var[e^f] / (2 M E[e^f]^2)`: where that is not small
/// the estimate is above the information on average. [`Mine`](super::Mine) corrects the gradient; [`nwj`](super::nwj) has no bias.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::information_bounds::{Scores, donsker_varadhan};
/// # fn main() -> candle_prob::Result<()> {
/// // Scores whose exponentials are no numbers, shifted by the same constant.
/// let (joint, marginal) = (Tensor::new(&[1e4f32, 1e4], &Device::Cpu)?, Tensor::new(&[9998f32, 9998.], &Device::Cpu)?);
/// assert_eq!(donsker_varadhan(&Scores::apart(&joint, &marginal)?)?.nats()?, 2.);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: the logarithm of the mean is computed as one, for scores of any size.
///
/// Source: Donsker and Varadhan (1983), Asymptotic evaluation of certain Markov process expectations for large time IV; Belghazi et
/// al. (2018), eq. 5.
pub fn donsker_varadhan(scores: &Scores) -> Result<LowerBound> {
    let log_mean = logmeanexp(scores.marginal(), 0)?;
    Ok(LowerBound::new((mean(scores.joint())? - log_mean)?))
}

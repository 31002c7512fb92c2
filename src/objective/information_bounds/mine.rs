//! The gradient of MINE.

use super::scores::{mean, wide};
use super::{LowerBound, Scores, donsker_varadhan};
use crate::check;
use crate::error::{Error, Result};
use crate::kernels::graph::first_only::first_only;
use crate::kernels::reduce;
use crate::special::logmeanexp;
use candle_core::{DType, Tensor};

/// Mutual information neural estimation: the bound of Donsker and Varadhan, with a gradient whose denominator is an average over
/// batches.
///
/// Formula: the value is [`donsker_varadhan`]'s, the gradient `E_p[df] - E_q[e^f df] / m` with the moving average
/// `m <- decay m + (1 - decay) E_q[e^f]`, which the batch is taken into before it is divided by; the first batch sets it. A batch
/// alone divides by its own mean, whose inverse is biased.
///
/// Units: nats. Gradients: as said, to the scores; not that of the value, unless decay is 0; first derivatives only.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use candle_prob::objective::information_bounds::{Mine, Scores};
/// # fn main() -> candle_prob::Result<()> {
/// let mut mine = Mine::new(0.5)?;
/// let joint = Tensor::new(&[1f64], &Device::Cpu)?;
/// let marginal = Var::new(&[2f64.ln()], &Device::Cpu)?;
/// mine.bound(&Scores::apart(&joint, &Tensor::new(&[6f64.ln()], &Device::Cpu)?)?)?;
/// let bound = mine.bound(&Scores::apart(&joint, &marginal)?)?;
/// // The average of 6 and 2 is 4.
/// let gradients = bound.value().backward()?;
/// let gradient = gradients.get(&marginal).unwrap().to_vec1::<f64>()?;
/// assert!((gradient[0] + 2. / 4.).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: the average is kept as its logarithm; a weight is at most `1 / (1 - decay)`, so that nothing overflows.
///
/// Source: Belghazi, Baratin, Rajeswar, Ozair, Bengio, Courville and Hjelm (2018), Mutual information neural estimation, section
/// 3.2, eq. 12.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mine {
    /// How much of the average stays in a step.
    pub decay: f64,
    /// The logarithm of the average, `None` before the first batch.
    pub log_mean: Option<f64>,
}

impl Mine {
    /// That has seen no batch.
    ///
    /// Errors: a decay outside of `[0, 1)`.
    pub fn new(decay: f64) -> Result<Self> {
        check::in_interval("Mine::new", "decay", decay, 0. ..1.)?;
        Ok(Mine {
            decay,
            log_mean: None,
        })
    }

    /// The bound of a batch, which is taken into the average.
    ///
    /// Errors: marginal scores whose exponentials have no finite, positive mean, as NaN and infinity; the average stays as it is.
    pub fn bound(&mut self, scores: &Scores) -> Result<LowerBound> {
        let op = "Mine::bound";
        let marginal = scores.marginal();
        let value = donsker_varadhan(scores)?.value().detach();
        let own: f64 = logmeanexp(&wide(&marginal.detach())?, 0)?
            .to_dtype(DType::F64)?
            .to_scalar()?;
        if !own.is_finite() {
            let expected = "marginal scores whose mean exponential is positive and finite";
            return Err(Error::value(op, "scores", expected, own));
        }
        let log_mean = match self.log_mean {
            None => own,
            Some(log_mean) => {
                let (kept, new) = (self.decay.ln() + log_mean, (1. - self.decay).ln() + own);
                let most = kept.max(new);
                most + ((kept - most).exp() + (new - most).exp()).ln()
            }
        };
        let (joint, marginal) = (wide(scores.joint())?, wide(marginal)?);
        let count = marginal.elem_count() as f64;
        let slopes = (marginal.detach() - (log_mean + count.ln()))?.exp()?;
        let moves = (mean(&moving(&joint)?)? - reduce::sum(&(moving(&marginal)? * slopes)?)?)?;
        let moves = moves.to_dtype(value.dtype())?;
        self.log_mean = Some(log_mean);
        Ok(LowerBound::new(first_only(
            "Mine::bound",
            &(value + moves)?,
        )?))
    }
}

/// 0, with the gradient of x where it is finite.
fn moving(x: &Tensor) -> Result<Tensor> {
    let known = x.detach();
    // Infinity less itself is NaN.
    let zeros = known.zeros_like()?;
    let finite = known.abs()?.lt(f64::INFINITY)?;
    Ok((finite.where_cond(x, &zeros)? - finite.where_cond(&known, &zeros)?)?)
}

//! A penalty together with weight decay.

use super::{Quadratic, WeightDecay};
use crate::check;
use crate::error::Result;
use candle_core::Tensor;

/// Another penalty and weight decay of the same tensor: `R(x) + decay / 2 |x|^2`.
///
/// Formula: the Hessian is `H + decay I`, so that `solve` of a positive decay needs no shift. Errors: a decay that is negative or
/// not finite; those of the other.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::regularization::{Decayed, Quadratic, TimeSmoothness};
/// # fn main() -> candle_prob::Result<()> {
/// let smooth = TimeSmoothness { alpha: 1., step: 0.5 };
/// let penalty = Decayed { penalty: smooth, decay: 1. };
/// let weights = Tensor::new(&[[1f64], [2.], [4.]], &Device::Cpu)?; // three layers
/// assert_eq!(penalty.value(&weights)?.to_scalar::<f64>()?, 5. + 10.5);
/// let back = penalty.solve(&penalty.product(&weights)?, 0.)?;
/// let error = (back - weights)?.abs()?.max_all()?.to_scalar::<f64>()?;
/// assert!(error < 1e-14);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decayed<Q> {
    /// The other penalty.
    pub penalty: Q,
    /// The weight of the decay, not negative.
    pub decay: f64,
}

impl<Q: Quadratic> Quadratic for Decayed<Q> {
    fn value(&self, x: &Tensor) -> Result<Tensor> {
        let decay = WeightDecay { alpha: self.decay }.value(x)?;
        Ok((self.penalty.value(x)? + decay)?)
    }

    fn product(&self, v: &Tensor) -> Result<Tensor> {
        let decay = WeightDecay { alpha: self.decay }.product(v)?;
        Ok((self.penalty.product(v)? + decay)?)
    }

    fn solve(&self, v: &Tensor, shift: f64) -> Result<Tensor> {
        let op = "Decayed::solve";
        check::non_negative(op, "decay", self.decay)?;
        check::non_negative(op, "shift", shift)?;
        self.penalty.solve(v, self.decay + shift)
    }
}

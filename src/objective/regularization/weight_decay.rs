//! Weight decay.

use super::{Quadratic, check_shift, square_norm};
use crate::check;
use crate::error::Result;
use crate::shape;
use candle_core::Tensor;

/// Weight decay, the square norm: `R(x) = alpha / 2 |x|^2`, with `H = alpha I`.
///
/// Shapes: any, also without elements. Gradients: of `value`, `alpha x`.
///
/// Errors: an alpha that is negative or not finite; whole numbers; for `solve`, alpha and shift both 0.
///
/// Numerics: squares are added in f64, block by block.
///
/// Source: Haber and Ruthotto (2017), Stable architectures for deep neural networks, section 5.1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WeightDecay {
    /// The weight, not negative.
    pub alpha: f64,
}

impl WeightDecay {
    fn check(&self, op: &'static str, arg: &'static str, tensor: &Tensor) -> Result<()> {
        check::non_negative(op, "alpha", self.alpha)?;
        shape::float(op, arg, tensor)
    }
}

impl Quadratic for WeightDecay {
    fn value(&self, x: &Tensor) -> Result<Tensor> {
        let op = "WeightDecay::value";
        self.check(op, "x", x)?;
        Ok((square_norm(x)? * (self.alpha / 2.))?)
    }

    fn product(&self, v: &Tensor) -> Result<Tensor> {
        self.check("WeightDecay::product", "v", v)?;
        Ok((v * self.alpha)?)
    }

    fn solve(&self, v: &Tensor, shift: f64) -> Result<Tensor> {
        let op = "WeightDecay::solve";
        self.check(op, "v", v)?;
        check_shift(op, shift, self.alpha == 0.)?;
        Ok((v.detach() / (self.alpha + shift))?)
    }
}

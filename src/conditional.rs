//! From a context to a distribution or bijector.

use crate::error::Result;
use candle_core::Tensor;

/// Something that turns a context tensor into an eager value: a distribution, a bijector.
///
/// Networks with a head implement it, and so does every closure `Fn(&Tensor) -> Result<T>`:
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::{Conditional, Result, distribution::{Distribution, Normal}};
/// # fn main() -> Result<()> {
/// let noisy = |x: &Tensor| Normal::new(x, &x.ones_like()?);
/// let x = Tensor::zeros((4, 2), DType::F32, &Device::Cpu)?;
/// assert_eq!(noisy.given(&x)?.batch_shape(), &[4, 2]);
/// # Ok(())
/// # }
/// ```
pub trait Conditional {
    /// What the context determines.
    type Output;

    /// The value for this context.
    ///
    /// Errors: a context of a shape, dtype or device that the network does not take; parameters that the value refuses, as a
    /// scale that came out as 0 or NaN.
    fn given(&self, context: &Tensor) -> Result<Self::Output>;
}

impl<T, F: Fn(&Tensor) -> Result<T>> Conditional for F {
    type Output = T;

    fn given(&self, context: &Tensor) -> Result<T> {
        self(context)
    }
}

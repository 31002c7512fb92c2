//! A bijector in the other direction.

use super::Bijector;
use crate::detach::Detach;
use crate::error::Result;
use candle_core::Tensor;

/// The inverse of a bijector: `transform` and `inverse` change places.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::bijector::{Bijector, Exp};
/// # fn main() -> candle_prob::Result<()> {
/// let x = Tensor::new(&[1f64], &Device::Cpu)?;
/// assert_eq!(Exp.inverted().transform(&x)?.to_vec1::<f64>()?, [0.]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inverted<B> {
    base: B,
}

impl<B: Bijector> Inverted<B> {
    /// The other direction of `base`.
    pub fn new(base: B) -> Self {
        Inverted { base }
    }

    /// The bijector underneath.
    pub fn base(&self) -> &B {
        &self.base
    }
}

impl<B: Bijector> Bijector for Inverted<B> {
    fn event_rank(&self) -> usize {
        self.base.event_rank()
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        self.base.inverse_and_log_det(x)
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        self.base.transform_and_log_det(y)
    }

    fn transformed_shape(&self, event: &[usize]) -> Result<Vec<usize>> {
        self.base.inverse_shape(event)
    }

    fn inverse_shape(&self, event: &[usize]) -> Result<Vec<usize>> {
        self.base.transformed_shape(event)
    }

    fn decreasing(&self) -> Result<Option<Tensor>> {
        self.base.decreasing()
    }
}

impl<B: Detach> Detach for Inverted<B> {
    fn detach(&self) -> Self {
        Inverted {
            base: self.base.detach(),
        }
    }
}

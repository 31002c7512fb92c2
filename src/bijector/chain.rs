//! One bijector after another.

use super::{Bijector, check_rank, turned};
use crate::detach::Detach;
use crate::error::Result;
use crate::kernels::reduce;
use candle_core::Tensor;

/// `first`, then `second`: `y = second(first(x))`. Longer chains are chains of chains.
///
/// Formula: the log-dets add up. Shapes: the event rank is the larger of the two; the log-det of the other is summed over
/// the dims that it does not couple. Gradients: those of the two. Errors: theirs; an argument of fewer dims than an event has.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::bijector::{Bijector, Chain, Exp, Softplus};
/// # fn main() -> candle_prob::Result<()> {
/// let x = Tensor::new(&[0f64], &Device::Cpu)?;
/// let y = Chain::new(Softplus, Exp).transform(&x)?.to_vec1::<f64>()?;
/// assert!((y[0] - 2.).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain<A, B> {
    first: A,
    second: B,
}

impl<A: Bijector, B: Bijector> Chain<A, B> {
    /// `first`, then `second`.
    pub fn new(first: A, second: B) -> Self {
        Chain { first, second }
    }

    /// The sum of the log-dets, each over the dims that its bijector does not couple.
    fn add(&self, first: Tensor, second: Tensor) -> Result<Tensor> {
        let rank = self.event_rank();
        let first = reduce::sum_last(&first, rank - self.first.event_rank())?;
        Ok((first + reduce::sum_last(&second, rank - self.second.event_rank())?)?)
    }
}

impl<A: Bijector, B: Bijector> Bijector for Chain<A, B> {
    fn event_rank(&self) -> usize {
        self.first.event_rank().max(self.second.event_rank())
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        check_rank(["Chain::transform", "x"], x, self.event_rank())?;
        let (between, first) = self.first.transform_and_log_det(x)?;
        let (y, second) = self.second.transform_and_log_det(&between)?;
        Ok((y, self.add(first, second)?))
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        check_rank(["Chain::inverse", "y"], y, self.event_rank())?;
        let (between, second) = self.second.inverse_and_log_det(y)?;
        let (x, first) = self.first.inverse_and_log_det(&between)?;
        Ok((x, self.add(first, second)?))
    }

    fn transformed_shape(&self, event: &[usize]) -> Result<Vec<usize>> {
        let between = self.first.transformed_shape(event)?;
        self.second.transformed_shape(&between)
    }

    fn inverse_shape(&self, event: &[usize]) -> Result<Vec<usize>> {
        self.first.inverse_shape(&self.second.inverse_shape(event)?)
    }

    fn decreasing(&self) -> Result<Option<Tensor>> {
        turned(self.first.decreasing()?, self.second.decreasing()?)
    }
}

impl<A: Detach, B: Detach> Detach for Chain<A, B> {
    fn detach(&self) -> Self {
        Chain {
            first: self.first.detach(),
            second: self.second.detach(),
        }
    }
}

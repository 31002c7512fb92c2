//! One part of an event goes on, the other is done.

use super::{Bijector, Split};
use crate::detach::Detach;
use crate::error::{Error, Result};
use crate::kernels::reduce;
use candle_core::Tensor;

/// A bijector of one part of an event; the rest stays as it is, in its place.
///
/// Formula: with `(a, b)` the parts, `y = (f(a), b)`; the log-det is that of f. Nested, with a [`Squeeze`](super::Squeeze)
/// before each, this is a multi-scale flow: what is factored out has been through fewer layers. The latents keep the places
/// of the pixels that they stand for, so a latent event has the shape of an image.
///
/// Shapes: `x` and `y` are `batch ++ event` as the [`Split`] wants them, the log-det is `batch`; f keeps the shape of its
/// part. Gradients: to the argument and what f has.
///
/// Errors: a split by a mask, which takes no part out; an f that couples more dims than the split's event has or that
/// reshapes; an argument that does not fit.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::bijector::{Bijector, Exp, FactorOut, Split};
/// # fn main() -> candle_prob::Result<()> {
/// let factored = FactorOut::new(Split::half(4, false)?, Exp)?;
/// let x = Tensor::new(&[0f64, 0., 7., 8.], &Device::Cpu)?;
/// assert_eq!(factored.transform(&x)?.to_vec1::<f64>()?, [1., 1., 7., 8.]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Dinh, Sohl-Dickstein and Bengio (2017), Density estimation using Real NVP, section 3.6.
#[derive(Debug, Clone)]
pub struct FactorOut<B> {
    split: Split,
    bijector: B,
}

impl<B: Bijector> FactorOut<B> {
    /// The split's passing part goes through `bijector`, the changing part is factored out.
    pub fn new(split: Split, bijector: B) -> Result<Self> {
        let op = "FactorOut::new";
        if split.columns().is_none() {
            let expected = "one that takes slices apart";
            return Err(Error::value(op, "split", expected, "a mask"));
        }
        if bijector.event_rank() > split.event_rank() {
            let expected = format!("one of event rank {} at most", split.event_rank());
            let found = bijector.event_rank();
            return Err(Error::value(op, "bijector", expected, found));
        }
        Ok(FactorOut { split, bijector })
    }

    /// The split.
    pub fn split(&self) -> &Split {
        &self.split
    }

    /// What the passing part goes through.
    pub fn bijector(&self) -> &B {
        &self.bijector
    }

    fn apply(
        &self,
        [op, arg]: [&'static str; 2],
        x: &Tensor,
        f: impl FnOnce(&B, &Tensor) -> Result<(Tensor, Tensor)>,
    ) -> Result<(Tensor, Tensor)> {
        self.split.check(op, arg, x)?;
        let (on, out) = self.split.take(x)?;
        let (done, log_det) = f(&self.bijector, &on)?;
        if done.dims() != on.dims() {
            let expected = format!("one that keeps the shape {:?}", on.dims());
            let found = format!("{:?}", done.dims());
            return Err(Error::value(op, "bijector", expected, found));
        }
        let rest = self.split.event_rank() - self.bijector.event_rank();
        Ok((
            self.split.merge(&done, &out)?,
            reduce::sum_last(&log_det, rest)?,
        ))
    }
}

impl<B: Bijector> Bijector for FactorOut<B> {
    fn event_rank(&self) -> usize {
        self.split.event_rank()
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let names = ["FactorOut::transform", "x"];
        self.apply(names, x, |f, a| f.transform_and_log_det(a))
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        let names = ["FactorOut::inverse", "y"];
        self.apply(names, y, |f, a| f.inverse_and_log_det(a))
    }
}

impl<B: Detach> Detach for FactorOut<B> {
    fn detach(&self) -> Self {
        FactorOut {
            split: self.split.clone(),
            bijector: self.bijector.detach(),
        }
    }
}

//! Another order of the elements.

use super::{Bijector, check_slices, zeros};
use crate::Rng;
use crate::detach::Detach;
use crate::error::{Error, Result};
use candle_core::Tensor;

/// A permutation of a dim's slices: of a vector's elements or, [along](Permutation::along) the third dim from the last, of
/// an image's channels.
///
/// Formula: `y_i = x_order(i)`; the log-det is 0. Both directions are a gather.
///
/// Shapes: `x` and `y` are `batch ++ event`, where the event starts with the permuted dim; the log-det is `batch`.
/// Gradients: to the argument.
///
/// Errors: an order that is empty or no permutation; an argument with another number of slices or too few dims.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::bijector::{Bijector, Permutation};
/// # fn main() -> candle_prob::Result<()> {
/// let x = Tensor::new(&[5f32, 6., 7.], &Device::Cpu)?;
/// let permutation = Permutation::new(&[2, 0, 1])?;
/// assert_eq!(permutation.transform(&x)?.to_vec1::<f32>()?, [7., 5., 6.]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permutation {
    order: Vec<u32>,
    inverse: Vec<u32>,
    /// Counted from the last.
    dim: usize,
}

impl Permutation {
    /// Element i of the result is element `order[i]` of the argument.
    pub fn new(order: &[usize]) -> Result<Self> {
        let n = order.len();
        let mut inverse = vec![u32::MAX; n];
        for (i, from) in order.iter().enumerate() {
            if let Some(place) = inverse.get_mut(*from) {
                *place = i as u32;
            }
        }
        if n == 0 || inverse.contains(&u32::MAX) {
            let expected = format!("each of 0..{n} once, and one at least");
            let found = format!("{order:?}");
            return Err(Error::value("Permutation::new", "order", expected, found));
        }
        Ok(Permutation {
            order: order.iter().map(|i| *i as u32).collect(),
            inverse,
            dim: 1,
        })
    }

    /// A random one of `n` elements.
    pub fn random(n: usize, rng: &mut Rng) -> Result<Self> {
        Self::new(&rng.permutation(n))
    }

    /// The last of `n` elements first.
    pub fn reverse(n: usize) -> Result<Self> {
        Self::new(&(0..n).rev().collect::<Vec<_>>())
    }

    /// The same order along another dim, counted from the last: 1 is the last and the default, 3 are the channels of images
    /// [C, H, W].
    pub fn along(mut self, dim: usize) -> Result<Self> {
        if dim == 0 {
            let expected = "1 for the last dim or more";
            return Err(Error::value("Permutation::along", "dim", expected, dim));
        }
        self.dim = dim;
        Ok(self)
    }

    /// Which element of the argument each element of the result is.
    pub fn order(&self) -> &[u32] {
        &self.order
    }

    /// The order of the inverse.
    pub fn inverse_order(&self) -> &[u32] {
        &self.inverse
    }

    fn apply(&self, op: &'static str, order: &[u32], x: &Tensor) -> Result<(Tensor, Tensor)> {
        check_slices([op, "argument"], x, self.dim, order.len())?;
        let index = Tensor::new(order, x.device())?;
        let y = x.contiguous()?.index_select(&index, x.rank() - self.dim)?;
        Ok((y, zeros(x, self.dim)?))
    }
}

impl Bijector for Permutation {
    fn event_rank(&self) -> usize {
        self.dim
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        self.apply("Permutation::transform", &self.order, x)
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        self.apply("Permutation::inverse", &self.inverse, y)
    }
}

impl Detach for Permutation {
    fn detach(&self) -> Self {
        self.clone()
    }
}

//! Dropout with a seed.

use crate::check;
use crate::error::{Error, Result};
use crate::kernels::network::dropout::{self as kernel, Mask};
use crate::rng::Rng;
use crate::shape;
use candle_core::Tensor;

/// Dropout: each element is left out with probability p, and what stays is divided by 1 - p.
///
/// Formula: `y = m x / (1 - p)` with independent `m` of mean `1 - p` in {0, 1}, so that `E[y] = x`. The mask is the next draw of
/// `rng` and depends on nothing else, the same for every dtype and number of threads; a draw is made for p = 0 too, where y is x.
/// A mask of its own for each of K samples of a code comes with an input of K copies, [`Rng::split`] fixes one for several calls.
///
/// There is no layer of it: candle's `forward_t` has no source of randomness, and a pass draws nothing in secret. What has
/// dropout calls this between its layers, in training and wherever a stochastic code is wanted, and does not call it else.
///
/// Shapes: any, y that of x; an empty one too. Gradients: `m / (1 - p)`; an infinite or missing number that is left out
/// spoils neither y nor the gradient.
///
/// Errors: p outside of `[0, 1)`; whole numbers.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::{Rng, net};
/// # fn main() -> candle_prob::Result<()> {
/// let x = Tensor::ones(10_000, DType::F32, &Device::Cpu)?;
/// let y = net::dropout(&x, 0.2, &mut Rng::new(0))?;
/// let left_out = y.to_vec1::<f32>()?.iter().filter(|y| **y == 0.).count();
/// assert!((1900..2100).contains(&left_out));
/// assert!((y.mean_all()?.to_scalar::<f32>()? - 1.).abs() < 0.02);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: p is rounded to a multiple of 2^-32, and so is what divides.
///
/// Source: Srivastava et al. (2014), Dropout, section 4, with the scaling in training.
pub fn dropout(x: &Tensor, p: f64, rng: &mut Rng) -> Result<Tensor> {
    masked("net::dropout", x, p, 1, rng)
}

/// As [`dropout`], of whole channels of images: each of `[.., C, H, W]` is left out with probability p or stays as it is, over
/// 1 - p.
///
/// Neighbouring pixels say nearly the same, so that a layer loses little of what it knows when single ones are left out.
///
/// Errors: those of [`dropout`]; fewer than three dims.
///
/// Source: Tompson et al. (2015), Efficient object localization using convolutional networks, section 3.2.
pub fn dropout2d(x: &Tensor, p: f64, rng: &mut Rng) -> Result<Tensor> {
    let op = "net::dropout2d";
    match x.dims() {
        [.., _, height, width] => masked(op, x, p, height * width, rng),
        found => Err(Error::shape(op, "x", "[.., C, H, W]", found)),
    }
}

fn masked(op: &'static str, x: &Tensor, p: f64, group: usize, rng: &mut Rng) -> Result<Tensor> {
    shape::float(op, "x", x)?;
    check::in_interval(op, "p", p, 0. ..1.)?;
    let stream = rng.stream();
    match p {
        0. => Ok(x.clone()),
        _ => Ok(kernel::dropout(x, Mask::new(p, group, stream))?),
    }
}

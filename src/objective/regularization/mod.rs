//! Quadratic penalties of weights: weight decay, smoothness in time and in space.
//!
//! Each is a [`Quadratic`]: a value that is added to a loss, and the product and the shifted inverse of its Hessian, which
//! second-order methods need for the curvature and as a preconditioner.
//!
//! - [`WeightDecay`]: of any tensor. [`TimeSmoothness`]: of the weights of layers, one after the other.
//!   [`SpatialSmoothness`]: of the images that a linear classifier's weights are.
//! - [`Decayed`]: any of them and weight decay.

mod decayed;
mod spatial_smoothness;
mod time_smoothness;
mod weight_decay;

pub use decayed::Decayed;
pub use spatial_smoothness::{Derivative, Images, SpatialSmoothness};
pub use time_smoothness::TimeSmoothness;
pub use weight_decay::WeightDecay;

use crate::check;
use crate::error::{Error, Result};
use crate::kernels::reduce;
use candle_core::Tensor;

/// A penalty `R(x) = 1/2 <x, H x>` with a constant, symmetric, positive semi-definite H.
///
/// Shapes: each penalty says which tensors x it takes; v is one of them, and so are `product(v)` and `solve(v)`.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use candle_prob::objective::regularization::{Quadratic, WeightDecay};
/// # fn main() -> candle_prob::Result<()> {
/// let penalty: &dyn Quadratic = &WeightDecay { alpha: 0.5 };
/// let x = Var::new(&[2f64, -4.], &Device::Cpu)?;
/// let value = penalty.value(&x)?;
/// assert_eq!(value.to_scalar::<f64>()?, 5.);
/// assert_eq!(value.backward()?.get(&x).unwrap().to_vec1::<f64>()?, [1., -2.]);
/// assert_eq!(penalty.product(&x)?.to_vec1::<f64>()?, [1., -2.]);
/// assert_eq!(penalty.solve(&x, 1.5)?.to_vec1::<f64>()?, [1., -2.]);
/// # Ok(())
/// # }
/// ```
pub trait Quadratic {
    /// R(x), a scalar whose gradient is H x. A weight of 0 cuts the graph: the gradient is none, not zeros.
    fn value(&self, x: &Tensor) -> Result<Tensor>;

    /// H v.
    fn product(&self, v: &Tensor) -> Result<Tensor>;

    /// `(H + shift I)^-1 v`, without gradient.
    ///
    /// Errors: a shift that is negative or not finite, or 0 where H is singular.
    fn solve(&self, v: &Tensor, shift: f64) -> Result<Tensor>;
}

/// A shift of an H that is singular or not.
fn check_shift(op: &'static str, shift: f64, singular: bool) -> Result<()> {
    check::non_negative(op, "shift", shift)?;
    match singular && shift == 0. {
        true => Err(Error::value(
            op,
            "shift",
            "more than 0: H is singular",
            shift,
        )),
        false => Ok(()),
    }
}

/// The square norm, a scalar of the graph.
fn square_norm(x: &Tensor) -> Result<Tensor> {
    reduce::sum(&x.flatten_all()?.sqr()?)
}

/// `D x` along a dim, where D takes the differences of neighbours; none for fewer than two.
fn differences(x: &Tensor, dim: usize) -> Result<Option<Tensor>> {
    let size = x.dim(dim)?;
    if size < 2 || x.elem_count() == 0 {
        return Ok(None);
    }
    let (left, right) = (x.narrow(dim, 0, size - 1)?, x.narrow(dim, 1, size - 1)?);
    Ok(Some((right - left)?))
}

/// `D^T D x`: the negative second differences, with nothing across the ends.
fn second_differences(x: &Tensor, dim: usize) -> Result<Tensor> {
    let Some(steps) = differences(x, dim)? else {
        return Ok(x.zeros_like()?);
    };
    let (arriving, leaving) = (
        steps.pad_with_zeros(dim, 1, 0)?,
        steps.pad_with_zeros(dim, 0, 1)?,
    );
    Ok((arriving - leaving)?)
}

/// 0, as a scalar of the kind of x.
fn nothing(x: &Tensor) -> Result<Tensor> {
    Ok(Tensor::zeros((), x.dtype(), x.device())?)
}

//! Bijectors: invertible maps of tensors with the logarithm of their Jacobian's determinant.
//!
//! A bijector is an eager value, as a distribution is. The forward direction takes a base distribution's draws to the
//! transformed distribution's; `inverse` leads back. See
//! [`transformed_by`](crate::distribution::Distribution::transformed_by).
//!
//! - Elementwise: [`Affine`], [`Shift`], [`Exp`], [`Sigmoid`], [`Tanh`], [`Softplus`], [`LeakyRelu`], [`SoftClip`],
//!   [`LogitPreprocessing`], [`RationalQuadraticSpline`], [`MixtureCdf`].
//! - Of vectors: [`Permutation`], [`LowerTriangularAffine`], [`LuLinear`], [`Householder`], [`Planar`], [`Radial`].
//! - Of images: [`Squeeze`], [`Conv1x1`], and [`Permutation`] along channels. Of either: [`ActNorm`], [`FlowBatchNorm`].
//! - Of parts given other parts: [`Coupling`], [`Autoregressive`], [`FactorOut`]. Of bijectors: [`Chain`],
//!   [`Sequence`], [`Reversible`], [`Inverted`].
//!
//! Both directions are closed forms, except where the type says which is a search or takes one pass for each element. A new
//! bijector goes through `testing::check_bijector` of the feature `testing`.

use crate::error::{Error, Result};
use candle_core::Tensor;

/// An invertible map.
pub trait Bijector {
    /// How many trailing dims the Jacobian couples; 0 for elementwise maps.
    fn event_rank(&self) -> usize;

    /// `y = f(x)` and `ln |det dy/dx|`, of the shape of `x` without its event dims.
    ///
    /// Errors: an argument with fewer dims than an event has, of another shape, dtype or device than the parameters want; what
    /// the type adds.
    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)>;

    /// `x` with `f(x) = y` and `ln |det dx/dy|`, of the shape of `y` without its event dims. NaN where there is no such x.
    ///
    /// Errors: those of the other direction; a map that has no closed inverse where its search does not end.
    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)>;

    /// `f(x)`. A type whose log-det costs extra leaves it out.
    ///
    /// Errors: those of [`transform_and_log_det`](Bijector::transform_and_log_det).
    fn transform(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.transform_and_log_det(x)?.0)
    }

    /// The x with `f(x) = y`. A type whose log-det costs extra leaves it out.
    ///
    /// Errors: those of [`inverse_and_log_det`](Bijector::inverse_and_log_det).
    fn inverse(&self, y: &Tensor) -> Result<Tensor> {
        Ok(self.inverse_and_log_det(y)?.0)
    }

    /// The shape that an event of this shape is mapped to: the same, unless the bijector reshapes.
    ///
    /// Errors: an event that the bijector does not take.
    fn transformed_shape(&self, event: &[usize]) -> Result<Vec<usize>> {
        Ok(event.to_vec())
    }

    /// The shape that is mapped to an event of this shape.
    ///
    /// Errors: an event that the bijector does not give.
    fn inverse_shape(&self, event: &[usize]) -> Result<Vec<usize>> {
        Ok(event.to_vec())
    }

    /// Where an elementwise map decreases: 1 there, u8, of a shape that broadcasts with the argument's. `None` stands for
    /// nowhere. There the cdf of a [`Transformed`](crate::distribution::Transformed) distribution is the base's upper tail.
    ///
    /// Errors: those of tensor operations.
    fn decreasing(&self) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// The map in the other direction.
    fn inverted(self) -> Inverted<Self>
    where
        Self: Sized,
    {
        Inverted::new(self)
    }
}

/// A reference to a bijector is one, and so is a box of it.
macro_rules! pointer {
    ($($pointer:ty),*) => {$(
        impl<B: Bijector + ?Sized> Bijector for $pointer {
            fn event_rank(&self) -> usize {
                (**self).event_rank()
            }

            fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
                (**self).transform_and_log_det(x)
            }

            fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
                (**self).inverse_and_log_det(y)
            }

            fn transform(&self, x: &Tensor) -> Result<Tensor> {
                (**self).transform(x)
            }

            fn inverse(&self, y: &Tensor) -> Result<Tensor> {
                (**self).inverse(y)
            }

            fn transformed_shape(&self, event: &[usize]) -> Result<Vec<usize>> {
                (**self).transformed_shape(event)
            }

            fn inverse_shape(&self, event: &[usize]) -> Result<Vec<usize>> {
                (**self).inverse_shape(event)
            }

            fn decreasing(&self) -> Result<Option<Tensor>> {
                (**self).decreasing()
            }
        }
    )*};
}

pointer!(&B, Box<B>, std::sync::Arc<B>);

/// Where one map after another decreases: where one of both does.
fn turned(first: Option<Tensor>, second: Option<Tensor>) -> Result<Option<Tensor>> {
    match (first, second) {
        (Some(first), Some(second)) => Ok(Some(first.broadcast_ne(&second)?)),
        (first, second) => Ok(first.or(second)),
    }
}

/// Refuses an argument without `count` slices in the dim that is `rank` from the last.
fn check_slices([op, arg]: [&'static str; 2], x: &Tensor, rank: usize, count: usize) -> Result<()> {
    let at = x.rank().checked_sub(rank);
    if at.is_some_and(|at| x.dims()[at] == count) {
        return Ok(());
    }
    check_rank([op, arg], x, rank)?;
    let after = ", _".repeat(rank.saturating_sub(1));
    Err(Error::shape(
        op,
        arg,
        format!("[.., {count}{after}]"),
        x.dims(),
    ))
}

/// Refuses an argument with fewer dims than an event has.
fn check_rank([op, arg]: [&'static str; 2], x: &Tensor, rank: usize) -> Result<()> {
    if x.rank() < rank {
        let expected = format!("{rank} dims or more");
        return Err(Error::shape(op, arg, expected, x.dims()));
    }
    Ok(())
}

/// The log-det of a map that keeps volumes, for events of `rank` dims.
fn zeros(x: &Tensor, rank: usize) -> Result<Tensor> {
    let lead = &x.dims()[..x.rank() - rank];
    Ok(Tensor::zeros(lead, x.dtype(), x.device())?)
}

mod act_norm;
mod affine;
mod autoregressive;
mod axis;
mod chain;
mod conv1x1;
mod coupling;
mod elementwise;
mod exp;
mod factor_out;
mod flow_batch_norm;
mod householder;
mod inverted;
mod leaky_relu;
mod logit_preprocessing;
mod lower_triangular_affine;
mod lu;
mod lu_linear;
mod mixture_cdf;
mod permutation;
mod planar;
mod radial;
mod reversible;
mod sequence;
mod shift;
mod sigmoid;
mod soft_clip;
mod softplus;
mod spline;
mod split;
mod squeeze;
mod tanh;
mod vectors;

pub use act_norm::ActNorm;
pub use affine::Affine;
pub use autoregressive::Autoregressive;
pub use axis::Axis;
pub use chain::Chain;
pub use conv1x1::Conv1x1;
pub use coupling::Coupling;
pub use exp::Exp;
pub use factor_out::FactorOut;
pub use flow_batch_norm::FlowBatchNorm;
pub use householder::Householder;
pub use inverted::Inverted;
pub use leaky_relu::LeakyRelu;
pub use logit_preprocessing::LogitPreprocessing;
pub use lower_triangular_affine::LowerTriangularAffine;
pub use lu::Lu;
pub use lu_linear::LuLinear;
pub use mixture_cdf::MixtureCdf;
pub use permutation::Permutation;
pub use planar::Planar;
pub use radial::Radial;
pub use reversible::Reversible;
pub use sequence::Sequence;
pub use shift::Shift;
pub use sigmoid::Sigmoid;
pub use soft_clip::SoftClip;
pub use softplus::Softplus;
pub use spline::{RationalQuadraticSpline, Tails};
pub use split::Split;
pub use squeeze::Squeeze;
pub use tanh::Tanh;

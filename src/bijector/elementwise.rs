//! Elementwise maps without tensors for parameters, as formulas.

use crate::error::Result;
use crate::kernels::elementwise::{Formula, named};
use crate::kernels::number::Real;
use crate::shape;
use candle_core::Tensor;

/// `y = f(x)`, `x = g(y)` and the logarithms of their slopes.
pub(super) trait Elementwise: Copy + Send + Sync + 'static {
    const NAME: &'static str;

    fn forward<R: Real>(self, x: R) -> R;

    fn forward_log_det<R: Real>(self, x: R) -> R;

    fn inverse<R: Real>(self, y: R) -> R;

    fn inverse_log_det<R: Real>(self, y: R) -> R;
}

#[derive(Clone, Copy)]
enum Part<E> {
    Forward(E),
    ForwardLogDet(E),
    Inverse(E),
    InverseLogDet(E),
}

impl<E: Elementwise> Formula<1> for Part<E> {
    fn at<R: Real>(self, [x]: [R; 1]) -> R {
        match self {
            Part::Forward(e) => e.forward(x),
            Part::ForwardLogDet(e) => e.forward_log_det(x),
            Part::Inverse(e) => e.inverse(x),
            Part::InverseLogDet(e) => e.inverse_log_det(x),
        }
    }
}

pub(super) fn transform<E: Elementwise>(e: E, x: &Tensor) -> Result<(Tensor, Tensor)> {
    shape::float(E::NAME, "x", x)?;
    let log_det = named(E::NAME, Part::ForwardLogDet(e), [x])?;
    Ok((named(E::NAME, Part::Forward(e), [x])?, log_det))
}

pub(super) fn inverse<E: Elementwise>(e: E, y: &Tensor) -> Result<(Tensor, Tensor)> {
    shape::float(E::NAME, "y", y)?;
    let log_det = named(E::NAME, Part::InverseLogDet(e), [y])?;
    Ok((named(E::NAME, Part::Inverse(e), [y])?, log_det))
}

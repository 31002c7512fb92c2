//! The hyperbolic tangent.

use super::Bijector;
use super::elementwise::{Elementwise, inverse, transform};
use crate::detach::Detach;
use crate::error::Result;
use crate::kernels::number::Real;
use candle_core::Tensor;
use std::f64::consts::LN_2;

/// The hyperbolic tangent, from the line to (-1, 1).
///
/// Formula: `y = tanh x`; `ln |dy/dx| = 2 (ln 2 - x - softplus(-2 x))`.
///
/// Shapes: any; the log-det has the shape of the argument. Gradients: first derivatives only.
///
/// Errors: a dtype that is not floating point.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::bijector::{Bijector, Tanh};
/// # fn main() -> candle_prob::Result<()> {
/// let x = Tensor::new(&[0.5 * 3f64.ln()], &Device::Cpu)?;
/// let (y, log_det) = Tanh.transform_and_log_det(&x)?;
/// assert!((y.to_vec1::<f64>()?[0] - 0.5).abs() < 1e-15);
/// assert!((log_det.to_vec1::<f64>()?[0] - 0.75f64.ln()).abs() < 1e-13);
/// assert!((Tanh.inverse(&y)?.to_vec1::<f64>()?[0] - x.to_vec1::<f64>()?[0]).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: the log-det keeps its digits where y rounds to 1, as at x = 30; the inverse does not. Densities of own draws
/// therefore come from `sample_and_log_prob`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tanh;

impl Elementwise for Tanh {
    const NAME: &'static str = "Tanh";

    fn forward<R: Real>(self, x: R) -> R {
        x.tanh()
    }

    fn forward_log_det<R: Real>(self, x: R) -> R {
        (-x - (x * -2.).softplus() + LN_2) * 2.
    }

    fn inverse<R: Real>(self, y: R) -> R {
        (y.ln_1p() - (-y).ln_1p()) * 0.5
    }

    fn inverse_log_det<R: Real>(self, y: R) -> R {
        -(y.ln_1p() + (-y).ln_1p())
    }
}

impl Bijector for Tanh {
    fn event_rank(&self) -> usize {
        0
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        transform(*self, x)
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        inverse(*self, y)
    }
}

impl Detach for Tanh {
    fn detach(&self) -> Self {
        *self
    }
}

//! The softplus function.

use super::Bijector;
use super::elementwise::{Elementwise, inverse, transform};
use crate::detach::Detach;
use crate::error::Result;
use crate::kernels::number::Real;
use candle_core::Tensor;

/// The softplus function, from the line to the positive numbers.
///
/// Formula: `y = ln(1 + e^x)`; `ln |dy/dx| = -softplus(-x)`.
///
/// Shapes: any; the log-det has the shape of the argument. Gradients: first derivatives only.
///
/// Errors: a dtype that is not floating point.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::bijector::{Bijector, Softplus};
/// # fn main() -> candle_prob::Result<()> {
/// let x = Tensor::new(&[0f64], &Device::Cpu)?;
/// let (y, log_det) = Softplus.transform_and_log_det(&x)?;
/// assert!((y.to_vec1::<f64>()?[0] - 2f64.ln()).abs() < 1e-15);
/// assert!((log_det.to_vec1::<f64>()?[0] - 0.5f64.ln()).abs() < 1e-13);
/// assert!((Softplus.inverse(&y)?.to_vec1::<f64>()?[0] - x.to_vec1::<f64>()?[0]).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Softplus;

impl Elementwise for Softplus {
    const NAME: &'static str = "Softplus";

    fn forward<R: Real>(self, x: R) -> R {
        x.softplus()
    }

    fn forward_log_det<R: Real>(self, x: R) -> R {
        -(-x).softplus()
    }

    fn inverse<R: Real>(self, y: R) -> R {
        y + y.log1mexp()
    }

    fn inverse_log_det<R: Real>(self, y: R) -> R {
        -y.log1mexp()
    }
}

impl Bijector for Softplus {
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

impl Detach for Softplus {
    fn detach(&self) -> Self {
        *self
    }
}

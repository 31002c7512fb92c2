//! The exponential function.

use super::Bijector;
use super::elementwise::{Elementwise, inverse, transform};
use crate::detach::Detach;
use crate::error::Result;
use crate::kernels::number::Real;
use candle_core::Tensor;

/// The exponential function, from the line to the positive numbers.
///
/// Formula: `y = e^x`; `ln |dy/dx| = x`.
///
/// Shapes: any; the log-det has the shape of the argument. Gradients: first derivatives only.
///
/// Errors: a dtype that is not floating point.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::bijector::{Bijector, Exp};
/// # fn main() -> candle_prob::Result<()> {
/// let x = Tensor::new(&[2f64.ln()], &Device::Cpu)?;
/// let (y, log_det) = Exp.transform_and_log_det(&x)?;
/// assert!((y.to_vec1::<f64>()?[0] - 2.).abs() < 1e-15);
/// assert!((log_det.to_vec1::<f64>()?[0] - 2f64.ln()).abs() < 1e-13);
/// assert!((Exp.inverse(&y)?.to_vec1::<f64>()?[0] - x.to_vec1::<f64>()?[0]).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exp;

impl Elementwise for Exp {
    const NAME: &'static str = "Exp";

    fn forward<R: Real>(self, x: R) -> R {
        x.exp()
    }

    fn forward_log_det<R: Real>(self, x: R) -> R {
        x
    }

    fn inverse<R: Real>(self, y: R) -> R {
        y.ln()
    }

    fn inverse_log_det<R: Real>(self, y: R) -> R {
        -y.ln()
    }
}

impl Bijector for Exp {
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

impl Detach for Exp {
    fn detach(&self) -> Self {
        *self
    }
}

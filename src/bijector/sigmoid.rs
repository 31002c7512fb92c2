//! The logistic function.

use super::Bijector;
use super::elementwise::{Elementwise, inverse, transform};
use crate::detach::Detach;
use crate::error::Result;
use crate::kernels::number::Real;
use candle_core::Tensor;

/// The logistic function, from the line to (0, 1).
///
/// Formula: `y = 1 / (1 + e^-x)`; `ln |dy/dx| = -softplus(x) - softplus(-x)`.
///
/// Shapes: any; the log-det has the shape of the argument. Gradients: first derivatives only.
///
/// Errors: a dtype that is not floating point.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::bijector::{Bijector, Sigmoid};
/// # fn main() -> candle_prob::Result<()> {
/// let x = Tensor::new(&[3f64.ln()], &Device::Cpu)?;
/// let (y, log_det) = Sigmoid.transform_and_log_det(&x)?;
/// assert!((y.to_vec1::<f64>()?[0] - 0.75).abs() < 1e-15);
/// assert!((log_det.to_vec1::<f64>()?[0] - 0.1875f64.ln()).abs() < 1e-13);
/// assert!((Sigmoid.inverse(&y)?.to_vec1::<f64>()?[0] - x.to_vec1::<f64>()?[0]).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: the log-det is exact where y rounds to 0 or 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sigmoid;

impl Elementwise for Sigmoid {
    const NAME: &'static str = "Sigmoid";

    fn forward<R: Real>(self, x: R) -> R {
        x.sigmoid()
    }

    fn forward_log_det<R: Real>(self, x: R) -> R {
        -(x.softplus() + (-x).softplus())
    }

    fn inverse<R: Real>(self, y: R) -> R {
        y.ln() - (-y).ln_1p()
    }

    fn inverse_log_det<R: Real>(self, y: R) -> R {
        -(y.ln() + (-y).ln_1p())
    }
}

impl Bijector for Sigmoid {
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

impl Detach for Sigmoid {
    fn detach(&self) -> Self {
        *self
    }
}

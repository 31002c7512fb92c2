//! From the line to pixels.

use super::Bijector;
use super::elementwise::{Elementwise, inverse, transform};
use crate::check;
use crate::detach::Detach;
use crate::error::Result;
use crate::kernels::number::Real;
use candle_core::Tensor;

/// The logit preprocessing of images: flows work on the whole line, pixels lie in [0, 1].
///
/// Formula: the inverse, from pixels to the line, is `x = logit(p)` with `p = alpha + (1 - 2 alpha) y` and `ln |dx/dy| =
/// ln(1 - 2 alpha) - ln p - ln(1 - p)`; `y = (sigmoid(x) - alpha) / (1 - 2 alpha)` leads back and reaches a little beyond
/// [0, 1].
///
/// Shapes: any; the log-det has the shape of the argument. Gradients: first derivatives only.
///
/// Errors: an alpha outside [0, 1/2); a dtype that is not floating point. With an alpha of 0 the pixels 0 and 1 are at
/// infinity.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::bijector::{Bijector, LogitPreprocessing};
/// # fn main() -> candle_prob::Result<()> {
/// let pixels = Tensor::new(&[0f64, 0.5, 1.], &Device::Cpu)?;
/// let line = LogitPreprocessing::new(0.05)?.inverse(&pixels)?.to_vec1::<f64>()?;
/// assert!((line[2] - 19f64.ln()).abs() < 1e-14 && (line[0] + line[2]).abs() < 1e-14);
/// # Ok(())
/// # }
/// ```
///
/// Source: Dinh, Sohl-Dickstein and Bengio (2017), Density estimation using Real NVP, section 4.1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogitPreprocessing {
    alpha: f64,
}

impl LogitPreprocessing {
    /// With this distance of black and white from the ends of the logit's domain; 0.05 is usual.
    pub fn new(alpha: f64) -> Result<Self> {
        check::in_interval("LogitPreprocessing::new", "alpha", alpha, 0. ..0.5)?;
        Ok(LogitPreprocessing { alpha })
    }

    /// The distance of black and white from the ends.
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    fn width(self) -> f64 {
        1. - 2. * self.alpha
    }
}

impl Elementwise for LogitPreprocessing {
    const NAME: &'static str = "LogitPreprocessing";

    fn forward<R: Real>(self, x: R) -> R {
        (x.sigmoid() - self.alpha) / self.width()
    }

    fn forward_log_det<R: Real>(self, x: R) -> R {
        -(x.softplus() + (-x).softplus()) - self.width().ln()
    }

    fn inverse<R: Real>(self, y: R) -> R {
        let p = y * self.width() + self.alpha;
        p.ln() - (-p).ln_1p()
    }

    fn inverse_log_det<R: Real>(self, y: R) -> R {
        let p = y * self.width() + self.alpha;
        -(p.ln() + (-p).ln_1p()) + self.width().ln()
    }
}

impl Bijector for LogitPreprocessing {
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

impl Detach for LogitPreprocessing {
    fn detach(&self) -> Self {
        *self
    }
}

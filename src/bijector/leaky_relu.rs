//! The leaky rectifier.

use super::Bijector;
use super::elementwise::{Elementwise, inverse, transform};
use crate::check;
use crate::detach::Detach;
use crate::error::Result;
use crate::kernels::number::Real;
use candle_core::Tensor;

/// The leaky rectifier: negative numbers times a slope.
///
/// Formula: `y = x` from 0 on, `y = slope x` below; `ln |dy/dx|` is 0 from 0 on and `ln slope` below.
///
/// Shapes: any; the log-det has the shape of the argument. Gradients: first derivatives only; 1 at the kink.
///
/// Errors: a slope that is not positive and finite; a dtype that is not floating point.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::bijector::{Bijector, LeakyRelu};
/// # fn main() -> candle_prob::Result<()> {
/// let x = Tensor::new(&[-2f64, 3.], &Device::Cpu)?;
/// let (y, log_det) = LeakyRelu::new(0.5)?.transform_and_log_det(&x)?;
/// assert_eq!(y.to_vec1::<f64>()?, [-1., 3.]);
/// assert_eq!(log_det.to_vec1::<f64>()?, [0.5f64.ln(), 0.]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LeakyRelu {
    slope: f64,
}

impl LeakyRelu {
    /// From the slope of negative numbers.
    pub fn new(slope: f64) -> Result<Self> {
        check::positive_finite("LeakyRelu::new", "slope", slope)?;
        Ok(LeakyRelu { slope })
    }

    /// The slope of negative numbers.
    pub fn slope(&self) -> f64 {
        self.slope
    }
}

impl Elementwise for LeakyRelu {
    const NAME: &'static str = "LeakyRelu";

    fn forward<R: Real>(self, x: R) -> R {
        if x.value() < 0. { x * self.slope } else { x }
    }

    fn forward_log_det<R: Real>(self, x: R) -> R {
        let slope = if x.value() < 0. { self.slope } else { 1. };
        x * 0. + slope.ln()
    }

    fn inverse<R: Real>(self, y: R) -> R {
        if y.value() < 0. { y / self.slope } else { y }
    }

    fn inverse_log_det<R: Real>(self, y: R) -> R {
        -self.forward_log_det(y)
    }
}

impl Bijector for LeakyRelu {
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

impl Detach for LeakyRelu {
    fn detach(&self) -> Self {
        *self
    }
}

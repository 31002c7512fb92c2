//! A soft clip to an interval.

use super::Bijector;
use super::elementwise::{Elementwise, inverse, transform};
use crate::check;
use crate::detach::Detach;
use crate::error::Result;
use crate::kernels::number::Real;
use candle_core::Tensor;

/// A soft clip, from the line to (-bound, bound).
///
/// Formula: `y = x / (1 + |x| / bound)`; `ln |dy/dx| = -2 ln(1 + |x| / bound)`.
///
/// Shapes: any; the log-det has the shape of the argument. Gradients: first derivatives only.
///
/// Errors: a bound that is not positive and finite; a dtype that is not floating point.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::bijector::{Bijector, SoftClip};
/// # fn main() -> candle_prob::Result<()> {
/// let clip = SoftClip::new(4.)?;
/// let y = clip.transform(&Tensor::new(&[-4f64, 0., 12.], &Device::Cpu)?)?;
/// assert_eq!(y.to_vec1::<f64>()?, [-2., 0., 3.]);
/// assert_eq!(clip.inverse(&y)?.to_vec1::<f64>()?, [-4., 0., 12.]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: its tails are heavier than those of tanh, so that it keeps more digits of large numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SoftClip {
    bound: f64,
}

impl SoftClip {
    /// From the bound.
    pub fn new(bound: f64) -> Result<Self> {
        check::positive_finite("SoftClip::new", "bound", bound)?;
        Ok(SoftClip { bound })
    }

    /// The bound.
    pub fn bound(&self) -> f64 {
        self.bound
    }
}

impl Elementwise for SoftClip {
    const NAME: &'static str = "SoftClip";

    fn forward<R: Real>(self, x: R) -> R {
        if x.value().is_infinite() {
            return R::constant(self.bound.copysign(x.value()));
        }
        x / (x.abs() / self.bound + 1.)
    }

    fn forward_log_det<R: Real>(self, x: R) -> R {
        (x.abs() / self.bound).ln_1p() * -2.
    }

    fn inverse<R: Real>(self, y: R) -> R {
        let rest = -(y.abs() / self.bound) + 1.;
        if rest.value() < 0. {
            return R::constant(f64::NAN);
        }
        y / rest
    }

    fn inverse_log_det<R: Real>(self, y: R) -> R {
        (-(y.abs() / self.bound)).ln_1p() * -2.
    }
}

impl Bijector for SoftClip {
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

impl Detach for SoftClip {
    fn detach(&self) -> Self {
        *self
    }
}

//! The total variation distance.

use super::curve::Curve;
use crate::kernels::number::Real;

/// `D_f = integral of abs(p - q) / 2`: between 0 and 1. f(u) = abs(u - 1) / 2, whose slope at 1 is taken as 0.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::divergence::{TotalVariation, discrete};
/// # fn main() -> candle_prob::Result<()> {
/// let new = |x: [f64; 2]| Tensor::new(&x, &Device::Cpu);
/// let (p, q) = (new([0.25, 0.75])?, new([0.5, 0.5])?);
/// let divergence = discrete(&TotalVariation, &p, &q)?.to_scalar::<f64>()?;
/// assert!((divergence - 0.25).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Source: Liese and Vajda (2006), On Divergences and Informations in Statistics and Information Theory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TotalVariation;

impl Curve for TotalVariation {
    const SINGLE: bool = true;

    fn generator<R: Real>(self, r: R) -> R {
        r.exp_m1().abs() * 0.5
    }

    fn reversed<R: Real>(self, r: R) -> R {
        self.generator(r)
    }

    #[inline(always)]
    fn activation<R: Real>(self, v: R, _: f64) -> R {
        v.tanh() * 0.5
    }

    #[inline(always)]
    fn conjugate<R: Real>(self, v: R, ceiling: f64) -> R {
        self.activation(v, ceiling)
    }
}

//! The two chi-squared divergences.

use super::curve::{Curve, grow_m1};
use crate::kernels::number::Real;

/// `D_f = integral of (p - q)^2 / q`, f(u) = (u - 1)^2.
///
/// The conjugate is -1 for scores below -2, where the supremum over u >= 0 is at u = 0; tables that go on with
/// `v^2/4 + v` take it over negative ratios too.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::divergence::{Pearson, discrete};
/// # fn main() -> candle_prob::Result<()> {
/// let new = |x: [f64; 2]| Tensor::new(&x, &Device::Cpu);
/// let (p, q) = (new([0.25, 0.75])?, new([0.5, 0.5])?);
/// let divergence = discrete(&Pearson, &p, &q)?.to_scalar::<f64>()?;
/// assert!((divergence - 0.25).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Source: Nowozin, Cseke and Tomioka (2016), f-GAN, table 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pearson;

/// `D_f = integral of (p - q)^2 / p`, f(u) = (1 - u)^2 / u: [`Pearson`] with P and Q exchanged.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::divergence::{Neyman, discrete};
/// # fn main() -> candle_prob::Result<()> {
/// let new = |x: [f64; 2]| Tensor::new(&x, &Device::Cpu);
/// let (p, q) = (new([0.5, 0.5])?, new([0.25, 0.75])?);
/// let divergence = discrete(&Neyman, &p, &q)?.to_scalar::<f64>()?;
/// assert!((divergence - 0.25).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Source: Nowozin, Cseke and Tomioka (2016), f-GAN, table 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neyman;

impl Curve for Pearson {
    const SINGLE: bool = true;

    fn generator<R: Real>(self, r: R) -> R {
        r.exp_m1().square()
    }

    fn reversed<R: Real>(self, r: R) -> R {
        Neyman.generator(r)
    }

    #[inline(always)]
    fn activation<R: Real>(self, v: R, _: f64) -> R {
        v
    }

    #[inline(always)]
    fn conjugate<R: Real>(self, v: R, _: f64) -> R {
        if v.value() < -2. {
            R::constant(-1.)
        } else {
            v * (v * 0.25 + 1.)
        }
    }
}

impl Curve for Neyman {
    const SINGLE: bool = true;

    fn generator<R: Real>(self, r: R) -> R {
        ((r * 0.5).exp_m1() - (r * -0.5).exp_m1()).square()
    }

    fn reversed<R: Real>(self, r: R) -> R {
        Pearson.generator(r)
    }

    #[inline(always)]
    fn activation<R: Real>(self, v: R, ceiling: f64) -> R {
        -grow_m1(-v, ceiling)
    }

    #[inline(always)]
    fn conjugate<R: Real>(self, v: R, ceiling: f64) -> R {
        grow_m1(v * -0.5, ceiling) * -2.
    }
}

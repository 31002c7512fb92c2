//! The squared Hellinger distance.

use super::curve::{Curve, grow_m1};
use crate::kernels::number::Real;

/// `D_f = integral of (sqrt(p) - sqrt(q))^2 = 2 - 2 BC` with the Bhattacharyya coefficient `BC = integral of sqrt(p q)`:
/// between 0 and 2. f(u) = (sqrt(u) - 1)^2.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::divergence::{SquaredHellinger, discrete};
/// # fn main() -> candle_prob::Result<()> {
/// let new = |x: [f64; 2]| Tensor::new(&x, &Device::Cpu);
/// let (p, q) = (new([1., 0.])?, new([0.5, 0.5])?);
/// let divergence = discrete(&SquaredHellinger, &p, &q)?.to_scalar::<f64>()?;
/// assert!((divergence - (2. - 2f64.sqrt())).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Source: Liese and Vajda (2006), On Divergences and Informations in Statistics and Information Theory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SquaredHellinger;

impl Curve for SquaredHellinger {
    const SINGLE: bool = true;

    fn generator<R: Real>(self, r: R) -> R {
        (r * 0.5).exp_m1().square()
    }

    fn reversed<R: Real>(self, r: R) -> R {
        self.generator(r)
    }

    #[inline(always)]
    fn activation<R: Real>(self, v: R, ceiling: f64) -> R {
        -grow_m1(-v, ceiling)
    }

    #[inline(always)]
    fn conjugate<R: Real>(self, v: R, ceiling: f64) -> R {
        grow_m1(v, ceiling)
    }
}

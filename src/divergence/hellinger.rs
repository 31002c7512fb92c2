//! The squared Hellinger distance.

use super::curve::{Curve, grow_m1};
use crate::kernels::pointwise::Real;

/// `D_f = integral of (sqrt(p) - sqrt(q))^2 = 2 - 2 BC` with the Bhattacharyya coefficient `BC = integral of sqrt(p q)`:
/// between 0 and 2. f(u) = (sqrt(u) - 1)^2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SquaredHellinger;

impl Curve for SquaredHellinger {
    fn generator<R: Real>(self, r: R) -> R {
        (r * 0.5).exp_m1().square()
    }

    fn reversed<R: Real>(self, r: R) -> R {
        self.generator(r)
    }

    fn activation<R: Real>(self, v: R, ceiling: f64) -> R {
        -grow_m1(-v, ceiling)
    }

    fn conjugate<R: Real>(self, v: R, ceiling: f64) -> R {
        grow_m1(v, ceiling)
    }
}

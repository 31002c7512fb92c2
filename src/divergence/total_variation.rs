//! The total variation distance.

use super::curve::Curve;
use crate::kernels::pointwise::Real;

/// `D_f = integral of abs(p - q) / 2`: between 0 and 1. f(u) = abs(u - 1) / 2, whose slope at 1 is taken as 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TotalVariation;

impl Curve for TotalVariation {
    fn generator<R: Real>(self, r: R) -> R {
        r.exp_m1().abs() * 0.5
    }

    fn reversed<R: Real>(self, r: R) -> R {
        self.generator(r)
    }

    fn activation<R: Real>(self, v: R, _: f64) -> R {
        v.tanh() * 0.5
    }

    fn conjugate<R: Real>(self, v: R, ceiling: f64) -> R {
        self.activation(v, ceiling)
    }
}

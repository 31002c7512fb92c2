//! The logarithm of a mass, which may be 0.

use super::Formula;
use crate::kernels::number::Real;

/// ln x; -inf, and no slope, at 0.
#[derive(Clone, Copy)]
pub(crate) struct LogMass;

impl Formula<1> for LogMass {
    #[inline(always)]
    fn at<R: Real>(self, [x]: [R; 1]) -> R {
        if x.value() == 0. {
            return R::constant(f64::NEG_INFINITY);
        }
        x.ln()
    }
}

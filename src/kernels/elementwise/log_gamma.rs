//! The logarithm of the gamma function and its derivatives, elementwise.

use super::composed;
use super::map::{self, Map, Wide};
use crate::error::Result;
use crate::kernels::number::{
    digamma, digamma_positive, lgamma, lgamma_positive, tetragamma, tetragamma_positive, trigamma,
    trigamma_positive,
};
use candle_core::Tensor;

/// [`lgamma`] of every element.
#[derive(Clone, Copy)]
struct LogGamma;

impl Map for LogGamma {
    const NAME: &'static str = "lgamma";
    const POSITIVE: bool = true;
    #[inline(always)]
    fn value<const FMA: bool>(self, x: f32) -> f32 {
        lgamma_positive::<FMA>(x as f64) as f32
    }
    #[inline(always)]
    fn slope<const FMA: bool>(self, x: f32, _: f32) -> f32 {
        digamma_positive::<FMA>(x as f64) as f32
    }
    fn value_elsewhere(self, x: f32) -> f32 {
        lgamma(x as f64) as f32
    }
    fn slope_elsewhere(self, x: f32) -> f32 {
        digamma(x as f64) as f32
    }
}

impl Wide for LogGamma {
    fn value_f64(self, x: f64) -> f64 {
        lgamma(x)
    }
    fn slope_f64(self, x: f64, _: f64) -> f64 {
        digamma(x)
    }
}

/// [`digamma`] of every element.
#[derive(Clone, Copy)]
struct Digamma;

impl Map for Digamma {
    const NAME: &'static str = "digamma";
    const POSITIVE: bool = true;
    #[inline(always)]
    fn value<const FMA: bool>(self, x: f32) -> f32 {
        digamma_positive::<FMA>(x as f64) as f32
    }
    #[inline(always)]
    fn slope<const FMA: bool>(self, x: f32, _: f32) -> f32 {
        trigamma_positive(x)
    }
    fn value_elsewhere(self, x: f32) -> f32 {
        digamma(x as f64) as f32
    }
    fn slope_elsewhere(self, x: f32) -> f32 {
        trigamma(x as f64) as f32
    }
}

impl Wide for Digamma {
    fn value_f64(self, x: f64) -> f64 {
        digamma(x)
    }
    fn slope_f64(self, x: f64, _: f64) -> f64 {
        trigamma(x)
    }
}

/// [`trigamma`] of every element.
#[derive(Clone, Copy)]
struct Trigamma;

impl Map for Trigamma {
    const NAME: &'static str = "trigamma";
    const POSITIVE: bool = true;
    #[inline(always)]
    fn value<const FMA: bool>(self, x: f32) -> f32 {
        trigamma_positive(x)
    }
    #[inline(always)]
    fn slope<const FMA: bool>(self, x: f32, _: f32) -> f32 {
        tetragamma_positive(x)
    }
    fn value_elsewhere(self, x: f32) -> f32 {
        trigamma(x as f64) as f32
    }
    fn slope_elsewhere(self, x: f32) -> f32 {
        tetragamma(x as f64) as f32
    }
}

impl Wide for Trigamma {
    fn value_f64(self, x: f64) -> f64 {
        trigamma(x)
    }
    fn slope_f64(self, x: f64, _: f64) -> f64 {
        tetragamma(x)
    }
}

/// ln |Gamma(x)| of every element.
pub(crate) fn lgamma_tensor(x: &Tensor) -> Result<Tensor> {
    map::wide(LogGamma, x, composed::lgamma)
}

/// The derivative of ln Gamma of every element.
pub(crate) fn digamma_tensor(x: &Tensor) -> Result<Tensor> {
    map::wide(Digamma, x, composed::digamma)
}

/// The second derivative of ln Gamma of every element.
pub(crate) fn trigamma_tensor(x: &Tensor) -> Result<Tensor> {
    map::wide(Trigamma, x, composed::trigamma)
}

//! The logarithm of the gamma function and its derivatives, elementwise.

use super::composed;
use super::map::{self, Map, Wide};
use crate::error::Result;
use crate::kernels::number::{
    digamma, digamma_positive, lgamma, lgamma_positive, tetragamma, tetragamma_positive, trigamma,
    trigamma_positive,
};
use candle_core::Tensor;

/// ln |Gamma|, or its derivative of an order up to 2.
#[derive(Clone, Copy)]
struct LogGamma<const ORDER: usize>;

fn exact(order: usize, x: f64) -> f64 {
    match order {
        0 => lgamma(x),
        1 => digamma(x),
        2 => trigamma(x),
        _ => tetragamma(x),
    }
}

/// Of positive arguments. The order is a constant where this is called.
#[inline(always)]
fn positive<const FMA: bool>(order: usize, x: f32) -> f32 {
    match order {
        0 => lgamma_positive::<FMA>(x as f64) as f32,
        1 => digamma_positive::<FMA>(x as f64) as f32,
        2 => trigamma_positive(x),
        _ => tetragamma_positive(x),
    }
}

impl<const ORDER: usize> Map for LogGamma<ORDER> {
    const NAME: &'static str = ["lgamma", "digamma", "trigamma"][ORDER];
    const POSITIVE: bool = true;
    #[inline(always)]
    fn value<const FMA: bool>(self, x: f32) -> f32 {
        positive::<FMA>(ORDER, x)
    }
    #[inline(always)]
    fn slope<const FMA: bool>(self, x: f32, _: f32) -> f32 {
        positive::<FMA>(ORDER + 1, x)
    }
    fn value_elsewhere(self, x: f32) -> f32 {
        exact(ORDER, x as f64) as f32
    }
    fn slope_elsewhere(self, x: f32) -> f32 {
        exact(ORDER + 1, x as f64) as f32
    }
}

impl<const ORDER: usize> Wide for LogGamma<ORDER> {
    fn value_f64(self, x: f64) -> f64 {
        exact(ORDER, x)
    }
    fn slope_f64(self, x: f64, _: f64) -> f64 {
        exact(ORDER + 1, x)
    }
}

/// ln |Gamma(x)| of every element.
pub(crate) fn lgamma_tensor(x: &Tensor) -> Result<Tensor> {
    map::wide(LogGamma::<0>, x, composed::lgamma)
}

/// The derivative of ln Gamma of every element.
pub(crate) fn digamma_tensor(x: &Tensor) -> Result<Tensor> {
    map::wide(LogGamma::<1>, x, composed::digamma)
}

/// The second derivative of ln Gamma of every element.
pub(crate) fn trigamma_tensor(x: &Tensor) -> Result<Tensor> {
    map::wide(LogGamma::<2>, x, composed::trigamma)
}

//! The functions that only layers use, beside those of `elementwise`.

use crate::kernels::elementwise::map::{Map, Wide};
use crate::kernels::number::{ndtr, single};

/// `max(x, 0)` that keeps NaN.
#[derive(Clone, Copy)]
pub(super) struct Relu;

impl Map for Relu {
    const NAME: &'static str = "relu";
    #[inline(always)]
    fn value<const FMA: bool>(self, x: f32) -> f32 {
        if x <= 0. { 0. } else { x }
    }
    #[inline(always)]
    fn slope<const FMA: bool>(self, x: f32, _: f32) -> f32 {
        if x <= 0. { 0. } else { 1. }
    }
}

/// `x` where positive, the slope times `x` elsewhere. Written so that NaN takes the positive side and stays.
#[derive(Clone, Copy)]
pub(super) struct Leaky(pub(super) f32);

impl Map for Leaky {
    const NAME: &'static str = "leaky-relu";
    #[inline(always)]
    fn value<const FMA: bool>(self, x: f32) -> f32 {
        if x <= 0. { self.0 * x } else { x }
    }
    #[inline(always)]
    fn slope<const FMA: bool>(self, x: f32, _: f32) -> f32 {
        if x <= 0. { self.0 } else { 1. }
    }
}

/// `x` where positive, `e^x - 1` elsewhere.
#[derive(Clone, Copy)]
pub(super) struct Elu;

impl Map for Elu {
    const NAME: &'static str = "elu";
    #[inline(always)]
    fn value<const FMA: bool>(self, x: f32) -> f32 {
        let left = single::expm1::<FMA>(x);
        if x > 0. { x } else { left }
    }
    #[inline(always)]
    fn slope<const FMA: bool>(self, _: f32, y: f32) -> f32 {
        if y > 0. { 1. } else { y + 1. }
    }
}

/// `x sigmoid(x)`.
#[derive(Clone, Copy)]
pub(super) struct Silu;

impl Map for Silu {
    const NAME: &'static str = "silu";
    #[inline(always)]
    fn value<const FMA: bool>(self, x: f32) -> f32 {
        // Beyond -200 the product is 0, at -inf it would be NaN.
        let x = if x < -200. { -200. } else { x };
        x * single::sigmoid::<FMA>(x)
    }
    #[inline(always)]
    fn slope<const FMA: bool>(self, x: f32, _: f32) -> f32 {
        let x = if x < -200. { -200. } else { x };
        let x = if x > 200. { 200. } else { x };
        let s = single::sigmoid::<FMA>(x);
        s * (1. + x * (1. - s))
    }
}

/// `x Phi(x)`.
#[derive(Clone, Copy)]
pub(super) struct Gelu;

impl Map for Gelu {
    const NAME: &'static str = "gelu";
    #[inline(always)]
    fn value<const FMA: bool>(self, x: f32) -> f32 {
        let x = if x < -20. { -20. } else { x };
        x * single::normal_cdf::<FMA>(x).0
    }
    #[inline(always)]
    fn slope<const FMA: bool>(self, x: f32, _: f32) -> f32 {
        let x = if x < -20. { -20. } else { x };
        let x = if x > 20. { 20. } else { x };
        let (cdf, density) = single::normal_cdf::<FMA>(x);
        x * density * 0.398_942_3 + cdf
    }
}

impl Wide for Gelu {
    fn value_f64(self, x: f64) -> f64 {
        // Beyond, the cdf is 0 and the product with -inf would be NaN.
        if x < -40. { -0. } else { x * ndtr(x) }
    }

    fn slope_f64(self, x: f64, _: f64) -> f64 {
        let density = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
        let tail = if x.is_infinite() { 0. } else { x * density };
        ndtr(x) + tail
    }
}

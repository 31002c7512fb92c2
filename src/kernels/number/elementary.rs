//! The functions of one or two numbers that formulas are made of: exact, or vectorized.

use crate::kernels::number::double;
use crate::kernels::number::{self, saddle};

/// How elementary functions are computed, in f64.
pub(crate) trait Elementary: Copy + Send + Sync + 'static {
    /// Whether all digits of f64 are asked for, over all its range.
    const EXACT: bool;

    /// x / y; the last bit may be wrong.
    fn div(x: f64, y: f64) -> f64;
    fn exp(x: f64) -> f64;
    fn exp_m1(x: f64) -> f64;
    fn ln(x: f64) -> f64;
    fn ln_1p(x: f64) -> f64;
    fn tanh(x: f64) -> f64;
    fn powf(x: f64, power: f64) -> f64;
    fn lgamma(x: f64) -> f64;
    fn digamma(x: f64) -> f64;
    fn lgamma_gap(x: f64, step: f64) -> f64;
    fn digamma_gap(x: f64, step: f64) -> f64;
    fn lbeta(a: f64, b: f64) -> f64;
    /// `ln(x / y)` by the difference of x and y where they are close.
    fn log_ratio(x: f64, y: f64, gap: f64) -> f64;
    /// `x ln(x / mean) + mean - x`, given the difference `x - mean` and `ln(x / mean)`.
    fn deviance(x: f64, mean: f64, gap: f64, log: f64) -> f64;
    /// `ln Gamma(1 + a) - a ln a + a`.
    fn stirling_rest(a: f64) -> f64;
    /// `ln a - digamma(a)`.
    fn log_gap(a: f64) -> f64;
    /// `digamma(a + 1/2) - digamma(a) - 1 / (2 a)`.
    fn half_gap_rest(a: f64) -> f64;
}

/// By the standard library and the other functions of this room, one number at a time: all digits of f64.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exact;

impl Elementary for Exact {
    const EXACT: bool = true;

    #[inline(always)]
    fn div(x: f64, y: f64) -> f64 {
        x / y
    }
    fn exp(x: f64) -> f64 {
        x.exp()
    }
    fn exp_m1(x: f64) -> f64 {
        x.exp_m1()
    }
    fn ln(x: f64) -> f64 {
        x.ln()
    }
    fn ln_1p(x: f64) -> f64 {
        x.ln_1p()
    }
    fn tanh(x: f64) -> f64 {
        x.tanh()
    }
    fn powf(x: f64, power: f64) -> f64 {
        x.powf(power)
    }
    fn lgamma(x: f64) -> f64 {
        number::lgamma(x)
    }
    fn digamma(x: f64) -> f64 {
        number::digamma(x)
    }
    fn lgamma_gap(x: f64, step: f64) -> f64 {
        number::lgamma_gap(x, step)
    }
    fn digamma_gap(x: f64, step: f64) -> f64 {
        number::digamma_gap(x, step)
    }
    fn lbeta(a: f64, b: f64) -> f64 {
        number::lbeta(a, b)
    }
    fn log_ratio(x: f64, y: f64, gap: f64) -> f64 {
        saddle::log_ratio(x, y, gap)
    }
    fn deviance(x: f64, mean: f64, gap: f64, log: f64) -> f64 {
        saddle::deviance_by_gap(x, mean, gap).unwrap_or(x * log - gap)
    }
    fn stirling_rest(a: f64) -> f64 {
        saddle::rest(a)
    }
    fn log_gap(a: f64) -> f64 {
        saddle::log_gap(a)
    }
    fn half_gap_rest(a: f64) -> f64 {
        saddle::half_gap_rest::<false>(a)
    }
}

/// Without branches, so that loops vectorize: more digits than f32 has. Gamma functions of positive arguments only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quick<const FMA: bool>;

impl<const FMA: bool> Elementary for Quick<FMA> {
    const EXACT: bool = false;

    /// By the reciprocal, within 2 ulp.
    #[inline(always)]
    fn div(x: f64, y: f64) -> f64 {
        x * (1. / y)
    }
    #[inline(always)]
    fn exp(x: f64) -> f64 {
        double::exp::<FMA>(x)
    }
    #[inline(always)]
    fn exp_m1(x: f64) -> f64 {
        double::exp_m1::<FMA>(x)
    }
    #[inline(always)]
    fn ln(x: f64) -> f64 {
        double::ln::<FMA>(x)
    }
    #[inline(always)]
    fn ln_1p(x: f64) -> f64 {
        double::ln_1p::<FMA>(x)
    }
    #[inline(always)]
    fn tanh(x: f64) -> f64 {
        let a = x.abs();
        let t = double::exp_m1::<FMA>(2. * if a > 20. { 20. } else { a });
        (t / (t + 2.)).copysign(x)
    }
    #[inline(always)]
    fn powf(x: f64, power: f64) -> f64 {
        let y = double::exp::<FMA>(power * double::ln::<FMA>(x));
        if power == 0. { 1. } else { y }
    }
    #[inline(always)]
    fn lgamma(x: f64) -> f64 {
        number::lgamma_positive::<FMA>(x)
    }
    #[inline(always)]
    fn digamma(x: f64) -> f64 {
        number::digamma_positive::<FMA>(x)
    }
    #[inline(always)]
    fn lgamma_gap(x: f64, step: f64) -> f64 {
        number::lgamma_gap_positive::<FMA>(x, step)
    }
    #[inline(always)]
    fn digamma_gap(x: f64, step: f64) -> f64 {
        number::digamma_gap_positive::<FMA>(x, step)
    }
    #[inline(always)]
    fn lbeta(a: f64, b: f64) -> f64 {
        let (small, large) = if a < b { (a, b) } else { (b, a) };
        Self::lgamma(small) - Self::lgamma_gap(large, small)
    }
    #[inline(always)]
    fn log_ratio(x: f64, y: f64, gap: f64) -> f64 {
        saddle::log_ratio_quick::<FMA>(x, y, gap)
    }
    /// Good to the last bits of the difference.
    #[inline(always)]
    fn deviance(x: f64, _: f64, gap: f64, log: f64) -> f64 {
        x * log - gap
    }
    #[inline(always)]
    fn stirling_rest(a: f64) -> f64 {
        saddle::rest_positive::<FMA>(a)
    }
    #[inline(always)]
    fn log_gap(a: f64) -> f64 {
        saddle::log_gap_positive::<FMA>(a)
    }
    #[inline(always)]
    fn half_gap_rest(a: f64) -> f64 {
        saddle::half_gap_rest::<FMA>(a)
    }
}

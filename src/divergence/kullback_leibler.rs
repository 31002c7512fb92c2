//! The Kullback-Leibler divergence, its reverse, and their sum.

use super::curve::{Curve, grow, grow_m1};
use crate::kernels::number::{Elementary, Real};

/// `D_f = KL(P || Q)`, f(u) = u ln u.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::divergence::{KullbackLeibler, discrete};
/// # fn main() -> candle_prob::Result<()> {
/// let new = |x: [f64; 2]| Tensor::new(&x, &Device::Cpu);
/// let (p, q) = (new([1., 0.])?, new([0.5, 0.5])?);
/// let divergence = discrete(&KullbackLeibler, &p, &q)?.to_scalar::<f64>()?;
/// assert!((divergence - 2f64.ln()).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Source: Kullback and Leibler (1951), On Information and Sufficiency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KullbackLeibler;

/// `D_f = KL(Q || P)`, f(u) = -ln u.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::divergence::{ReverseKl, discrete};
/// # fn main() -> candle_prob::Result<()> {
/// let new = |x: [f64; 2]| Tensor::new(&x, &Device::Cpu);
/// let (p, q) = (new([0.5, 0.5])?, new([1., 0.])?);
/// let divergence = discrete(&ReverseKl, &p, &q)?.to_scalar::<f64>()?;
/// assert!((divergence - 2f64.ln()).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Source: Nowozin, Cseke and Tomioka (2016), f-GAN, table 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReverseKl;

/// `D_f = KL(P || Q) + KL(Q || P)`, f(u) = (u - 1) ln u.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::divergence::{Jeffreys, discrete};
/// # fn main() -> candle_prob::Result<()> {
/// let new = |x: [f64; 2]| Tensor::new(&x, &Device::Cpu);
/// let (p, q) = (new([0.25, 0.75])?, new([0.75, 0.25])?);
/// let divergence = discrete(&Jeffreys, &p, &q)?.to_scalar::<f64>()?;
/// assert!((divergence - 3f64.ln()).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: with `l = ln w` and `l + e^l = 1 - v`, solved by Newton's method, the conjugate is `e^-l - 1 - l`, in which
/// nothing cancels and nothing overflows before the conjugate itself does.
///
/// Source: Jeffreys (1946), An invariant form for the prior probability in estimation problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jeffreys;

impl Curve for KullbackLeibler {
    const SINGLE: bool = true;

    fn generator<R: Real>(self, r: R) -> R {
        if r.value() == f64::NEG_INFINITY {
            return R::constant(0.);
        }
        r.exp() * r
    }

    fn reversed<R: Real>(self, r: R) -> R {
        -r
    }

    #[inline(always)]
    fn activation<R: Real>(self, v: R, _: f64) -> R {
        v
    }

    #[inline(always)]
    fn conjugate<R: Real>(self, v: R, ceiling: f64) -> R {
        grow(v - 1., ceiling)
    }
}

impl Curve for ReverseKl {
    const SINGLE: bool = true;

    fn generator<R: Real>(self, r: R) -> R {
        KullbackLeibler.reversed(r)
    }

    fn reversed<R: Real>(self, r: R) -> R {
        KullbackLeibler.generator(r)
    }

    #[inline(always)]
    fn activation<R: Real>(self, v: R, ceiling: f64) -> R {
        -grow(-v, ceiling)
    }

    #[inline(always)]
    fn conjugate<R: Real>(self, v: R, _: f64) -> R {
        v - 1.
    }
}

impl Curve for Jeffreys {
    const SINGLE: bool = true;

    fn generator<R: Real>(self, r: R) -> R {
        r.exp_m1() * r
    }

    fn reversed<R: Real>(self, r: R) -> R {
        self.generator(r)
    }

    #[inline(always)]
    fn activation<R: Real>(self, v: R, _: f64) -> R {
        v
    }

    #[inline(always)]
    fn conjugate<R: Real>(self, v: R, ceiling: f64) -> R {
        let l = log_w::<R::Functions>(v.value());
        let l = v.map(l, -1. / (1. + R::Functions::exp(l)));
        grow_m1(-l, ceiling) - l
    }
}

/// The root of `l + e^l - 1 + v`, convex and increasing: from the right of the root Newton's steps only go left.
#[inline(always)]
fn log_w<E: Elementary>(v: f64) -> f64 {
    let mut l = if v < 0. { E::ln_1p(-v) } else { -v / 2. };
    // Without a look at the error, four steps leave 1e-14.
    for _ in 0..if E::EXACT { 50 } else { 4 } {
        let grown = E::exp_m1(l);
        let step = (l + grown + v) / (2. + grown);
        l -= step;
        if E::EXACT && (step.abs() <= f64::EPSILON * l.abs() || step.is_nan()) {
            break;
        }
    }
    l
}

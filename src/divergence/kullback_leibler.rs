//! The Kullback-Leibler divergence, its reverse, and their sum.

use super::curve::{Curve, grow, grow_m1};
use crate::kernels::pointwise::Real;

/// `D_f = KL(P || Q)`, f(u) = u ln u.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KullbackLeibler;

/// `D_f = KL(Q || P)`, f(u) = -ln u.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReverseKl;

/// `D_f = KL(P || Q) + KL(Q || P)`, f(u) = (u - 1) ln u.
///
/// Numerics: with `l = ln w` and `l + e^l = 1 - v`, solved by Newton's method, the conjugate is `e^-l - 1 - l`, in which
/// nothing cancels and nothing overflows before the conjugate itself does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jeffreys;

impl Curve for KullbackLeibler {
    fn generator<R: Real>(self, r: R) -> R {
        if r.value() == f64::NEG_INFINITY {
            return R::constant(0.);
        }
        r.exp() * r
    }

    fn reversed<R: Real>(self, r: R) -> R {
        -r
    }

    fn activation<R: Real>(self, v: R, _: f64) -> R {
        v
    }

    fn conjugate<R: Real>(self, v: R, ceiling: f64) -> R {
        grow(v - 1., ceiling)
    }
}

impl Curve for ReverseKl {
    fn generator<R: Real>(self, r: R) -> R {
        KullbackLeibler.reversed(r)
    }

    fn reversed<R: Real>(self, r: R) -> R {
        KullbackLeibler.generator(r)
    }

    fn activation<R: Real>(self, v: R, ceiling: f64) -> R {
        -grow(-v, ceiling)
    }

    fn conjugate<R: Real>(self, v: R, _: f64) -> R {
        v - 1.
    }
}

impl Curve for Jeffreys {
    fn generator<R: Real>(self, r: R) -> R {
        r.exp_m1() * r
    }

    fn reversed<R: Real>(self, r: R) -> R {
        self.generator(r)
    }

    fn activation<R: Real>(self, v: R, _: f64) -> R {
        v
    }

    fn conjugate<R: Real>(self, v: R, ceiling: f64) -> R {
        let l = log_w(v.value());
        let l = v.map(l, -1. / (1. + l.exp()));
        grow_m1(-l, ceiling) - l
    }
}

/// The root of `l + e^l - 1 + v`, convex and increasing: from the right of the root Newton's steps only go left.
fn log_w(v: f64) -> f64 {
    let mut l = if v < 0. { (-v).ln_1p() } else { -v / 2. };
    for _ in 0..50 {
        let step = (l + l.exp_m1() + v) / (1. + l.exp());
        l -= step;
        if step.abs() <= f64::EPSILON * l.abs() || step.is_nan() {
            break;
        }
    }
    l
}

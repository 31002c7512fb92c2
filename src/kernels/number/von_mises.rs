//! The von Mises distribution on the circle: distribution function, quantile, derivatives and draws, for an angle t from
//! the centre in [-pi, pi].
//!
//! With `E(u) = k (cos t - cos(t - u))` the lower tail at t <= 0 is the density there times the integral of `e^-E(u)` over
//! u from 0 to t + pi. The integrand is positive and falls, so nothing cancels. The upper half follows by symmetry.

use super::bessel::{log_i0e, ratio_gap};
use super::tail::panels;
use std::f64::consts::{FRAC_PI_2, LN_2, PI, TAU};

/// The exponent beyond which nothing is added.
const LEVEL: f64 = 38.;

/// Log-density at the angle t from the centre.
pub(crate) fn log_density(t: f64, k: f64) -> f64 {
    let sine = (0.5 * t).sin();
    -2. * k * sine * sine - TAU.ln() - log_i0e(k)
}

/// The integral of `e^-E(u) w(t - u)` for t <= 0.
fn tail(t: f64, k: f64, weight: impl Fn(f64) -> f64) -> f64 {
    let exponent = |u: f64| -2. * k * (t - 0.5 * u).sin() * (0.5 * u).sin();
    let whole = PI + t;
    let (slope, bend) = (-k * t.sin(), k * t.cos().max(0.));
    let mut end = 2. * LEVEL / (slope + (slope * slope + 2. * LEVEL * bend).sqrt());
    while end < whole && exponent(end) < LEVEL {
        end *= 1.2;
    }
    panels(end.min(whole), |u| weight(t - u) * (-exponent(u)).exp())
}

/// ln F(t), or of the upper tail.
pub(crate) fn log_tail(t: f64, k: f64, upper: bool) -> f64 {
    let t = if upper { -t } else { t };
    if t.is_nan() || !(k >= 0.) {
        return f64::NAN;
    }
    if t <= 0. {
        log_density(t, k) + tail(t, k, |_| 1.).ln()
    } else {
        (-log_tail(-t, k, false).exp()).ln_1p()
    }
}

/// The derivative of the logarithm of a tail to the concentration: that of the probability over it.
pub(crate) fn log_tail_slope(t: f64, k: f64, upper: bool) -> f64 {
    let t = if upper { -t } else { t };
    if t > 0. {
        let other = log_tail(-t, k, false).exp();
        return -other / (1. - other) * log_tail_slope(-t, k, false);
    }
    if t <= -PI {
        return ratio_gap(k) - 2.;
    }
    // The mean of 1 - cos over the tail.
    let versine = |s: f64| 2. * (0.5 * s).sin() * (0.5 * s).sin();
    ratio_gap(k) - tail(t, k, versine) / tail(t, k, |_| 1.)
}

/// The derivative of a draw to the concentration at a fixed value of F: `-(dF/dk) / density`.
pub(crate) fn draw_slope(t: f64, k: f64) -> f64 {
    let s = -t.abs();
    let slope = -log_tail_slope(s, k, false) * (log_tail(s, k, false) - log_density(s, k)).exp();
    if t < 0. { slope } else { -slope }
}

/// The angle with F(t) = p.
pub(crate) fn quantile(p: f64, k: f64) -> f64 {
    if !((0. ..=1.).contains(&p) && k >= 0.) {
        return f64::NAN;
    }
    if p > 0.5 {
        return -quantile(1. - p, k);
    }
    let target = p.ln();
    let (mut low, mut high) = (-PI, 0.);
    if p == 0. || target >= -LN_2 {
        return if p == 0. { low } else { high };
    }
    let mut t = (-1.5 / k.sqrt()).max(-FRAC_PI_2);
    for _ in 0..200 {
        let value = log_tail(t, k, false);
        if value < target {
            low = t;
        } else {
            high = t;
        }
        let newton = t - (value - target) * (value - log_density(t, k)).exp();
        let next = if low < newton && newton < high {
            newton
        } else {
            0.5 * (low + high)
        };
        let step = (next - t).abs();
        t = next;
        if step <= 2. * f64::EPSILON * t.abs() {
            break;
        }
    }
    t
}

//! The regularized incomplete gamma functions P(a, x) and Q(a, x) = 1 - P(a, x), their derivatives and inverses.
//!
//! With y = ln x, a standard gamma variable's logarithm has the density `e^{a y - x} / Gamma(a)` at y. In units of it,
//!
//! ```text
//!   Q = int_0^inf exp(-(x - a) t - x (e^t - 1 - t)) dt
//!   P = int_0^inf exp(-(a - x) t - x (e^-t - 1 + t)) dt
//! ```
//!
//! of which the one is computed that lies on the far side of the mean. The derivative to a is `-D density` with the
//! derivative D of a draw's logarithm at a fixed value of P, by the same kind of integral: with
//! `s = sign(y - digamma(a))`,
//!
//! ```text
//!   D(a, x) = int_0^inf (|y - digamma(a)| + t) exp(-s (x - a) t - x (e^{s t} - 1 - s t)) dt
//! ```

use super::gamma::{digamma, lgamma_1p};
use super::saddle;
pub(crate) use super::tail::Digits;
use super::tail::{exp_minus_line, integral};

/// ln of `x^a e^-x / Gamma(a)`, the density of the logarithm y of a gamma variable.
pub(crate) fn log_density(a: f64, x: f64, y: f64) -> f64 {
    let far = || a * (a.ln() - y) + (x - a);
    let deviance = saddle::deviance_by_gap(a, x, a - x).unwrap_or_else(far);
    a.ln() - deviance - saddle::rest(a)
}

/// ln P(a, x) or, `upper`, ln Q(a, x), for y = ln x. NaN where a is not positive or x is negative.
pub(crate) fn log_tail(a: f64, x: f64, y: f64, upper: bool) -> f64 {
    if !(a > 0. && a < f64::INFINITY) || y.is_nan() {
        return f64::NAN;
    }
    if y == f64::NEG_INFINITY || x == f64::INFINITY {
        let full = upper == (y == f64::NEG_INFINITY);
        return if full { 0. } else { f64::NEG_INFINITY };
    }
    if a < 1. && x < 1. {
        return near_zero(a, x, y, upper);
    }
    let above = x >= a;
    let sum = tail(a, x, above, Digits::All, |_| 1.);
    let far = log_density(a, x, y) + sum.ln();
    if above == upper {
        far
    } else {
        (-far.exp()).ln_1p()
    }
}

/// The density of the logarithm over P(a, x) or, `upper`, Q(a, x), whose logarithm is `log`; with a `log` of 0 the density.
pub(crate) fn density_over(a: f64, x: f64, y: f64, upper: bool, log: f64) -> f64 {
    if log < -1e3 && upper == (x >= a) && !(a < 1. && x < 1.) {
        // Not by the difference of the logarithms, which has no digits left.
        return 1. / tail(a, x, upper, Digits::All, |_| 1.);
    }
    (log_density(a, x, y) - log).exp()
}

/// For a and x below 1: `P = x^a / Gamma(a + 1) (1 + sum_{n > 0} a (-x)^n / (n! (a + n)))`.
fn near_zero(a: f64, x: f64, y: f64, upper: bool) -> f64 {
    let lead = a * y - lgamma_1p(a);
    let (mut term, mut sum) = (a, 0.);
    for n in 1..20 {
        let n = f64::from(n);
        term *= -x / n;
        sum += term / (a + n);
    }
    if upper {
        (-lead.exp_m1() - lead.exp() * sum).ln()
    } else {
        lead + sum.ln_1p()
    }
}

fn tail(a: f64, x: f64, upper: bool, digits: Digits, weight: impl Fn(f64) -> f64) -> f64 {
    let sign = if upper { 1. } else { -1. };
    let slope = sign * (x - a);
    let exponent = |t: f64| {
        let bend = x * exp_minus_line(sign * t);
        (slope * t + bend, slope + sign * x * (sign * t).exp_m1())
    };
    integral(digits, x, exponent, weight)
}

/// D = d ln x / d a at a fixed P, for y = ln x. NaN where a is not positive.
pub(crate) fn derivative(a: f64, x: f64, y: f64, digits: Digits) -> f64 {
    if !(a > 0. && a < f64::INFINITY) || y.is_nan() {
        return f64::NAN;
    }
    if a < 1. && x < 1. {
        // Below 1 the integrand has two scales, 1 and 1/a.
        let rest = if x == 0. {
            0.
        } else {
            x * derivative(a + 1., x, y, digits)
        };
        return (digamma(a + 1.) - y + rest) / a;
    }
    let distance = y - digamma(a);
    let upper = distance >= 0.;
    let distance = distance.abs();
    tail(a, x, upper, digits, |t| distance + t)
}

/// ln x with P(a, x) = p or, `upper`, Q(a, x) = p.
pub(crate) fn log_quantile(a: f64, p: f64, upper: bool) -> f64 {
    if !(a > 0. && a < f64::INFINITY && (0. ..=1.).contains(&p)) {
        return f64::NAN;
    }
    if p == 0. || p == 1. {
        let low = upper == (p == 1.);
        return if low {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        };
    }
    // Solved for the smaller tail, whose probability has all its digits.
    let other = p > 0.5;
    let target = if other { (-p).ln_1p() } else { p.ln() };
    // Wilson and Hilferty (1931): the cube root is about normal.
    let normal = std::f64::consts::SQRT_2 * statrs::function::erf::erfc_inv(2. * p);
    let z = if upper { normal } else { -normal };
    let root = 1. - 1. / (9. * a) + z / (3. * a.sqrt());
    let start = if a >= 1. && root > 0.3 {
        a.ln() + 3. * root.ln()
    } else {
        let log = if upper { (-p).ln_1p() } else { p.ln() };
        ((log + lgamma_1p(a)) / a).min(a.max(1.).ln())
    };
    let upper = upper != other;
    newton(start, target, |y| {
        let x = y.exp();
        let log = log_tail(a, x, y, upper);
        let slope = (log_density(a, x, y) - log).exp();
        (log, if upper { -slope } else { slope })
    })
}

/// The root of `f(y) = target` for a concave f that is monotone: Newton's steps approach it from one side after the first.
pub(super) fn newton(start: f64, target: f64, f: impl Fn(f64) -> (f64, f64)) -> f64 {
    let mut y = start;
    for _ in 0..100 {
        let (value, slope) = f(y);
        let step = (value - target) / slope;
        if !step.is_finite() {
            break;
        }
        // A long way only after a start on the flat side.
        y -= step;
        if step.abs() <= 4. * f64::EPSILON * y.abs().max(1.) {
            break;
        }
    }
    y
}

//! The regularized incomplete beta function I_x(a, b), its complement, derivatives and inverse.
//!
//! The log-odds y of a beta variable have the density `x^a (1 - x)^b / B(a, b)` at y. In units of it, with n = a + b,
//!
//! ```text
//!   I_x(a, b) = int_0^inf exp(-a t - n ln(1 + x (e^-t - 1))) dt
//! ```
//!
//! and the complement is `I_{1-x}(b, a)`. The exponent is convex; it is integrated on the far side of the mean. The
//! derivative to a is `-D density`, D the derivative of a draw's log-odds at a fixed value of I: the same integral with
//! the weight `|ln X - E ln X|`, from the side where all of it has one sign.

use super::gamma::{
    HALF_LN_TAU, digamma, digamma_gap, lbeta, lgamma_1p, lgamma_gap, stirling, trigamma,
};
use super::incomplete_gamma::{self, newton};
use super::tail::{Digits, exp_minus_line, integral, log_minus_line};

/// A number in [0, 1], its complement, and their logarithms, none computed from another that has fewer digits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    pub(crate) x: f64,
    pub(crate) c: f64,
    ln_x: f64,
    ln_c: f64,
}

impl Share {
    /// From x in [0, 1].
    pub(crate) fn new(x: f64) -> Self {
        Share::of_parts(x, 1. - x)
    }

    /// From both parts of a whole of 1.
    pub(crate) fn of_parts(x: f64, c: f64) -> Self {
        Share {
            x,
            c,
            ln_x: if x > 0.5 { (-c).ln_1p() } else { x.ln() },
            ln_c: if c > 0.5 { (-x).ln_1p() } else { c.ln() },
        }
    }

    /// From log-odds.
    pub(crate) fn of_log_odds(y: f64) -> Self {
        let small = (-y.abs()).exp();
        let ln_large = -small.ln_1p();
        let (s, l) = (small / (1. + small), 1. / (1. + small));
        let lower = Share {
            x: s,
            c: l,
            ln_x: ln_large - y.abs(),
            ln_c: ln_large,
        };
        if y < 0. { lower } else { lower.flip() }
    }

    /// ln((1 - x) / x).
    pub(crate) fn log_odds_flipped(self) -> f64 {
        self.ln_c - self.ln_x
    }

    pub(crate) fn flip(self) -> Self {
        Share {
            x: self.c,
            c: self.x,
            ln_x: self.ln_c,
            ln_c: self.ln_x,
        }
    }
}

/// ln of `x^a (1 - x)^b / B(a, b)`, the density of the log-odds.
pub(crate) fn log_density(a: f64, b: f64, s: Share) -> f64 {
    if a.min(b) < 8. {
        return a * s.ln_x + b * s.ln_c - lbeta(a, b);
    }
    let n = a + b;
    let d = b * s.x - a * s.c;
    let part = |a: f64, ln_x: f64, u: f64| {
        if u.abs() < 0.4 {
            a * log_minus_line(u)
        } else {
            a * (ln_x - (a / n).ln() - u)
        }
    };
    let corrections = stirling::<0>(1. / a) + stirling::<0>(1. / b) - stirling::<0>(1. / n);
    part(a, s.ln_x, d / a) + part(b, s.ln_c, -d / b) + 0.5 * (a.ln() + (b / n).ln())
        - HALF_LN_TAU
        - corrections
}

fn valid(a: f64, b: f64, s: Share) -> bool {
    a > 0. && b > 0. && a + b < f64::INFINITY && s.ln_x <= 0. && s.ln_c <= 0.
}

/// ln I_x(a, b) or, `upper`, the logarithm of its complement. NaN where a or b is not positive or x is outside [0, 1].
pub(crate) fn log_tail(a: f64, b: f64, s: Share, upper: bool) -> f64 {
    if !valid(a, b, s) {
        return f64::NAN;
    }
    if s.ln_x == f64::NEG_INFINITY || s.ln_c == f64::NEG_INFINITY {
        let full = upper == (s.ln_x == f64::NEG_INFINITY);
        return if full { 0. } else { f64::NEG_INFINITY };
    }
    if let Some(v) = gamma_limit(a, b, s) {
        return incomplete_gamma::log_tail(a, v, v.ln(), upper);
    }
    if let Some(v) = gamma_limit(b, a, s.flip()) {
        return incomplete_gamma::log_tail(b, v, v.ln(), !upper);
    }
    let below = s.x * b <= a * s.c;
    let half = s.x <= s.c;
    if a < 1. && if b < 1. { half } else { below } {
        return near_zero(a, b, s, upper);
    }
    if b < 1. && if a < 1. { !half } else { !below } {
        return near_zero(b, a, s.flip(), !upper);
    }
    let sum = if below {
        tail(a, b, s, Digits::All, |_, _| 1.)
    } else {
        tail(b, a, s.flip(), Digits::All, |_, _| 1.)
    };
    let far = log_density(a, b, s) + sum.ln();
    if below != upper {
        far
    } else {
        (-far.exp()).ln_1p()
    }
}

/// For b far above a and small x: `-ln(1 - X)` has a density like `(sinh(u / 2) / (u / 2))^(a - 1)` times that of a gamma
/// variable of rate `b + (a - 1) / 2`. This is x in its units, for where the integral would lose its digits.
fn gamma_limit(a: f64, b: f64, s: Share) -> Option<f64> {
    let close = b > 1e9 * a.max(1.) && a.max(1.) * s.ln_c * s.ln_c < 1e-15;
    let v = -(b + 0.5 * (a - 1.)) * s.ln_c;
    (close && v > 0.).then_some(v)
}

/// For a below 1 and x up to 1/2 with b x of order 1:
/// `I = x^a / (a B(a, b)) (1 + a sum_{n > 0} (1 - b)(2 - b)..(n - b) x^n / (n! (a + n)))`.
fn near_zero(a: f64, b: f64, s: Share, upper: bool) -> f64 {
    let lead = a * s.ln_x - (lgamma_1p(a) - lgamma_gap(b, a));
    let (mut term, mut sum) = (a, 0.);
    for n in 1..200 {
        let n = f64::from(n);
        term *= (n - b) / n * s.x;
        let next = term / (a + n);
        sum += next;
        if next.abs() <= 1e-18 * sum.abs() {
            break;
        }
    }
    if upper {
        (-lead.exp_m1() - lead.exp() * sum).ln()
    } else {
        lead + sum.ln_1p()
    }
}

/// The lower tail, in units of the density. The weight gets t and `q = ln(1 + x (e^-t - 1))`.
fn tail(a: f64, b: f64, s: Share, digits: Digits, weight: impl Fn(f64, f64) -> f64) -> f64 {
    let Share { x, c, .. } = s;
    let n = a + b;
    let slope = a * c - b * x;
    // q + x t: of second order in t.
    let bend = |t: f64| {
        let v = x * (-t).exp_m1();
        let log = if v > -0.4 {
            log_minus_line(v)
        } else {
            (c + x * (-t).exp()).ln() - v
        };
        log + x * exp_minus_line(-t)
    };
    let exponent = |t: f64| {
        let (less, rest) = ((-t).exp_m1(), c + x * (-t).exp());
        (slope * t + n * bend(t), slope - n * x * c * less / rest)
    };
    integral(digits, n * x * c, exponent, |t| weight(t, bend(t) - x * t))
}

/// D = d ln(x / (1 - x)) / d a at a fixed I. NaN where a or b is not positive or x is not inside (0, 1).
pub(crate) fn derivative(a: f64, b: f64, s: Share, digits: Digits) -> f64 {
    if !valid(a, b, s) {
        return f64::NAN;
    }
    if let Some(v) = gamma_limit(a, b, s) {
        return incomplete_gamma::derivative(a, v, v.ln(), digits);
    }
    if gamma_limit(b, a, s.flip()).is_some() {
        return 1. / (a + 0.5 * (b - 1.));
    }
    let Share { x, c, .. } = s;
    let n = a + b;
    let distance = s.ln_x + digamma_gap(a, b);
    // Below 1 the integrands have two scales: raise the parameter, by I(a, b + 1) - I(a, b) = density / b and
    // I(a, b) - I(a + 1, b) = density / a.
    if b < 1. && distance >= 0. {
        let rest = if c == 0. {
            0.
        } else {
            c * n / b * derivative(a, b + 1., s, digits)
        };
        return distance / b + rest;
    }
    if a < 1. && b * x <= a * c {
        let rest = if x == 0. {
            0.
        } else {
            x * n / a * derivative(a + 1., b, s, digits)
        };
        return (1. / a - distance) / a + rest;
    }
    if distance < 0. {
        tail(a, b, s, digits, |t, q| t + q - distance)
    } else {
        tail(b, a, s.flip(), digits, |_, q| distance - q)
    }
}

/// D to a, and to b with the opposite sign: both are positive.
pub(crate) fn derivatives(a: f64, b: f64, s: Share) -> [f64; 2] {
    [
        derivative(a, b, s, Digits::All),
        derivative(b, a, s.flip(), Digits::All),
    ]
}

/// x with I_x(a, b) = p.
pub(crate) fn quantile(a: f64, b: f64, p: f64) -> Share {
    if !(a > 0. && b > 0. && a + b < f64::INFINITY && (0. ..=1.).contains(&p)) {
        return Share::new(f64::NAN);
    }
    if p == 0. || p == 1. {
        return Share::new(p);
    }
    let upper = p > 0.5;
    let target = if upper { (-p).ln_1p() } else { p.ln() };
    let z = -std::f64::consts::SQRT_2 * statrs::function::erf::erfc_inv(2. * p);
    let center = digamma(a) - digamma(b);
    let start = center + z * (trigamma(a) + trigamma(b)).sqrt();
    let y = newton(start, target, |y| {
        let s = Share::of_log_odds(y);
        let log = log_tail(a, b, s, upper);
        let slope = (log_density(a, b, s) - log).exp();
        (log, if upper { -slope } else { slope })
    });
    Share::of_log_odds(y)
}

//! The modified Bessel functions I0 and I1 of numbers of 0 or more: scaled by `e^-k`, as logarithm and as ratio.
//!
//! Up to 20 by the power series, whose terms are positive; above by Hankel's series (Abramowitz and Stegun 1964, 9.6.10,
//! 9.7.1). There `1 - I1/I0` comes from the difference of the two series, taken term by term.

use std::f64::consts::TAU;

const SWITCH: f64 = 20.;

/// `(I0(k) - 1, 2 I1(k) / k)`.
fn near(k: f64) -> (f64, f64) {
    let q = 0.25 * k * k;
    let (mut term, mut zeroth, mut first) = (1., 0., 1.);
    for m in 1..100 {
        let m = f64::from(m);
        term *= q / (m * m);
        zeroth += term;
        first += term / (m + 1.);
        if term < 1e-18 * zeroth {
            break;
        }
    }
    (zeroth, first)
}

/// Hankel's series of I0, and what that of I1 is less, both without `e^k / sqrt(2 pi k)`.
fn far(k: f64) -> (f64, f64) {
    let (mut zeroth, mut first) = (1., 1.);
    let (mut sum, mut gap) = (1., 0.);
    for n in 1..30 {
        let n = f64::from(n);
        let odd = (2. * n - 1.) * (2. * n - 1.);
        zeroth *= odd / (8. * n * k);
        first *= (odd - 4.) / (8. * n * k);
        sum += zeroth;
        gap += zeroth - first;
        if zeroth < 1e-18 {
            break;
        }
    }
    (sum, gap)
}

/// `ln I0(k) - k`. NaN below 0.
pub(crate) fn log_i0e(k: f64) -> f64 {
    if !(k >= 0.) {
        f64::NAN
    } else if k <= SWITCH {
        near(k).0.ln_1p() - k
    } else {
        far(k).0.ln() - 0.5 * (TAU * k).ln()
    }
}

/// `ln I0(k)`. NaN below 0.
pub(crate) fn log_i0(k: f64) -> f64 {
    if (0. ..=SWITCH).contains(&k) {
        near(k).0.ln_1p()
    } else if k == f64::INFINITY {
        k
    } else {
        log_i0e(k) + k
    }
}

/// `ln I1(k)`. NaN below 0.
pub(crate) fn log_i1(k: f64) -> f64 {
    if !(k >= 0.) {
        f64::NAN
    } else if k <= SWITCH {
        (0.5 * k).ln() + near(k).1.ln()
    } else if k == f64::INFINITY {
        k
    } else {
        let (sum, gap) = far(k);
        k + (sum - gap).ln() - 0.5 * (TAU * k).ln()
    }
}

/// The derivative of [`log_i1`].
pub(crate) fn log_i1_slope(k: f64) -> f64 {
    let (sum, first) = if k <= SWITCH { near(k) } else { far(k) };
    if k <= SWITCH {
        (2. * (1. + sum) / first - 1.) / k
    } else {
        sum / (sum - first) - 1. / k
    }
}

/// `e^-k I0(k)` and `e^-k I1(k)`. NaN below 0.
pub(crate) fn scaled(k: f64) -> [f64; 2] {
    if !(k >= 0.) {
        [f64::NAN; 2]
    } else if k <= SWITCH {
        let (zeroth, first) = near(k);
        let e = (-k).exp();
        [e * (1. + zeroth), 0.5 * k * e * first]
    } else {
        let (sum, gap) = far(k);
        let root = (TAU * k).sqrt();
        [sum / root, (sum - gap) / root]
    }
}

/// The derivatives of [`scaled`].
pub(crate) fn scaled_slopes(k: f64) -> [f64; 2] {
    let [zeroth, first] = scaled(k);
    let share = if k == 0. { 0.5 } else { first / k };
    let gap = zeroth * ratio_gap(k);
    [-gap, gap - share]
}

/// `I1(k) / I0(k)`. NaN below 0.
pub(crate) fn ratio(k: f64) -> f64 {
    if (0. ..=SWITCH).contains(&k) {
        let (zeroth, first) = near(k);
        0.5 * k * first / (1. + zeroth)
    } else {
        1. - ratio_gap(k)
    }
}

/// `1 - I1(k) / I0(k)`. NaN below 0.
pub(crate) fn ratio_gap(k: f64) -> f64 {
    if !(k >= 0.) {
        f64::NAN
    } else if k <= SWITCH {
        let (zeroth, first) = near(k);
        1. - 0.5 * k * first / (1. + zeroth)
    } else {
        let (sum, gap) = far(k);
        gap / sum
    }
}

/// The derivative of `I1(k) / I0(k)`.
pub(crate) fn ratio_slope(k: f64) -> f64 {
    if !(k >= 0.) {
        f64::NAN
    } else if k <= SWITCH {
        let (zeroth, first) = near(k);
        let share = 0.5 * first / (1. + zeroth);
        let ratio = k * share;
        1. - share - ratio * ratio
    } else if k <= 1e3 {
        let gap = ratio_gap(k);
        gap * (2. - gap) - (1. - gap) / k
    } else {
        // The derivative of 1 - 1/(2k) - 1/(8k^2) - 1/(8k^3) - 25/(128k^4) - 13/(32k^5).
        let r = 1. / k;
        let tail = 0.375 + r * (25. / 32. + r * (65. / 32.));
        r * r * (0.5 + r * (0.25 + r * tail))
    }
}

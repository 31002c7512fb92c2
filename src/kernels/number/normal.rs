//! The error function, the normal integral, their inverses and logarithms, in f64.

use super::{EULER, HALF_LN_TAU};
use statrs::function::erf as statrs;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, PI, SQRT_2};

/// Chebyshev coefficients of (1 + 2 x) e^(x^2) erfc(x) for x from 0 to infinity, in t = (x - 3.75) / (x + 3.75), the
/// variable of Shepherd and Laframboise (1981). Computed with 40 digits; what is left out is below 2e-17.
const SCALED: [f64; 25] = [
    1.1775789345674017,
    -0.004590054580646478,
    -0.08424913336651792,
    0.05920993999819189,
    -0.026658668435305753,
    0.009074997670705265,
    -0.002413163540417608,
    0.0004907758365258086,
    -6.916973302501207e-05,
    4.13902798607301e-06,
    7.74038306619849e-07,
    -2.1886401049234397e-07,
    1.076499946567091e-08,
    4.521959811218287e-09,
    -7.754400208831351e-10,
    -6.318088340886684e-11,
    2.86879501093067e-11,
    1.9455868545777347e-13,
    -9.65469674843344e-13,
    3.25254814814874e-14,
    3.3478119482868056e-14,
    -1.864562880419313e-15,
    -1.2507950530688648e-15,
    7.418235256624044e-17,
    5.068148904796111e-17,
];

/// e^(x^2) erfc(x) for x of 0 or more. The error function of statrs is off by up to 5e-11 here.
fn scaled_erfc(x: f64) -> f64 {
    let t = 1. - 7.5 / (x + 3.75);
    let (mut b, mut next) = (0., 0.);
    for c in SCALED.iter().skip(1).rev() {
        (b, next) = (2. * t * b - next + c, b);
    }
    (t * b - next + SCALED[0]) / (1. + 2. * x)
}

/// 2 / sqrt(pi) times the integral of e^-t^2 from 0 to x.
pub(crate) fn erf(x: f64) -> f64 {
    if x.abs() >= 0.5 {
        return (1. - erfc(x.abs())).copysign(x);
    }
    // e^-x^2 sum of 2^n x^(2n + 1) / (1 3 5 ... (2n + 1)): Abramowitz and Stegun (1964), 7.1.6.
    let z = 2. * x * x;
    let mut sum = 1.;
    for n in (1..=14).rev() {
        sum = 1. + z * sum / f64::from(2 * n + 1);
    }
    FRAC_2_SQRT_PI * x * (-x * x).exp() * sum
}

/// 1 - erf(x).
pub(crate) fn erfc(x: f64) -> f64 {
    if x.abs() < 0.5 {
        1. - erf(x)
    } else if x < 0. {
        2. - erfc(-x)
    } else {
        (-x * x).exp() * scaled_erfc(x)
    }
}

/// The inverse of [`erf`]; NaN outside of -1 to 1. One step of Newton's method takes the inverse of statrs to the last bits.
pub(crate) fn erfinv(x: f64) -> f64 {
    if x.abs() == 1. {
        return f64::INFINITY.copysign(x);
    }
    if x.abs() > 0.5 {
        return erfcinv(1. - x.abs()).copysign(x);
    }
    let y = statrs::erf_inv(x);
    y - (erf(y) - x) / FRAC_2_SQRT_PI * (y * y).exp()
}

/// The y of 0 or more with erfc(y) = q, for q up to 1.
fn erfcinv(q: f64) -> f64 {
    if q == 0. {
        return f64::INFINITY;
    }
    if q.is_nan() || q < 0. {
        return f64::NAN;
    }
    let y = statrs::erfc_inv(q);
    y + (scaled_erfc(y) - q * (y * y).exp()) / FRAC_2_SQRT_PI
}

/// The standard normal density.
pub(crate) fn normal_density(x: f64) -> f64 {
    (-0.5 * x * x - HALF_LN_TAU).exp()
}

/// P(Z <= x) for a standard normal Z.
pub(crate) fn ndtr(x: f64) -> f64 {
    0.5 * erfc(-x * FRAC_1_SQRT_2)
}

/// ln P(Z <= x).
pub(crate) fn log_ndtr(x: f64) -> f64 {
    if x > 0. {
        (-ndtr(-x)).ln_1p()
    } else {
        mills(-x).ln() - 0.5 * x * x - HALF_LN_TAU
    }
}

/// P(Z > x) divided by the density at x, Mills' ratio. The slope of [`log_ndtr`] at x is `1 / mills(-x)`.
pub(crate) fn mills(x: f64) -> f64 {
    if x < 0. {
        ndtr(-x) / normal_density(x)
    } else {
        (0.5 * PI).sqrt() * scaled_erfc(x * FRAC_1_SQRT_2)
    }
}

/// The inverse of [`ndtr`]; NaN outside of 0 to 1.
pub(crate) fn ndtri(p: f64) -> f64 {
    if (0.25..=0.75).contains(&p) {
        SQRT_2 * erfinv(2. * p - 1.)
    } else if p < 0.5 {
        -SQRT_2 * erfcinv(2. * p)
    } else {
        SQRT_2 * erfcinv(2. * (1. - p))
    }
}

/// `ndtri(e^l)`, for l too small for its exponential as well.
pub(crate) fn ndtri_exp(l: f64) -> f64 {
    if l > -700. || !l.is_finite() {
        return ndtri(l.exp());
    }
    // ln Phi is nearly -y^2 / 2 out there and bends down: Newton's steps go one way and double their digits.
    let mut y = -(-2. * l).sqrt();
    for _ in 0..6 {
        y -= (log_ndtr(y) - l) * mills(-y);
    }
    y
}

/// The exponential integral `E1(x)`, the integral of `e^-t / t` from x on, for positive x.
pub(crate) fn exponential_integral(x: f64) -> f64 {
    if x <= 1. {
        // -gamma - ln x - sum (-x)^k / (k k!), Abramowitz and Stegun (1964), 5.1.11.
        let (mut term, mut sum) = (1., 0.);
        for k in 1..=20 {
            term *= -x / f64::from(k);
            sum -= term / f64::from(k);
        }
        return sum - EULER - x.ln();
    }
    // The continued fraction 5.1.22, from its far end: at x = 1 it takes about 80 steps to the last bit.
    let mut tail = 0.;
    for k in (1..=100).rev() {
        let k = f64::from(k);
        tail = k / (1. + k / (x + tail));
    }
    (-x).exp() / (x + tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of mpmath with 30 digits.
    #[test]
    fn the_exponential_integral_meets_its_reference() {
        let cases = [
            (1e-300, 690.198_312_233_312_2),
            (0.01, 4.037_929_576_538_114),
            (0.5, 0.559_773_594_776_160_8),
            (1., 0.219_383_934_395_520_27),
            (1.000_001, 0.219_383_566_516_447),
            (3., 0.013_048_381_094_197_037),
            (50., 3.783_264_029_550_459e-24),
        ];
        for (x, want) in cases {
            let got = exponential_integral(x);
            assert!((got - want).abs() <= 2e-14 * want, "{x}: {got}, not {want}");
        }
        assert_eq!(exponential_integral(0.), f64::INFINITY);
        assert!(exponential_integral(f64::NAN).is_nan());
    }
}

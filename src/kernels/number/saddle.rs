//! The saddle-point form of gamma densities: what their large terms leave when they cancel, each with all its digits.
//!
//! Loader (2000), Fast and Accurate Computation of Binomial Probabilities: with the deviance
//! `D(x, m) = x ln(x / m) + m - x`, which is not negative, and what Stirling's leading terms leave of a factorial,
//! `r(a) = ln Gamma(1 + a) - a ln a + a`, the density of a gamma variable's logarithm at y is
//! `-D(a, y) + ln a - r(a)`, and the mass of a Poisson variable of mean m is `-D(x, m) - r(x)`. Beta and Dirichlet
//! densities, binomial masses, entropies and divergences are sums of the same terms. Of the size of a itself there is none,
//! so that digits hold at any concentration; ln Gamma of 1e18 has an error of a thousand.

use super::gamma::{
    HALF_LN_TAU, digamma, digamma_gap, lgamma, lgamma_1p, lgamma_gap, stirling as tail, tetragamma,
    trigamma,
};
use crate::kernels::number::double::{ln, ln_1p, ln_ratio_near};

/// From here on Stirling's series is exact.
const FAR: f64 = 8.;

/// r(a): 0 at 0, `ln(2 pi a) / 2` and less than 0.01 for large a. Its derivative is `1 / a - log_gap(a)`.
pub(crate) fn rest(a: f64) -> f64 {
    if a < FAR {
        let log = if a <= 1. {
            lgamma_1p(a)
        } else {
            lgamma(1. + a)
        };
        return if a == 0. { 0. } else { log - a * a.ln() + a };
    }
    tail::<0>(1. / a) + 0.5 * a.ln() + HALF_LN_TAU
}

/// `ln a - digamma(a)`, positive: about `1 / (2 a)`.
pub(crate) fn log_gap(a: f64) -> f64 {
    if a < FAR {
        return a.ln() - digamma(a);
    }
    let r = 1. / a;
    0.5 * r - tail::<1>(r)
}

/// `trigamma(a) - 1 / a`, minus the derivative of [`log_gap`], positive: about `1 / (2 a^2)`.
pub(crate) fn log_gap_fall(a: f64) -> f64 {
    if a.is_nan() || a <= 0. {
        return f64::NAN;
    }
    let (mut y, mut sum) = (a, 0.);
    while y < FAR {
        sum += 1. / (y * y * (y + 1.));
        y += 1.;
    }
    let r = 1. / y;
    0.5 * r * r + tail::<2>(r) + sum
}

/// `ln x! - ln(sqrt(2 pi x) (x / e)^x)`, for positive x.
pub(crate) fn stirling(x: f64) -> f64 {
    if x < FAR {
        return lgamma(x + 1.) - (x + 0.5) * x.ln() + x - HALF_LN_TAU;
    }
    tail::<0>(1. / x)
}

/// The derivative of [`stirling`].
pub(crate) fn stirling_slope(x: f64) -> f64 {
    if x < FAR {
        return digamma(x) + 0.5 / x - x.ln();
    }
    tail::<1>(1. / x)
}

/// `ln(x / y)` from the difference `x - y`, which may have more digits than x and y have.
pub(crate) fn log_ratio(x: f64, y: f64, gap: f64) -> f64 {
    let ratio = x / y;
    if 0.5 < ratio && ratio < 2. {
        return (gap / y).ln_1p();
    }
    if (1e-290..1e290).contains(&ratio) {
        ratio.ln()
    } else {
        x.ln() - y.ln()
    }
}

/// `ln(x y)` of positive numbers, also where the product overflows or underflows.
pub(crate) fn log_product(x: f64, y: f64) -> f64 {
    let product = x * y;
    if product.is_normal() {
        product.ln()
    } else {
        x.ln() + y.ln()
    }
}

/// `x ln(x / mean) + mean - x`, not negative, 0 where both are equal; exact where they are close.
pub(crate) fn deviance(x: f64, mean: f64, log_mean: f64) -> f64 {
    if x == 0. {
        return mean;
    }
    let gap = x - mean;
    deviance_by_gap(x, mean, gap).unwrap_or_else(|| x * (x.ln() - log_mean) - gap)
}

/// [`deviance`] where x and the mean are close, from their difference.
pub(crate) fn deviance_by_gap(x: f64, mean: f64, gap: f64) -> Option<f64> {
    let sum = x + mean;
    if gap.abs() > 0.1 * sum || !(sum < f64::INFINITY) {
        return None;
    }
    // ln(x / mean) = 2 artanh(v).
    let v = gap / sum;
    let (mut term, mut total) = (2. * x * v, gap * v);
    for k in 1..12 {
        term *= v * v;
        total += term / f64::from(2 * k + 1);
    }
    Some(total)
}

/// What [`deviance`] leaves of the divergence `ln Gamma(to) - ln Gamma(a) - (to - a) digamma(a)`, which is their sum:
/// that of the convex function `ln Gamma(z) - z ln z + z`. Not negative, and exact where both are close.
/// `step` is `to - a`, of which both may have lost digits.
pub(crate) fn divergence_rest(a: f64, to: f64, step: f64) -> f64 {
    if step.abs() <= 0.5 * a {
        // Taylor's remainder as an integral of positive numbers.
        return step * step * along(a, step, |t, z| (1. - t) * log_gap_fall(z));
    }
    let rest = |z: f64| rest(z) - z.ln();
    rest(to) - rest(a) + log_gap(a) * step
}

/// A divergence from one Dirichlet distribution to another is the sum over the coordinates of [`Total::share`], less
/// that of the sum of all concentrations: of the divergences of ln Gamma, with the parts apart that cancel.
#[derive(Clone, Copy)]
pub(crate) struct Total {
    n: f64,
    to: f64,
    step: f64,
    pub(crate) divergence: f64,
}

/// One coordinate's part.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    a: f64,
    to: f64,
    /// How far the other's concentration is from its share by the first one's mean, and the logarithm of their ratio.
    gap: f64,
    log: f64,
    pub(crate) divergence: f64,
}

impl Total {
    /// From the sums of the concentrations and of the other's, and the sum of the differences.
    pub(crate) fn new(n: f64, to: f64, step: f64) -> Self {
        Total {
            n,
            to,
            step,
            divergence: divergence_rest(n, to, step),
        }
    }

    /// From a concentration and the other's.
    pub(crate) fn share(&self, a: f64, to: f64) -> Part {
        let (step, share) = (to - a, a / self.n);
        let (mean, gap) = (self.to * share, step - self.step * share);
        let log = log_ratio(to, mean, gap);
        let deviance = deviance_by_gap(to, mean, gap).unwrap_or(to * log - gap);
        Part {
            a,
            to,
            gap,
            log,
            divergence: deviance + divergence_rest(a, to, step),
        }
    }

    /// The derivatives to the sum and to the other's.
    pub(crate) fn slopes(&self) -> [f64; 2] {
        [
            -log_gap_fall(self.n) * self.step,
            log_gap_less(self.n, self.to, self.step),
        ]
    }
}

impl Part {
    /// The derivatives to the concentration and to the other's. Those to the sums vanish when all parts are added.
    pub(crate) fn slopes(&self) -> [f64; 2] {
        let step = self.to - self.a;
        [
            -self.gap / self.a - log_gap_fall(self.a) * step,
            self.log + log_gap_less(self.a, self.to, step),
        ]
    }
}

/// `log_gap(a) - log_gap(to)`, the derivative of [`divergence_rest`] to its second argument.
pub(crate) fn log_gap_less(a: f64, to: f64, step: f64) -> f64 {
    if step.abs() <= 0.5 * a {
        return step * along(a, step, |_, z| log_gap_fall(z));
    }
    log_gap(a) - log_gap(to)
}

/// `ln Gamma(x + 2 step) - 2 ln Gamma(x + step) + ln Gamma(x)`.
pub(crate) fn second_difference(x: f64, step: f64) -> f64 {
    second_difference_of(x, step, lgamma_gap, trigamma)
}

/// Its derivative to x: the same of digamma.
pub(crate) fn second_difference_slope(x: f64, step: f64) -> f64 {
    second_difference_of(x, step, digamma_gap, tetragamma)
}

/// By the second derivative where the step is short, else by first differences.
fn second_difference_of(
    x: f64,
    step: f64,
    first: impl Fn(f64, f64) -> f64,
    second: impl Fn(f64) -> f64,
) -> f64 {
    if 2. * step <= x {
        let rise = along(x, step, |t, z| t * second(z));
        let fall = along(x + step, step, |t, z| (1. - t) * second(z));
        return step * step * (rise + fall);
    }
    first(x + step, step) - first(x, step)
}

/// The integral of `f(t, a + t step)` for t from 0 to 1.
fn along(a: f64, step: f64, f: impl Fn(f64, f64) -> f64) -> f64 {
    super::tail::legendre(0., 1., |t| f(t, a + t * step))
}

/// [`rest`] of positive numbers without branches.
#[inline(always)]
pub(crate) fn rest_positive<const FMA: bool>(a: f64) -> f64 {
    let s = super::gamma::Shift::new(a);
    let product = s.u * (s.u + 6.) * ((s.u + 10.) * (s.u + 12.));
    let shift = ln::<FMA>(if s.small { product } else { 1. });
    let (log_y, log_a) = (ln::<FMA>(s.y), ln::<FMA>(a));
    let near = (s.y - 0.5) * (log_y - 1.) - 0.5 - shift + (a + (1. - a) * log_a);
    let main = if s.small { near } else { 0.5 * log_a };
    main + HALF_LN_TAU + tail::<0>(1. / s.y)
}

/// [`log_gap`] of positive numbers without branches.
#[inline(always)]
pub(crate) fn log_gap_positive<const FMA: bool>(a: f64) -> f64 {
    let s = super::gamma::Shift::new(a);
    let ends = 2. * a + 7.;
    let shift = s.sum(|r, _| ends * r);
    let ratio = ln::<FMA>(if s.small { a / s.y } else { 1. });
    let r = 1. / s.y;
    0.5 * r - tail::<1>(r) + ratio + shift
}

/// `digamma(a + 1/2) - digamma(a) - 1 / (2 a)`, about `1 / (8 a^2)`, without branches.
#[inline(always)]
pub(crate) fn half_gap_rest<const FMA: bool>(a: f64) -> f64 {
    let small = a < FAR;
    let y = if small { a + 8. } else { a };
    let shift = (0..8).fold(0.5 / y - 0.5 / a, |sum, k| {
        let at = a + k as f64;
        sum + 0.5 / (at * (at + 0.5))
    });
    let (r, s) = (1. / (y + 0.5), 1. / y);
    let u = 0.5 * s;
    let far = ln_1p::<FMA>(u) - u;
    let line = if u < 0.02 {
        log_minus_line_near(u)
    } else {
        far
    } + 0.25 * r * s;
    line + (tail::<1>(r) - tail::<1>(s)) + if small { shift } else { 0. }
}

/// `trigamma(a + 1/2) - trigamma(a) + 1 / (2 a^2)`, about `-1 / (4 a^3)`.
pub(crate) fn half_gap_slope_rest(a: f64) -> f64 {
    if a < FAR {
        return trigamma(a + 0.5) - trigamma(a) + 0.5 / (a * a);
    }
    let (r, s) = (1. / (a + 0.5), 1. / a);
    0.25 * s * s * r - 0.5 * (a + 0.25) * (s * r) * (s * r) + (tail::<2>(r) - tail::<2>(s))
}

/// `ln(1 + x) - x` for |x| up to 0.02, without branches.
#[inline(always)]
pub(crate) fn log_minus_line_near(x: f64) -> f64 {
    let mut sum = 1. / 9.;
    for k in [8, 7, 6, 5, 4, 3, 2] {
        sum = 1. / k as f64 - x * sum;
    }
    -x * x * sum
}

/// [`log_ratio`] without branches, for ratios that are normal numbers.
#[inline(always)]
pub(crate) fn log_ratio_quick<const FMA: bool>(x: f64, y: f64, gap: f64) -> f64 {
    let inverse = 1. / y;
    ln_ratio_near::<FMA>(x * inverse, gap * inverse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stirling_is_smooth_where_the_forms_meet() {
        for (f, tolerance) in [(stirling as fn(f64) -> f64, 4e-15), (stirling_slope, 1e-15)] {
            assert!((f(8f64.next_down()) - f(8.)).abs() < tolerance);
        }
        // ln 20! = 42.3356164607534850...
        let x = 20f64;
        let log = stirling(x) + 0.5 * (std::f64::consts::TAU * x).ln() + x * x.ln() - x;
        assert!((log - 42.335_616_460_753_485).abs() < 1e-14);
    }

    #[test]
    fn deviance_is_exact_near_and_far() {
        // x ln(x / m) + m - x with x = m + 1: 1 / (2 m) - 1 / (6 m^2) + 1 / (12 m^3).
        let m = 1e8f64;
        let want = 0.5 / m - 1. / (6. * m * m);
        assert!((deviance(m + 1., m, m.ln()) / want - 1.).abs() < 1e-14);
        let (x, m) = (2f64, 2.5f64);
        assert!((deviance(x, m, m.ln()) - (x * (x / m).ln() + m - x)).abs() < 1e-15);
        assert_eq!(deviance(0., 3., 3f64.ln()), 3.);
        assert_eq!(deviance(4., 4., 4f64.ln()), 0.);
        assert_eq!(deviance(4., 0., f64::NEG_INFINITY), f64::INFINITY);
        assert!(deviance(f64::NAN, 1., 0.).is_nan() && deviance(1., f64::NAN, f64::NAN).is_nan());
    }
}

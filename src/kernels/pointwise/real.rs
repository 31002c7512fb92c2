//! Numbers that a formula is written in: f64, or f64 with derivatives.

use crate::kernels::special::incomplete_beta::{self, Share};
use crate::kernels::special::incomplete_gamma::{self, Digits};
use crate::kernels::special::{self, bessel};
use std::f64::consts::FRAC_2_SQRT_PI;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// A number with value and, for [`Dual`], derivatives. Formulas branch on [`value`](Real::value).
pub(crate) trait Real:
    Copy
    + Neg<Output = Self>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Add<f64, Output = Self>
    + Sub<f64, Output = Self>
    + Mul<f64, Output = Self>
    + Div<f64, Output = Self>
{
    fn constant(x: f64) -> Self;

    fn value(self) -> f64;

    /// f(arguments): its value here, and its partial derivatives, which are asked for only where there are derivatives.
    fn function<const N: usize>(
        arguments: [Self; N],
        value: f64,
        slopes: impl FnOnce() -> [f64; N],
    ) -> Self;

    /// f(self) with this value and derivative.
    #[inline(always)]
    fn map(self, value: f64, slope: impl FnOnce() -> f64) -> Self {
        Self::function([self], value, || [slope()])
    }

    #[inline(always)]
    fn exp(self) -> Self {
        let y = self.value().exp();
        self.map(y, || y)
    }

    /// e^x - 1.
    #[inline(always)]
    fn exp_m1(self) -> Self {
        let x = self.value();
        self.map(x.exp_m1(), || x.exp())
    }

    #[inline(always)]
    fn ln(self) -> Self {
        let x = self.value();
        self.map(x.ln(), || 1. / x)
    }

    /// ln(1 + x).
    #[inline(always)]
    fn ln_1p(self) -> Self {
        let x = self.value();
        self.map(x.ln_1p(), || 1. / (1. + x))
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        let y = self.value().sqrt();
        self.map(y, || 0.5 / y)
    }

    #[inline(always)]
    fn square(self) -> Self {
        let x = self.value();
        self.map(x * x, || 2. * x)
    }

    #[inline(always)]
    fn recip(self) -> Self {
        let y = self.value().recip();
        self.map(y, || -y * y)
    }

    /// |x|; slope 0 at 0.
    #[inline(always)]
    fn abs(self) -> Self {
        let x = self.value();
        self.map(x.abs(), || if x == 0. { 0. } else { x.signum() })
    }

    #[inline(always)]
    fn sin(self) -> Self {
        let x = self.value();
        self.map(x.sin(), || x.cos())
    }

    #[inline(always)]
    fn tan(self) -> Self {
        let y = self.value().tan();
        self.map(y, || 1. + y * y)
    }

    #[inline(always)]
    fn atan(self) -> Self {
        let x = self.value();
        self.map(x.atan(), || 1. / (1. + x * x))
    }

    #[inline(always)]
    fn tanh(self) -> Self {
        let y = self.value().tanh();
        self.map(y, || (1. - y) * (1. + y))
    }

    /// 1 / (1 + e^-x).
    #[inline(always)]
    fn sigmoid(self) -> Self {
        let x = self.value();
        let e = (-x.abs()).exp();
        let y = if x >= 0. { 1. / (1. + e) } else { e / (1. + e) };
        self.map(y, || e / ((1. + e) * (1. + e)))
    }

    /// ln(1 + e^x).
    #[inline(always)]
    fn softplus(self) -> Self {
        let x = self.value();
        let e = (-x.abs()).exp();
        self.map(x.max(0.) + e.ln_1p(), || {
            if x >= 0. { 1. / (1. + e) } else { e / (1. + e) }
        })
    }

    /// ln(1 - e^-x) for positive x (Maechler 2012).
    #[inline(always)]
    fn log1mexp(self) -> Self {
        let x = self.value();
        let y = if x < std::f64::consts::LN_2 {
            (-(-x).exp_m1()).ln()
        } else {
            (-(-x).exp()).ln_1p()
        };
        self.map(y, || 1. / x.exp_m1())
    }

    /// `self * ln(x)` for x of 0 or more, at 0 the limit: 0 for a power of zero, else infinite. Derivatives of limits are 0.
    #[inline(always)]
    fn power_law(self, x: Self) -> Self {
        if x.value() == 0. {
            return self.limit_of_power();
        }
        self * x.ln()
    }

    /// `self * ln(1 - x)` for x up to 1, with the limit at 1.
    #[inline(always)]
    fn power_law_1m(self, x: Self) -> Self {
        if x.value() == 1. {
            return self.limit_of_power();
        }
        self * (-x).ln_1p()
    }

    /// The limit of `self * ln(x)` as x goes to 0.
    #[inline(always)]
    fn limit_of_power(self) -> Self {
        let power = self.value();
        Self::constant(if power == 0. {
            0.
        } else {
            -f64::INFINITY * power
        })
    }

    /// `self^other` for positive `self`.
    #[inline(always)]
    fn powf(self, other: Self) -> Self {
        let (x, y) = (self.value(), other.value());
        let z = x.powf(y);
        Self::function([self, other], z, || {
            let slope = if y == 0. { 0. } else { y * x.powf(y - 1.) };
            [slope, if z == 0. { 0. } else { z * x.ln() }]
        })
    }

    /// ln Gamma(x).
    #[inline(always)]
    fn lgamma(self) -> Self {
        let x = self.value();
        self.map(special::lgamma(x), || special::digamma(x))
    }

    /// ln I0(x) - x, of x >= 0.
    #[inline(always)]
    fn log_i0e(self) -> Self {
        let x = self.value();
        self.map(bessel::log_i0e(x), || -bessel::ratio_gap(x))
    }

    /// 1 - I1(x) / I0(x), of x >= 0.
    #[inline(always)]
    fn bessel_gap(self) -> Self {
        let x = self.value();
        self.map(bessel::ratio_gap(x), || -bessel::ratio_slope(x))
    }

    #[inline(always)]
    fn digamma(self) -> Self {
        let x = self.value();
        self.map(special::digamma(x), || special::trigamma(x))
    }

    /// `ln Gamma(self + step) - ln Gamma(self)` for positive arguments.
    #[inline(always)]
    fn lgamma_gap(self, step: Self) -> Self {
        let (x, s) = (self.value(), step.value());
        Self::function([self, step], special::lgamma_gap(x, s), || {
            [special::digamma_gap(x, s), special::digamma(x + s)]
        })
    }

    /// `digamma(self + step) - digamma(self)` for positive arguments.
    #[inline(always)]
    fn digamma_gap(self, step: Self) -> Self {
        let (x, s) = (self.value(), step.value());
        Self::function([self, step], special::digamma_gap(x, s), || {
            let beyond = special::trigamma(x + s);
            [beyond - special::trigamma(x), beyond]
        })
    }

    /// ln B(self, b).
    #[inline(always)]
    fn lbeta(self, b: Self) -> Self {
        let (x, y) = (self.value(), b.value());
        Self::function([self, b], special::lbeta(x, y), || {
            [-special::digamma_gap(x, y), -special::digamma_gap(y, x)]
        })
    }

    /// ln P(self, x) or, `upper`, ln Q(self, x), the incomplete gamma functions.
    fn gamma_log_tail(self, x: Self, upper: bool) -> Self {
        let (a, v) = (self.value(), x.value());
        let y = v.ln();
        let value = incomplete_gamma::log_tail(a, v, y, upper);
        Self::function([self, x], value, || gamma_slopes(a, v, upper, value))
    }

    /// P(self, x) or, `upper`, Q(self, x).
    fn gamma_tail(self, x: Self, upper: bool) -> Self {
        let (a, v) = (self.value(), x.value());
        let value = incomplete_gamma::log_tail(a, v, v.ln(), upper).exp();
        Self::function([self, x], value, || gamma_slopes(a, v, upper, 0.))
    }

    /// ln x with P(self, x) = p or, `upper`, Q(self, x) = p.
    fn gamma_log_quantile(self, p: Self, upper: bool) -> Self {
        let a = self.value();
        let y = incomplete_gamma::log_quantile(a, p.value(), upper);
        Self::function([self, p], y, || {
            let x = y.exp();
            let to_p = (-incomplete_gamma::log_density(a, x, y)).exp();
            let to_a = incomplete_gamma::derivative(a, x, y, Digits::All);
            [to_a, if upper { -to_p } else { to_p }]
        })
    }

    /// ln I_x(self, b), the incomplete beta function, or, `upper`, ln(1 - I_x(self, b)); x with its complement.
    fn beta_log_tail(self, b: Self, x: Self, complement: f64, upper: bool) -> Self {
        let (a, n, s) = (
            self.value(),
            b.value(),
            Share::of_parts(x.value(), complement),
        );
        let value = incomplete_beta::log_tail(a, n, s, upper);
        Self::function([self, b, x], value, || beta_slopes(a, n, s, upper, value))
    }

    /// I_x(self, b) or, `upper`, 1 - I_x(self, b).
    fn beta_tail(self, b: Self, x: Self, upper: bool) -> Self {
        let (a, n, s) = (self.value(), b.value(), Share::new(x.value()));
        let value = incomplete_beta::log_tail(a, n, s, upper).exp();
        Self::function([self, b, x], value, || beta_slopes(a, n, s, upper, 0.))
    }

    /// x with I_x(self, b) = p.
    fn beta_quantile(self, b: Self, p: Self) -> Self {
        let (a, n) = (self.value(), b.value());
        let s = incomplete_beta::quantile(a, n, p.value());
        Self::function([self, b, p], s.x, || {
            let density = incomplete_beta::log_density(a, n, s);
            let width = s.x * s.c;
            let [to_a, to_b] = incomplete_beta::derivatives(a, n, s);
            [width * to_a, -width * to_b, width * (-density).exp()]
        })
    }

    #[inline(always)]
    fn erf(self) -> Self {
        let x = self.value();
        self.map(special::erf(x), || FRAC_2_SQRT_PI * (-x * x).exp())
    }

    /// 1 - erf(x).
    #[inline(always)]
    fn erfc(self) -> Self {
        let x = self.value();
        self.map(special::erfc(x), || -FRAC_2_SQRT_PI * (-x * x).exp())
    }

    /// The inverse of [`erf`](Real::erf).
    #[inline(always)]
    fn erfinv(self) -> Self {
        let y = special::erfinv(self.value());
        self.map(y, || (y * y).exp() / FRAC_2_SQRT_PI)
    }

    /// P(Z <= x) for a standard normal Z.
    #[inline(always)]
    fn ndtr(self) -> Self {
        let x = self.value();
        self.map(special::ndtr(x), || special::normal_density(x))
    }

    /// ln P(Z <= x).
    #[inline(always)]
    fn log_ndtr(self) -> Self {
        let x = self.value();
        self.map(special::log_ndtr(x), || 1. / special::mills(-x))
    }

    /// The inverse of [`ndtr`](Real::ndtr).
    #[inline(always)]
    fn ndtri(self) -> Self {
        let y = special::ndtri(self.value());
        self.map(y, || 1. / special::normal_density(y))
    }

    /// The integral of e^-t / t from x on, for positive x.
    #[inline(always)]
    fn exponential_integral(self) -> Self {
        let x = self.value();
        self.map(special::exponential_integral(x), || -(-x).exp() / x)
    }
}

/// The limit at 0 of a density like `x^(power - 1)`, which is `one` for a power of 1.
fn edge_density(power: f64, one: f64) -> f64 {
    if power > 1. {
        0.
    } else if power == 1. {
        one
    } else {
        f64::INFINITY
    }
}

/// Derivatives of a tail of the gamma distribution, or of its logarithm `log`.
fn gamma_slopes(a: f64, x: f64, upper: bool, log: f64) -> [f64; 2] {
    if x == 0. || x == f64::INFINITY {
        let edge = if x == 0. { edge_density(a, 1.) } else { 0. };
        return [0., if upper { -edge } else { edge }];
    }
    let y = x.ln();
    let density = (incomplete_gamma::log_density(a, x, y) - log).exp();
    let slope = incomplete_gamma::derivative(a, x, y, Digits::All);
    let sign = if upper { -1. } else { 1. };
    [-sign * slope * density, sign * density / x]
}

/// Derivatives of a tail of the beta distribution, or of its logarithm `log`.
fn beta_slopes(a: f64, b: f64, s: Share, upper: bool, log: f64) -> [f64; 3] {
    if s.x == 0. || s.c == 0. {
        let (a, b) = if s.x == 0. { (a, b) } else { (b, a) };
        let edge = edge_density(a, b);
        return [0., 0., if upper { -edge } else { edge }];
    }
    let density = (incomplete_beta::log_density(a, b, s) - log).exp();
    let sign = if upper { -density } else { density };
    let [to_a, to_b] = incomplete_beta::derivatives(a, b, s);
    [-sign * to_a, sign * to_b, sign / (s.x * s.c)]
}

impl Real for f64 {
    #[inline(always)]
    fn constant(x: f64) -> f64 {
        x
    }

    #[inline(always)]
    fn value(self) -> f64 {
        self
    }

    #[inline(always)]
    fn function<const N: usize>(_: [f64; N], value: f64, _: impl FnOnce() -> [f64; N]) -> f64 {
        value
    }
}

/// A value with its derivatives to K arguments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dual<const K: usize> {
    value: f64,
    slopes: [f64; K],
}

impl<const K: usize> Dual<K> {
    /// Argument number `k`.
    #[inline(always)]
    pub(super) fn argument(k: usize, value: f64) -> Self {
        let mut slopes = [0.; K];
        slopes[k] = 1.;
        Dual { value, slopes }
    }

    #[inline(always)]
    pub(super) fn slopes(self) -> [f64; K] {
        self.slopes
    }
}

/// The chain rule's product. What does not depend on an argument does not depend on it where the slope is infinite either.
#[inline(always)]
fn product(slope: f64, inner: f64) -> f64 {
    if inner == 0. { 0. } else { slope * inner }
}

impl<const K: usize> Real for Dual<K> {
    #[inline(always)]
    fn constant(value: f64) -> Self {
        Dual {
            value,
            slopes: [0.; K],
        }
    }

    #[inline(always)]
    fn value(self) -> f64 {
        self.value
    }

    #[inline(always)]
    fn function<const N: usize>(
        arguments: [Self; N],
        value: f64,
        slopes: impl FnOnce() -> [f64; N],
    ) -> Self {
        let outer = slopes();
        let mut slopes = [0.; K];
        for (outer, argument) in outer.into_iter().zip(arguments) {
            for (slope, inner) in slopes.iter_mut().zip(argument.slopes) {
                *slope += product(outer, inner);
            }
        }
        Dual { value, slopes }
    }
}

impl<const K: usize> Neg for Dual<K> {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        self.map(-self.value, || -1.)
    }
}

impl<const K: usize> Add for Dual<K> {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self::function([self, other], self.value + other.value, || [1., 1.])
    }
}

impl<const K: usize> Sub for Dual<K> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self::function([self, other], self.value - other.value, || [1., -1.])
    }
}

impl<const K: usize> Mul for Dual<K> {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        let (a, b) = (self.value, other.value);
        Self::function([self, other], a * b, || [b, a])
    }
}

impl<const K: usize> Div for Dual<K> {
    type Output = Self;
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        let (a, b) = (self.value, other.value);
        Self::function([self, other], a / b, || [1. / b, -a / b / b])
    }
}

impl<const K: usize> Add<f64> for Dual<K> {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: f64) -> Self {
        self.map(self.value + other, || 1.)
    }
}

impl<const K: usize> Sub<f64> for Dual<K> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: f64) -> Self {
        self.map(self.value - other, || 1.)
    }
}

impl<const K: usize> Mul<f64> for Dual<K> {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: f64) -> Self {
        self.map(self.value * other, || other)
    }
}

impl<const K: usize> Div<f64> for Dual<K> {
    type Output = Self;
    #[inline(always)]
    fn div(self, other: f64) -> Self {
        self.map(self.value / other, || 1. / other)
    }
}

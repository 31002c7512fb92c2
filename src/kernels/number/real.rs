//! Numbers that a formula is written in: f64, or f64 with derivatives.

use super::elementary::{Elementary, Exact};
use crate::kernels::number::incomplete_beta::{self, Share};
use crate::kernels::number::incomplete_gamma::{self, Digits};
use crate::kernels::number::{self, bessel, saddle};
use std::f64::consts::{FRAC_2_SQRT_PI, LN_2};
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
    /// How the elementary functions are computed.
    type Functions: Elementary;

    fn constant(x: f64) -> Self;

    fn value(self) -> f64;

    /// Whether there are derivatives.
    const DERIVED: bool;

    /// f(arguments): its value and its partial derivatives here.
    fn chain<const N: usize>(arguments: [Self; N], value: f64, slopes: [f64; N]) -> Self;

    /// As [`chain`](Real::chain), for partial derivatives that cost something: asked for only where there are derivatives.
    #[inline(always)]
    fn function<const N: usize>(
        arguments: [Self; N],
        value: f64,
        slopes: impl FnOnce() -> [f64; N],
    ) -> Self {
        let slopes = if Self::DERIVED { slopes() } else { [0.; N] };
        Self::chain(arguments, value, slopes)
    }

    /// f(self) with this value and derivative.
    #[inline(always)]
    fn map(self, value: f64, slope: f64) -> Self {
        Self::chain([self], value, [slope])
    }

    /// `self / other` where the last bit does not matter: for many numbers over one, the one is inverted once.
    #[inline(always)]
    fn over(self, other: Self) -> Self {
        let b = other.value();
        let y = Self::Functions::div(self.value(), b);
        let slopes = [Self::Functions::div(1., b), -Self::Functions::div(y, b)];
        Self::chain([self, other], y, slopes)
    }

    #[inline(always)]
    fn exp(self) -> Self {
        let y = Self::Functions::exp(self.value());
        self.map(y, y)
    }

    /// e^x - 1.
    #[inline(always)]
    fn exp_m1(self) -> Self {
        let x = self.value();
        self.map(Self::Functions::exp_m1(x), Self::Functions::exp(x))
    }

    /// e^x - 1 - x, not negative.
    fn exp_minus_line(self) -> Self {
        let x = self.value();
        self.map(number::exp_minus_line(x), x.exp_m1())
    }

    /// `ln(1 + x) - x`, not positive.
    fn log_minus_line(self) -> Self {
        let x = self.value();
        let value = if x.abs() < 0.4 {
            number::log_minus_line(x)
        } else {
            x.ln_1p() - x
        };
        self.map(value, -x / (1. + x))
    }

    /// `ln(self / other)` of positive numbers, also where the quotient overflows or underflows.
    fn log_over(self, other: Self) -> Self {
        let (x, y) = (self.value(), other.value());
        let value = saddle::log_ratio(x, y, x - y);
        Self::chain([self, other], value, [1. / x, -1. / y])
    }

    /// `ln(self other)` of positive numbers, also where the product overflows or underflows.
    fn log_times(self, other: Self) -> Self {
        let (x, y) = (self.value(), other.value());
        Self::chain([self, other], saddle::log_product(x, y), [1. / x, 1. / y])
    }

    /// `(self - loc) / scale`, also where the difference overflows, which that of f32 numbers does not in f64.
    #[inline(always)]
    fn standard(self, loc: Self, scale: Self) -> Self {
        let gap = self - loc;
        if Self::Functions::EXACT && gap.value().is_infinite() && self.value().is_finite() {
            return (self * 0.5 - loc * 0.5).over(scale) * 2.;
        }
        gap.over(scale)
    }

    /// `ln |(self - loc) / scale|`, also where the quotient overflows or underflows.
    fn log_standard(self, loc: Self, scale: Self) -> Self {
        let (half, s) = (0.5 * self.value() - 0.5 * loc.value(), 0.5 * scale.value());
        let value = saddle::log_ratio(half.abs(), s, half.abs() - s);
        let slope = 0.5 / half;
        Self::chain([self, loc, scale], value, [slope, -slope, -0.5 / s])
    }

    #[inline(always)]
    fn ln(self) -> Self {
        let x = self.value();
        self.map(Self::Functions::ln(x), 1. / x)
    }

    /// ln(1 + x).
    #[inline(always)]
    fn ln_1p(self) -> Self {
        let x = self.value();
        self.map(Self::Functions::ln_1p(x), 1. / (1. + x))
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        let y = self.value().sqrt();
        self.map(y, 0.5 / y)
    }

    #[inline(always)]
    fn square(self) -> Self {
        let x = self.value();
        self.map(x * x, 2. * x)
    }

    #[inline(always)]
    fn recip(self) -> Self {
        let y = self.value().recip();
        self.map(y, -y * y)
    }

    /// |x|; slope 0 at 0.
    #[inline(always)]
    fn abs(self) -> Self {
        let x = self.value();
        self.map(x.abs(), if x == 0. { 0. } else { x.signum() })
    }

    #[inline(always)]
    fn sin(self) -> Self {
        let x = self.value();
        self.map(x.sin(), x.cos())
    }

    #[inline(always)]
    fn tan(self) -> Self {
        let y = self.value().tan();
        self.map(y, 1. + y * y)
    }

    #[inline(always)]
    fn atan(self) -> Self {
        let x = self.value();
        self.map(x.atan(), 1. / (1. + x * x))
    }

    #[inline(always)]
    fn tanh(self) -> Self {
        let x = self.value();
        // Of the value nothing is left where it rounds to 1.
        let e = Self::Functions::exp(-2. * x.abs());
        let slope = 4. * e / ((1. + e) * (1. + e));
        self.map(Self::Functions::tanh(x), slope)
    }

    /// 1 / (1 + e^-x).
    #[inline(always)]
    fn sigmoid(self) -> Self {
        let x = self.value();
        let e = Self::Functions::exp(-x.abs());
        let y = if x >= 0. { 1. / (1. + e) } else { e / (1. + e) };
        self.map(y, e / ((1. + e) * (1. + e)))
    }

    /// ln(1 + e^x).
    #[inline(always)]
    fn softplus(self) -> Self {
        let x = self.value();
        let e = Self::Functions::exp(-x.abs());
        self.map(x.max(0.) + Self::Functions::ln_1p(e), {
            if x >= 0. { 1. / (1. + e) } else { e / (1. + e) }
        })
    }

    /// ln(1 - e^-x) for positive x (Maechler 2012).
    #[inline(always)]
    fn log1mexp(self) -> Self {
        let x = self.value();
        let near = Self::Functions::ln(-Self::Functions::exp_m1(-x));
        let far = Self::Functions::ln_1p(-Self::Functions::exp(-x));
        let y = if x < LN_2 { near } else { far };
        self.map(y, 1. / Self::Functions::exp_m1(x))
    }

    /// `self * ln(y)` for y of 0 or more; at 0 the limit: 0 for a factor of 0, else infinite. Limits have no slope.
    #[inline(always)]
    fn xlogy(self, y: Self) -> Self {
        if y.value() == 0. {
            return self.limit_of_power();
        }
        self * y.ln()
    }

    /// `self * ln(1 + y)` for y from -1 on, with the limit at -1.
    #[inline(always)]
    fn xlog1py(self, y: Self) -> Self {
        if y.value() == -1. {
            return self.limit_of_power();
        }
        self * y.ln_1p()
    }

    /// The limit of `self * ln(y)` as y goes to 0.
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
        let z = Self::Functions::powf(x, y);
        let slopes = if Self::DERIVED {
            let slope = y * Self::Functions::powf(x, y - 1.);
            let slope = if y == 0. { 0. } else { slope };
            let log = z * Self::Functions::ln(x);
            [slope, if z == 0. { 0. } else { log }]
        } else {
            [0.; 2]
        };
        Self::chain([self, other], z, slopes)
    }

    /// ln Gamma(x).
    #[inline(always)]
    fn lgamma(self) -> Self {
        let x = self.value();
        let slope = if Self::DERIVED {
            Self::Functions::digamma(x)
        } else {
            0.
        };
        self.map(Self::Functions::lgamma(x), slope)
    }

    /// `ln Gamma(1 + x) - x ln x + x`, small where ln Gamma is large.
    #[inline(always)]
    fn stirling_rest(self) -> Self {
        let x = self.value();
        let slope = if Self::DERIVED {
            1. / x - Self::Functions::log_gap(x)
        } else {
            0.
        };
        self.map(Self::Functions::stirling_rest(x), slope)
    }

    /// `ln x - digamma(x)`.
    #[inline(always)]
    fn log_gap(self) -> Self {
        let x = self.value();
        Self::function([self], Self::Functions::log_gap(x), || {
            [-saddle::log_gap_fall(x)]
        })
    }

    /// `self ln(self / mean) + mean - self`.
    fn deviance(self, mean: Self) -> Self {
        let (x, m) = (self.value(), mean.value());
        let value = saddle::deviance(x, m, m.ln());
        Self::function([self, mean], value, || {
            let gap = x - m;
            [saddle::log_ratio(x, m, gap), -gap / m]
        })
    }

    /// `r - 1 - ln r` with r = other / self: the divergence of scales.
    fn scale_divergence(self, other: Self) -> Self {
        let (x, y) = (self.value(), other.value());
        let ratio = y / x;
        let value = saddle::deviance_by_gap(1., ratio, (x - y) / x);
        let value = value.unwrap_or_else(|| (ratio - 1.) - saddle::log_ratio(y, x, y - x));
        Self::function([self, other], value, || {
            let gap = (y - x) / x;
            [-gap / x, gap / y]
        })
    }

    /// `ln Gamma(self + 2 step) - 2 ln Gamma(self + step) + ln Gamma(self)`.
    fn lgamma_second_difference(self, step: Self) -> Self {
        let (x, s) = (self.value(), step.value());
        Self::function([self, step], saddle::second_difference(x, s), || {
            let to_step = 2. * number::digamma_gap(x + s, s);
            [saddle::second_difference_slope(x, s), to_step]
        })
    }

    /// ln cosh(x); near 0 by `ln(1 + sinh(x)^2) / 2`.
    #[inline(always)]
    fn log_cosh(self) -> Self {
        let size = self.value().abs();
        let y = if size < 1. {
            let sinh = size.sinh();
            0.5 * (sinh * sinh).ln_1p()
        } else {
            size - LN_2 + (-2. * size).exp().ln_1p()
        };
        self.map(y, self.value().tanh())
    }

    /// ln I0(x), an even function.
    #[inline(always)]
    fn log_i0(self) -> Self {
        let x = self.value();
        Self::function([self], bessel::log_i0(x.abs()), || {
            [bessel::ratio(x.abs()).copysign(x)]
        })
    }

    /// ln I1(x), of x >= 0.
    #[inline(always)]
    fn log_i1(self) -> Self {
        let x = self.value();
        Self::function([self], bessel::log_i1(x), || [bessel::log_i1_slope(x)])
    }

    /// e^-|x| I0(x); slope 0 at the kink at 0.
    #[inline(always)]
    fn i0e(self) -> Self {
        let x = self.value();
        let sign = if x == 0. { 0. } else { x.signum() };
        let [y, _] = bessel::scaled(x.abs());
        Self::function([self], y, || [sign * bessel::scaled_slopes(x.abs())[0]])
    }

    /// e^-|x| I1(x), an odd function.
    #[inline(always)]
    fn i1e(self) -> Self {
        let x = self.value();
        let [_, y] = bessel::scaled(x.abs());
        Self::function(
            [self],
            y.copysign(x),
            || [bessel::scaled_slopes(x.abs())[1]],
        )
    }

    /// ln I0(x) - x, of x >= 0.
    #[inline(always)]
    fn log_i0e(self) -> Self {
        let x = self.value();
        Self::function([self], bessel::log_i0e(x), || [-bessel::ratio_gap(x)])
    }

    /// 1 - I1(x) / I0(x), of x >= 0.
    #[inline(always)]
    fn bessel_gap(self) -> Self {
        let x = self.value();
        Self::function([self], bessel::ratio_gap(x), || [-bessel::ratio_slope(x)])
    }

    #[inline(always)]
    fn digamma(self) -> Self {
        let x = self.value();
        Self::function([self], Self::Functions::digamma(x), || {
            [number::trigamma(x)]
        })
    }

    /// `ln Gamma(self + step) - ln Gamma(self)` for positive arguments.
    #[inline(always)]
    fn lgamma_gap(self, step: Self) -> Self {
        let (x, s) = (self.value(), step.value());
        let slopes = if Self::DERIVED {
            let to_step = Self::Functions::digamma(x + s);
            [Self::Functions::digamma_gap(x, s), to_step]
        } else {
            [0.; 2]
        };
        Self::chain([self, step], Self::Functions::lgamma_gap(x, s), slopes)
    }

    /// `digamma(self + step) - digamma(self)` for positive arguments.
    #[inline(always)]
    fn digamma_gap(self, step: Self) -> Self {
        let (x, s) = (self.value(), step.value());
        Self::function([self, step], Self::Functions::digamma_gap(x, s), || {
            let beyond = number::trigamma(x + s);
            [beyond - number::trigamma(x), beyond]
        })
    }

    /// ln B(self, b).
    #[inline(always)]
    fn lbeta(self, b: Self) -> Self {
        let (x, y) = (self.value(), b.value());
        let slopes = if Self::DERIVED {
            let gap = Self::Functions::digamma_gap;
            [-gap(x, y), -gap(y, x)]
        } else {
            [0.; 2]
        };
        Self::chain([self, b], Self::Functions::lbeta(x, y), slopes)
    }

    /// ln P(self, x) or, `upper`, ln Q(self, x), the incomplete gamma functions.
    fn gamma_log_tail(self, x: Self, upper: bool) -> Self {
        let (a, v) = (self.value(), x.value());
        let y = v.ln();
        let value = incomplete_gamma::log_tail(a, v, y, upper);
        Self::function([self, x], value, || gamma_slopes(a, v, upper, value))
    }

    /// The same at `b x` or, `over`, at `b / x`, for positive numbers whose product or quotient may overflow or underflow.
    fn gamma_log_tail_of(self, b: Self, x: Self, over: bool, upper: bool) -> Self {
        let [a, r, v] = [self, b, x].map(Self::value);
        let (z, y) = if over {
            (r / v, saddle::log_ratio(r, v, r - v))
        } else {
            (r * v, saddle::log_product(r, v))
        };
        let value = incomplete_gamma::log_tail(a, z, y, upper);
        Self::function([self, b, x], value, || {
            let [to_a, to_log] = gamma_slopes_of_log(a, z, y, upper, value);
            // Not by 1 / x, which overflows where x is subnormal.
            [to_a, to_log / r, if over { -to_log } else { to_log } / v]
        })
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
        self.map(number::erf(x), FRAC_2_SQRT_PI * (-x * x).exp())
    }

    /// 1 - erf(x).
    #[inline(always)]
    fn erfc(self) -> Self {
        let x = self.value();
        self.map(number::erfc(x), -FRAC_2_SQRT_PI * (-x * x).exp())
    }

    /// The inverse of [`erf`](Real::erf).
    #[inline(always)]
    fn erfinv(self) -> Self {
        let y = number::erfinv(self.value());
        self.map(y, (y * y).exp() / FRAC_2_SQRT_PI)
    }

    /// P(Z <= x) for a standard normal Z.
    #[inline(always)]
    fn ndtr(self) -> Self {
        let x = self.value();
        self.map(number::ndtr(x), number::normal_density(x))
    }

    /// ln P(Z <= x).
    #[inline(always)]
    fn log_ndtr(self) -> Self {
        let x = self.value();
        Self::function([self], number::log_ndtr(x), || [1. / number::mills(-x)])
    }

    /// The inverse of [`ndtr`](Real::ndtr).
    #[inline(always)]
    fn ndtri(self) -> Self {
        let y = number::ndtri(self.value());
        self.map(y, 1. / number::normal_density(y))
    }

    /// The integral of e^-t / t from x on, for positive x.
    #[inline(always)]
    fn exponential_integral(self) -> Self {
        let x = self.value();
        self.map(number::exponential_integral(x), -(-x).exp() / x)
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
    let [to_a, to_log] = gamma_slopes_of_log(a, x, x.ln(), upper, log);
    [to_a, to_log / x]
}

/// As [`gamma_slopes`], to a and to the logarithm y of x.
fn gamma_slopes_of_log(a: f64, x: f64, y: f64, upper: bool, log: f64) -> [f64; 2] {
    let density = incomplete_gamma::density_over(a, x, y, upper, log);
    if density == 0. {
        return [0.; 2];
    }
    let slope = incomplete_gamma::derivative(a, x, y, Digits::All);
    let sign = if upper { -1. } else { 1. };
    [-sign * slope * density, sign * density]
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
    type Functions = Exact;
    const DERIVED: bool = false;

    #[inline(always)]
    fn constant(x: f64) -> f64 {
        x
    }

    #[inline(always)]
    fn value(self) -> f64 {
        self
    }

    #[inline(always)]
    fn chain<const N: usize>(_: [f64; N], value: f64, _: [f64; N]) -> f64 {
        value
    }
}

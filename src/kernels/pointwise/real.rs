//! Numbers that a formula is written in: f64, or f64 with derivatives.

use crate::kernels::special;
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
    fn cos(self) -> Self {
        let x = self.value();
        self.map(x.cos(), || -x.sin())
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

    /// `self * ln(other)`, 0 where `self` is 0 whatever `other` is.
    #[inline(always)]
    fn xlogy(self, other: Self) -> Self {
        let (x, y) = (self.value(), other.value());
        if x == 0. && !y.is_nan() {
            return Self::function([self, other], 0., || [y.ln(), 0.]);
        }
        Self::function([self, other], x * y.ln(), || [y.ln(), x / y])
    }

    /// `self * ln(1 + other)`, 0 where `self` is 0 whatever `other` is.
    #[inline(always)]
    fn xlog1py(self, other: Self) -> Self {
        let (x, y) = (self.value(), other.value());
        if x == 0. && !y.is_nan() {
            return Self::function([self, other], 0., || [y.ln_1p(), 0.]);
        }
        Self::function([self, other], x * y.ln_1p(), || [y.ln_1p(), x / (1. + y)])
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

    #[inline(always)]
    fn digamma(self) -> Self {
        let x = self.value();
        self.map(special::digamma(x), || special::trigamma(x))
    }

    #[inline(always)]
    fn trigamma(self) -> Self {
        let x = self.value();
        self.map(special::trigamma(x), || special::tetragamma(x))
    }
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
        for n in 0..N {
            for k in 0..K {
                slopes[k] += product(outer[n], arguments[n].slopes[k]);
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

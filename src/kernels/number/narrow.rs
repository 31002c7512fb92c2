//! Numbers of f32 with a derivative, for formulas in which nothing cancels: half the width of what [`dual`](super::dual)
//! computes with.

use super::elementary::Quick;
use super::real::Real;
use super::single;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// A value with its derivative to one argument, where `DERIVED`. Its elementary functions are those of `single`; what it
/// does not name comes by f64.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Narrow<const FMA: bool, const DERIVED: bool> {
    value: f32,
    slope: f32,
}

impl<const FMA: bool, const DERIVED: bool> Narrow<FMA, DERIVED> {
    #[inline(always)]
    pub(crate) fn argument(value: f32) -> Self {
        let slope = if DERIVED { 1. } else { 0. };
        Narrow { value, slope }
    }

    #[inline(always)]
    pub(crate) fn parts(self) -> [f32; 2] {
        [self.value, self.slope]
    }

    /// f(self), with the chain rule's product as in [`dual`](super::dual).
    #[inline(always)]
    fn by(self, value: f32, slope: f32) -> Self {
        let slope = if DERIVED {
            product(slope, self.slope)
        } else {
            0.
        };
        Narrow { value, slope }
    }
}

#[inline(always)]
fn product(slope: f32, inner: f32) -> f32 {
    if (inner == 0.) | (slope == 0.) {
        0.
    } else {
        slope * inner
    }
}

impl<const FMA: bool, const DERIVED: bool> Real for Narrow<FMA, DERIVED> {
    type Functions = Quick<FMA>;
    const DERIVED: bool = DERIVED;

    #[inline(always)]
    fn constant(value: f64) -> Self {
        Narrow {
            value: value as f32,
            slope: 0.,
        }
    }

    #[inline(always)]
    fn value(self) -> f64 {
        self.value.into()
    }

    #[inline(always)]
    fn chain<const N: usize>(arguments: [Self; N], value: f64, outer: [f64; N]) -> Self {
        let mut slope = 0.;
        if DERIVED {
            for n in 0..N {
                slope += product(outer[n] as f32, arguments[n].slope);
            }
        }
        Narrow {
            value: value as f32,
            slope,
        }
    }

    #[inline(always)]
    fn exp(self) -> Self {
        let y = single::exp::<FMA>(self.value);
        self.by(y, y)
    }

    #[inline(always)]
    fn exp_m1(self) -> Self {
        let x = self.value;
        self.by(single::expm1::<FMA>(x), single::exp::<FMA>(x))
    }

    #[inline(always)]
    fn ln(self) -> Self {
        let x = self.value;
        self.by(single::ln::<FMA>(x), 1. / x)
    }

    #[inline(always)]
    fn ln_1p(self) -> Self {
        let x = self.value;
        self.by(single::log1p::<FMA>(x), 1. / (1. + x))
    }

    #[inline(always)]
    fn square(self) -> Self {
        let x = self.value;
        self.by(x * x, 2. * x)
    }

    #[inline(always)]
    fn tanh(self) -> Self {
        let x = self.value;
        // Of the value nothing is left where it rounds to 1.
        let e = single::exp::<FMA>(-2. * x.abs());
        let slope = 4. * e / ((1. + e) * (1. + e));
        self.by(single::tanh::<FMA>(x), slope)
    }

    #[inline(always)]
    fn softplus(self) -> Self {
        let x = self.value;
        let e = single::exp::<FMA>(-x.abs());
        let slope = (if x < 0. { e } else { 1. }) / (1. + e);
        self.by(single::softplus::<FMA>(x), slope)
    }
}

impl<const FMA: bool, const DERIVED: bool> Neg for Narrow<FMA, DERIVED> {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        Narrow {
            value: -self.value,
            slope: -self.slope,
        }
    }
}

impl<const FMA: bool, const DERIVED: bool> Add for Narrow<FMA, DERIVED> {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Narrow {
            value: self.value + other.value,
            slope: self.slope + other.slope,
        }
    }
}

impl<const FMA: bool, const DERIVED: bool> Sub for Narrow<FMA, DERIVED> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl<const FMA: bool, const DERIVED: bool> Mul for Narrow<FMA, DERIVED> {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        let (a, b) = (self.value, other.value);
        let slope = match DERIVED {
            true => product(b, self.slope) + product(a, other.slope),
            false => 0.,
        };
        Narrow {
            value: a * b,
            slope,
        }
    }
}

impl<const FMA: bool, const DERIVED: bool> Div for Narrow<FMA, DERIVED> {
    type Output = Self;
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        let (a, b) = (self.value, other.value);
        let slope = match DERIVED {
            true => product(1. / b, self.slope) + product(-a / b / b, other.slope),
            false => 0.,
        };
        Narrow {
            value: a / b,
            slope,
        }
    }
}

impl<const FMA: bool, const DERIVED: bool> Add<f64> for Narrow<FMA, DERIVED> {
    type Output = Self;
    #[inline(always)]
    fn add(mut self, other: f64) -> Self {
        self.value += other as f32;
        self
    }
}

impl<const FMA: bool, const DERIVED: bool> Sub<f64> for Narrow<FMA, DERIVED> {
    type Output = Self;
    #[inline(always)]
    fn sub(mut self, other: f64) -> Self {
        self.value -= other as f32;
        self
    }
}

impl<const FMA: bool, const DERIVED: bool> Mul<f64> for Narrow<FMA, DERIVED> {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: f64) -> Self {
        let other = other as f32;
        self.by(self.value * other, other)
    }
}

impl<const FMA: bool, const DERIVED: bool> Div<f64> for Narrow<FMA, DERIVED> {
    type Output = Self;
    #[inline(always)]
    fn div(self, other: f64) -> Self {
        let other = other as f32;
        self.by(self.value / other, 1. / other)
    }
}

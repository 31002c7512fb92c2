//! Numbers with derivatives.

use super::elementary::Elementary;
use super::real::Real;
use std::marker::PhantomData;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// A value with its derivatives to K arguments; its functions are those of `E`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dual<E, const K: usize> {
    value: f64,
    slopes: [f64; K],
    functions: PhantomData<E>,
}

impl<E: Elementary, const K: usize> Dual<E, K> {
    #[inline(always)]
    pub(crate) fn new(value: f64, slopes: [f64; K]) -> Self {
        Dual {
            value,
            slopes,
            functions: PhantomData,
        }
    }

    /// Argument number `k`.
    #[inline(always)]
    pub(crate) fn argument(k: usize, value: f64) -> Self {
        let mut slopes = [0.; K];
        slopes[k] = 1.;
        Dual::new(value, slopes)
    }

    #[inline(always)]
    pub(crate) fn slopes(self) -> [f64; K] {
        self.slopes
    }
}

/// The chain rule's product. What does not depend on an argument does not depend on it where the slope is infinite either,
/// nor does what has reached its limit.
#[inline(always)]
fn product(slope: f64, inner: f64) -> f64 {
    if (inner == 0.) | (slope == 0.) {
        0.
    } else {
        slope * inner
    }
}

impl<E: Elementary, const K: usize> Real for Dual<E, K> {
    type Functions = E;
    const DERIVED: bool = K > 0;

    #[inline(always)]
    fn constant(value: f64) -> Self {
        Dual::new(value, [0.; K])
    }

    #[inline(always)]
    fn value(self) -> f64 {
        self.value
    }

    #[inline(always)]
    #[allow(clippy::needless_range_loop)]
    fn chain<const N: usize>(arguments: [Self; N], value: f64, outer: [f64; N]) -> Self {
        // Plain loops: iterators over arrays are not always inlined, and then nothing vectorizes.
        let mut slopes = [0.; K];
        for k in 0..K {
            slopes[k] = product(outer[0], arguments[0].slopes[k]);
        }
        for n in 1..N {
            for k in 0..K {
                slopes[k] += product(outer[n], arguments[n].slopes[k]);
            }
        }
        Dual::new(value, slopes)
    }
}

// Sums, negations and shifts are without the chain rule's products and their look at zeros: slopes of 1 need neither.

impl<E: Elementary, const K: usize> Neg for Dual<E, K> {
    type Output = Self;
    #[inline(always)]
    fn neg(mut self) -> Self {
        self.value = -self.value;
        for k in 0..K {
            self.slopes[k] = -self.slopes[k];
        }
        self
    }
}

impl<E: Elementary, const K: usize> Add for Dual<E, K> {
    type Output = Self;
    #[inline(always)]
    fn add(mut self, other: Self) -> Self {
        self.value += other.value;
        for k in 0..K {
            self.slopes[k] += other.slopes[k];
        }
        self
    }
}

impl<E: Elementary, const K: usize> Sub for Dual<E, K> {
    type Output = Self;
    #[inline(always)]
    fn sub(mut self, other: Self) -> Self {
        self.value -= other.value;
        for k in 0..K {
            self.slopes[k] -= other.slopes[k];
        }
        self
    }
}

impl<E: Elementary, const K: usize> Mul for Dual<E, K> {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        let (a, b) = (self.value, other.value);
        Self::chain([self, other], a * b, [b, a])
    }
}

impl<E: Elementary, const K: usize> Div for Dual<E, K> {
    type Output = Self;
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        let (a, b) = (self.value, other.value);
        Self::chain([self, other], a / b, [1. / b, -a / b / b])
    }
}

impl<E: Elementary, const K: usize> Add<f64> for Dual<E, K> {
    type Output = Self;
    #[inline(always)]
    fn add(mut self, other: f64) -> Self {
        self.value += other;
        self
    }
}

impl<E: Elementary, const K: usize> Sub<f64> for Dual<E, K> {
    type Output = Self;
    #[inline(always)]
    fn sub(mut self, other: f64) -> Self {
        self.value -= other;
        self
    }
}

impl<E: Elementary, const K: usize> Mul<f64> for Dual<E, K> {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: f64) -> Self {
        self.map(self.value * other, other)
    }
}

impl<E: Elementary, const K: usize> Div<f64> for Dual<E, K> {
    type Output = Self;
    #[inline(always)]
    fn div(self, other: f64) -> Self {
        self.map(self.value / other, 1. / other)
    }
}

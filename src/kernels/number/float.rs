//! f32 and f64, for loops that are written once for both.

use super::single;
use crate::kernels::machine::simd;
use candle_core::{CpuStorage, WithDType};
use std::ops::{AddAssign, Neg, SubAssign};

/// f32 or f64.
pub(crate) trait Float:
    WithDType + Neg<Output = Self> + AddAssign + SubAssign + Send + Sync
{
    const ZERO: Self;
    const ONE: Self;
    const INFINITY: Self;

    /// `a b + c`, rounded once where `FMA` holds.
    fn fma<const FMA: bool>(a: Self, b: Self, c: Self) -> Self;

    /// Vectorized in f32.
    fn exp<const FMA: bool>(self) -> Self;

    fn ln(self) -> Self;

    fn root(self) -> Self;

    /// The numbers of a storage of this type.
    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

impl Float for f32 {
    const ZERO: f32 = 0.;
    const ONE: f32 = 1.;
    const INFINITY: f32 = f32::INFINITY;

    #[inline(always)]
    fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
        simd::fma::<FMA>(a, b, c)
    }
    #[inline(always)]
    fn exp<const FMA: bool>(self) -> f32 {
        single::exp::<FMA>(self)
    }
    #[inline(always)]
    fn ln(self) -> f32 {
        f32::ln(self)
    }
    #[inline(always)]
    fn root(self) -> f32 {
        self.sqrt()
    }
    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [f32]> {
        match storage {
            CpuStorage::F32(data) => Some(data),
            _ => None,
        }
    }
}

impl Float for f64 {
    const ZERO: f64 = 0.;
    const ONE: f64 = 1.;
    const INFINITY: f64 = f64::INFINITY;

    #[inline(always)]
    fn fma<const FMA: bool>(a: f64, b: f64, c: f64) -> f64 {
        simd::fma64::<FMA>(a, b, c)
    }
    #[inline(always)]
    fn exp<const FMA: bool>(self) -> f64 {
        f64::exp(self)
    }
    #[inline(always)]
    fn ln(self) -> f64 {
        f64::ln(self)
    }
    #[inline(always)]
    fn root(self) -> f64 {
        self.sqrt()
    }
    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [f64]> {
        match storage {
            CpuStorage::F64(data) => Some(data),
            _ => None,
        }
    }
}

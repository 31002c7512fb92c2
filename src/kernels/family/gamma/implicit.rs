//! The implicit derivative of a standard gamma draw, d ln g / d a at a fixed value of the cdf.
//!
//! With P the cdf, the derivative is `-(dP/da) / (g p(g))`. Written as an integral from g to the end of the support that
//! lies on the far side of exp(digamma(a)), both factors of the integrand are positive, so nothing cancels, in no tail:
//!
//! ```text
//!   s = sign(ln g - digamma(a))
//!   D(a, g) = int_0^inf (|ln g - digamma(a)| + t) exp(-s (g - a) t - g (e^{s t} - 1 - s t)) dt
//! ```
//!
//! Both signs satisfy `dD/dy = (g - a) D + digamma(a) - y` with `y = ln g`; D is its one solution that is bounded on both
//! sides. Two consequences carry the fast path:
//!
//! - For large a, with rho = ln(g / a): `a D = rho / (e^rho - 1) + O(1 / a)`, uniformly in rho.
//! - `D(a, g) = (digamma(a + 1) - ln g + g D(a + 1, g)) / a`, which takes a small concentration to one above 1.

use crate::kernels::machine::simd::fma;
use crate::kernels::number::incomplete_gamma::{self, Digits};
use crate::kernels::number::single;

/// d ln g / d a for concentration `a` at `y = ln g`, to 1e-7 relative for `a` from 1e-12 to 1e12. NaN where `a` is not
/// positive.
pub(crate) fn derivative(a: f64, y: f64) -> f64 {
    incomplete_gamma::derivative(a, y.exp(), y, Digits::Seven)
}

/// Coefficients of a correction to `rho / (e^rho - 1)`: rows are powers of 1/a from the lowest, columns powers of
/// `2 v / 2.2 - 1` with `v = (g / a)^(1/3)` from the highest. Fitted to [`derivative`] at Chebyshev points for a from 1
/// and v up to 2.2, minimizing the largest relative error of D, which is 1.6e-6. The cube root makes the terms
/// `g ln g` at zero smooth enough for a polynomial.
#[rustfmt::skip]
const CORRECTION: [[f32; 13]; 5] = [
    [2.032_735_2e-2, -5.420_573_4e-2, 2.688_202_3e-2, 4.738_315_2e-2, -7.131_611e-2, 6.199_331_6e-2, -7.042_623e-2, 5.980_816e-2, 7.233_669e-3, -1.139_276_6e-1, 2.109_606_1e-1, -2.337_373_6e-1, 1.435_411e-1],
    [-1.479_038_1e-2, 6.034_352_3e-2, -4.513_772_6e-2, -9.907_409e-2, 1.745_281_5e-1, -5.858_214_2e-2, -6.256_686e-2, 8.557_593e-2, -7.938_87e-2, 6.468_495e-2, -2.825_355_3e-2, -8.366_111e-3, 1.683_292_5e-2],
    [-1.360_267_7e-3, -3.775_485e-2, 5.146_397_3e-2, 1.012_123_8e-1, -1.882_188_3e-1, 4.333_56e-3, 1.557_802_3e-1, -1.159_721_4e-1, 2.795_064_4e-2, 2.023_419_2e-2, -3.604_722e-2, 2.724_417_1e-2, -9.531_398e-3],
    [1.026_492e-2, 1.069_289_9e-2, -3.941_776e-2, -5.238_744_6e-2, 1.140_086_35e-1, 1.728_274_7e-2, -1.177_794_5e-1, 6.349_376_6e-2, 1.023_813_4e-2, -3.353_780_5e-2, 2.579_238_8e-2, -9.688_971e-3, 4.873_235_3e-4],
    [-4.754_288e-3, -5.570_331_7e-4, 1.320_139_2e-2, 1.104_372e-2, -3.057_202_9e-2, -6.641_764e-3, 3.346_669_7e-2, -1.448_140_5e-2, -6.821_212_4e-3, 1.074_801e-2, -6.064_239e-3, 1.116_529_8e-3, 5.088_894_4e-4],
];

/// digamma on [1, 2] as a polynomial in `2 a - 3`, to 4e-8, from the highest power.
#[rustfmt::skip]
const DIGAMMA: [f32; 10] = [4.688_087e-5, -1.371_217_8e-4, 2.966_808_4e-4, -9.110_441e-4, 2.900_339_2e-3, -9.059_333e-3, 2.935_493_6e-2, -1.035_980_7e-1, 4.674_011_5e-1, 3.648_994_5e-2];

/// The derivative in single precision without branches, to about 1e-5 relative; NaN where the fit does not reach (far
/// right tails, concentrations out of range).
#[inline(always)]
fn fast<const FMA: bool>(a: f32, y: f32) -> f32 {
    let small = a < 1.;
    let b = if small { a + 1. } else { a };
    let inverse = 1. / b;
    let rho = y - single::ln_positive::<FMA>(b);
    let v = single::exp::<FMA>(rho * (1. / 3.));
    let ratio = v * v * v;
    // rho / (e^rho - 1): its Taylor series near 0.
    let z = rho * rho;
    let mut near = fma::<FMA>(z, 3.306_878_3e-5, -1.388_888_9e-3);
    near = fma::<FMA>(near, z, 8.333_333_6e-2);
    near = fma::<FMA>(near, z, fma::<FMA>(rho, -0.5, 1.));
    let limit = if rho.abs() < 0.5 {
        near
    } else {
        rho / (ratio - 1.)
    };
    let t = fma::<FMA>(v, 2. / 2.2, -1.);
    let mut correction = 0.;
    for row in CORRECTION.iter().rev() {
        let mut p = row[0];
        for c in &row[1..] {
            p = fma::<FMA>(p, t, *c);
        }
        correction = fma::<FMA>(correction, inverse, p);
    }
    let above = fma::<FMA>(correction, inverse, limit) * inverse;
    let t = fma::<FMA>(b, 2., -3.);
    let mut psi = DIGAMMA[0];
    for c in &DIGAMMA[1..] {
        psi = fma::<FMA>(psi, t, *c);
    }
    let below = (psi - y + ratio * b * above) / a;
    let d = if small { below } else { above };
    // For small a the sum above cancels as g grows.
    let reach = if small { 1.7 } else { 2.2 };
    let known = (v <= reach) & (a > 0.) & (a <= f32::MAX);
    if known { d } else { f32::NAN }
}

/// Writes d ln g / d a for each pair of concentration and ln g, to 5e-4 relative (1e-5 typically).
#[inline(always)]
pub(crate) fn derivatives<const FMA: bool>(a: &[f32], y: &[f32], out: &mut [f32]) {
    let mut missing = 0u32;
    for ((a, y), out) in a.iter().zip(y).zip(out.iter_mut()) {
        let d = fast::<FMA>(*a, *y);
        *out = d;
        missing |= u32::from(d.is_nan());
    }
    if missing != 0 {
        rest(a, y, out);
    }
}

#[cold]
#[inline(never)]
fn rest(a: &[f32], y: &[f32], out: &mut [f32]) {
    for ((a, y), out) in a.iter().zip(y).zip(out) {
        if out.is_nan() {
            *out = derivative(f64::from(*a), f64::from(*y)) as f32;
        }
    }
}

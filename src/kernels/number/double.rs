//! Elementary functions on f64, branch-free so that loops over them vectorize: within 2 ulp, measured in the test.

use crate::kernels::machine::simd::fma64 as fma;
use std::f64::consts::{FRAC_1_SQRT_2, LN_2, LOG2_E};

/// `a` where it holds, else `b`: as one instruction, where LLVM would double the code behind a branch.
#[inline(always)]
fn select(holds: bool, a: f64, b: f64) -> f64 {
    std::hint::select_unpredictable(holds, a, b)
}

/// 1.5 * 2^52: adding it rounds to a whole number, which then stands in the lowest bits.
const ROUND: f64 = 6_755_399_441_055_744.;

/// ln 2 in two parts; the first has few enough bits that its product with an exponent is exact.
const LN_2_HIGH: f64 = 0.693_147_180_369_123_8;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// 1/2!, 1/3!, ..., 1/13!
const FACTORIALS: [f64; 12] = {
    let mut out = [0.5; 12];
    let mut i = 1;
    while i < 12 {
        out[i] = out[i - 1] / (i + 2) as f64;
        i += 1;
    }
    out
};

/// (n, e^r - 1) with x = n ln 2 + r.
#[inline(always)]
fn reduced<const FMA: bool>(x: f64) -> (f64, f64) {
    let n = fma::<FMA>(x, LOG2_E, ROUND) - ROUND;
    let r = fma::<FMA>(n, -LN_2_HIGH, x);
    let r = fma::<FMA>(n, -LN_2_LOW, r);
    let mut p = FACTORIALS[11];
    let mut i = 11;
    while i > 0 {
        i -= 1;
        p = fma::<FMA>(p, r, FACTORIALS[i]);
    }
    (n, fma::<FMA>(p, r * r, r))
}

/// 2^n for a whole number from -1022 to 1023.
#[inline(always)]
fn power_of_two(n: f64) -> f64 {
    f64::from_bits((n + ROUND).to_bits().wrapping_add(1023) << 52)
}

/// e^x. Overflows to infinity above 709.78, underflows gradually to zero; NaN stays NaN.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f64) -> f64 {
    // Clamped by comparisons that keep NaN.
    let x = select(x > 710., 710., x);
    let x = select(x < -746., -746., x);
    let (n, y) = reduced::<FMA>(x);
    // 2^n in two steps: n reaches beyond the exponent of one factor.
    let half = fma::<FMA>(n, 0.5, ROUND) - ROUND;
    (y + 1.) * power_of_two(half) * power_of_two(n - half)
}

/// e^x - 1.
#[inline(always)]
pub(crate) fn exp_m1<const FMA: bool>(x: f64) -> f64 {
    let bounded = select(x > 710., 710., x);
    let bounded = select(bounded < -60., -60., bounded);
    let (n, y) = reduced::<FMA>(bounded);
    // Halved: 2^1024 is not a number.
    let s = power_of_two(n - 1.);
    let y = fma::<FMA>(s, y, s - 0.5) * 2.;
    // Halving loses the last bit of the smallest numbers.
    select(x.abs() < 1e-280, x, y)
}

/// ln x: -inf at 0, NaN below.
#[inline(always)]
pub(crate) fn ln<const FMA: bool>(x: f64) -> f64 {
    // Subnormal numbers are scaled by 2^54 first.
    let tiny = x < f64::MIN_POSITIVE;
    let scaled = select(tiny, x * 18_014_398_509_481_984., x);
    let (_, e, m) = split(scaled);
    let y = ln_near::<FMA>(m, e + select(tiny, -54., 0.));
    edges(y, x)
}

/// [`ln`] of `x = 1 + m` that is no subnormal number, with the digits of m where x is near 1.
#[inline(always)]
pub(crate) fn ln_ratio_near<const FMA: bool>(x: f64, m: f64) -> f64 {
    let (_, e, rounded) = split(x);
    edges(ln_near::<FMA>(select(e == 0., m, rounded), e), x)
}

/// `y`, except where ln x is infinite or NaN.
#[inline(always)]
fn edges(y: f64, x: f64) -> f64 {
    let y = select(x == 0., f64::NEG_INFINITY, y);
    let y = select(x < f64::INFINITY, y, x);
    select(x < 0., f64::NAN, y)
}

/// x = 2^e (1 + m) with 1 + m in [sqrt(1/2), sqrt(2)), for positive normal x: 2^-e, e and m.
#[inline(always)]
fn split(x: f64) -> (f64, f64, f64) {
    let low = FRAC_1_SQRT_2.to_bits();
    let bits = x.to_bits().wrapping_sub(low);
    // Whole numbers below 2^51 without a conversion instruction, which few machines have for 64 bits.
    let shifted = (bits >> 52) ^ 0x800;
    let e = f64::from_bits(0x4330_0000_0000_0000 | (shifted & 0xFFF))
        - (4_503_599_627_370_496. + 2048.);
    let m = f64::from_bits((bits & 0x000F_FFFF_FFFF_FFFF).wrapping_add(low)) - 1.;
    let inverse = 1f64.to_bits().wrapping_sub(bits & 0xFFF0_0000_0000_0000);
    (f64::from_bits(inverse), e, m)
}

/// ln(1 + m) + e ln 2 for 1 + m in [sqrt(1/2), sqrt(2)], by ln(1 + m) = 2 artanh(s).
#[inline(always)]
fn ln_near<const FMA: bool>(m: f64, e: f64) -> f64 {
    let s = m / (2. + m);
    let z = s * s;
    let mut p = 2. / 21.;
    for k in [19, 17, 15, 13, 11, 9, 7, 5, 3] {
        p = fma::<FMA>(p, z, 2. / k as f64);
    }
    // m - s m + s z p: the first term is exact, so that no digit is lost near 1.
    let y = fma::<FMA>(s, z * p - m, m);
    fma::<FMA>(e, LN_2, y)
}

/// ln(1 + x): -inf at -1, NaN below.
#[inline(always)]
pub(crate) fn ln_1p<const FMA: bool>(x: f64) -> f64 {
    let u = 1. + x;
    // What rounding 1 + x lost; from 2^54 on it is less than half a unit.
    let lost = select(x > 1., 1. - (u - x), x - (u - 1.));
    let lost = select(x > 1.8e16, 0., lost);
    let (inverse, e, m) = split(u);
    edges(ln_near::<FMA>(fma::<FMA>(lost, inverse, m), e), u)
}

/// ln(1 + e^x).
#[inline(always)]
pub(crate) fn softplus<const FMA: bool>(x: f64) -> f64 {
    let tail = ln_1p::<FMA>(exp::<FMA>(-x.abs()));
    tail + if x > 0. { x } else { 0. }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::machine::simd::{Loop, dispatch};

    struct Errors<'a>(&'a [f64], [f64; 4]);

    /// The largest errors in ulp against the standard library's functions, which are within 1 ulp themselves.
    impl Loop for &mut Errors<'_> {
        type Output = ();
        #[inline(always)]
        fn run<const FMA: bool>(self) {
            for x in self.0 {
                let pairs = [
                    (exp::<FMA>(*x), x.exp()),
                    (exp_m1::<FMA>(*x), x.exp_m1()),
                    (ln::<FMA>(*x), x.ln()),
                    (ln_1p::<FMA>(*x), x.ln_1p()),
                ];
                for (error, (got, want)) in self.1.iter_mut().zip(pairs) {
                    if want.is_nan() || want.is_infinite() || want == 0. {
                        assert_eq!(got.to_bits() << 1, want.to_bits() << 1, "at {x}");
                    } else {
                        let ulp = f64::from_bits(want.abs().to_bits() + 1) - want.abs();
                        *error = error.max((got - want).abs() / ulp);
                    }
                }
            }
        }
    }

    #[test]
    fn errors_keep_their_bounds_over_all_numbers() {
        let mut x = vec![
            0.,
            -0.,
            1.,
            -1.,
            2.,
            0.5,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
        ];
        x.extend([
            709.7, 709.8, -745., -746., -708.5, 1e308, -1e308, 1e-320, 5e-324, 1e16, 3e16,
        ]);
        for i in 0..200_000 {
            // Every exponent; then numbers around 0, 1 and -1.
            let t = i as f64 / 1e5 - 1.;
            let sign = if i % 2 == 0 { 1. } else { -1. };
            x.push(sign * 10f64.powf(308. * t));
            x.push(sign * 10f64.powf(8. * t));
            x.extend([t, 1. + 1e-3 * t, 700. * t, -1. + 1e-3 * t.abs()]);
        }
        let mut errors = Errors(&x, [0.; 4]);
        dispatch(&mut errors);
        let worst = errors.1;
        assert!(worst.iter().all(|e| *e <= 2.), "{worst:?} ulp");
    }
}

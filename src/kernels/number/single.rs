//! Elementary functions on f32, branch-free so that loops over them vectorize.
//!
//! Each states its largest error in units in the last place (ulp) of the result.

use crate::kernels::machine::simd::fma;

/// e^x, within 1 ulp. Overflows to infinity above 88.73, underflows gradually to zero; NaN stays NaN.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    // Clamped by comparisons that keep NaN.
    let x = if x > 89. { 89. } else { x };
    let x = if x < -104. { -104. } else { x };
    // x = n ln 2 + r with |r| <= ln 2 / 2; adding 1.5 * 2^23 rounds to an integer.
    let t = fma::<FMA>(x, std::f32::consts::LOG2_E, 12_582_912.);
    let n = t - 12_582_912.;
    let r = fma::<FMA>(n, -0.693_359_4, x);
    let r = fma::<FMA>(n, 2.121_944_4e-4, r);
    let mut p = 1.987_569_1e-4;
    p = fma::<FMA>(p, r, 1.398_199_9e-3);
    p = fma::<FMA>(p, r, 8.333_452e-3);
    p = fma::<FMA>(p, r, 4.166_579_6e-2);
    p = fma::<FMA>(p, r, 1.666_666_5e-1);
    p = fma::<FMA>(p, r, 0.5);
    let y = fma::<FMA>(p, r * r, r) + 1.;
    // 2^n in two steps: n reaches from -150 to 128, beyond the exponent of one factor.
    let i = (t.to_bits() as i32).wrapping_sub(0x4B40_0000);
    let half = i >> 1;
    let a = f32::from_bits(((half.wrapping_add(127)) << 23) as u32);
    let b = f32::from_bits(((i.wrapping_sub(half).wrapping_add(127)) << 23) as u32);
    y * a * b
}

/// ln x for positive normal x, within 1 ulp.
#[inline(always)]
pub(crate) fn ln_positive<const FMA: bool>(x: f32) -> f32 {
    // x = 2^e (1 + m) with 1 + m in [sqrt(1/2), sqrt(2)).
    let u = x.to_bits().wrapping_sub(0x3F35_04F3);
    let e = ((u as i32) >> 23) as f32;
    let m = f32::from_bits((u & 0x007F_FFFF).wrapping_add(0x3F35_04F3)) - 1.;
    ln_core::<FMA>(e, m, 0.)
}

/// e ln 2 + ln(1 + m) + low for m in [sqrt(1/2) - 1, sqrt(2) - 1) and small low.
#[inline(always)]
fn ln_core<const FMA: bool>(e: f32, m: f32, low: f32) -> f32 {
    let z = m * m;
    let mut p = 7.037_683_6e-2;
    p = fma::<FMA>(p, m, -1.151_461e-1);
    p = fma::<FMA>(p, m, 1.167_699_9e-1);
    p = fma::<FMA>(p, m, -1.242_014_1e-1);
    p = fma::<FMA>(p, m, 1.424_932_3e-1);
    p = fma::<FMA>(p, m, -1.666_805_8e-1);
    p = fma::<FMA>(p, m, 2.000_071_5e-1);
    p = fma::<FMA>(p, m, -2.499_999_4e-1);
    p = fma::<FMA>(p, m, 3.333_333e-1);
    let y = fma::<FMA>(e, -2.121_944_4e-4, fma::<FMA>(m * z, p, low));
    let y = fma::<FMA>(z, -0.5, y);
    fma::<FMA>(e, 0.693_359_4, m + y)
}

/// e^x - 1, within 2 ulp. Infinity above 88.73.
#[inline(always)]
pub(crate) fn expm1<const FMA: bool>(x: f32) -> f32 {
    let x = if x > 89. { 89. } else { x };
    let x = if x < -30. { -30. } else { x };
    let t = fma::<FMA>(x, std::f32::consts::LOG2_E, 12_582_912.);
    let n = t - 12_582_912.;
    let r = fma::<FMA>(n, -0.693_359_4, x);
    let r = fma::<FMA>(n, 2.121_944_4e-4, r);
    let mut p = 1.987_569_1e-4;
    p = fma::<FMA>(p, r, 1.398_199_9e-3);
    p = fma::<FMA>(p, r, 8.333_452e-3);
    p = fma::<FMA>(p, r, 4.166_579_6e-2);
    p = fma::<FMA>(p, r, 1.666_666_5e-1);
    p = fma::<FMA>(p, r, 0.5);
    let p = fma::<FMA>(p, r * r, r);
    // 2^n (1 + p) - 1, halved: 2^128 is not a number.
    let s = f32::from_bits(t.to_bits().wrapping_add(126) << 23);
    let y = fma::<FMA>(s, p, s - 0.5) * 2.;
    // Halving loses the last bit of the smallest numbers.
    if x.abs() < 1e-30 { x } else { y }
}

/// ln(1 + x) for x in [0, 1].
#[inline(always)]
fn log1p_unit<const FMA: bool>(x: f32) -> f32 {
    let u = 1. + x;
    let bits = u.to_bits().wrapping_sub(0x3F35_04F3);
    let e = ((bits as i32) >> 23) as f32;
    let near = bits < 0x0080_0000;
    let m = f32::from_bits((bits & 0x007F_FFFF).wrapping_add(0x3F35_04F3)) - 1.;
    // What rounding 1 + x lost; NaN comes through here.
    let lost = x - (u - 1.);
    let low = if near { lost * 0. } else { 0.5 * lost };
    let m = if near { x } else { m };
    ln_core::<FMA>(e, m, fma::<FMA>(-low, m, low))
}

/// ln x, within 1 ulp: -inf at 0, NaN below.
#[inline(always)]
pub(crate) fn ln<const FMA: bool>(x: f32) -> f32 {
    // Subnormal numbers are scaled by 2^23 first.
    let tiny = x < f32::MIN_POSITIVE;
    let scaled = if tiny { x * 8_388_608. } else { x };
    let bits = scaled.to_bits().wrapping_sub(0x3F35_04F3);
    let e = ((bits as i32) >> 23) as f32 - if tiny { 23. } else { 0. };
    let m = f32::from_bits((bits & 0x007F_FFFF).wrapping_add(0x3F35_04F3)) - 1.;
    edges(ln_core::<FMA>(e, m, 0.), x)
}

/// `y`, except where ln x is infinite or NaN.
#[inline(always)]
fn edges(y: f32, x: f32) -> f32 {
    let y = if x == 0. { f32::NEG_INFINITY } else { y };
    let y = if x < f32::INFINITY { y } else { x };
    if x < 0. { f32::NAN } else { y }
}

/// ln(1 + x), within 2 ulp: -inf at -1, NaN below.
#[inline(always)]
pub(crate) fn log1p<const FMA: bool>(x: f32) -> f32 {
    let u = 1. + x;
    let bits = u.to_bits().wrapping_sub(0x3F35_04F3);
    let e = (bits as i32) >> 23;
    let near = bits < 0x0080_0000;
    let m = f32::from_bits((bits & 0x007F_FFFF).wrapping_add(0x3F35_04F3)) - 1.;
    let m = if near { x } else { m };
    // What rounding 1 + x lost; from 2^25 on it is less than half a unit.
    let lost = if x > 1. { 1. - (u - x) } else { x - (u - 1.) };
    let lost = if near || x > 33_554_432. { 0. } else { lost };
    // The largest numbers have e = 128, whose reciprocal has no such bits.
    let low = lost * f32::from_bits(((127 - e.min(126)) as u32) << 23);
    edges(ln_core::<FMA>(e as f32, m, fma::<FMA>(-low, m, low)), u)
}

/// ln(1 - e^-x) for positive x (Maechler 2012), within 2.5 ulp.
#[inline(always)]
pub(crate) fn log1mexp<const FMA: bool>(x: f32) -> f32 {
    let near = ln::<FMA>(-expm1::<FMA>(-x));
    let far = log1p::<FMA>(-exp::<FMA>(-x));
    if x < std::f32::consts::LN_2 {
        near
    } else {
        far
    }
}

/// The hyperbolic tangent, within 2 ulp.
#[inline(always)]
pub(crate) fn tanh<const FMA: bool>(x: f32) -> f32 {
    let a = x.abs();
    // Near zero the quotient below rounds too often: x + x^3 p(x^2) instead, p fitted on [0, 0.625^2].
    let z = a * a;
    let mut p = -6.096_714e-3;
    p = fma::<FMA>(p, z, 2.099_718e-2);
    p = fma::<FMA>(p, z, -5.385_090_8e-2);
    p = fma::<FMA>(p, z, 1.333_277e-1);
    p = fma::<FMA>(p, z, -3.333_333e-1);
    let near = fma::<FMA>(a * z, p, a);
    // With a positive exponent the error of t shrinks in the quotient; from 10 on it is 1.
    let t = expm1::<FMA>(2. * if a > 10. { 10. } else { a });
    (if a < 0.625 { near } else { t / (t + 2.) }).copysign(x)
}

/// 1 / (1 + e^-x), within 2 ulp.
#[inline(always)]
pub(crate) fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    let e = exp::<FMA>(-x.abs());
    let s = 1. + e;
    let y = (if x < 0. { e } else { 1. }) / s;
    // What rounding 1 + e lost, over s; 1.457 - s / 2 is 1 / s to one part in ten.
    let lost = (e - (s - 1.)) * fma::<FMA>(-0.5, s, 1.457);
    fma::<FMA>(-y, lost, y)
}

/// ln(1 + e^x), within 2 ulp.
#[inline(always)]
pub(crate) fn softplus<const FMA: bool>(x: f32) -> f32 {
    (if x > 0. { x } else { 0. }) + log1p_unit::<FMA>(exp::<FMA>(-x.abs()))
}

/// (sin, cos) of 2 pi u for u in [0, 1), within 1 ulp of 1.
#[inline(always)]
pub(crate) fn sin_cos_turns<const FMA: bool>(u: f32) -> (f32, f32) {
    // u = n / 4 + x / (2 pi) with |x| <= pi / 4.
    let t = fma::<FMA>(u, 4., 12_582_912.);
    let quadrant = t.to_bits() & 3;
    let x = fma::<FMA>(t - 12_582_912., -0.25, u) * std::f32::consts::TAU;
    let z = x * x;
    let mut s = fma::<FMA>(2.718_311_5e-6, z, -1.983_933_5e-4);
    s = fma::<FMA>(s, z, 8.333_329e-3);
    s = fma::<FMA>(s, z, -1.666_666_7e-1);
    let s = fma::<FMA>(s * z, x, x);
    let mut c = fma::<FMA>(2.443_315_7e-5, z, -1.388_731_6e-3);
    c = fma::<FMA>(c, z, 4.166_664_6e-2);
    let c = fma::<FMA>(c, z * z, -0.5 * z) + 1.;
    let (a, b) = if quadrant & 1 == 0 { (s, c) } else { (c, s) };
    let flip_sin = (quadrant & 2) << 30;
    let flip_cos = ((quadrant + 1) & 2) << 30;
    (
        f32::from_bits(a.to_bits() ^ flip_sin),
        f32::from_bits(b.to_bits() ^ flip_cos),
    )
}

/// (Phi(x), e^(-x^2 / 2)): the standard normal cdf, within 10 ulp far into its left tail, and the unnormalized density.
#[inline(always)]
pub(crate) fn normal_cdf<const FMA: bool>(x: f32) -> (f32, f32) {
    let z = x.abs();
    // Beyond 14.5 both underflow; the bound keeps the square finite, and NaN.
    let z = if z > 15. { 15. } else { z };
    let square = z * z;
    // What rounding the square lost, from two halves of z.
    let high = f32::from_bits(z.to_bits() & 0xFFFF_F000);
    let rest = z - high;
    let lost = (high * high - square) + rest * (z + high);
    let density = exp::<FMA>(-0.5 * square);
    let density = fma::<FMA>(density, -0.5 * lost, density);
    // Mills' ratio as a polynomial in t, fitted for the least relative error on [0, 14.6].
    let t = 1. / fma::<FMA>(0.3, z, 1.);
    let mut p = -2.062_507_5e-2;
    p = fma::<FMA>(p, t, 1.124_446e-1);
    p = fma::<FMA>(p, t, -2.282_354_4e-1);
    p = fma::<FMA>(p, t, 1.918_146_8e-1);
    p = fma::<FMA>(p, t, -7.944_95e-2);
    p = fma::<FMA>(p, t, 9.617_129e-2);
    p = fma::<FMA>(p, t, 7.838_442e-2);
    p = fma::<FMA>(p, t, 1.102_365_9e-1);
    p = fma::<FMA>(p, t, 1.195_716_6e-1);
    p = fma::<FMA>(p, t, 1.196_867e-1);
    let tail = density * (p * t);
    (if x < 0. { tail } else { 1. - tail }, density)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::machine::simd::{Loop, dispatch};

    /// A function to test, by name: a function pointer could not be inlined into the compiled levels.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum F {
        Exp,
        Expm1,
        Ln,
        LnPositive,
        Log1p,
        Log1mexp,
        Tanh,
        Sigmoid,
        Softplus,
        Cdf,
        SinTurns,
        CosTurns,
    }

    impl F {
        #[inline(always)]
        fn got<const FMA: bool>(self, x: f32) -> f32 {
            match self {
                F::Exp => exp::<FMA>(x),
                F::Expm1 => expm1::<FMA>(x),
                F::Ln => ln::<FMA>(x),
                F::LnPositive => ln_positive::<FMA>(x),
                F::Log1p => log1p::<FMA>(x),
                F::Log1mexp => log1mexp::<FMA>(x),
                F::Tanh => tanh::<FMA>(x),
                F::Sigmoid => sigmoid::<FMA>(x),
                F::Softplus => softplus::<FMA>(x),
                F::Cdf => normal_cdf::<FMA>(x).0,
                F::SinTurns => sin_cos_turns::<FMA>(x).0,
                F::CosTurns => sin_cos_turns::<FMA>(x).1,
            }
        }

        fn want(self, x: f64) -> f64 {
            match self {
                F::Exp => x.exp(),
                F::Expm1 => x.exp_m1(),
                F::Ln | F::LnPositive => x.ln(),
                F::Log1p => x.ln_1p(),
                F::Log1mexp if x < 0.69 => (-(-x).exp_m1()).ln(),
                F::Log1mexp => (-(-x).exp()).ln_1p(),
                F::Tanh => x.tanh(),
                F::Sigmoid if x < 0. => x.exp() / (1. + x.exp()),
                F::Sigmoid => 1. / (1. + (-x).exp()),
                // max would drop NaN
                F::Softplus if x > 0. => x + (-x).exp().ln_1p(),
                F::Softplus => x.exp().ln_1p(),
                F::Cdf => 0.5 * crate::kernels::number::erfc(-x * std::f64::consts::FRAC_1_SQRT_2),
                F::SinTurns => (std::f64::consts::TAU * x).sin(),
                F::CosTurns => (std::f64::consts::TAU * x).cos(),
            }
        }

        fn domain(self, x: f32) -> bool {
            match self {
                F::LnPositive => (f32::MIN_POSITIVE..f32::INFINITY).contains(&x),
                F::SinTurns | F::CosTurns => (0. ..1.).contains(&x),
                _ => true,
            }
        }

        /// The stated bound in units in the last place.
        fn bound(self) -> f64 {
            match self {
                F::Exp | F::Ln | F::LnPositive | F::SinTurns | F::CosTurns => 1.,
                F::Expm1 | F::Log1p | F::Softplus | F::Tanh | F::Sigmoid => 2.,
                F::Cdf => 10.,
                _ => 2.5,
            }
        }
    }

    struct Each<'a>(F, &'a [f32], &'a mut [f32]);

    impl Loop for Each<'_> {
        type Output = ();
        #[inline(always)]
        fn run<const FMA: bool>(self) {
            for (y, x) in self.2.iter_mut().zip(self.1) {
                *y = self.0.got::<FMA>(*x);
            }
        }
    }

    /// The distance in units in the last place of `want`; subnormal numbers have those of the smallest normal one.
    fn ulps(f: F, got: f32, want: f64) -> f64 {
        if want.is_nan() || got.is_nan() {
            return if want.is_nan() && got.is_nan() {
                0.
            } else {
                f64::INFINITY
            };
        }
        let nearest = want as f32;
        if nearest.is_infinite() || got.is_infinite() {
            let edge = (want.abs() / f32::MAX as f64 - 1.).abs() < 2e-7;
            return if got == nearest || edge {
                0.
            } else {
                f64::INFINITY
            };
        }
        // Zeros of sine and cosine: absolute there, in units of 1.
        let size = match f {
            F::SinTurns | F::CosTurns => 1.,
            _ => want.abs().max(f32::MIN_POSITIVE as f64),
        };
        (got as f64 - want).abs() / 2f64.powf(size.log2().floor() - 23.)
    }

    #[test]
    fn errors_keep_their_bounds_over_all_numbers() {
        let mut all: Vec<f32> = (0..=u32::MAX / 1009)
            .map(|i| f32::from_bits(i * 1009))
            .collect();
        all.extend([
            0.,
            -0.,
            1.,
            -1.,
            f32::MIN_POSITIVE,
            f32::MAX,
            f32::MIN,
            f32::NAN,
            1e-45,
            -1e-45,
        ]);
        all.extend([
            f32::INFINITY,
            f32::NEG_INFINITY,
            88.722_84,
            88.722_83,
            -87.336_55,
            -103.97,
        ]);
        // Densely where most arguments are.
        all.extend((0..400_000).map(|i| (i - 200_000) as f32 * 1.001e-4));
        let mut broken = vec![];
        for f in [
            F::Exp,
            F::Expm1,
            F::Ln,
            F::LnPositive,
            F::Log1p,
            F::Log1mexp,
            F::Tanh,
            F::Sigmoid,
            F::Softplus,
            F::Cdf,
            F::SinTurns,
            F::CosTurns,
        ] {
            let x: Vec<f32> = all.iter().copied().filter(|x| f.domain(*x)).collect();
            let want: Vec<f64> = x.iter().map(|x| f.want(*x as f64)).collect();
            for detected in [true, false] {
                let mut y = vec![0.; x.len()];
                let each = Each(f, &x, &mut y);
                if detected {
                    dispatch(each);
                } else {
                    each.run::<false>();
                }
                let (mut most, mut at) = (0., 0);
                for (i, (y, want)) in y.iter().zip(&want).enumerate() {
                    let error = ulps(f, *y, *want);
                    if error > most {
                        (most, at) = (error, i);
                    }
                }
                let line = format!(
                    "{f:?} {detected}: {most:.2} ulp at {:e}: {:e}, want {:e}",
                    x[at], y[at], want[at]
                );
                println!("{line}");
                if most > f.bound() {
                    broken.push(line);
                }
            }
        }
        assert!(broken.is_empty(), "{}", broken.join("\n"));
    }
}

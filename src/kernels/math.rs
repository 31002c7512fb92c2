//! Elementary functions on f32, branch-free so that loops over them vectorize.
//!
//! Each states its largest error in units in the last place (ulp) of the result.

use super::simd::fma;

/// e^x. Overflows to infinity above 88.73, underflows gradually to zero; NaN stays NaN.
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

/// ln x for positive normal x.
#[inline(always)]
pub(crate) fn ln_positive<const FMA: bool>(x: f32) -> f32 {
    // x = 2^e (1 + m) with 1 + m in [sqrt(1/2), sqrt(2)).
    let u = x.to_bits().wrapping_sub(0x3F35_04F3);
    let e = ((u as i32) >> 23) as f32;
    let m = f32::from_bits((u & 0x007F_FFFF).wrapping_add(0x3F35_04F3)) - 1.;
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
    let y = fma::<FMA>(e, -2.121_944_4e-4, m * z * p);
    let y = fma::<FMA>(z, -0.5, y);
    fma::<FMA>(e, 0.693_359_4, m + y)
}

/// (sin, cos) of 2 pi u for u in [0, 1).
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

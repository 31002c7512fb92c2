//! Elementary functions of the Gaussian kernels, branch-free.

use crate::kernels::machine::simd::fma;
use crate::kernels::number::single;

/// `d - ln r` for r = 1 + d, without cancellation near zero; of r the square root, which neither overflows nor underflows where
/// r is a quotient.
#[inline(always)]
pub(super) fn line_minus_log<const FMA: bool>(d: f32, root: f32) -> f32 {
    let small = d.abs() < 0.35;
    let near = if small { d } else { 0. };
    // ln(1 + d) = 2 artanh(s) = 2 s + 2 s^3 / 3 + ... with s = d / (2 + d), and d - 2 s = d s.
    let s = near / (2. + near);
    let z = s * s;
    let mut p = 2. / 13.;
    p = fma::<FMA>(p, z, 2. / 11.);
    p = fma::<FMA>(p, z, 2. / 9.);
    p = fma::<FMA>(p, z, 2. / 7.);
    p = fma::<FMA>(p, z, 2. / 5.);
    p = fma::<FMA>(p, z, 2. / 3.);
    let near = s * fma::<FMA>(-z, p, near);
    let far = fma::<FMA>(-2., single::ln::<FMA>(root), d);
    if small { near } else { far }
}

/// (e^h, e^h - 1, e^h - 1 - h), the differences without cancellation near zero.
#[inline(always)]
pub(super) fn exp_parts<const FMA: bool>(h: f32) -> (f32, f32, f32) {
    let x = if h > 89. { 89. } else { h };
    let x = if x < -104. { -104. } else { x };
    let y = single::exp::<FMA>(x);
    // Within ln 2 / 2 the series of (e^x - 1 - x) / x^2, whose next term is below 2^-25 of the first.
    let r = if x.abs() < 0.35 { x } else { 0. };
    let mut p = 2.480_158_7e-5;
    p = fma::<FMA>(p, r, 1.984_127e-4);
    p = fma::<FMA>(p, r, 1.388_888_9e-3);
    p = fma::<FMA>(p, r, 8.333_333e-3);
    p = fma::<FMA>(p, r, 4.166_666_8e-2);
    p = fma::<FMA>(p, r, 1.666_666_7e-1);
    p = fma::<FMA>(p, r, 0.5);
    let near = p * r * r;
    // -inf must stay: the divergence of a vanishing scale is infinite.
    let low = if h < -104. { h } else { x };
    let small = x.abs() < 0.35;
    let minus_one = if small { x + near } else { y - 1. };
    let gap = if small { near } else { (y - 1.) - low };
    (y, minus_one, gap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_of_a_logarithm() {
        for i in -950..=4000 {
            let d = i as f32 * 1e-3 + 1e-6;
            for d in [d, d * 1e-3, d * 1e-6] {
                let x = f64::from(d);
                let series = x * x * (0.5 - x * (1. / 3. - x * (0.25 - x / 5.)));
                let want = if d.abs() < 1e-3 {
                    series
                } else {
                    x - x.ln_1p()
                };
                let got = f64::from(line_minus_log::<false>(d, (1. + d).sqrt()));
                // Far out the argument itself is rounded.
                let rounded = if d.abs() < 0.35 { 0. } else { 2e-7 / (1. + x) };
                let error = (got - want).abs();
                assert!(error <= 1e-6 * want + rounded, "{d} {got} {want}");
            }
        }
        assert_eq!(line_minus_log::<false>(-1., 0.), f32::INFINITY);
        assert!(line_minus_log::<false>(f32::NAN, f32::NAN).is_nan());
    }

    #[test]
    fn exponential_and_its_differences() {
        for i in -4000..=4000 {
            let h = i as f32 * 1e-3 + 1e-6;
            let x = f64::from(h);
            let (y, minus_one, gap) = exp_parts::<false>(h);
            let series = x * x * (0.5 + x * (1. / 6. + x * (1. / 24. + x / 120.)));
            let want = if h.abs() < 0.02 {
                series
            } else {
                x.exp_m1() - x
            };
            assert!((f64::from(y) / x.exp() - 1.).abs() < 2e-7);
            assert!((f64::from(minus_one) / x.exp_m1() - 1.).abs() < 5e-7, "{h}");
            assert!(
                (f64::from(gap) / want - 1.).abs() < 2e-6,
                "{h} {gap} {want}"
            );
        }
        for (h, gap) in [
            (f32::NEG_INFINITY, f32::INFINITY),
            (100., f32::INFINITY),
            (-200., 199.),
        ] {
            assert_eq!(exp_parts::<false>(h).2, gap);
        }
        assert!(exp_parts::<false>(f32::NAN).2.is_nan());
    }
}

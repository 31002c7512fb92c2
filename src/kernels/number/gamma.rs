//! The logarithm of the gamma function and its derivatives.
//!
//! Two forms of each: a scalar one in f64, good to about 1e-14, for any argument, and one for positive f32 arguments
//! that works in f64 without branches, so that loops over it vectorize. Both move the argument to 8 or beyond by the
//! recurrence and use Stirling's series there (Abramowitz and Stegun 1964, 6.1.40, 6.3.18, 6.4.12), whose terms used
//! here leave out less than 1e-16.

use super::double::{ln, ln_1p};
use std::f64::consts::PI;

/// ln(2 pi) / 2
pub(crate) const HALF_LN_TAU: f64 = 0.918_938_533_204_672_7;

/// Bernoulli numbers B_2, B_4, ..., B_20.
const BERNOULLI: [f64; 10] = [
    1. / 6.,
    -1. / 30.,
    1. / 42.,
    -1. / 30.,
    5. / 66.,
    -691. / 2730.,
    7. / 6.,
    -3617. / 510.,
    43867. / 798.,
    -174_611. / 330.,
];

/// zeta(k) - 1 for k = 2, 3, ...
const ZETA: [f64; 30] = [
    0.644_934_066_848_226_4,
    0.202_056_903_159_594_3,
    0.082_323_233_711_138_19,
    0.036_927_755_143_369_93,
    0.01734306198444914,
    0.008_349_277_381_922_827,
    0.004_077_356_197_944_34,
    0.0020083928260822144,
    0.000_994_575_127_818_085_3,
    0.000_494_188_604_119_464_5,
    0.0002460865533080483,
    0.00012271334757848915,
    6.124_813_505_870_483e-5,
    3.058_823_630_702_049e-5,
    1.528_225_940_865_187e-5,
    7.637_197_637_899_763e-6,
    3.817_293_264_999_84e-6,
    1.908_212_716_553_939e-6,
    9.539_620_338_727_962e-7,
    4.769_329_867_878_064e-7,
    2.384_505_027_277_33e-7,
    1.1921992596531107e-7,
    5.960818905125948e-8,
    2.980350351465228e-8,
    1.490_155_482_836_504e-8,
    7.450_711_789_835_43e-9,
    3.725_334_024_788_457e-9,
    1.862659723513049e-9,
    9.313_274_324_196_682e-10,
    4.656_629_065_033_784e-10,
];

/// Euler's constant.
pub(crate) const EULER: f64 = 0.577_215_664_901_532_9;

/// ln |Gamma(x)|; infinite at 0, at negative whole numbers and at both infinities.
pub(crate) fn lgamma(x: f64) -> f64 {
    if x <= 0. {
        if x == f64::NEG_INFINITY {
            return f64::INFINITY;
        }
        // Reflection; sin from the distance to the nearest whole number, which is exact.
        let sine = (PI * (x - x.round())).sin().abs();
        return (PI / sine).ln() - lgamma(1. - x);
    }
    if x == f64::INFINITY {
        return x;
    }
    if x >= 8. {
        return (x - 0.5) * (x.ln() - 1.) - 0.5 + HALF_LN_TAU + stirling::<0>(1. / x);
    }
    if x < 1.5 {
        // Gamma(x) = Gamma(x + 1) / x. Near 1 the terms are small, so the zero there keeps its digits.
        if x < 0.5 {
            return near_two(x) - x.ln_1p() - x.ln();
        }
        return near_two(x - 1.) - x.ln();
    }
    let (mut e, mut product) = (x - 2., 1.);
    while e > 0.5 {
        product *= e + 1.;
        e -= 1.;
    }
    near_two(e) + product.ln()
}

/// ln Gamma(2 + e) for |e| <= 1/2, by its Taylor series.
fn near_two(e: f64) -> f64 {
    let mut sum = 0.;
    for (i, z) in ZETA.iter().enumerate().rev() {
        let k = (i + 2) as f64;
        let sign = if i % 2 == 0 { 1. } else { -1. };
        sum = sum * e + sign * z / k;
    }
    e * (1. - EULER + e * sum)
}

/// ln Gamma(1 + a) for a from 0 to 1, with all digits as a goes to 0.
pub(super) fn lgamma_1p(a: f64) -> f64 {
    if a <= 0.5 {
        near_two(a) - a.ln_1p()
    } else {
        lgamma(1. + a)
    }
}

/// `ln Gamma(x + step) - ln Gamma(x)` for positive arguments: with all digits, however small the step.
pub(crate) fn lgamma_gap(x: f64, step: f64) -> f64 {
    let (mut y, mut sum) = (x, 0.);
    while y < 8. {
        sum += (step / y).ln_1p();
        y += 1.;
    }
    let (r, s) = (1. / (y + step), 1. / y);
    let line = (y + step - 0.5) * (step / y).ln_1p() - step + step * y.ln();
    line + stirling_gap::<0>(r, s, -step * r * s) - sum
}

/// `digamma(x + step) - digamma(x)` for positive arguments, with all digits.
pub(crate) fn digamma_gap(x: f64, step: f64) -> f64 {
    let (mut y, mut sum) = (x, 0.);
    while y < 8. {
        sum += step / (y * (y + step));
        y += 1.;
    }
    let (r, s) = (1. / (y + step), 1. / y);
    let less = -step * r * s;
    (step / y).ln_1p() - 0.5 * less + stirling_gap::<1>(r, s, less) + sum
}

/// `ln B(a, b) = ln Gamma(a) + ln Gamma(b) - ln Gamma(a + b)` for positive arguments.
pub(crate) fn lbeta(a: f64, b: f64) -> f64 {
    let (a, b) = if a < b { (a, b) } else { (b, a) };
    if !(a > 0. && b < f64::INFINITY) {
        let limit = a > 0. && b == f64::INFINITY;
        return if limit { f64::NEG_INFINITY } else { f64::NAN };
    }
    if a < 8. {
        return lgamma(a) - lgamma_gap(b, a);
    }
    let n = a + b;
    let logs = 0.5 * (n / (a * b)).ln() + HALF_LN_TAU - a * (b / a).ln_1p() - b * (a / b).ln_1p();
    logs + stirling::<0>(1. / a) + stirling::<0>(1. / b) - stirling::<0>(1. / n)
}

/// Coefficients of the part of Stirling's series with Bernoulli numbers: of lgamma (order 0) or of its derivatives.
#[inline(always)]
pub(crate) const fn series(order: usize) -> [f64; 10] {
    let mut c = BERNOULLI;
    let mut i = 0;
    while i < c.len() {
        let k = 2. * (i + 1) as f64;
        c[i] *= match order {
            0 => 1. / (k * (k - 1.)),
            1 => -1. / k,
            2 => 1.,
            _ => -(k + 1.),
        };
        i += 1;
    }
    c
}

/// The sum of that series at 1 / r.
#[inline(always)]
pub(super) fn stirling<const ORDER: usize>(r: f64) -> f64 {
    let z = r * r;
    let mut sum = 0.;
    let mut i = BERNOULLI.len();
    while i > 0 {
        i -= 1;
        sum = sum * z + const { series(ORDER) }[i];
    }
    sum * match ORDER {
        0 => r,
        1 => z,
        2 => z * r,
        _ => z * z,
    }
}

/// The difference of that sum at 1 / r and at 1 / s, for orders 0 and 1, given `r - s`: the Horner scheme of the
/// quotient, so that nothing cancels.
fn stirling_gap<const ORDER: usize>(r: f64, s: f64, gap: f64) -> f64 {
    let (z, w) = (r * r, s * s);
    let (mut sum, mut quotient) = (0., 0.);
    for c in const { series(ORDER) }.iter().rev() {
        quotient = quotient * z + sum;
        sum = sum * w + c;
    }
    // f(z) - f(w) = quotient (z - w), with f times r or times z.
    let change = quotient * gap * (r + s);
    match ORDER {
        0 => change * r + sum * gap,
        _ => change * z + sum * gap * (r + s),
    }
}

/// The derivative of [`lgamma`]; NaN at negative whole numbers.
pub(crate) fn digamma(x: f64) -> f64 {
    if x <= 0. {
        if x == 0. {
            return if x.is_sign_negative() {
                f64::INFINITY
            } else {
                f64::NEG_INFINITY
            };
        }
        let near = x - x.round();
        if near == 0. {
            return f64::NAN;
        }
        return digamma(1. - x) - PI / (PI * near).tan();
    }
    let (mut y, mut sum) = (x, 0.);
    while y < 8. {
        sum += 1. / y;
        y += 1.;
    }
    let r = 1. / y;
    y.ln() - 0.5 * r + stirling::<1>(r) - sum
}

/// The derivative of [`digamma`]; infinite at 0 and negative whole numbers.
pub(crate) fn trigamma(x: f64) -> f64 {
    if x <= 0. {
        let ratio = PI / (PI * (x - x.round())).sin();
        return ratio * ratio - trigamma(1. - x);
    }
    let (mut y, mut sum) = (x, 0.);
    while y < 8. {
        sum += 1. / (y * y);
        y += 1.;
    }
    let r = 1. / y;
    r + 0.5 * r * r + stirling::<2>(r) + sum
}

/// The derivative of [`trigamma`].
pub(crate) fn tetragamma(x: f64) -> f64 {
    if x <= 0. {
        let (sin, cos) = (PI * (x - x.round())).sin_cos();
        let ratio = PI / sin;
        return tetragamma(1. - x) - 2. * ratio * ratio * ratio * cos;
    }
    let (mut y, mut sum) = (x, 0.);
    while y < 8. {
        sum += 2. / (y * y * y);
        y += 1.;
    }
    let r = 1. / y;
    -r * r - r * r * r + stirling::<3>(r) - sum
}

/// 1 / (u + c) for the four pairs of factors of x (x + 1) ... (x + 7), u = x (x + 7); zero from x = 8 on.
pub(super) struct Shift {
    /// x, or x + 8 below 8.
    pub(super) y: f64,
    pub(super) small: bool,
    pub(super) u: f64,
}

const PAIRS: [f64; 4] = [0., 6., 10., 12.];

impl Shift {
    #[inline(always)]
    pub(super) fn new(x: f64) -> Self {
        let small = x < 8.;
        Shift {
            y: if small { x + 8. } else { x },
            small,
            u: x * (x + 7.),
        }
    }

    #[inline(always)]
    pub(super) fn sum(&self, pair: impl Fn(f64, f64) -> f64) -> f64 {
        let mut sum = 0.;
        for c in PAIRS {
            sum += pair(1. / (self.u + c), c);
        }
        if self.small { sum } else { 0. }
    }
}

/// ln Gamma(x) for positive x, without branches; the error is relative to the largest term, also near 1 and 2.
#[inline(always)]
pub(crate) fn lgamma_positive<const FMA: bool>(x: f64) -> f64 {
    let s = Shift::new(x);
    let product = s.u * (s.u + 6.) * ((s.u + 10.) * (s.u + 12.));
    let shift = ln::<FMA>(if s.small { product } else { 1. });
    let main = (s.y - 0.5) * (ln::<FMA>(s.y) - 1.) + (HALF_LN_TAU - 0.5);
    let value = main + stirling::<0>(1. / s.y) - shift;
    if x < f64::INFINITY { value } else { x }
}

/// The derivative of [`lgamma_positive`].
#[inline(always)]
pub(crate) fn digamma_positive<const FMA: bool>(x: f64) -> f64 {
    let s = Shift::new(x);
    let ends = 2. * x + 7.;
    let shift = s.sum(|r, _| ends * r);
    let r = 1. / s.y;
    let value = ln::<FMA>(s.y) - 0.5 * r + stirling::<1>(r) - shift;
    if x < f64::INFINITY { value } else { x }
}

/// [`lgamma_gap`] without branches, by the recurrence for both ends at once.
#[inline(always)]
pub(crate) fn lgamma_gap_positive<const FMA: bool>(x: f64, step: f64) -> f64 {
    let small = x < 8.;
    let y = if small { x + 8. } else { x };
    // Two products of four: eight could overflow.
    let ratio = |from: f64| {
        (0..4).fold(1., |product, k| {
            let at = x + (from + k as f64);
            product * ((at + step) / at)
        })
    };
    let shift = ln::<FMA>(if small { ratio(0.) } else { 1. })
        + ln::<FMA>(if small { ratio(4.) } else { 1. });
    let far = y + step;
    let line = (far - 0.5) * ln_1p::<FMA>(step / y) - step + step * ln::<FMA>(y);
    line + (stirling::<0>(1. / far) - stirling::<0>(1. / y)) - shift
}

/// [`digamma_gap`] without branches.
#[inline(always)]
pub(crate) fn digamma_gap_positive<const FMA: bool>(x: f64, step: f64) -> f64 {
    let small = x < 8.;
    let y = if small { x + 8. } else { x };
    let shift = (0..8).fold(0., |sum, k| {
        let at = x + k as f64;
        sum + step / (at * (at + step))
    });
    let (r, s) = (1. / (y + step), 1. / y);
    let line = ln_1p::<FMA>(step / y) + 0.5 * step * r * s;
    line + (stirling::<1>(r) - stirling::<1>(s)) + if small { shift } else { 0. }
}

#[inline(always)]
pub(crate) fn trigamma_positive(x: f32) -> f32 {
    let s = Shift::new(x as f64);
    let shift = s.sum(|r, c| (2. * s.u + (49. - 2. * c)) * r * r);
    let r = 1. / s.y;
    (r + 0.5 * r * r + stirling::<2>(r) + shift) as f32
}

#[inline(always)]
pub(crate) fn tetragamma_positive(x: f32) -> f32 {
    let s = Shift::new(x as f64);
    let ends = 2. * (2. * x as f64 + 7.);
    let shift = s.sum(|r, c| ends * (s.u + (49. - 3. * c)) * r * r * r);
    let r = 1. / s.y;
    (stirling::<3>(r) - r * r - r * r * r - shift) as f32
}

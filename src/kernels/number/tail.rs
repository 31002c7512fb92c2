//! Integrals of `w(t) e^{-E(t)}` over t > 0 for a convex exponent E with E(0) = 0: the tails of gamma and beta.
//!
//! Measured from the end of a tail, in the logarithm (or log-odds) of the variable, the densities have this form, and so
//! has the derivative of a tail to a parameter. Nothing is subtracted, so the digits hold however far out the tail is.

/// Nodes and weights of the Gauss-Legendre rule with 24 points, the positive half.
const RULE: [(f64, f64); 12] = [
    (0.064_056_892_862_605_63, 0.127_938_195_346_752_02),
    (0.191_118_867_473_616_3, 0.125_837_456_346_828_25),
    (0.315_042_679_696_163_4, 0.121_670_472_927_803_3),
    (0.433_793_507_626_045_1, 0.115_505_668_053_725_52),
    (0.545_421_471_388_839_6, 0.107_444_270_115_965_56),
    (0.648_093_651_936_975_5, 0.097_618_652_104_113_93),
    (0.740_124_191_578_554_4, 0.086_190_161_531_953_2),
    (0.820_001_985_973_903, 0.073_346_481_411_080_16),
    (0.886_415_527_004_401_1, 0.059_298_584_915_436_36),
    (0.938_274_552_002_732_8, 0.044_277_438_817_419_41),
    (0.974_728_555_971_309_5, 0.028_531_388_628_933_56),
    (0.995_187_219_997_021_3, 0.012_341_229_799_988_69),
];

/// How much an integral costs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Digits {
    /// 24 points, about 1e-7 relative: for gradients of draws.
    Seven,
    /// Up to 120 points, about 1e-14.
    All,
}

/// Ends of the panels, as shares of the range. E has scales of 1 besides its own where the range is longer.
const LONG: [f64; 6] = [0., 0.06, 0.15, 0.3, 0.55, 1.];
const SHORT: [f64; 2] = [0., 1.];

/// `exponent` gives E and its slope, `curvature` is its second derivative at 0.
pub(super) fn integral(
    digits: Digits,
    curvature: f64,
    exponent: impl Fn(f64) -> (f64, f64),
    weight: impl Fn(f64) -> f64,
) -> f64 {
    let level = match digits {
        Digits::Seven => 32.,
        Digits::All => 38.,
    };
    // Where a parabola of this slope and curvature reaches the level; then beyond the level, and by Newton's steps, which
    // stay beyond for a convex function, back to near it.
    let (_, slope) = exponent(0.);
    // A square of the slope would overflow.
    let mut end = 2. * level / (slope + slope.hypot((2. * level * curvature).sqrt()));
    for _ in 0..60 {
        if !(exponent(end).0 < level) {
            break;
        }
        end *= 2.;
    }
    for _ in 0..60 {
        let (height, slope) = exponent(end);
        if !(height - level > 4.) {
            break;
        }
        end -= (height - level) / slope;
    }
    let panels: &[f64] = match digits {
        Digits::All if end > 1. => &LONG,
        _ => &SHORT,
    };
    let term = |t: f64| weight(t) * (-exponent(t).0).exp();
    panels
        .windows(2)
        .map(|panel| legendre(panel[0] * end, panel[1] * end, term))
        .sum()
}

/// The integral of `f` by the rule with 24 points.
pub(super) fn legendre(from: f64, to: f64, f: impl Fn(f64) -> f64) -> f64 {
    let (middle, half) = (0.5 * (from + to), 0.5 * (to - from));
    let mut sum = 0.;
    for (node, share) in RULE {
        sum += half * share * (f(middle - half * node) + f(middle + half * node));
    }
    sum
}

/// The integral of `f` from 0 to `end` by five panels, shorter ones near 0.
pub(super) fn panels(end: f64, f: impl Fn(f64) -> f64) -> f64 {
    LONG.windows(2)
        .map(|panel| legendre(panel[0] * end, panel[1] * end, &f))
        .sum()
}

/// Nodes and weights on the range from 0 to `end`: 24, or where it is `long` those of five panels.
pub(super) fn nodes(end: f64, long: bool) -> impl Iterator<Item = (f64, f64)> {
    let panels: &[f64] = if long { &LONG } else { &SHORT };
    panels.windows(2).flat_map(move |panel| {
        let (from, to) = (panel[0] * end, panel[1] * end);
        let (middle, half) = (0.5 * (from + to), 0.5 * (to - from));
        RULE.into_iter().flat_map(move |(node, share)| {
            [-node, node].map(|node| (middle + half * node, half * share))
        })
    })
}

/// How far a convex function lies above its tangent, `A(a + d) - A(a) - d A'(a)`, and by how much its slope grows,
/// `A'(a + d) - A'(a)`: integrals of its curvature A'', so that nothing cancels however small d is.
pub(crate) fn above_tangent(a: f64, d: f64, curvature: impl Fn(f64) -> f64) -> (f64, f64) {
    let above = legendre(0., 1., |u| (1. - u) * curvature(a + u * d));
    (
        d * d * above,
        d * legendre(0., 1., |u| curvature(a + u * d)),
    )
}

/// 1 / k!, the coefficients of the exponential function's series.
pub(crate) const EXPONENTIAL: [f64; 15] = {
    let (mut coefficients, mut factorial, mut k) = ([1.; 15], 1., 1);
    while k < 15 {
        factorial *= k as f64;
        coefficients[k] = 1. / factorial;
        k += 1;
    }
    coefficients
};

/// e^t - 1 - t without cancellation.
#[inline(always)]
pub(crate) fn exp_minus_line(t: f64) -> f64 {
    if t.abs() < 0.25 {
        let tail = (2..=12)
            .rev()
            .fold(1., |tail, k| 1. + t / f64::from(k + 1) * tail);
        0.5 * t * t * tail
    } else {
        t.exp_m1() - t
    }
}

/// ln(1 + u) - u without cancellation, for |u| below 0.4.
#[inline(always)]
pub(crate) fn log_minus_line(u: f64) -> f64 {
    // With r = u / (2 + u): ln(1 + u) = 2 artanh r, and 2 r - u = -r u.
    let r = u / (2. + u);
    let z = r * r;
    let mut p = 1. / 31.;
    for k in [29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3] {
        p = p * z + 1. / k as f64;
    }
    r * (2. * z * p - u)
}

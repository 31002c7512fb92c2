//! What the counting families share: a probability given as such or as logits, masses without large terms that cancel,
//! and sums over the support.

use crate::error::Result;
use crate::kernels::elementwise::{Formula, named};
use crate::kernels::number::Real;
use crate::kernels::number::saddle;
use candle_core::Tensor;
use std::f64::consts::TAU;

/// How the probability p of a success is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Odds {
    /// `ln(p / (1 - p))`.
    Logits,
    /// p itself.
    Probs,
}

impl Odds {
    /// `[ln p, ln(1 - p)]`.
    pub(super) fn logs<R: Real>(self, x: R) -> [R; 2] {
        match self {
            Odds::Logits => [-(-x).softplus(), -x.softplus()],
            Odds::Probs => [x.ln(), (-x).ln_1p()],
        }
    }

    /// `ln(p / (1 - p))` of a parameter.
    pub(super) fn to_logits(self, op: &'static str, parameter: &Tensor) -> Result<Tensor> {
        named(op, Logits(self), [parameter])
    }

    /// p of a parameter.
    pub(super) fn to_probs(self, op: &'static str, parameter: &Tensor) -> Result<Tensor> {
        named(op, Probs(self), [parameter])
    }

    /// Both, as far as a mass needs them.
    pub(super) fn chance<R: Real>(self, x: R) -> Chance<R> {
        Chance {
            probs: self.probs(x).map(Real::value),
            logs: self.logs(x),
        }
    }

    /// `[p, 1 - p]`.
    pub(super) fn probs<R: Real>(self, x: R) -> [R; 2] {
        match self {
            Odds::Logits => [x.sigmoid(), (-x).sigmoid()],
            Odds::Probs => [x, -x + 1.],
        }
    }
}

/// `[p, 1 - p]` as numbers and as logarithms: none is made from another that has fewer digits.
#[derive(Clone, Copy)]
pub(super) struct Chance<R> {
    pub(super) probs: [f64; 2],
    pub(super) logs: [R; 2],
}

impl<R: Real> Chance<R> {
    /// The difference of two probabilities of a success.
    fn gap(self, one: (Odds, R), other: Self, two: (Odds, R)) -> f64 {
        let (x, y) = (one.1.value(), two.1.value());
        if one.0 == Odds::Logits && two.0 == Odds::Logits && (x - y).is_finite() {
            // p (1 - q) (1 - e^(y - x)), from the side where it does not overflow.
            let [p, not_p] = self.probs;
            let [q, not_q] = other.probs;
            return if x > y {
                -p * not_q * (y - x).exp_m1()
            } else {
                q * not_p * (x - y).exp_m1()
            };
        }
        self.probs[0] - other.probs[0]
    }
}

/// p itself, for accessors.
#[derive(Clone, Copy)]
struct Probs(Odds);

impl Formula<1> for Probs {
    #[inline(always)]
    fn at<R: Real>(self, [x]: [R; 1]) -> R {
        self.0.probs(x)[0]
    }
}

/// `ln(p / (1 - p))`, for accessors.
#[derive(Clone, Copy)]
struct Logits(Odds);

impl Formula<1> for Logits {
    #[inline(always)]
    fn at<R: Real>(self, [x]: [R; 1]) -> R {
        match self.0 {
            Odds::Logits => x,
            Odds::Probs => {
                let [p, q] = Odds::Probs.logs(x);
                p - q
            }
        }
    }
}

/// The log-mass of what is no count from 0 to `high`: -inf, or NaN for NaN.
pub(super) fn no_count<R: Real>(x: R, high: f64) -> Option<R> {
    let x = x.value();
    if x.is_nan() {
        return Some(R::constant(x));
    }
    let inside = x >= 0. && x == x.floor() && x < f64::INFINITY && !(x > high);
    (!inside).then(|| R::constant(f64::NEG_INFINITY))
}

/// The logarithm of a tail of the counts from 0 to `high` where it is 0 or 1 whatever the parameters; NaN for NaN.
pub(super) fn no_tail<R: Real>(x: R, high: f64, upper: bool) -> Option<R> {
    let x = x.value();
    if x.is_nan() {
        return Some(R::constant(x));
    }
    let (below, above) = (x < 0., x >= high);
    let empty = if upper { above } else { below };
    let log = if empty { f64::NEG_INFINITY } else { 0. };
    (below || above).then(|| R::constant(log))
}

/// `count * log`, 0 where nothing is counted.
pub(super) fn times<R: Real>(count: R, log: R) -> R {
    if count.value() == 0. && !log.value().is_nan() {
        return R::constant(0.);
    }
    count * log
}

/// `x ln(x / mean) + mean - x`, of a mean that is given as a number as well: as the exponential of its logarithm it would
/// have lost digits, and underflow.
pub(super) fn deviance<R: Real>(x: R, mean: f64, log_mean: R) -> R {
    let (at, log) = (x.value(), log_mean.value());
    R::function([x, log_mean], saddle::deviance(at, mean, log), || {
        let gap = at - mean;
        let near = gap.abs() < 0.5 * mean;
        let slope = if near {
            (gap / mean).ln_1p()
        } else {
            at.ln() - log
        };
        [slope, -gap]
    })
}

fn stirling<R: Real>(x: R) -> R {
    let at = x.value();
    R::function([x], saddle::stirling(at), || [saddle::stirling_slope(at)])
}

/// The log-mass of a Poisson variable, by its mean and the logarithm of that.
pub(super) fn poisson<R: Real>(x: R, mean: f64, log_mean: R) -> R {
    if x.value() == 0. {
        // The mean's derivative to its logarithm is the mean.
        return log_mean.map(-mean, -mean);
    }
    -stirling(x) - deviance(x, mean, log_mean) - (x * TAU).ln() * 0.5
}

/// The log-mass of `x` successes beside `rest` failures.
pub(super) fn binomial<R: Real>(x: R, rest: R, chance: Chance<R>) -> R {
    let [p, q] = chance.logs;
    if x.value() == 0. {
        return times(rest, q);
    }
    if rest.value() == 0. {
        return times(x, p);
    }
    let n = x + rest;
    let (log, means) = (n.ln(), chance.probs.map(|p| n.value() * p));
    let remainders = stirling(n) - stirling(x) - stirling(rest);
    let deviances = deviance(x, means[0], log + p) + deviance(rest, means[1], log + q);
    remainders - deviances + (n / x / rest / TAU).ln() * 0.5
}

/// KL between Bernoulli variables: two terms that are not negative, from the difference of the probabilities.
pub(super) fn bernoulli_kl<R: Real>(one: (Odds, R), other: (Odds, R)) -> R {
    let (p, q) = (one.0.chance(one.1), other.0.chance(other.1));
    let probs = one.0.probs(one.1);
    let gap = p.gap(one, q, other);
    let term = |i: usize, gap: f64| {
        let (x, mean) = (p.probs[i], q.probs[i]);
        let log = q.logs[i];
        let value = match saddle::deviance_by_gap(x, mean, gap) {
            Some(near) if x > 0. => near,
            _ => saddle::deviance(x, mean, log.value()),
        };
        R::function([probs[i], log], value, || {
            let near = gap.abs() < 0.5 * mean;
            let slope = if near {
                (gap / mean).ln_1p()
            } else {
                p.logs[i].value() - log.value()
            };
            [slope, -gap]
        })
    };
    term(0, gap) + term(1, -gap)
}

/// `-p ln p - (1 - p) ln(1 - p)`.
pub(super) fn bernoulli_entropy<R: Real>(p: [R; 2], logs: [R; 2]) -> R {
    -(times(p[0], logs[0]) + times(p[1], logs[1]))
}

/// Calls `visit(k, weight)` so that the weighted sum of a function is its sum over the counts from 0 to `high` where a
/// bell-shaped mass of this mean and standard deviation lives: to 12 standard deviations and `reach` more, which leaves
/// out less than 1e-16.
///
/// A wide bell is summed in steps of an eighth of its standard deviation: the trapezoid rule of a smooth function that
/// vanishes at both ends errs by less than exp(-2 (8 pi)^2).
pub(super) fn over_bell(
    mean: f64,
    deviation: f64,
    reach: f64,
    high: f64,
    mut visit: impl FnMut(f64, f64),
) {
    let reach = 12. * deviation + reach;
    let (low, high) = ((mean - reach).floor().max(0.), (mean + reach).min(high));
    let step = if deviation > 64. { deviation / 8. } else { 1. };
    let (mut k, mut last) = (low, f64::NEG_INFINITY);
    // Beyond 2^53 the next count is the same number.
    while k <= high && k > last {
        visit(k, step);
        (k, last) = (k + step, k);
    }
}

/// As [`over_bell`], for a mass with a long tail from small counts to `high`: the first counts one by one, then the
/// integral over `ln k` by Gauss and Legendre's rule on short panels, with the first correction of Euler and Maclaurin.
pub(super) fn over_tail(high: f64, mut visit: impl FnMut(f64, f64)) {
    const FIRST: f64 = 512.;
    const PANEL: f64 = 0.5;
    const RULE: [(f64, f64); 4] = [
        (0.183_434_642_495_649_8, 0.362_683_783_378_362),
        (0.525_532_409_916_329, 0.313_706_645_877_887_3),
        (0.796_666_477_413_626_7, 0.222_381_034_453_374_48),
        (0.960_289_856_497_536_3, 0.101_228_536_290_376_26),
    ];
    for k in 0..FIRST as u32 {
        visit(f64::from(k), 1.);
    }
    visit(FIRST, 1. / 24.);
    visit(FIRST - 1., -1. / 24.);
    let mut start = (FIRST - 0.5).ln();
    while start < high.ln() {
        for (node, weight) in RULE {
            for sign in [-1., 1.] {
                let k = (start + PANEL / 2. * (1. + sign * node)).exp();
                visit(k, weight * PANEL / 2. * k);
            }
        }
        start += PANEL;
    }
}

/// The smallest count from 0 to `high` whose `cdf` is at least `p`, looked for around `guess`.
pub(super) fn smallest(p: f64, guess: f64, high: f64, cdf: impl Fn(f64) -> f64) -> f64 {
    let reached = |k: f64| cdf(k) >= p;
    if p.is_nan() || cdf(0.).is_nan() {
        return f64::NAN;
    }
    if p <= 0. || reached(0.) {
        return 0.;
    }
    if p >= 1. {
        return high;
    }
    if guess.is_nan() {
        return f64::NAN;
    }
    let (mut low, mut step) = (guess.floor().clamp(0., high), 1.);
    while low > 0. && reached(low) {
        low = (low - step).max(0.);
        step *= 2.;
    }
    let (mut top, mut step) = ((low + 1.).min(high), 1.);
    while top < high && !reached(top) {
        (low, top) = (top, (top + step).min(high));
        step *= 2.;
    }
    // Not reached at `low`, reached at `top`.
    loop {
        let middle = (low + (top - low) / 2.).floor();
        if !(low < middle && middle < top) {
            return top;
        }
        if reached(middle) {
            top = middle;
        } else {
            low = middle;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_masses_are_one() {
        for (n, p) in [(10f64, 0.3f64), (1e4, 0.01), (1e9, 0.4), (1e12, 1e-6)] {
            let (mut sum, chance) = (0., Odds::Probs.chance(p));
            over_bell(n * p, (n * p * (1. - p)).sqrt(), 40., n, |k, w| {
                sum += w * binomial(k, n - k, chance).exp();
            });
            // Masses keep 1e-11, the tolerance of the reference values: k and n - k multiply rounded logarithms.
            assert!((sum - 1.).abs() < 1e-11, "{n} {p}: {sum}");
        }
        // x^(r - 1) e^(-x / s), whose sum over the counts is Gamma(r) s^r but for what is near 0.
        let (mut sum, q) = (0., 1e-9f64);
        over_tail(60. / q, |k, w| sum += w * (k * (-q).ln_1p()).exp() * q);
        assert!((sum - 1.).abs() < 1e-12, "{sum}");
    }

    #[test]
    fn smallest_count() {
        let cdf = |k: f64| 1. - 0.5f64.powf(k + 1.);
        for guess in [0., 3., 1000., 1e17] {
            assert_eq!(smallest(0.9, guess, f64::INFINITY, cdf), 3.);
            assert_eq!(smallest(0.5, guess, f64::INFINITY, cdf), 0.);
            assert_eq!(smallest(1., guess, f64::INFINITY, cdf), f64::INFINITY);
            assert_eq!(smallest(0.999, guess, 4., cdf), 4.);
        }
    }
}

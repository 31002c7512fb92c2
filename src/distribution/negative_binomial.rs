//! The negative binomial distribution.

use super::counts::{
    self, Chance, Odds, bernoulli_kl, no_count, no_tail, over_bell, over_tail, smallest, times,
};
use super::family::*;
use super::*;
use crate::kernels::family::count;
use crate::kernels::number::EULER;

const LOGITS: Domains<2> = [("total_count", Domain::Positive), ("logits", Domain::Real)];
const PROBS: Domains<2> = [
    ("total_count", Domain::Positive),
    ("probs", Domain::UnitNotOne),
];

/// Negative binomial distribution: the successes, each of probability p, before failure number `total_count`.
///
/// Formula: `log p(x) = ln Gamma(x + r) - ln Gamma(r) - ln x! + r ln(1 - p) + x ln p` for x = 0, 1, 2, ..., with r the
/// `total_count`, which need not be whole: the law of a Poisson variable whose rate is Gamma(r, (1 - p) / p).
///
/// Shapes: `total_count` and `logits` or `probs` broadcast to the batch shape; the event is scalar. Samples have the
/// dtype of the parameters. Units: nats.
///
/// Gradients: exact for the parameters as they were given. Samples have none: not [`Reparameterized`].
///
/// Errors: parameters that are not floating point, of different dtype or device, or do not broadcast; a count that
/// is not positive and finite; logits that are not finite, probabilities that are not at least 0 and below 1.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::{Distribution, Moments, NegativeBinomial};
/// # fn main() -> candle_prob::Result<()> {
/// let new = |x: f64| Tensor::new(x, &Device::Cpu);
/// let counts = NegativeBinomial::from_probs(&new(0.5)?, &new(0.75)?)?;
/// assert_eq!(counts.mean()?.to_scalar::<f64>()?, 1.5);
/// assert_eq!(counts.variance()?.to_scalar::<f64>()?, 6.);
/// let log_prob = counts.log_prob(&new(1.)?)?.to_scalar::<f64>()?;
/// assert!((log_prob - 0.1875f64.ln()).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: the mass is computed without gamma functions, whose digits would cancel. The entropy is a sum over the
/// support; where that has more than some thousand counts, an integral over `ln x` takes the place of the sum behind the
/// first 512 (relative error below 1e-10); with p within 1e-290 of 1 those of a gamma variable stand for the large counts
/// (error below 1e-8 of the entropy). The divergence of other counts is NaN where `1 / (1 - p)` overflows.
///
/// Source: Loader (2000), Fast and Accurate Computation of Binomial Probabilities.
#[derive(Debug, Clone)]
pub struct NegativeBinomial(pub(super) Parameters<2>, Law);

impl NegativeBinomial {
    /// From the number of failures and `ln(p / (1 - p))`.
    pub fn new(total_count: &Tensor, logits: &Tensor) -> Result<Self> {
        let parameters = Parameters::new("NegativeBinomial::new", LOGITS, [total_count, logits])?;
        Ok(NegativeBinomial(parameters, Law(Odds::Logits)))
    }

    /// From the number of failures and p.
    pub fn from_probs(total_count: &Tensor, probs: &Tensor) -> Result<Self> {
        let parameters =
            Parameters::new("NegativeBinomial::from_probs", PROBS, [total_count, probs])?;
        Ok(NegativeBinomial(parameters, Law(Odds::Probs)))
    }

    /// As [`new`](NegativeBinomial::new), without looking at the parameters' values.
    pub fn new_unchecked(total_count: &Tensor, logits: &Tensor) -> Result<Self> {
        let op = "NegativeBinomial::new_unchecked";
        let parameters = Parameters::unchecked(op, LOGITS, [total_count, logits])?;
        Ok(NegativeBinomial(parameters, Law(Odds::Logits)))
    }

    /// The number of failures, shape `batch`.
    pub fn total_count(&self) -> &Tensor {
        self.0.full(0)
    }

    /// `ln(p / (1 - p))`, shape `batch`.
    pub fn logits(&self) -> Result<Tensor> {
        self.1
            .0
            .to_logits("NegativeBinomial::logits", self.0.full(1))
    }

    /// p, shape `batch`.
    pub fn probs(&self) -> Result<Tensor> {
        self.1.0.to_probs("NegativeBinomial::probs", self.0.full(1))
    }
}

/// Of all orders of x successes and r failures, those that end in a failure are the share r / (x + r).
fn mass<R: Real>(x: R, count: R, chance: Chance<R>) -> R {
    if x.value() == 0. {
        return count * chance.logs[1];
    }
    (count / (x + count)).ln() + counts::binomial(x, count, chance)
}

/// Sums `term(ln mass, x)` over the support.
fn expect<R: Real>(count: R, odds: Odds, parameter: R, mut term: impl FnMut(R, R) -> R) -> R {
    let r = count.value();
    let chance = odds.chance(parameter);
    let [p, q] = chance.probs;
    let (mean, deviation) = (r * p / q, (r * p).sqrt() / q);
    let reach = 40. / q;
    let mut sum = R::constant(if reach.is_finite() { 0. } else { f64::NAN });
    let visit = |k: f64, weight: f64| {
        let x = R::constant(k);
        let log = mass(x, count, chance);
        if log.value() > f64::NEG_INFINITY {
            sum = sum + log.exp() * term(log, x) * weight;
        }
    };
    let high = mean + 12. * deviation + reach;
    if high > 4096. && r < 400. {
        over_tail(if high < f64::INFINITY { high } else { 0. }, visit);
    } else {
        over_bell(mean, deviation, reach, f64::INFINITY, visit);
    }
    sum
}

/// The entropy where q is next to 0: the first masses one by one; beyond x those of a gamma variable in units of 1 / q,
/// `x^(r-1) e^(-qx) q^r / Gamma(r)`, less its part below, which is `z^r / Gamma(r + 1)` with `z = q x`.
fn scattered<R: Real>(count: R, chance: Chance<R>) -> R {
    const FIRST: u32 = 4096;
    /// zeta(2)
    const ZETA: f64 = std::f64::consts::PI * std::f64::consts::PI / 6.;
    let (r, q) = (count.value(), chance.logs[1]);
    if q.value() * r < -40. {
        return count.stirling_rest() + (count - 1.) * count.log_gap() - q;
    }
    let mut sum = R::constant(0.);
    for k in 0..FIRST {
        let log = mass(R::constant(f64::from(k)), count, chance);
        sum = sum - log.exp() * log;
    }
    // x + r / 2, the middle of the gamma functions' arguments.
    let edge = (count * 0.5 + (f64::from(FIRST) - 0.5)).ln() + q;
    let log_below = count * edge - (count + 1.).lgamma();
    let (below, beyond) = (log_below.exp(), -log_below.exp_m1());
    // The mean of ln z beyond. Its terms cancel for few counts; there the first of a series in r.
    let log = if (r * edge.value()).abs() < 1e-8 {
        (-edge.square() + (ZETA + EULER * EULER)) * count * 0.5
    } else {
        (count + 1.).digamma() - beyond / count - below * edge
    };
    sum + (-count + 1.) * log + (count.lgamma() - q) * beyond + count
}

#[derive(Clone, Copy, Debug)]
struct Law(Odds);

impl DensityFormula<3> for Law {
    #[inline(always)]
    fn log_prob<R: Real>(self, [x, count, odds]: [R; 3]) -> R {
        let chance = self.0.chance(odds);
        no_count(x, f64::INFINITY).unwrap_or_else(|| mass(x, count, chance))
    }
}

/// Incomplete beta functions.
impl CdfFormulas<3> for Law {
    #[inline(always)]
    fn log_tail<R: Real>(self, [x, count, odds]: [R; 3], upper: bool) -> R {
        no_tail(x, f64::INFINITY, upper).unwrap_or_else(|| {
            let k = R::constant(x.value().floor());
            let [p, q] = self.0.probs(odds);
            (k + 1.).beta_log_tail(count, p, q.value(), !upper)
        })
    }

    #[inline(always)]
    fn quantile<R: Real>(self, arguments: [R; 3]) -> R {
        let [p, count, odds] = arguments.map(Real::value);
        let [s, q] = self.0.probs(odds);
        let tail = |k: f64| (k + 1.).beta_log_tail(count, s, q, true).exp();
        R::constant(smallest(p, count * s / q, f64::INFINITY, tail))
    }
}

impl MomentFormulas<2> for Law {
    fn mean<R: Real>(self, [count, odds]: [R; 2]) -> R {
        let [p, q] = self.0.probs(odds);
        count * p / q
    }

    fn variance<R: Real>(self, [count, odds]: [R; 2]) -> R {
        let [p, q] = self.0.probs(odds);
        count * p / q / q
    }
}

impl ModeFormula<2> for Law {
    fn mode<R: Real>(self, [count, odds]: [R; 2]) -> R {
        let (count, [p, q]) = (count.value(), self.0.probs(odds.value()));
        R::constant(if count <= 1. {
            0.
        } else {
            ((count - 1.) * (p / q)).floor()
        })
    }
}

impl EntropyFormula<2> for Law {
    fn entropy<R: Real>(self, [count, odds]: [R; 2]) -> R {
        let [_, q] = self.0.probs(odds.value());
        if q < 1e-290 {
            return scattered(count, self.0.chance(odds));
        }
        expect(count, self.0, odds, |log, _| -log)
    }
}

#[derive(Clone, Copy)]
struct Divergence(Law, Law);

impl Formula<4> for Divergence {
    #[inline(always)]
    fn at<R: Real>(self, [count, odds, other_count, other]: [R; 4]) -> R {
        let Divergence(Law(from), Law(to)) = self;
        let (one, two) = ((from, odds), (to, other));
        if count.value() == other_count.value() {
            return times(count / from.probs(odds)[1], bernoulli_kl(one, two));
        }
        let q = to.chance(other);
        let ratio = |log: R, x: R| mass(x, other_count, q) - log;
        let apart = expect(count, from, odds, |log, x| -ratio(log, x));
        if apart.value() > 1e-3 {
            return apart;
        }
        // The mean of the masses' ratio is 1: with it every term is positive, and what is left of a small sum is exact.
        expect(count, from, odds, |log, x| ratio(log, x).exp_minus_line())
    }
}

impl Distribution for NegativeBinomial {
    fn batch_shape(&self) -> &[usize] {
        self.0.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let (full, odds) = ([self.0.full(0), self.0.full(1)], self.1.0);
        count::draws(full, shape, rng.stream(), |rng, [r, x]| {
            let [p, q] = odds.logs(x);
            count::negative_binomial(rng, r, p - q)
        })
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_prob("NegativeBinomial::log_prob", self.1, value)
    }
}

impl Detach for NegativeBinomial {
    fn detach(&self) -> Self {
        NegativeBinomial(self.0.detach(), self.1)
    }
}

impl Moments for NegativeBinomial {
    fn mean(&self) -> Result<Tensor> {
        self.0.mean("NegativeBinomial::mean", self.1)
    }

    fn variance(&self) -> Result<Tensor> {
        self.0.variance("NegativeBinomial::variance", self.1)
    }
}

impl Mode for NegativeBinomial {
    /// The whole part of `(r - 1) p / (1 - p)`, at least 0: the larger of the two where that is whole.
    fn mode(&self) -> Result<Tensor> {
        self.0.mode("NegativeBinomial::mode", self.1)
    }
}

impl Entropy for NegativeBinomial {
    /// In the order of some thousand masses at most for each element.
    fn entropy(&self) -> Result<Tensor> {
        self.0.entropy("NegativeBinomial::entropy", self.1)
    }
}

impl Cdf for NegativeBinomial {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_cdf("NegativeBinomial::log_cdf", self.1, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.0
            .log_survival("NegativeBinomial::log_survival", self.1, value)
    }

    /// Piecewise constant: without gradients.
    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.0
            .quantile("NegativeBinomial::quantile", self.1, probability)
    }
}

impl Kl for NegativeBinomial {
    /// Equal counts: `r / (1 - p)` times the divergence of one trial. Others: a sum over the support, as for the entropy, where it
    /// is small of `e^t - 1 - t` with t the logarithm of the masses' ratio, which is not negative.
    /// The two forms have the same value where counts meet, but only the sum has their gradient.
    fn kl(&self, other: &NegativeBinomial) -> Result<Tensor> {
        let divergence = Divergence(self.1, other.1);
        self.0.with("NegativeBinomial::kl", divergence, &other.0)
    }
}

impl MixtureComponent for NegativeBinomial {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        let parameters = self.0.select(index, after)?;
        Ok(NegativeBinomial(parameters, self.1))
    }
}

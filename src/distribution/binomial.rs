//! The binomial distribution.

use super::counts::{self, Odds, bernoulli_kl, no_count, no_tail, over_bell, smallest};
use super::family::*;
use super::*;
use crate::kernels::family::count;

const LOGITS: Domains<2> = [("total_count", Domain::Count), ("logits", Domain::Extended)];
const PROBS: Domains<2> = [("total_count", Domain::Count), ("probs", Domain::Unit)];

/// Binomial distribution: the successes among `total_count` trials, each of probability p.
///
/// Formula: `log p(x) = ln C(n, x) + x ln p + (n - x) ln(1 - p)` for x = 0, 1, ..., n.
///
/// Shapes: `total_count` and `logits` or `probs` broadcast to the batch shape; the event is scalar. Samples have the
/// dtype of the parameters. Units: nats.
///
/// Gradients: exact for logits or probs as they were given. Samples have none: not [`Reparameterized`].
///
/// Errors: parameters that are not floating point, of different dtype or device, or do not broadcast; a count that
/// is not a whole number of 0 or more; logits that are NaN, probabilities outside of 0 to 1.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::{Binomial, Distribution, Entropy};
/// # fn main() -> candle_prob::Result<()> {
/// let new = |x: &[f64]| Tensor::new(x, &Device::Cpu);
/// // Counts may differ within a batch, also for the entropy.
/// let binomial = Binomial::from_probs(&new(&[1., 2.])?, &new(&[0.5])?)?;
/// let log_prob = binomial.log_prob(&new(&[1., 1.])?)?.to_vec1::<f64>()?;
/// assert!(log_prob.iter().all(|p| (p + 2f64.ln()).abs() < 1e-15));
/// let entropy = binomial.entropy()?.to_vec1::<f64>()?;
/// assert!((entropy[0] - 2f64.ln()).abs() < 1e-15 && (entropy[1] - 1.5 * 2f64.ln()).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: the mass is computed without factorials, whose digits would cancel at large counts. The entropy is a sum
/// over the support, up to 12 standard deviations; what it leaves out is below 1e-16. Draws are exact for up to 1e16 trials,
/// beyond Poisson or rounded normal ones; counts that the dtype does not have are rounded.
///
/// Source: Loader (2000), Fast and Accurate Computation of Binomial Probabilities; draws by Kachitvichyanukul and
/// Schmeiser (1988), from 2^23 trials on by Hoermann (1993).
#[derive(Debug, Clone)]
pub struct Binomial(pub(super) Parameters<2>, pub(super) Law);

impl Binomial {
    /// From the number of trials and `ln(p / (1 - p))`, which may be infinite.
    pub fn new(total_count: &Tensor, logits: &Tensor) -> Result<Self> {
        let parameters = Parameters::new("Binomial::new", LOGITS, [total_count, logits])?;
        Ok(Binomial(parameters, Law(Odds::Logits)))
    }

    /// From the number of trials and p.
    pub fn from_probs(total_count: &Tensor, probs: &Tensor) -> Result<Self> {
        let parameters = Parameters::new("Binomial::from_probs", PROBS, [total_count, probs])?;
        Ok(Binomial(parameters, Law(Odds::Probs)))
    }

    /// As [`new`](Binomial::new), without looking at the parameters' values.
    pub fn new_unchecked(total_count: &Tensor, logits: &Tensor) -> Result<Self> {
        let op = "Binomial::new_unchecked";
        let parameters = Parameters::unchecked(op, LOGITS, [total_count, logits])?;
        Ok(Binomial(parameters, Law(Odds::Logits)))
    }

    /// The number of trials, shape `batch`.
    pub fn total_count(&self) -> &Tensor {
        self.0.full(0)
    }

    /// `ln(p / (1 - p))`, shape `batch`.
    pub fn logits(&self) -> Result<Tensor> {
        self.1.0.to_logits("Binomial::logits", self.0.full(1))
    }

    /// p, shape `batch`.
    pub fn probs(&self) -> Result<Tensor> {
        self.1.0.to_probs("Binomial::probs", self.0.full(1))
    }
}

/// Sums `term(mass, x, n - x)` over the support.
fn expect<R: Real>(count: R, odds: Odds, parameter: R, mut term: impl FnMut(R, R, R) -> R) -> R {
    let n = count.value();
    let chance = odds.chance(parameter);
    let [p, q] = chance.probs;
    let mut sum = R::constant(if n * p >= 0. { 0. } else { f64::NAN });
    over_bell(n * p, (n * p * q).sqrt(), 40., n, |k, weight| {
        let x = R::constant(k);
        let rest = count - k;
        let log = counts::binomial(x, rest, chance);
        if log.value() > f64::NEG_INFINITY {
            sum = sum + log.exp() * term(log, x, rest) * weight;
        }
    });
    sum
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Law(pub(super) Odds);

impl DensityFormula<3> for Law {
    #[inline(always)]
    fn log_prob<R: Real>(self, [x, count, odds]: [R; 3]) -> R {
        let chance = self.0.chance(odds);
        no_count(x, count.value()).unwrap_or_else(|| counts::binomial(x, count - x, chance))
    }
}

/// Incomplete beta functions.
impl CdfFormulas<3> for Law {
    #[inline(always)]
    fn log_tail<R: Real>(self, [x, count, odds]: [R; 3], upper: bool) -> R {
        no_tail(x, count.value(), upper).unwrap_or_else(|| {
            let k = R::constant(x.value().floor());
            let [p, q] = self.0.probs(odds);
            (k + 1.).beta_log_tail(count - k, p, q.value(), !upper)
        })
    }

    #[inline(always)]
    fn quantile<R: Real>(self, arguments: [R; 3]) -> R {
        let [p, count, odds] = arguments.map(Real::value);
        let [s, q] = self.0.probs(odds);
        let tail = |k: f64| match k < count {
            true => (k + 1.).beta_log_tail(count - k, s, q, true).exp(),
            false => 1.,
        };
        R::constant(smallest(p, count * s, count, tail))
    }
}

impl MomentFormulas<2> for Law {
    fn mean<R: Real>(self, [count, odds]: [R; 2]) -> R {
        let [p, _] = self.0.probs(odds);
        count * p
    }

    fn variance<R: Real>(self, [count, odds]: [R; 2]) -> R {
        let [p, q] = self.0.probs(odds);
        count * p * q
    }
}

impl ModeFormula<2> for Law {
    fn mode<R: Real>(self, [count, odds]: [R; 2]) -> R {
        let (n, [p, _]) = (count.value(), self.0.probs(odds.value()));
        let mode = ((n + 1.) * p).floor();
        R::constant(if mode > n { n } else { mode })
    }
}

impl EntropyFormula<2> for Law {
    fn entropy<R: Real>(self, [count, odds]: [R; 2]) -> R {
        expect(count, self.0, odds, |log, _, _| -log)
    }
}

#[derive(Clone, Copy)]
struct Divergence(Law, Law);

impl Formula<4> for Divergence {
    #[inline(always)]
    fn at<R: Real>(self, [count, odds, other_count, other]: [R; 4]) -> R {
        let Divergence(Law(one), Law(two)) = self;
        let (n, m) = (count.value(), other_count.value());
        let (p, q) = (one.chance(odds), two.chance(other));
        if n == m {
            return counts::times(count, bernoulli_kl((one, odds), (two, other)));
        }
        if n > m && p.probs[0] > 0. {
            return R::constant(f64::INFINITY);
        }
        expect(count, one, odds, |log, x, _| {
            log - counts::binomial(x, other_count - x, q)
        })
    }
}

impl Distribution for Binomial {
    fn batch_shape(&self) -> &[usize] {
        self.0.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let (full, odds) = ([self.0.full(0), self.0.full(1)], self.1.0);
        count::draws(full, shape, rng.stream(), |rng, [n, x]| {
            count::binomial(rng, n, odds.probs(x))
        })
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_prob("Binomial::log_prob", self.1, value)
    }
}

impl Detach for Binomial {
    fn detach(&self) -> Self {
        Binomial(self.0.detach(), self.1)
    }
}

impl Moments for Binomial {
    fn mean(&self) -> Result<Tensor> {
        self.0.mean("Binomial::mean", self.1)
    }

    fn variance(&self) -> Result<Tensor> {
        self.0.variance("Binomial::variance", self.1)
    }
}

impl Mode for Binomial {
    /// The whole part of `(n + 1) p`, at most n: the larger of the two where that is whole.
    fn mode(&self) -> Result<Tensor> {
        self.0.mode("Binomial::mode", self.1)
    }
}

impl Entropy for Binomial {
    /// In the order of a thousand masses at most for each element.
    fn entropy(&self) -> Result<Tensor> {
        self.0.entropy("Binomial::entropy", self.1)
    }
}

impl Cdf for Binomial {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_cdf("Binomial::log_cdf", self.1, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_survival("Binomial::log_survival", self.1, value)
    }

    /// Piecewise constant: without gradients.
    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.0.quantile("Binomial::quantile", self.1, probability)
    }
}

impl Kl for Binomial {
    /// Equal counts: n times the divergence of one trial. Fewer trials than `other`: a sum over the support. More: infinite,
    /// because `other` has no mass there (but for p = 0).
    fn kl(&self, other: &Binomial) -> Result<Tensor> {
        let divergence = Divergence(self.1, other.1);
        self.0.with("Binomial::kl", divergence, &other.0)
    }
}

impl MixtureComponent for Binomial {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        let parameters = self.0.select(index, after)?;
        Ok(Binomial(parameters, self.1))
    }
}

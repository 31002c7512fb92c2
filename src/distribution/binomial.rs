//! The binomial distribution.

use super::counts::{self, Odds, bernoulli_kl, no_count, no_tail, over_bell, smallest};
use super::parameters::{Domain, Parameters};
use super::*;
use crate::kernels::elementwise::{Formula, formula};
use crate::kernels::family::count;
use crate::kernels::number::Real;

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
pub struct Binomial {
    pub(super) parameters: Parameters<2>,
    pub(super) odds: Odds,
}

impl Binomial {
    /// From the number of trials and `ln(p / (1 - p))`, which may be infinite.
    pub fn new(total_count: &Tensor, logits: &Tensor) -> Result<Self> {
        let parameters = [
            ("total_count", total_count, Domain::Count),
            ("logits", logits, Domain::Extended),
        ];
        Ok(Binomial {
            parameters: Parameters::new("Binomial::new", parameters)?,
            odds: Odds::Logits,
        })
    }

    /// From the number of trials and p.
    pub fn from_probs(total_count: &Tensor, probs: &Tensor) -> Result<Self> {
        let parameters = [
            ("total_count", total_count, Domain::Count),
            ("probs", probs, Domain::Unit),
        ];
        Ok(Binomial {
            parameters: Parameters::new("Binomial::from_probs", parameters)?,
            odds: Odds::Probs,
        })
    }

    /// As [`new`](Binomial::new), without looking at the parameters' values.
    pub fn new_unchecked(total_count: &Tensor, logits: &Tensor) -> Result<Self> {
        let parameters = [("total_count", total_count), ("logits", logits)];
        Ok(Binomial {
            parameters: Parameters::unchecked("Binomial::new_unchecked", parameters)?,
            odds: Odds::Logits,
        })
    }

    /// The number of trials, shape `batch`.
    pub fn total_count(&self) -> Result<Tensor> {
        self.parameters.full(0)
    }

    /// `ln(p / (1 - p))`, shape `batch`.
    pub fn logits(&self) -> Result<Tensor> {
        formula(counts::Logits(self.odds), [&self.parameters.full(1)?])
    }

    /// p, shape `batch`.
    pub fn probs(&self) -> Result<Tensor> {
        formula(counts::Probs(self.odds), [&self.parameters.full(1)?])
    }

    fn at<F: Formula<3>>(&self, op: &'static str, f: F, value: &Tensor) -> Result<Tensor> {
        self.parameters.check_value(op, value)?;
        let [count, odds] = self.parameters.given();
        formula(f, [value, count, odds])
    }
}

#[derive(Clone, Copy)]
struct LogProb(Odds);

impl Formula<3> for LogProb {
    const NAME: &'static str = "binomial-log-prob";

    #[inline(always)]
    fn at<R: Real>(self, [x, count, odds]: [R; 3]) -> R {
        let chance = self.0.chance(odds);
        no_count(x, count.value()).unwrap_or_else(|| counts::binomial(x, count - x, chance))
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

#[derive(Clone, Copy)]
enum Summary {
    Mean,
    Variance,
    Mode,
    Entropy,
}

#[derive(Clone, Copy)]
struct Moment(Odds, Summary);

impl Formula<2> for Moment {
    const NAME: &'static str = "binomial-moments";

    #[inline(always)]
    fn at<R: Real>(self, [count, odds]: [R; 2]) -> R {
        let [p, q] = self.0.probs(odds);
        match self.1 {
            Summary::Mean => count * p,
            Summary::Variance => count * p * q,
            Summary::Mode => {
                let n = count.value();
                let mode = ((n + 1.) * p.value()).floor();
                R::constant(if mode > n { n } else { mode })
            }
            Summary::Entropy => expect(count, self.0, odds, |log, _, _| -log),
        }
    }
}

impl Distribution for Binomial {
    fn batch_shape(&self) -> &[usize] {
        self.parameters.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let (count, parameter) = (self.total_count()?, self.parameters.full(1)?);
        let odds = self.odds;
        count::draws([&count, &parameter], shape, rng.stream(), |rng, [n, x]| {
            count::binomial(rng, n, odds.probs(x))
        })
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.at("Binomial::log_prob", LogProb(self.odds), value)
    }
}

impl Moments for Binomial {
    fn mean(&self) -> Result<Tensor> {
        self.parameters.formula(Moment(self.odds, Summary::Mean))
    }

    fn variance(&self) -> Result<Tensor> {
        let moment = Moment(self.odds, Summary::Variance);
        self.parameters.formula(moment)
    }
}

impl Mode for Binomial {
    /// The whole part of `(n + 1) p`, at most n: the larger of the two where that is whole.
    fn mode(&self) -> Result<Tensor> {
        self.parameters.formula(Moment(self.odds, Summary::Mode))
    }
}

impl Entropy for Binomial {
    /// In the order of a thousand masses at most for each element.
    fn entropy(&self) -> Result<Tensor> {
        self.parameters.formula(Moment(self.odds, Summary::Entropy))
    }
}

/// ln P(X <= x) or, for the upper tail, ln P(X > x): incomplete beta functions.
#[derive(Clone, Copy)]
struct LogTail {
    odds: Odds,
    upper: bool,
}

impl Formula<3> for LogTail {
    const NAME: &'static str = "binomial-log-cdf";

    #[inline(always)]
    fn at<R: Real>(self, [x, count, odds]: [R; 3]) -> R {
        no_tail(x, count.value(), self.upper).unwrap_or_else(|| {
            let k = R::constant(x.value().floor());
            let [p, q] = self.odds.probs(odds);
            (k + 1.).beta_log_tail(count - k, p, q.value(), !self.upper)
        })
    }
}

#[derive(Clone, Copy)]
struct Quantile(Odds);

impl Formula<3> for Quantile {
    const NAME: &'static str = "binomial-quantile";

    #[inline(always)]
    fn at<R: Real>(self, arguments: [R; 3]) -> R {
        let [p, count, odds] = arguments.map(Real::value);
        let [s, q] = self.0.probs(odds);
        let tail = |k: f64| match k < count {
            true => (k + 1.).beta_log_tail(count - k, s, q, true).exp(),
            false => 1.,
        };
        R::constant(smallest(p, count * s, count, tail))
    }
}

impl Cdf for Binomial {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        let tail = LogTail {
            odds: self.odds,
            upper: false,
        };
        self.at("Binomial::log_cdf", tail, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        let tail = LogTail {
            odds: self.odds,
            upper: true,
        };
        self.at("Binomial::log_survival", tail, value)
    }

    /// Piecewise constant: without gradients.
    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.parameters
            .check_probability("Binomial::quantile", probability)?;
        self.at("Binomial::quantile", Quantile(self.odds), probability)
    }
}

#[derive(Clone, Copy)]
struct Divergence(Odds, Odds);

impl Formula<4> for Divergence {
    const NAME: &'static str = "binomial-kl";

    #[inline(always)]
    fn at<R: Real>(self, [count, odds, other_count, other]: [R; 4]) -> R {
        let (n, m) = (count.value(), other_count.value());
        let (p, q) = (self.0.chance(odds), self.1.chance(other));
        if n == m {
            return counts::times(count, bernoulli_kl((self.0, odds), (self.1, other)));
        }
        if n > m && p.probs[0] > 0. {
            return R::constant(f64::INFINITY);
        }
        expect(count, self.0, odds, |log, x, _| {
            log - counts::binomial(x, other_count - x, q)
        })
    }
}

impl Kl for Binomial {
    /// Equal counts: n times the divergence of one trial. Fewer trials than `other`: a sum over the support. More: infinite,
    /// because `other` has no mass there (but for p = 0).
    fn kl(&self, other: &Binomial) -> Result<Tensor> {
        self.parameters
            .check_other("Binomial::kl", &other.parameters)?;
        let ([n, p], [m, q]) = (self.parameters.given(), other.parameters.given());
        formula(Divergence(self.odds, other.odds), [n, p, m, q])
    }
}

impl MixtureComponent for Binomial {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        let parameters = self.parameters.select(index, after)?;
        Ok(Binomial {
            parameters,
            odds: self.odds,
        })
    }
}

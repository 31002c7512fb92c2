//! The geometric distribution.

use super::counts::{self, Odds, bernoulli_entropy, bernoulli_kl, no_count, times};
use super::family::*;
use super::*;
use crate::kernels::family::count;

const LOGITS: Domains<1> = [("logits", Domain::Real)];
const PROBS: Domains<1> = [("probs", Domain::UnitNotZero)];

/// Geometric distribution: the failures before the first success of probability p.
///
/// Formula: `log p(x) = x ln(1 - p) + ln p` for x = 0, 1, 2, ...
///
/// Shapes: `logits` or `probs` is the batch shape; the event is scalar. Samples have the dtype of the parameter.
/// Units: nats.
///
/// Gradients: exact for the parameter as it was given. Samples have none: not [`Reparameterized`].
///
/// Errors: parameters that are not floating point; logits that are not finite, probabilities that are not above
/// 0 and at most 1.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::{Cdf, Distribution, Geometric};
/// # fn main() -> candle_prob::Result<()> {
/// let geometric = Geometric::from_probs(&Tensor::new(0.5f64, &Device::Cpu)?)?;
/// let x = Tensor::new(&[0f64, 1000.], &Device::Cpu)?;
/// let survival = geometric.log_survival(&x)?.to_vec1::<f64>()?;
/// assert_eq!(survival, [-(2f64.ln()), -1001. * 2f64.ln()]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: nothing is lost at probabilities near 0 and 1; from logits, p and 1 - p both keep all digits.
#[derive(Debug, Clone)]
pub struct Geometric(pub(super) Parameters<1>, Law);

impl Geometric {
    /// From `ln(p / (1 - p))`.
    pub fn new(logits: &Tensor) -> Result<Self> {
        let parameters = Parameters::new("Geometric::new", LOGITS, [logits])?;
        Ok(Geometric(parameters, Law(Odds::Logits)))
    }

    /// From p.
    pub fn from_probs(probs: &Tensor) -> Result<Self> {
        let parameters = Parameters::new("Geometric::from_probs", PROBS, [probs])?;
        Ok(Geometric(parameters, Law(Odds::Probs)))
    }

    /// As [`new`](Geometric::new), without looking at the logits' values.
    pub fn new_unchecked(logits: &Tensor) -> Result<Self> {
        let parameters = Parameters::unchecked("Geometric::new_unchecked", LOGITS, [logits])?;
        Ok(Geometric(parameters, Law(Odds::Logits)))
    }

    /// `ln(p / (1 - p))`, shape `batch`.
    pub fn logits(&self) -> Result<Tensor> {
        self.1.0.to_logits("Geometric::logits", self.0.full(0))
    }

    /// p, shape `batch`.
    pub fn probs(&self) -> Result<Tensor> {
        self.1.0.to_probs("Geometric::probs", self.0.full(0))
    }
}

#[derive(Clone, Copy, Debug)]
struct Law(Odds);

impl DensityFormula<2> for Law {
    #[inline(always)]
    fn log_prob<R: Real>(self, [x, odds]: [R; 2]) -> R {
        let [p, q] = self.0.logs(odds);
        no_count(x, f64::INFINITY).unwrap_or_else(|| times(x, q) + p)
    }
}

impl CdfFormulas<2> for Law {
    /// ln P(X > x) = (floor x + 1) ln(1 - p).
    #[inline(always)]
    fn log_tail<R: Real>(self, [x, odds]: [R; 2], upper: bool) -> R {
        if let Some(log) = at_infinity(x, upper) {
            return log;
        }
        let [_, q] = self.0.logs(odds);
        let tail = if x.value() < 0. {
            R::constant(0.)
        } else {
            q * (x.value().floor() + 1.)
        };
        match upper {
            true => tail,
            false => (-tail).log1mexp(),
        }
    }

    #[inline(always)]
    fn quantile<R: Real>(self, [p, odds]: [R; 2]) -> R {
        let (p, [_, q]) = (p.value(), self.0.logs(odds));
        let q = q.value();
        let guess = (-p).ln_1p() / q - 1.;
        let cdf = |k: f64| -((k + 1.) * q).exp_m1();
        R::constant(counts::smallest(p, guess, f64::INFINITY, cdf))
    }
}

impl MomentFormulas<1> for Law {
    fn mean<R: Real>(self, [odds]: [R; 1]) -> R {
        let [p, q] = self.0.probs(odds);
        q / p
    }

    fn variance<R: Real>(self, [odds]: [R; 1]) -> R {
        let [p, q] = self.0.probs(odds);
        q / p / p
    }
}

impl EntropyFormula<1> for Law {
    fn entropy<R: Real>(self, [odds]: [R; 1]) -> R {
        let ([p, q], logs) = (self.0.probs(odds), self.0.logs(odds));
        if p.value() == 0. {
            // What is left of the quotient where p underflows.
            return -logs[0] + 1.;
        }
        bernoulli_entropy([p, q], logs) / p
    }
}

#[derive(Clone, Copy)]
struct Divergence(Law, Law);

impl Formula<2> for Divergence {
    #[inline(always)]
    fn at<R: Real>(self, [one, other]: [R; 2]) -> R {
        let odds = [self.0.0, self.1.0];
        bernoulli_kl((odds[0], one), (odds[1], other)) / odds[0].probs(one)[0]
    }
}

impl Distribution for Geometric {
    fn batch_shape(&self) -> &[usize] {
        self.0.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let odds = self.1.0;
        count::draws(self.0.given(), shape, rng.stream(), |rng, [x]| {
            count::geometric(rng, odds.logs(x)[1])
        })
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_prob("Geometric::log_prob", self.1, value)
    }
}

impl Detach for Geometric {
    fn detach(&self) -> Self {
        Geometric(self.0.detach(), self.1)
    }
}

impl Moments for Geometric {
    fn mean(&self) -> Result<Tensor> {
        self.0.mean("Geometric::mean", self.1)
    }

    fn variance(&self) -> Result<Tensor> {
        self.0.variance("Geometric::variance", self.1)
    }
}

impl Mode for Geometric {
    /// 0.
    fn mode(&self) -> Result<Tensor> {
        Ok(self.0.full(0).zeros_like()?.detach())
    }
}

impl Entropy for Geometric {
    /// The entropy of one trial over p.
    fn entropy(&self) -> Result<Tensor> {
        self.0.entropy("Geometric::entropy", self.1)
    }
}

impl Cdf for Geometric {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_cdf("Geometric::log_cdf", self.1, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.0
            .log_survival("Geometric::log_survival", self.1, value)
    }

    /// Piecewise constant: without gradients.
    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.0.quantile("Geometric::quantile", self.1, probability)
    }
}

impl Kl for Geometric {
    /// The divergence of one trial over p.
    fn kl(&self, other: &Geometric) -> Result<Tensor> {
        let divergence = Divergence(self.1, other.1);
        self.0.with("Geometric::kl", divergence, &other.0)
    }
}

impl MixtureComponent for Geometric {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        let parameters = self.0.select(index, after)?;
        Ok(Geometric(parameters, self.1))
    }
}

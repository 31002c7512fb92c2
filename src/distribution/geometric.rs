//! The geometric distribution.

use super::counts::{self, Odds, bernoulli_entropy, bernoulli_kl, no_count, times};
use super::parameters::{Domain, Parameters};
use super::*;
use crate::kernels::elementwise::{Formula, formula};
use crate::kernels::family::count;
use crate::kernels::number::Real;

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
pub struct Geometric {
    parameters: Parameters<1>,
    odds: Odds,
}

impl Geometric {
    /// From `ln(p / (1 - p))`.
    pub fn new(logits: &Tensor) -> Result<Self> {
        Ok(Geometric {
            parameters: Parameters::new("Geometric::new", [("logits", logits, Domain::Real)])?,
            odds: Odds::Logits,
        })
    }

    /// From p.
    pub fn from_probs(probs: &Tensor) -> Result<Self> {
        let parameters = [("probs", probs, Domain::UnitNotZero)];
        Ok(Geometric {
            parameters: Parameters::new("Geometric::from_probs", parameters)?,
            odds: Odds::Probs,
        })
    }

    /// As [`new`](Geometric::new), without looking at the logits' values.
    pub fn new_unchecked(logits: &Tensor) -> Result<Self> {
        let parameters = [("logits", logits)];
        Ok(Geometric {
            parameters: Parameters::unchecked("Geometric::new_unchecked", parameters)?,
            odds: Odds::Logits,
        })
    }

    /// `ln(p / (1 - p))`, shape `batch`.
    pub fn logits(&self) -> Result<Tensor> {
        self.parameters.formula(counts::Logits(self.odds))
    }

    /// p, shape `batch`.
    pub fn probs(&self) -> Result<Tensor> {
        self.parameters.formula(counts::Probs(self.odds))
    }

    fn at<F: Formula<2>>(&self, op: &'static str, f: F, value: &Tensor) -> Result<Tensor> {
        self.parameters.check_value(op, value)?;
        let [odds] = self.parameters.given();
        formula(f, [value, odds])
    }
}

#[derive(Clone, Copy)]
struct LogProb(Odds);

impl Formula<2> for LogProb {
    const NAME: &'static str = "geometric-log-prob";

    #[inline(always)]
    fn at<R: Real>(self, [x, odds]: [R; 2]) -> R {
        let [p, q] = self.0.logs(odds);
        no_count(x, f64::INFINITY).unwrap_or_else(|| times(x, q) + p)
    }
}

/// ln P(X > x) = (floor x + 1) ln(1 - p), or ln P(X <= x).
#[derive(Clone, Copy)]
struct LogTail {
    odds: Odds,
    upper: bool,
}

impl Formula<2> for LogTail {
    const NAME: &'static str = "geometric-log-cdf";

    #[inline(always)]
    fn at<R: Real>(self, [x, odds]: [R; 2]) -> R {
        if let Some(log) = at_infinity(x, self.upper) {
            return log;
        }
        let [_, q] = self.odds.logs(odds);
        let tail = if x.value() < 0. {
            R::constant(0.)
        } else {
            q * (x.value().floor() + 1.)
        };
        match self.upper {
            true => tail,
            false => (-tail).log1mexp(),
        }
    }
}

#[derive(Clone, Copy)]
struct Quantile(Odds);

impl Formula<2> for Quantile {
    const NAME: &'static str = "geometric-quantile";

    #[inline(always)]
    fn at<R: Real>(self, [p, odds]: [R; 2]) -> R {
        let (p, [_, q]) = (p.value(), self.0.logs(odds));
        let q = q.value();
        let guess = (-p).ln_1p() / q - 1.;
        let cdf = |k: f64| -((k + 1.) * q).exp_m1();
        R::constant(counts::smallest(p, guess, f64::INFINITY, cdf))
    }
}

#[derive(Clone, Copy)]
enum Summary {
    Mean,
    Variance,
    Entropy,
}

#[derive(Clone, Copy)]
struct Moment(Odds, Summary);

impl Formula<1> for Moment {
    const NAME: &'static str = "geometric-moments";

    #[inline(always)]
    fn at<R: Real>(self, [odds]: [R; 1]) -> R {
        let [p, q] = self.0.probs(odds);
        match self.1 {
            Summary::Mean => q / p,
            Summary::Variance => q / p / p,
            Summary::Entropy => {
                let logs = self.0.logs(odds);
                if p.value() == 0. {
                    // What is left of the quotient where p underflows.
                    return -logs[0] + 1.;
                }
                bernoulli_entropy([p, q], logs) / p
            }
        }
    }
}

impl Distribution for Geometric {
    fn batch_shape(&self) -> &[usize] {
        self.parameters.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let odds = self.odds;
        count::draws(self.parameters.given(), shape, rng.stream(), |rng, [x]| {
            count::geometric(rng, odds.logs(x)[1])
        })
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.at("Geometric::log_prob", LogProb(self.odds), value)
    }
}

impl Moments for Geometric {
    fn mean(&self) -> Result<Tensor> {
        self.parameters.formula(Moment(self.odds, Summary::Mean))
    }

    fn variance(&self) -> Result<Tensor> {
        let moment = Moment(self.odds, Summary::Variance);
        self.parameters.formula(moment)
    }
}

impl Mode for Geometric {
    /// 0.
    fn mode(&self) -> Result<Tensor> {
        Ok(self.parameters.full(0)?.zeros_like()?.detach())
    }
}

impl Entropy for Geometric {
    /// The entropy of one trial over p.
    fn entropy(&self) -> Result<Tensor> {
        self.parameters.formula(Moment(self.odds, Summary::Entropy))
    }
}

impl Cdf for Geometric {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        let (odds, upper) = (self.odds, false);
        self.at("Geometric::log_cdf", LogTail { odds, upper }, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        let (odds, upper) = (self.odds, true);
        self.at("Geometric::log_survival", LogTail { odds, upper }, value)
    }

    /// Piecewise constant: without gradients.
    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.parameters
            .check_probability("Geometric::quantile", probability)?;
        self.at("Geometric::quantile", Quantile(self.odds), probability)
    }
}

#[derive(Clone, Copy)]
struct Divergence(Odds, Odds);

impl Formula<2> for Divergence {
    const NAME: &'static str = "geometric-kl";

    #[inline(always)]
    fn at<R: Real>(self, [one, other]: [R; 2]) -> R {
        bernoulli_kl((self.0, one), (self.1, other)) / self.0.probs(one)[0]
    }
}

impl Kl for Geometric {
    /// The divergence of one trial over p.
    fn kl(&self, other: &Geometric) -> Result<Tensor> {
        self.parameters
            .check_other("Geometric::kl", &other.parameters)?;
        let ([one], [two]) = (self.parameters.given(), other.parameters.given());
        formula(Divergence(self.odds, other.odds), [one, two])
    }
}

impl MixtureComponent for Geometric {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        let parameters = self.parameters.select(index, after)?;
        Ok(Geometric {
            parameters,
            odds: self.odds,
        })
    }
}

//! The Bernoulli distribution.

use super::counts::{Odds, bernoulli_kl};
use super::family::*;
use super::*;
use crate::kernels::family::logits::bernoulli_log_prob;

/// Bernoulli distribution of values 0 and 1, from logits `l = ln(p / (1 - p))`.
///
/// Formula: `log p(x) = x l - softplus(l)`.
///
/// Shapes: `logits` is the batch shape; the event is scalar. Samples and values have the dtype of the logits, so that they
/// go into the next layer as they are. Under [`to_event`](Distribution::to_event) the sum over the event is part of the
/// same pass. Units: nats.
///
/// Gradients: `x - sigmoid(l)` for the logits, to about 1e-7 at any logit. Samples have none: not [`Reparameterized`].
///
/// Errors: logits that are not floating point or NaN. They may be infinite.
///
/// A value outside {0, 1} has log-probability -inf. Grey values between 0 and 1 are scored only by
/// [`Bernoulli::soft`].
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::{Rng, distribution::{Bernoulli, Distribution}};
/// # fn main() -> candle_prob::Result<()> {
/// let pixels = Bernoulli::new(&Tensor::new(&[[0f32, 200.], [-200., 1.]], &Device::Cpu)?)?.to_event(1)?;
/// let image = Tensor::new(&[[1f32, 1.], [0., 0.]], &Device::Cpu)?;
/// let log_prob = pixels.log_prob(&image)?.to_vec1::<f32>()?;
/// assert!((log_prob[0] + 0.6931472).abs() < 1e-6 && (log_prob[1] + 1.3132617).abs() < 1e-6);
/// assert_eq!(pixels.sample(&[5], &mut Rng::new(0))?.dims(), &[5, 2, 2]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: everything is computed from `|l|` and `e^-|l|`, so that entropy and KL keep all digits where a probability
/// would round to 0 or 1. KL is a sum of two terms that are not negative and keep their digits near equality.
#[derive(Debug, Clone)]
pub struct Bernoulli {
    pub(super) parameters: Parameters<1>,
    grey: bool,
}

const LOGITS: Domains<1> = [("logits", Domain::Extended)];

impl Bernoulli {
    /// From logits; values are 0 or 1.
    pub fn new(logits: &Tensor) -> Result<Self> {
        Parameters::new("Bernoulli::new", LOGITS, [logits]).map(Self::of)
    }

    /// From the probabilities of 1. At exactly 0 and 1, where the slope of the logit is infinite, the gradient is taken
    /// as 0.
    ///
    /// Errors: probabilities outside of 0 to 1.
    pub fn from_probs(probs: &Tensor) -> Result<Self> {
        let op = "Bernoulli::from_probs";
        Domain::Unit.check(op, "probs", probs)?;
        let logits = named(op, LogitOfProbs, [probs])?;
        Parameters::unchecked(op, LOGITS, [&logits]).map(Self::of)
    }

    /// As [`new`](Bernoulli::new), without looking at the logits' values.
    pub fn new_unchecked(logits: &Tensor) -> Result<Self> {
        Parameters::unchecked("Bernoulli::new_unchecked", LOGITS, [logits]).map(Self::of)
    }

    fn of(parameters: Parameters<1>) -> Self {
        Bernoulli {
            parameters,
            grey: false,
        }
    }

    /// From logits; values anywhere in [0, 1] are scored by the cross-entropy `x l - softplus(l)`.
    ///
    /// This is the usual reconstruction loss of grey pixels. It is not a density: over [0, 1] it does not integrate to 1.
    pub fn soft(logits: &Tensor) -> Result<Self> {
        Ok(Bernoulli {
            parameters: Parameters::new("Bernoulli::soft", LOGITS, [logits])?,
            grey: true,
        })
    }

    /// As [`soft`](Bernoulli::soft), without looking at the logits' values.
    pub fn soft_unchecked(logits: &Tensor) -> Result<Self> {
        Ok(Bernoulli {
            parameters: Parameters::unchecked("Bernoulli::soft_unchecked", LOGITS, [logits])?,
            grey: true,
        })
    }

    /// The logits.
    pub fn logits(&self) -> &Tensor {
        self.parameters.full(0)
    }

    fn sigmoid(&self, sign: f64) -> Result<Tensor> {
        // exp overflows to infinity and the quotient to 0, as it should.
        Ok(((self.logits() * -sign)?.exp()? + 1.)?.recip()?)
    }
}

/// (`e^-a`, `ln(1 + e^-a)`) for `a >= 0`.
fn log1p_exp_neg(a: &Tensor) -> Result<(Tensor, Tensor)> {
    let e = a.neg()?.exp()?;
    let u = (&e + 1.)?;
    // ln(1 + e) = ln u + (e - (u - 1)) / u: the last term is what rounding u lost.
    let lost = ((&e - (&u - 1.)?)? / &u)?;
    Ok((e, (u.log()? + lost)?))
}

impl Distribution for Bernoulli {
    fn batch_shape(&self) -> &[usize] {
        self.parameters.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let dims = shape::concat(&[shape, self.batch_shape()]);
        let p = self.sigmoid(1.)?.detach();
        let u = rng.uniform(dims.as_slice(), p.dtype(), p.device())?;
        let p = p.broadcast_as(dims)?;
        // 0, and NaN where the logit is NaN, which a comparison alone would hide.
        #[allow(clippy::eq_op)]
        let zero = (&p - &p)?;
        Ok((u.lt(&p)?.to_dtype(p.dtype())? + zero)?)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.log_prob_sum(value, 0)
    }

    fn log_prob_sum(&self, value: &Tensor, dims: usize) -> Result<Tensor> {
        self.parameters.check_value("Bernoulli::log_prob", value)?;
        bernoulli_log_prob(self.logits(), value, self.grey, dims)
    }
}

impl Detach for Bernoulli {
    fn detach(&self) -> Self {
        Bernoulli {
            parameters: self.parameters.detach(),
            ..self.clone()
        }
    }
}

impl Moments for Bernoulli {
    fn mean(&self) -> Result<Tensor> {
        self.sigmoid(1.)
    }

    fn variance(&self) -> Result<Tensor> {
        Ok((self.sigmoid(1.)? * self.sigmoid(-1.)?)?)
    }
}

impl Mode for Bernoulli {
    /// 1 where the logit is positive, else 0.
    fn mode(&self) -> Result<Tensor> {
        Ok(self.logits().gt(0.)?.to_dtype(self.logits().dtype())?)
    }
}

#[derive(Clone, Copy)]
struct LogitOfProbs;

impl Formula<1> for LogitOfProbs {
    #[inline(always)]
    fn at<R: Real>(self, [p]: [R; 1]) -> R {
        let logit = p.ln() - (-p).ln_1p();
        match logit.value().is_infinite() {
            true => R::constant(logit.value()),
            false => logit,
        }
    }
}

#[derive(Clone, Copy)]
struct Law;

impl CdfFormulas<2> for Law {
    #[inline(always)]
    fn log_tail<R: Real>(self, [x, logit]: [R; 2], upper: bool) -> R {
        let at = x.value();
        if at.is_nan() {
            return R::constant(at);
        }
        if !(0. ..1.).contains(&at) {
            let empty = (at < 0.) != upper;
            return R::constant(if empty { f64::NEG_INFINITY } else { 0. });
        }
        let [p, q] = Odds::Logits.logs(logit);
        if upper { p } else { q }
    }

    #[inline(always)]
    fn quantile<R: Real>(self, [p, logit]: [R; 2]) -> R {
        let (p, zero) = (p.value(), (-logit).sigmoid().value());
        R::constant(if p <= zero {
            0.
        } else if p > zero {
            1.
        } else {
            f64::NAN
        })
    }
}

impl KlFormula<2> for Law {
    /// `p ln(p / q) + (1 - p) ln((1 - p) / (1 - q))` from two logits, as two deviances: neither is negative, and near equality they
    /// keep their digits.
    #[inline(always)]
    fn kl<R: Real>(self, [a, b]: [R; 2]) -> R {
        let (to, from) = (b.value(), a.value());
        let kl = bernoulli_kl((Odds::Logits, from), (Odds::Logits, to));
        R::function([a, b], kl, || {
            let [p, not_p] = Odds::Logits.probs(from);
            let [q, not_q] = Odds::Logits.probs(to);
            // A side that cannot happen counts 0, also where the difference is infinite.
            let weight = p * not_p;
            let own = if weight == 0. {
                0.
            } else {
                weight * (from - to)
            };
            let other = if from > 0. { not_p - not_q } else { q - p };
            [own, other]
        })
    }
}

impl Cdf for Bernoulli {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.parameters.log_cdf("Bernoulli::log_cdf", Law, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        let op = "Bernoulli::log_survival";
        self.parameters.log_survival(op, Law, value)
    }

    /// Piecewise constant: without gradients.
    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        let op = "Bernoulli::quantile";
        self.parameters.quantile(op, Law, probability)
    }
}

impl Entropy for Bernoulli {
    fn entropy(&self) -> Result<Tensor> {
        // ln(1 + e^-a) + a sigmoid(-a) with a = |l|: two positive terms. Both are 0 in f64 from a = 746 on, and stopping a
        // there keeps infinity from becoming inf * 0.
        let a = self.logits().abs()?.minimum(1e4)?;
        let (e, log1p) = log1p_exp_neg(&a)?;
        Ok((log1p + (a * (&e / (&e + 1.)?)?)?)?)
    }
}

impl Kl for Bernoulli {
    fn kl(&self, other: &Bernoulli) -> Result<Tensor> {
        self.parameters.kl("Bernoulli::kl", Law, &other.parameters)
    }
}

impl MixtureComponent for Bernoulli {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        let (parameters, grey) = (self.parameters.select(index, after)?, self.grey);
        Ok(Bernoulli { parameters, grey })
    }
}

//! Continuous relaxations of discrete families.

use super::family::*;
use super::*;
use crate::kernels::elementwise::composed::double;
use crate::kernels::number::lgamma;
use crate::kernels::reduce;
use crate::special::log_softmax;
use candle_core::D;

const PARAMETERS: Domains<2> = [("temperature", Domain::Positive), ("logits", Domain::Real)];

/// Relaxed Bernoulli distribution (binary Concrete) on the interval from 0 to 1.
///
/// Formula: `ln(x / (1 - x)) = (logits + z) / temperature` with z standard logistic. As the temperature goes to 0 draws go
/// to 0 and 1, the latter with probability `sigmoid(logits)`.
///
/// Shapes: `temperature` and `logits` broadcast to the batch shape; the event is scalar. Units: nats.
///
/// Gradients: pathwise for both parameters; first derivatives only.
///
/// Errors: parameters that are not floating point, of different dtype or device, do not broadcast, or are not
/// finite; a temperature that is not positive.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::{Rng, distribution::{Distribution, RelaxedBernoulli}};
/// # fn main() -> candle_prob::Result<()> {
/// let new = |x: f32| Tensor::new(x, &Device::Cpu);
/// let gate = RelaxedBernoulli::new(&new(0.1)?, &new(50.)?)?;
/// // Draws are 1 in f32; their logits are not infinite, and are scored.
/// let logits = gate.sample_logits(&[8], &mut Rng::new(0))?;
/// let log_prob = gate.log_prob_of_logits(&logits)?.to_vec1::<f32>()?;
/// assert!(log_prob.iter().all(|p| p.is_finite()));
/// # Ok(())
/// # }
/// ```
///
/// Numerics: everything is computed from logits. At 0 and 1 the density is its limit from inside: infinite below
/// temperature 1, 0 above.
///
/// Source: Maddison, Mnih and Teh (2017), The Concrete Distribution; Jang, Gu and Poole (2017), Categorical
/// Reparameterization with Gumbel-Softmax.
#[derive(Debug, Clone)]
pub struct RelaxedBernoulli(Parameters<2>);

impl RelaxedBernoulli {
    /// From temperature and logits.
    pub fn new(temperature: &Tensor, logits: &Tensor) -> Result<Self> {
        Parameters::new("RelaxedBernoulli::new", PARAMETERS, [temperature, logits])
            .map(RelaxedBernoulli)
    }

    /// As [`new`](RelaxedBernoulli::new), without looking at the parameters' values.
    pub fn new_unchecked(temperature: &Tensor, logits: &Tensor) -> Result<Self> {
        let op = "RelaxedBernoulli::new_unchecked";
        Parameters::unchecked(op, PARAMETERS, [temperature, logits]).map(RelaxedBernoulli)
    }

    /// The temperature, shape `batch`.
    pub fn temperature(&self) -> &Tensor {
        self.0.full(0)
    }

    /// The logits, shape `batch`.
    pub fn logits(&self) -> &Tensor {
        self.0.full(1)
    }

    /// Draws as logits `ln(x / (1 - x))`: finite where x itself rounds to 0 or 1. Pathwise gradients.
    pub fn sample_logits(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        self.0
            .sample("RelaxedBernoulli::sample_logits", LOGITS, shape, rng)
    }

    /// Draws rounded to 0 or 1, with the gradient of the draws themselves: the straight-through estimator, which is biased.
    ///
    /// Shapes and errors: those of [`sample`](Distribution::sample).
    ///
    /// Source: Jang, Gu and Poole (2017), Categorical reparameterization with Gumbel-softmax, section 2.2.
    #[doc(alias = "RelaxedBernoulliStraightThrough")]
    pub fn sample_hard(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let soft = self.sample(shape, rng)?;
        let hard = soft.detach().gt(0.5)?.to_dtype(soft.dtype())?;
        straight_through(&hard, &soft)
    }

    /// Log-density at `x = sigmoid(value)`, with respect to dx as [`log_prob`](Distribution::log_prob) is.
    pub fn log_prob_of_logits(&self, value: &Tensor) -> Result<Tensor> {
        let op = "RelaxedBernoulli::log_prob_of_logits";
        self.0.log_prob(op, LOGITS, value)
    }
}

/// Of draws or of their logits.
#[derive(Clone, Copy)]
struct Law {
    logits: bool,
}

const DRAWS: Law = Law { logits: false };
const LOGITS: Law = Law { logits: true };

impl DensityFormula<3> for Law {
    #[inline(always)]
    fn log_prob<R: Real>(self, [x, temperature, logits]: [R; 3]) -> R {
        // ln x, ln(1 - x)
        let (one, zero) = match self.logits {
            true => (-(-x).softplus(), -x.softplus()),
            false if x.value() < 0. || x.value() > 1. => return R::constant(f64::NEG_INFINITY),
            false => (x.ln(), (-x).ln_1p()),
        };
        let y = if self.logits { x } else { one - zero };
        if y.value().is_infinite() {
            // From inside, ln p = ln t -+ logits + (t - 1) |y|.
            let power = temperature.value() - 1.;
            let side = if y.value() > 0. { logits } else { -logits };
            return match power == 0. {
                true => temperature.ln() + side,
                false => R::constant(-power * f64::INFINITY),
            };
        }
        let t = logits - temperature * y;
        temperature.ln() + t - t.softplus() * 2. - one - zero
    }
}

impl CdfFormulas<3> for Law {
    /// Of draws.
    #[inline(always)]
    fn log_tail<R: Real>(self, [x, temperature, logits]: [R; 3], upper: bool) -> R {
        let at = x.value();
        if at <= 0. || at >= 1. {
            let empty = (at <= 0.) != upper;
            return R::constant(if empty { f64::NEG_INFINITY } else { 0. });
        }
        let t = logits - temperature * (x.ln() - (-x).ln_1p());
        if upper {
            -(-t).softplus()
        } else {
            -t.softplus()
        }
    }

    #[inline(always)]
    fn quantile<R: Real>(self, [p, temperature, logits]: [R; 3]) -> R {
        let y = (p.ln() - (-p).ln_1p() + logits) / temperature;
        if self.logits { y } else { y.sigmoid() }
    }
}

impl Distribution for RelaxedBernoulli {
    fn batch_shape(&self) -> &[usize] {
        self.0.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        self.0.sample("RelaxedBernoulli::sample", DRAWS, shape, rng)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_prob("RelaxedBernoulli::log_prob", DRAWS, value)
    }
}

impl Detach for RelaxedBernoulli {
    fn detach(&self) -> Self {
        RelaxedBernoulli(self.0.detach())
    }
}

impl Reparameterized for RelaxedBernoulli {}

impl Cdf for RelaxedBernoulli {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_cdf("RelaxedBernoulli::log_cdf", DRAWS, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        let op = "RelaxedBernoulli::log_survival";
        self.0.log_survival(op, DRAWS, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        let op = "RelaxedBernoulli::quantile";
        self.0.quantile(op, DRAWS, probability)
    }
}

impl MixtureComponent for RelaxedBernoulli {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        self.0.select(index, after).map(RelaxedBernoulli)
    }
}

/// `hard` with the gradient of `soft`: the difference that is added is exactly 0.
fn straight_through(hard: &Tensor, soft: &Tensor) -> Result<Tensor> {
    Ok((hard + (soft - soft.detach())?)?)
}

/// Relaxed one-hot categorical distribution (Gumbel-softmax, Concrete) on the simplex.
///
/// Formula: `x = softmax((logits + g) / t)` with g standard Gumbel and t the temperature;
/// `log p(x) = ln Gamma(K) + (K - 1) ln t + sum_k (s_k - logsumexp(s)) - sum_k ln x_k` with `s = logits - t ln x`.
/// As t goes to 0 draws go to one-hot vectors of the categorical distribution.
///
/// Shapes: `logits` is `B ++ [K]`, `temperature` broadcasts with B to the batch shape; the event is `[K]`. Units: nats.
///
/// Gradients: pathwise for both parameters.
///
/// Errors: parameters that are not floating point, of different dtype or device, do not broadcast, or are not
/// finite; logits that are 0-d; a temperature that is not positive.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::{Rng, distribution::{Distribution, RelaxedOneHotCategorical}};
/// # fn main() -> candle_prob::Result<()> {
/// let logits = Tensor::new(&[1f32, 0., -1.], &Device::Cpu)?;
/// let codes = RelaxedOneHotCategorical::new(&Tensor::new(0.01f32, &Device::Cpu)?, &logits)?;
/// // At low temperatures elements of x underflow; their logarithms are scored all the same.
/// let log_x = codes.sample_log(&[8], &mut Rng::new(0))?;
/// let log_prob = codes.log_prob_of_log(&log_x)?.to_vec1::<f32>()?;
/// assert!(log_prob.iter().all(|p| p.is_finite()));
/// # Ok(())
/// # }
/// ```
///
/// Numerics: in logarithms, and in double precision inside. The boundary of the simplex, where an element is 0, counts as
/// outside; so do vectors whose sum is not 1 within 1e-3.
///
/// Source: Maddison, Mnih and Teh (2017), The Concrete Distribution, eq. 10; Jang, Gu and Poole (2017).
#[derive(Debug, Clone)]
pub struct RelaxedOneHotCategorical {
    /// As given, with a last dim of 1: what broadcasts takes this.
    given_temperature: Tensor,
    /// As given.
    given_logits: Tensor,
    temperature: Tensor,
    logits: Tensor,
    batch: Vec<usize>,
    event: [usize; 1],
}

impl RelaxedOneHotCategorical {
    /// From temperature and logits.
    pub fn new(temperature: &Tensor, logits: &Tensor) -> Result<Self> {
        let op = "RelaxedOneHotCategorical::new";
        let out = Self::build(op, temperature, logits)?;
        Domain::Positive.check(op, "temperature", temperature)?;
        Domain::Real.check(op, "logits", logits)?;
        Ok(out)
    }

    /// As [`new`](RelaxedOneHotCategorical::new), without looking at the parameters' values.
    pub fn new_unchecked(temperature: &Tensor, logits: &Tensor) -> Result<Self> {
        Self::build(
            "RelaxedOneHotCategorical::new_unchecked",
            temperature,
            logits,
        )
    }

    fn build(op: &'static str, temperature: &Tensor, logits: &Tensor) -> Result<Self> {
        shape::float(op, "temperature", temperature)?;
        shape::vectors(op, "logits", logits)?;
        shape::same_kind(op, "logits", logits, temperature)?;
        let Some((k, rows)) = logits.dims().split_last() else {
            return Err(Error::shape(op, "logits", "batch ++ [K]", &[]));
        };
        let batch = shape::broadcast_with(op, "temperature", temperature.dims(), rows)?;
        Ok(RelaxedOneHotCategorical {
            given_temperature: temperature.unsqueeze(D::Minus1)?,
            given_logits: logits.clone(),
            temperature: temperature.broadcast_as(batch.as_slice())?,
            logits: logits.broadcast_as([&batch[..], &[*k]].concat())?,
            batch,
            event: [*k],
        })
    }

    /// The temperature, shape `batch`.
    pub fn temperature(&self) -> &Tensor {
        &self.temperature
    }

    /// The logits, shape `batch ++ [K]`.
    pub fn logits(&self) -> &Tensor {
        &self.logits
    }

    /// Logarithms of draws: finite where the draws themselves underflow. Pathwise gradients.
    pub fn sample_log(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let dims = shape::concat(&[shape, &self.batch, &self.event]);
        // Uniforms are never 0 or 1, so both logarithms are finite.
        let u = rng.uniform(dims, self.given_logits.dtype(), self.given_logits.device())?;
        let gumbel = u.log()?.neg()?.log()?.neg()?;
        let scores = gumbel.broadcast_add(&self.given_logits)?;
        log_softmax(&scores.broadcast_div(&self.given_temperature)?, D::Minus1)
    }

    /// Draws rounded to the one-hot vector of their largest element, with the gradient of the draws themselves: straight-through
    /// Gumbel-softmax, which is biased; PyTorch's `gumbel_softmax(hard=True)`. Of equals the first is the largest.
    ///
    /// Shapes and errors: those of [`sample`](Distribution::sample).
    ///
    /// ```
    /// use candle_core::{Device, Tensor, Var};
    /// use candle_prob::{Rng, distribution::RelaxedOneHotCategorical};
    /// # fn main() -> candle_prob::Result<()> {
    /// let logits = Var::new(&[0f64, 1., 2.], &Device::Cpu)?;
    /// let relaxed = RelaxedOneHotCategorical::new(&Tensor::new(0.5, &Device::Cpu)?, &logits)?;
    /// let x = relaxed.sample_hard(&[], &mut Rng::new(0))?;
    /// assert_eq!((x.max_all()?.to_scalar::<f64>()?, x.sum_all()?.to_scalar::<f64>()?), (1., 1.));
    /// assert!(x.get(0)?.backward()?.get(&logits).is_some());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Source: Jang, Gu and Poole (2017), Categorical reparameterization with Gumbel-softmax, section 2.2.
    #[doc(alias = "gumbel_softmax")]
    #[doc(alias = "RelaxedOneHotCategoricalStraightThrough")]
    pub fn sample_hard(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let log = self.sample_log(shape, rng)?;
        if log.elem_count() == 0 {
            return Ok(log.exp()?);
        }
        let all = Tensor::arange(0, self.event[0] as u32, log.device())?;
        let most = log.detach().argmax_keepdim(D::Minus1)?;
        let hard = most.broadcast_eq(&all)?.to_dtype(log.dtype())?;
        straight_through(&hard, &log.exp()?)
    }

    /// Log-density at `exp(log_value)`, with respect to the value as [`log_prob`](Distribution::log_prob) is. For the
    /// density of the logarithms add their sum.
    pub fn log_prob_of_log(&self, log_value: &Tensor) -> Result<Tensor> {
        let op = "RelaxedOneHotCategorical::log_prob_of_log";
        shape::same_kind(op, "log_value", log_value, &self.given_logits)?;
        shape::value_shape(op, log_value, &self.batch, &self.event)?;
        let inside = || Ok((self.given_logits.zeros_like()? - (self.event[0] as f64).ln())?);
        shield::shielded(op, log_value, 1, inside, |log_value| {
            let density = self.density(&double(log_value)?)?;
            // A coordinate at zero, where no other is NaN.
            let zero = reduce::sum(&log_value.detach())?.le(f64::NEG_INFINITY)?;
            let never = (density.zeros_like()? + f64::NEG_INFINITY)?;
            let zero = zero.broadcast_as(density.shape())?;
            let density = zero.where_cond(&never, &density)?;
            Ok(density.to_dtype(self.given_logits.dtype())?)
        })
    }

    fn density(&self, log_value: &Tensor) -> Result<Tensor> {
        let temperature = double(&self.given_temperature)?;
        let k = self.event[0] as f64;
        let scores =
            double(&self.given_logits)?.broadcast_sub(&log_value.broadcast_mul(&temperature)?)?;
        let rest = log_softmax(&scores, D::Minus1)?.broadcast_sub(log_value)?;
        let scale = (temperature.squeeze(D::Minus1)?.log()? * (k - 1.))?;
        Ok((reduce::sum(&rest)?.broadcast_add(&scale)? + lgamma(k))?)
    }
}

impl Distribution for RelaxedOneHotCategorical {
    fn batch_shape(&self) -> &[usize] {
        &self.batch
    }

    fn event_shape(&self) -> &[usize] {
        &self.event
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        Ok(self.sample_log(shape, rng)?.exp()?)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        let op = "RelaxedOneHotCategorical::log_prob";
        shape::same_kind(op, "value", value, &self.given_logits)?;
        let out = shape::value_shape(op, value, &self.batch, &self.event)?;
        if out.contains(&0) {
            return Ok(Tensor::zeros(out, value.dtype(), value.device())?);
        }
        let inside = || Ok((self.given_logits.ones_like()? / self.event[0] as f64)?);
        shield::shielded(op, value, 1, inside, |value| {
            let value = double(value)?;
            let miss = (value.sum_keepdim(D::Minus1)? - 1.)?.abs()?.gt(1e-3)?;
            let known = value.ne(&value)?.max_keepdim(D::Minus1)?.eq(0u8)?;
            let outside = (value.le(0.)?.max_keepdim(D::Minus1)? + miss)?.gt(0u8)?;
            let outside = (outside * known)?;
            // A point inside takes the place of those outside, so that no gradient is NaN.
            let inside = (value.ones_like()? / self.event[0] as f64)?;
            let full = outside.broadcast_as(value.shape())?;
            let density = self.density(&full.where_cond(&inside, &value)?.log()?)?;
            let outside = outside.squeeze(D::Minus1)?.broadcast_as(density.shape())?;
            let never = (density.zeros_like()? + f64::NEG_INFINITY)?;
            let density = outside.where_cond(&never, &density)?;
            Ok(density.to_dtype(self.given_logits.dtype())?)
        })
    }
}

impl Detach for RelaxedOneHotCategorical {
    fn detach(&self) -> Self {
        RelaxedOneHotCategorical {
            given_temperature: self.given_temperature.detach(),
            given_logits: self.given_logits.detach(),
            temperature: self.temperature.detach(),
            logits: self.logits.detach(),
            ..self.clone()
        }
    }
}

impl Reparameterized for RelaxedOneHotCategorical {}

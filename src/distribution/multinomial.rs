//! The multinomial distribution.

use super::counts::{self, Chance, no_count, over_bell};
use super::parameters::Domain;
use super::*;
use crate::kernels::elementwise::composed::double;
use crate::kernels::elementwise::{Formula, named};
use crate::kernels::family::count;
use crate::kernels::number::Real;
use crate::kernels::reduce::range::{End, first_outside};
use candle_core::{D, DType};

/// Multinomial distribution: how often each of K classes occurs among `total_count` draws.
///
/// Formula: `log p(x) = ln n! - sum_k ln x_k! + sum_k x_k ln p_k` for counts x that add up to n, `p = softmax(logits)`.
///
/// Shapes: `logits` is `B ++ [K]`, `total_count` broadcasts with B to the batch shape; the event is `[K]`. Samples have
/// the dtype of the logits. Units: nats.
///
/// Gradients: for the logits. Samples have none: not [`Reparameterized`].
///
/// Errors: parameters that are not floating point, of different dtype or device, or do not broadcast; counts that
/// are not whole numbers of 0 or more, or above the number up to which the dtype has all of them (2^53 in f64, 2^24 in
/// f32, 2^11 in f16, 2^8 in bf16): a draw's counts would not add up to it; logits as for [`Categorical`].
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::{Rng, distribution::{Distribution, Multinomial}};
/// # fn main() -> candle_prob::Result<()> {
/// let new = |x: &[f64]| Tensor::new(x, &Device::Cpu);
/// let dice = Multinomial::new(&Tensor::new(1e6f64, &Device::Cpu)?, &new(&[0.; 6])?)?;
/// let x = dice.sample(&[3], &mut Rng::new(0))?;
/// assert_eq!(x.sum(1)?.to_vec1::<f64>()?, [1e6; 3]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: a draw is K - 1 binomial ones, whatever the count. Masses are those of Poisson variables of means `n p_k`
/// that happen to add up to n: no factorials, whose digits would cancel. The entropy sums over the support of each class,
/// up to 12 standard deviations.
///
/// Source: Loader (2000), Fast and Accurate Computation of Binomial Probabilities.
#[derive(Debug, Clone)]
pub struct Multinomial {
    /// As given, with a last dim of 1: what broadcasts takes this.
    given_count: Tensor,
    total_count: Tensor,
    classes: Categorical,
    batch: Vec<usize>,
    event: [usize; 1],
}

impl Multinomial {
    /// From the number of draws and logits, which need not be normalized.
    pub fn new(total_count: &Tensor, logits: &Tensor) -> Result<Self> {
        let op = "Multinomial::new";
        check_count(op, total_count)?;
        Self::of(
            op,
            total_count,
            Categorical::new(logits).map_err(|e| e.of(op))?,
        )
    }

    /// From the number of draws and probabilities, rows that add up to 1 as for [`Categorical::from_probs`].
    pub fn from_probs(total_count: &Tensor, probs: &Tensor) -> Result<Self> {
        let op = "Multinomial::from_probs";
        check_count(op, total_count)?;
        Self::of(op, total_count, Categorical::of_probs(op, probs)?)
    }

    /// As [`new`](Multinomial::new), without looking at the parameters' values.
    pub fn new_unchecked(total_count: &Tensor, logits: &Tensor) -> Result<Self> {
        let op = "Multinomial::new_unchecked";
        Self::of(
            op,
            total_count,
            Categorical::new_unchecked(logits).map_err(|e| e.of(op))?,
        )
    }

    fn of(op: &'static str, total_count: &Tensor, classes: Categorical) -> Result<Self> {
        shape::float(op, "total_count", total_count)?;
        shape::same_kind(op, "total_count", total_count, classes.logits())?;
        let rows = classes.batch_shape();
        let batch = shape::broadcast_with(op, "total_count", total_count.dims(), rows)?;
        Ok(Multinomial {
            given_count: total_count.unsqueeze(D::Minus1)?,
            total_count: total_count.broadcast_as(batch.as_slice())?,
            event: [classes.classes()],
            classes,
            batch,
        })
    }

    /// The number of draws, shape `batch`.
    pub fn total_count(&self) -> &Tensor {
        &self.total_count
    }

    /// The distribution of one draw.
    pub fn classes(&self) -> &Categorical {
        &self.classes
    }

    fn log_probs(&self) -> Result<Tensor> {
        crate::special::log_softmax(&double(self.classes.logits())?, D::Minus1)
    }

    /// A formula of count and log-probability of each class, in the dtype of the logits.
    fn each<F: Formula<2>>(&self, op: &'static str, f: F) -> Result<Tensor> {
        let count = double(&self.given_count)?;
        let out = named(op, f, [&self.log_probs()?, &count])?;
        Ok(out
            .broadcast_as([&self.batch[..], &self.event].concat())?
            .to_dtype(self.classes.logits().dtype())?)
    }

    /// Minus the log-mass of n under a Poisson distribution of mean n.
    fn normalizer(&self, op: &'static str) -> Result<Tensor> {
        let count = double(&self.given_count.squeeze(D::Minus1)?)?;
        named(op, OwnMean, [&count])
    }
}

#[derive(Clone, Copy)]
struct OwnMean;

impl Formula<1> for OwnMean {
    #[inline(always)]
    fn at<R: Real>(self, [count]: [R; 1]) -> R {
        -counts::poisson(count, count.value(), count.ln())
    }
}

/// Refuses what is no count, or more than the dtype can count: its parts, rounded, would not add up to it.
fn check_count(op: &'static str, count: &Tensor) -> Result<()> {
    Domain::Count.check(op, "total_count", count)?;
    let (digits, expected) = match count.dtype() {
        DType::F64 => (53, "counts up to 2^53"),
        DType::F32 => (24, "counts up to 2^24"),
        DType::F16 => (11, "counts up to 2^11"),
        _ => (8, "counts up to 2^8"),
    };
    let high = End::Closed(2f64.powi(digits));
    match first_outside(count, End::Closed(0.), high)? {
        Some(found) => Err(Error::value(op, "total_count", expected, found)),
        None => Ok(()),
    }
}

/// The log-mass of one class' count under a Poisson distribution.
#[derive(Clone, Copy)]
struct ClassMass;

impl Formula<3> for ClassMass {
    #[inline(always)]
    fn at<R: Real>(self, [x, log_p, count]: [R; 3]) -> R {
        no_count(x, count.value()).unwrap_or_else(|| {
            let mean = count.value() * log_p.value().exp();
            counts::poisson(x, mean, log_p + count.ln())
        })
    }
}

/// Minus the expectation of [`ClassMass`].
#[derive(Clone, Copy)]
struct ClassEntropy;

impl Formula<2> for ClassEntropy {
    #[inline(always)]
    fn at<R: Real>(self, [log_p, count]: [R; 2]) -> R {
        let (n, log) = (count.value(), log_p.value());
        let log_mean = log_p + count.ln();
        if log == 0. {
            return -counts::poisson(count, n, log_mean);
        }
        let (p, q) = (log.exp(), -log.exp_m1());
        let mut sum = R::constant(if n * p >= 0. { 0. } else { f64::NAN });
        if p == 0. {
            return sum;
        }
        let chance = Chance {
            probs: [p, q],
            logs: [log_p, (-log_p).log1mexp()],
        };
        over_bell(n * p, (n * p * q).sqrt(), 40., n, |k, weight| {
            let x = R::constant(k);
            let mass = counts::binomial(x, count - k, chance).exp();
            sum = sum - mass * counts::poisson(x, n * p, log_mean) * weight;
        });
        sum
    }
}

#[derive(Clone, Copy)]
struct Moment {
    variance: bool,
}

impl Formula<2> for Moment {
    #[inline(always)]
    fn at<R: Real>(self, [log_p, count]: [R; 2]) -> R {
        let mean = count * log_p.exp();
        match self.variance {
            true => -mean * log_p.exp_m1(),
            false => mean,
        }
    }
}

impl Distribution for Multinomial {
    fn batch_shape(&self) -> &[usize] {
        &self.batch
    }

    fn event_shape(&self) -> &[usize] {
        &self.event
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let dims = shape::concat(&[&self.batch, &self.event]);
        let log_p = self.log_probs()?.broadcast_as(dims)?;
        count::multinomial(self.total_count(), &log_p, shape, rng.stream())
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        let op = "Multinomial::log_prob";
        shape::same_kind(op, "value", value, self.classes.logits())?;
        let out = shape::value_shape(op, value, &self.batch, &self.event)?;
        if out.contains(&0) {
            return Ok(Tensor::zeros(out, value.dtype(), value.device())?);
        }
        let (value, count) = (double(value)?, double(&self.given_count)?);
        let each = named(op, ClassMass, [&value, &self.log_probs()?, &count])?;
        let total = value.sum_keepdim(D::Minus1)?.detach();
        let miss = total.broadcast_ne(&count)?.squeeze(D::Minus1)?;
        let log_prob = each.sum(D::Minus1)?.broadcast_add(&self.normalizer(op)?)?;
        let zero = log_prob.zeros_like()?;
        let outside = miss
            .broadcast_as(zero.shape())?
            .where_cond(&(&zero + f64::NEG_INFINITY)?, &zero)?;
        Ok((log_prob + outside)?.to_dtype(self.classes.logits().dtype())?)
    }
}

impl Detach for Multinomial {
    fn detach(&self) -> Self {
        Multinomial {
            given_count: self.given_count.detach(),
            total_count: self.total_count.detach(),
            classes: self.classes.detach(),
            ..self.clone()
        }
    }
}

impl Moments for Multinomial {
    fn mean(&self) -> Result<Tensor> {
        self.each("Multinomial::mean", Moment { variance: false })
    }

    fn variance(&self) -> Result<Tensor> {
        self.each("Multinomial::variance", Moment { variance: true })
    }
}

impl Entropy for Multinomial {
    /// In the order of a thousand masses at most for each class.
    fn entropy(&self) -> Result<Tensor> {
        let op = "Multinomial::entropy";
        let count = double(&self.given_count)?;
        let each = named(op, ClassEntropy, [&self.log_probs()?, &count])?;
        let entropy = each.sum(D::Minus1)?.broadcast_sub(&self.normalizer(op)?)?;
        Ok(entropy.to_dtype(self.classes.logits().dtype())?)
    }
}

impl Kl for Multinomial {
    /// The divergence of one draw times the count; infinite where counts differ, because no value is common.
    fn kl(&self, other: &Multinomial) -> Result<Tensor> {
        let op = "Multinomial::kl";
        let one = self.classes.kl(&other.classes)?;
        named(op, Draws, [&one, self.total_count(), other.total_count()])
    }
}

#[derive(Clone, Copy)]
struct Draws;

impl Formula<3> for Draws {
    #[inline(always)]
    fn at<R: Real>(self, [one, count, other]: [R; 3]) -> R {
        if count.value() == other.value() {
            counts::times(count, one)
        } else {
            R::constant(f64::INFINITY)
        }
    }
}

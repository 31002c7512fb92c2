//! A distribution seen through a bijector.

use super::*;
use crate::bijector::{Affine, Bijector};
use crate::check;
use crate::kernels::reduce;

/// The distribution of `f(x)` for x from a base distribution and a bijector f.
///
/// Formula: `log p(y) = log p_base(f^-1(y)) + ln |det d f^-1(y) / dy|`.
///
/// Shapes: the batch is the base's, the event the base's as f maps it. The base's event has at least the dims that f
/// couples; where it has more, the log-det is summed over them.
///
/// Gradients: those of base and bijector, pathwise where the base's are.
///
/// [`Cdf`] is there for any bijector where the base is continuous and has it; [`Moments`], [`Mode`] and [`Entropy`] for
/// [`Affine`] maps alone.
///
/// Errors: a base whose event has fewer dims than the bijector couples.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::bijector::Tanh;
/// use candle_prob::{Rng, distribution::{Distribution, Normal}};
/// # fn main() -> candle_prob::Result<()> {
/// // The squashed policy of soft actor-critic, far out where tanh rounds to 1.
/// let loc = Tensor::new(30f32, &Device::Cpu)?;
/// let policy = Normal::new(&loc, &loc.ones_like()?)?.transformed_by(Tanh)?;
/// let (action, log_prob) = policy.sample_and_log_prob(&[], &mut Rng::new(0))?;
/// assert_eq!(action.to_scalar::<f32>()?, 1.);
/// assert!(log_prob.to_scalar::<f32>()?.is_finite());
/// # Ok(())
/// # }
/// ```
///
/// Numerics: [`sample_and_log_prob`](Distribution::sample_and_log_prob) goes forward once and inverts nothing. Values that
/// f does not reach have log-density -inf, and so have the ends of its range. Where gradients are asked for and a
/// value of a batch has no density, the batch is inverted twice, so that it does not spoil the others' gradients.
#[derive(Debug, Clone)]
pub struct Transformed<D, B> {
    base: D,
    bijector: B,
    event: Vec<usize>,
}

impl<D: Distribution, B: Bijector> Transformed<D, B> {
    /// The distribution of `bijector(x)`.
    pub fn new(base: D, bijector: B) -> Result<Self> {
        let event = base.event_shape();
        if event.len() < bijector.event_rank() {
            let expected = format!("an event of {} dims or more", bijector.event_rank());
            return Err(Error::shape("Transformed::new", "base", expected, event));
        }
        let event = bijector.transformed_shape(event)?;
        Ok(Transformed {
            base,
            bijector,
            event,
        })
    }

    /// The distribution underneath.
    pub fn base(&self) -> &D {
        &self.base
    }

    /// The bijector.
    pub fn bijector(&self) -> &B {
        &self.bijector
    }

    /// The draws of [`sample`](Distribution::sample) of shape `[count]`, without gradients, `chunk` at a time through the
    /// bijector: a network inside needs the memory of one chunk. Matrix products may round otherwise for another number of
    /// rows, so draws agree for any chunk, and bit for bit for the same one.
    ///
    /// Errors: a chunk of 0; those of base and bijector.
    pub fn sample_chunked(&self, count: usize, chunk: usize, rng: &mut Rng) -> Result<Tensor> {
        check::at_least_one("Transformed::sample_chunked", &[("chunk", chunk)])?;
        let x = self.base.sample(&[count], rng)?.detach();
        if count == 0 {
            return self.bijector.transform(&x);
        }
        let part = |from: usize| -> Result<Tensor> {
            let x = x.narrow(0, from, chunk.min(count - from))?;
            Ok(self.bijector.transform(&x)?.detach())
        };
        let parts: Vec<Tensor> = (0..count).step_by(chunk).map(part).collect::<Result<_>>()?;
        Ok(Tensor::cat(&parts, 0)?)
    }

    /// Sums over the event dims that the bijector does not couple.
    fn sum(&self, log_det: Tensor) -> Result<Tensor> {
        reduce::sum_last(&log_det, self.event.len() - self.bijector.event_rank())
    }

    /// The log-density of values of the right shape.
    fn density(&self, value: &Tensor) -> Result<Tensor> {
        let rank = self.event.len();
        let (x, log_det) = self.bijector.inverse_and_log_det(value)?;
        // No x, or one at infinity. It is replaced before the base sees it, so that its gradient is 0.
        let lost = any(
            &x.detach().abs()?.lt(f64::INFINITY)?.eq(0u8)?,
            self.base.event_shape().len(),
        )?;
        let known = any(&value.detach().ne(value)?, rank)?.eq(0u8)?;
        let outside = (lost * known)?;
        let mask = |like: &Tensor| -> Result<Tensor> {
            let ones = vec![1; like.rank() - outside.rank()];
            let mask = outside.reshape([outside.dims(), &ones].concat())?;
            Ok(mask.broadcast_as(like.shape())?)
        };
        let x = mask(&x)?.where_cond(&x.zeros_like()?, &x)?;
        let log_det = self.sum(log_det)?;
        let nothing = (log_det.zeros_like()? + f64::NEG_INFINITY)?;
        let log_det = outside.where_cond(&nothing, &log_det)?;
        Ok(self.base.log_prob(&x)?.broadcast_add(&log_det)?)
    }
}

/// 1 for events with an element that satisfies the mask, u8.
fn any(mask: &Tensor, event_rank: usize) -> Result<Tensor> {
    let count = mask.to_dtype(candle_core::DType::F32)?;
    Ok(reduce::sum_last(&count, event_rank)?.gt(0f32)?)
}

impl<D: Distribution, B: Bijector> Distribution for Transformed<D, B> {
    fn batch_shape(&self) -> &[usize] {
        self.base.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &self.event
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        self.bijector.transform(&self.base.sample(shape, rng)?)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        let op = "Transformed::log_prob";
        shape::value_shape(op, value, self.batch_shape(), &self.event)?;
        let inside = || self.sample(&[], &mut Rng::new(0));
        shield::shielded(op, value, self.event.len(), inside, |value| {
            self.density(value)
        })
    }

    fn sample_and_log_prob(&self, shape: &[usize], rng: &mut Rng) -> Result<(Tensor, Tensor)> {
        let (x, log_prob) = self.base.sample_and_log_prob(shape, rng)?;
        let (y, log_det) = self.bijector.transform_and_log_det(&x)?;
        Ok((y, (log_prob - self.sum(log_det)?)?))
    }

    fn sample_and_log_prob_sum(
        &self,
        shape: &[usize],
        dims: usize,
        rng: &mut Rng,
    ) -> Result<(Tensor, Tensor)> {
        let (value, log_prob) = self.sample_and_log_prob(shape, rng)?;
        Ok((value, reduce::sum_last(&log_prob, dims)?))
    }
}

impl<D: Detach, B: Detach> Detach for Transformed<D, B> {
    fn detach(&self) -> Self {
        Transformed {
            base: self.base.detach(),
            bijector: self.bijector.detach(),
            event: self.event.clone(),
        }
    }
}

impl<D: Reparameterized, B: Bijector> Reparameterized for Transformed<D, B> {}

impl<D: Reparameterized, B: Bijector> WeightedSum for Transformed<D, B> {}

/// Of scalar continuous distributions, whose bijector is an elementwise monotone map: the tails are those of the base at
/// `f^-1(y)`, and change places where f decreases. Values that f does not reach have all probability on one side.
impl<D: Cdf + Reparameterized, B: Bijector> Transformed<D, B> {
    /// `falls` where the bijector decreases, else `rises`.
    fn turn(&self, falls: impl FnOnce() -> Result<Tensor>, rises: Tensor) -> Result<Tensor> {
        match self.bijector.decreasing()? {
            Some(mask) => Ok(mask
                .broadcast_as(rises.shape())?
                .where_cond(&falls()?, &rises)?),
            None => Ok(rises),
        }
    }

    fn tail(&self, op: &'static str, value: &Tensor, upper: bool) -> Result<Tensor> {
        let out = shape::value_shape(op, value, self.batch_shape(), &self.event)?;
        let value = value.broadcast_as(out)?;
        if value.elem_count() == 0 {
            return Ok(value);
        }
        let inverse = |y: &Tensor| self.bijector.inverse(y).map_err(|e| e.of(op));
        let known = value.detach();
        let far = inverse(&known)?.detach();
        // A value in the middle stands in for those without a slope: at infinity, or out of reach on its side of the middle.
        let half = Tensor::full(0.5, (), value.device())?.to_dtype(value.dtype())?;
        let middle = self.bijector.transform(&self.base.quantile(&half)?)?;
        let middle = middle.detach().broadcast_as(value.shape())?;
        let finite = far.abs()?.lt(f64::INFINITY)?;
        let infinite = far.abs()?.eq(f64::INFINITY)?;
        let x = inverse(&finite.where_cond(&value, &middle)?)?;
        let x = infinite.where_cond(&far, &x)?;
        let tail = |upper: bool| match upper {
            false => self.base.log_cdf(&x),
            true => self.base.log_survival(&x),
        };
        let log = self.turn(|| tail(!upper), tail(upper)?)?;
        let none = (log.detach().zeros_like()? + f64::NEG_INFINITY)?;
        let all = log.detach().zeros_like()?;
        let below = known.lt(&middle)?;
        let (low, high) = if upper { (&all, &none) } else { (&none, &all) };
        let beyond = below.where_cond(low, high)?;
        let beyond = known.eq(&known)?.where_cond(&beyond, &(&all * f64::NAN)?)?;
        Ok((finite + infinite)?.where_cond(&log, &beyond)?)
    }
}

impl<D: Cdf + Reparameterized, B: Bijector> Cdf for Transformed<D, B> {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.tail("Transformed::log_cdf", value, false)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.tail("Transformed::log_survival", value, true)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        let base = |e: Error| e.of("Transformed::quantile");
        let rises = self.base.quantile(probability).map_err(base)?;
        let falls = || self.base.survival_quantile(probability).map_err(base);
        self.bijector.transform(&self.turn(falls, rises)?)
    }

    fn survival_quantile(&self, probability: &Tensor) -> Result<Tensor> {
        let base = |e: Error| e.of("Transformed::survival_quantile");
        let rises = self.base.survival_quantile(probability).map_err(base)?;
        let falls = || self.base.quantile(probability).map_err(base);
        self.bijector.transform(&self.turn(falls, rises)?)
    }
}

impl<D: Moments> Moments for Transformed<D, Affine> {
    fn mean(&self) -> Result<Tensor> {
        self.bijector.transform(&self.base.mean()?)
    }

    fn variance(&self) -> Result<Tensor> {
        let factor = self.bijector.scale()?.sqr()?;
        Ok(self.base.variance()?.broadcast_mul(&factor)?)
    }
}

impl<D: Mode> Mode for Transformed<D, Affine> {
    fn mode(&self) -> Result<Tensor> {
        self.bijector.transform(&self.base.mode()?)
    }
}

impl<D: Entropy> Entropy for Transformed<D, Affine> {
    fn entropy(&self) -> Result<Tensor> {
        let full = [self.batch_shape(), &self.event].concat();
        let log_det = self.bijector.log_scale()?.broadcast_as(full)?;
        Ok((self.base.entropy()? + self.sum(log_det)?)?)
    }
}

/// A divergence does not change under a bijector that both share.
impl<D: Kl<Q>, Q: Distribution, B: Bijector + PartialEq> Kl<Transformed<Q, B>>
    for Transformed<D, B>
{
    fn kl(&self, other: &Transformed<Q, B>) -> Result<Tensor> {
        if self.bijector != other.bijector {
            return Err(Error::NoClosedFormKl {
                p: std::any::type_name::<Self>().into(),
                q: format!(
                    "{} of other numbers",
                    std::any::type_name::<Transformed<Q, B>>()
                ),
            });
        }
        self.base.kl(&other.base)
    }
}

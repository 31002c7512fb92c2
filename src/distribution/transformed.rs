//! A distribution seen through a bijector.

use super::*;
use crate::bijector::Bijector;

/// The distribution of `f(x)` for x from a base distribution and a bijector f.
///
/// Formula: `log p(y) = log p_base(f^-1(y)) + ln |det d f^-1(y) / dy|`.
///
/// Shapes: the batch is the base's, the event the base's as f maps it. The base's event has at least the dims that f
/// couples; where it has more, the log-det is summed over them.
///
/// Gradients: those of base and bijector, pathwise where the base's are.
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
/// f does not reach have log-density -inf, and so have the ends of its range.
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
        if chunk == 0 {
            let op = "Transformed::sample_chunked";
            return Err(Error::value(op, "chunk", "at least 1", chunk));
        }
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
        independent::sum_last(log_det, self.event.len() - self.bijector.event_rank())
    }
}

/// 1 for events with an element that satisfies the mask, u8.
fn any(mask: &Tensor, event_rank: usize) -> Result<Tensor> {
    let count = mask.to_dtype(candle_core::DType::F32)?;
    Ok(independent::sum_last(count, event_rank)?.gt(0f32)?)
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
        let (batch, rank) = (self.batch_shape(), self.event.len());
        shape::value_shape("Transformed::log_prob", value, batch, &self.event)?;
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

    fn sample_and_log_prob(&self, shape: &[usize], rng: &mut Rng) -> Result<(Tensor, Tensor)> {
        let (x, log_prob) = self.base.sample_and_log_prob(shape, rng)?;
        let (y, log_det) = self.bijector.transform_and_log_det(&x)?;
        Ok((y, (log_prob - self.sum(log_det)?)?))
    }
}

impl<D: Reparameterized, B: Bijector> Reparameterized for Transformed<D, B> {}

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

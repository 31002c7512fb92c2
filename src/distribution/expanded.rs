//! A distribution repeated over a larger batch.

use super::*;
use crate::kernels::reduce;

/// Independent copies of a distribution over a batch that its own broadcasts to. Parameters are not copied.
///
/// Shapes: `batch` is the new batch; results that do not depend on the copy are views. Draws are fresh for every copy.
///
/// Gradients: those of the base. Errors: a batch that the base's does not broadcast to.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::{Rng, distribution::{Distribution, Expanded, Laplace}};
/// # fn main() -> candle_prob::Result<()> {
/// let loc = Tensor::new(&[[0f32], [10.]], &Device::Cpu)?;
/// let rows = Expanded::new(Laplace::new(&loc, &loc.ones_like()?)?, &[2, 3])?;
/// assert_eq!(rows.sample(&[5], &mut Rng::new(0))?.dims(), &[5, 2, 3]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Expanded<D> {
    base: D,
    batch: Vec<usize>,
}

impl<D: Distribution> Expanded<D> {
    /// `base` over the batch shape `batch`.
    pub fn new(base: D, batch: &[usize]) -> Result<Self> {
        let own = base.batch_shape();
        shape::broadcast_from("Expanded::new", "batch", batch, own)?;
        shape::draws("Expanded::new", batch, base.event_shape())?;
        Ok(Expanded {
            base,
            batch: batch.to_vec(),
        })
    }

    /// The distribution underneath.
    pub fn base(&self) -> &D {
        &self.base
    }

    /// A result of shape `own batch ++ event` as `batch ++ event`.
    fn expand(&self, x: &Tensor, event: &[usize]) -> Result<Tensor> {
        Ok(x.broadcast_as([&self.batch[..], event].concat())?)
    }

    /// The batch dims that become longer. A dim of 1 that becomes n is n draws in a sample dim, which then takes its place.
    fn copies(&self) -> Vec<usize> {
        let own = self.base.batch_shape();
        let tail = &self.batch[self.batch.len() - own.len()..];
        (0..own.len()).filter(|i| own[*i] != tail[*i]).collect()
    }

    /// The sample shape of the base's draws.
    fn draws(&self, shape: &[usize]) -> Vec<usize> {
        let lead = self.batch.len() - self.base.batch_shape().len();
        let sizes = self.copies().into_iter().map(|i| self.batch[lead + i]);
        let before = shape.iter().chain(&self.batch[..lead]).copied();
        before.chain(sizes).collect()
    }

    /// What the base has of its draws, `draws ++ own batch ++ event`, as `shape ++ batch ++ event`.
    fn arrange(&self, shape: &[usize], x: &Tensor, event: &[usize]) -> Result<Tensor> {
        let (own, copies) = (self.base.batch_shape().len(), self.copies());
        let before = shape.len() + self.batch.len() - own;
        let after = before + copies.len();
        let place = |i: usize| match copies.iter().position(|c| *c == i) {
            Some(copy) => before + copy,
            None => after + i,
        };
        let order: Vec<usize> = (0..before)
            .chain((0..own).map(place))
            .chain(after + own..x.rank())
            .chain(copies.iter().map(|i| after + i))
            .collect();
        let full = [shape, &self.batch, event].concat();
        Ok(x.permute(order)?.contiguous()?.reshape(full)?)
    }
}

impl<D: Distribution> Distribution for Expanded<D> {
    fn batch_shape(&self) -> &[usize] {
        &self.batch
    }

    fn event_shape(&self) -> &[usize] {
        self.base.event_shape()
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let draws = self.base.sample(&self.draws(shape), rng)?;
        self.arrange(shape, &draws, self.event_shape())
    }

    fn sample_and_log_prob(&self, shape: &[usize], rng: &mut Rng) -> Result<(Tensor, Tensor)> {
        let (value, log_prob) = self.base.sample_and_log_prob(&self.draws(shape), rng)?;
        let value = self.arrange(shape, &value, self.event_shape())?;
        Ok((value, self.arrange(shape, &log_prob, &[])?))
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

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        let event = self.event_shape();
        let full = shape::value_shape("Expanded::log_prob", value, &self.batch, event)?;
        Ok(self.base.log_prob(value)?.broadcast_as(full)?)
    }
}

impl<D: Detach> Detach for Expanded<D> {
    fn detach(&self) -> Self {
        Expanded {
            base: self.base.detach(),
            batch: self.batch.clone(),
        }
    }
}

impl<D: Reparameterized> Reparameterized for Expanded<D> {}

impl<D: Moments> Moments for Expanded<D> {
    fn mean(&self) -> Result<Tensor> {
        self.expand(&self.base.mean()?, self.event_shape())
    }

    fn variance(&self) -> Result<Tensor> {
        self.expand(&self.base.variance()?, self.event_shape())
    }
}

impl<D: Mode> Mode for Expanded<D> {
    fn mode(&self) -> Result<Tensor> {
        self.expand(&self.base.mode()?, self.event_shape())
    }
}

impl<D: Entropy> Entropy for Expanded<D> {
    fn entropy(&self) -> Result<Tensor> {
        self.expand(&self.base.entropy()?, &[])
    }
}

impl<D: Cdf> Expanded<D> {
    /// A result of the base at `value`, over the new batch.
    fn at(
        &self,
        op: &'static str,
        value: &Tensor,
        f: impl Fn(&D, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let full = shape::value_shape(op, value, &self.batch, self.event_shape())?;
        Ok(f(&self.base, value)?.broadcast_as(full)?)
    }
}

impl<D: Cdf> Cdf for Expanded<D> {
    fn cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.at("Expanded::cdf", value, D::cdf)
    }

    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.at("Expanded::log_cdf", value, D::log_cdf)
    }

    fn survival(&self, value: &Tensor) -> Result<Tensor> {
        self.at("Expanded::survival", value, D::survival)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.at("Expanded::log_survival", value, D::log_survival)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.at("Expanded::quantile", probability, D::quantile)
    }

    fn survival_quantile(&self, probability: &Tensor) -> Result<Tensor> {
        let op = "Expanded::survival_quantile";
        self.at(op, probability, D::survival_quantile)
    }
}

impl<D: Kl<Q>, Q: Distribution> Kl<Expanded<Q>> for Expanded<D> {
    fn kl(&self, other: &Expanded<Q>) -> Result<Tensor> {
        let batch = common_batch("Expanded::kl", self, "other", other)?;
        Ok(self.base.kl(&other.base)?.broadcast_as(batch)?)
    }
}

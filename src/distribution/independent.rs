//! Batch dimensions reinterpreted as event dimensions.

use super::*;
use crate::kernels::reduce;

/// A distribution whose last `dims` batch dimensions belong to the event.
///
/// Formula: `log p(x) = sum over the moved dims of log p_base(x)`; entropy and KL sum likewise.
///
/// Shapes: batch `B ++ M` and event `E` of the base become batch `B` and event `M ++ E`.
///
/// Gradients: those of the base. Errors: more dims than the batch has.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::{Distribution, Normal};
/// # fn main() -> candle_prob::Result<()> {
/// let zero = Tensor::zeros((5, 3), candle_core::DType::F32, &Device::Cpu)?;
/// let rows = Normal::new(&zero, &zero.ones_like()?)?.to_event(1)?;
/// assert_eq!((rows.batch_shape(), rows.event_shape()), (&[5][..], &[3][..]));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Independent<D> {
    base: D,
    dims: usize,
    event_shape: Vec<usize>,
}

impl<D: Distribution> Independent<D> {
    /// Moves the last `dims` batch dimensions into the event.
    pub fn new(base: D, dims: usize) -> Result<Self> {
        let batch = base.batch_shape();
        let Some(split) = batch.len().checked_sub(dims) else {
            return Err(Error::shape(
                "Independent::new",
                "dims",
                format!("a batch of rank at least {dims}"),
                batch,
            ));
        };
        let event_shape = [&batch[split..], base.event_shape()].concat();
        Ok(Independent {
            base,
            dims,
            event_shape,
        })
    }

    /// The distribution underneath.
    pub fn base(&self) -> &D {
        &self.base
    }

    fn sum(&self, x: Tensor) -> Result<Tensor> {
        reduce::sum_last(&x, self.dims)
    }
}

impl<D: Distribution> Distribution for Independent<D> {
    fn batch_shape(&self) -> &[usize] {
        let batch = self.base.batch_shape();
        &batch[..batch.len() - self.dims]
    }

    fn event_shape(&self) -> &[usize] {
        &self.event_shape
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        self.base.sample(shape, rng)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        // The moved dims are event dims now: checked here, because the base would broadcast them.
        shape::value_shape(
            "Independent::log_prob",
            value,
            self.batch_shape(),
            &self.event_shape,
        )?;
        self.base.log_prob_sum(value, self.dims)
    }

    fn log_prob_sum(&self, value: &Tensor, dims: usize) -> Result<Tensor> {
        shape::value_shape(
            "Independent::log_prob",
            value,
            self.batch_shape(),
            &self.event_shape,
        )?;
        self.base.log_prob_sum(value, self.dims + dims)
    }

    fn sample_and_log_prob(&self, shape: &[usize], rng: &mut Rng) -> Result<(Tensor, Tensor)> {
        self.base.sample_and_log_prob_sum(shape, self.dims, rng)
    }

    fn sample_and_log_prob_sum(
        &self,
        shape: &[usize],
        dims: usize,
        rng: &mut Rng,
    ) -> Result<(Tensor, Tensor)> {
        self.base
            .sample_and_log_prob_sum(shape, self.dims + dims, rng)
    }
}

impl<D: Detach> Detach for Independent<D> {
    fn detach(&self) -> Self {
        Independent {
            base: self.base.detach(),
            dims: self.dims,
            event_shape: self.event_shape.clone(),
        }
    }
}

impl<D: Reparameterized> Reparameterized for Independent<D> {}

impl<D: Reparameterized> WeightedSum for Independent<D> {}

impl<D: Moments> Moments for Independent<D> {
    fn mean(&self) -> Result<Tensor> {
        self.base.mean()
    }

    fn variance(&self) -> Result<Tensor> {
        self.base.variance()
    }
}

impl<D: Mode> Mode for Independent<D> {
    fn mode(&self) -> Result<Tensor> {
        self.base.mode()
    }
}

impl<D: Entropy> Entropy for Independent<D> {
    fn entropy(&self) -> Result<Tensor> {
        self.sum(self.base.entropy()?)
    }
}

impl<D: Kl<Q>, Q: Distribution> Kl<Independent<Q>> for Independent<D> {
    fn kl(&self, other: &Independent<Q>) -> Result<Tensor> {
        common_batch("Independent::kl", self, "other", other)?;
        self.sum(self.base.kl(&other.base)?)
    }
}

impl Independent<Normal> {
    /// The same law as one of vectors.
    ///
    /// Errors: an event that is no vector.
    pub(super) fn vectors(
        &self,
        op: &'static str,
        arg: &'static str,
    ) -> Result<MultivariateNormalDiag> {
        if self.dims != 1 {
            let event = &self.event_shape;
            return Err(Error::shape(op, arg, "an event of one dim", event));
        }
        MultivariateNormalDiag::of(op, self.base.clone())
    }
}

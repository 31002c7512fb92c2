//! A distribution that counts only where a mask holds.

use super::*;
use crate::kernels::reduce;

/// A distribution whose log-probability, entropy and divergence are 0 where the mask is 0: padded steps of a sequence,
/// missing observations.
///
/// Shapes: the mask (u8) broadcasts to the batch shape. Draws and moments are the base's.
///
/// Gradients: 0 where the mask is 0, whatever the value there is. Errors: a mask of another dtype, or that does
/// not broadcast.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::{Distribution, Masked, Normal};
/// # fn main() -> candle_prob::Result<()> {
/// let x = Tensor::new(&[0f32, f32::NAN], &Device::Cpu)?;
/// let zero = Tensor::zeros(2, x.dtype(), x.device())?;
/// let seen = Tensor::new(&[1u8, 0], &Device::Cpu)?;
/// let masked = Masked::new(Normal::new(&zero, &zero.ones_like()?)?, &seen)?;
/// assert_eq!(masked.log_prob(&x)?.to_vec1::<f32>()?, [-0.9189385, 0.]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Masked<D> {
    base: D,
    mask: Tensor,
}

impl<D: Distribution> Masked<D> {
    /// `base` where `mask` is not 0.
    pub fn new(base: D, mask: &Tensor) -> Result<Self> {
        let op = "Masked::new";
        shape::dtype(op, "mask", mask, candle_core::DType::U8)?;
        let batch = base.batch_shape();
        shape::broadcast_to(op, "mask", mask.dims(), batch)?;
        let mask = mask.broadcast_as(batch)?;
        Ok(Masked { base, mask })
    }

    /// The distribution underneath.
    pub fn base(&self) -> &D {
        &self.base
    }

    /// The mask, shape `batch`.
    pub fn mask(&self) -> &Tensor {
        &self.mask
    }

    fn keep(&self, x: &Tensor) -> Result<Tensor> {
        let mask = self.mask.broadcast_as(x.shape())?;
        Ok(mask.where_cond(x, &x.detach().zeros_like()?)?)
    }
}

impl<D: Distribution> Distribution for Masked<D> {
    fn batch_shape(&self) -> &[usize] {
        self.base.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        self.base.event_shape()
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        self.base.sample(shape, rng)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.keep(&self.base.log_prob(value)?)
    }

    fn sample_and_log_prob(&self, shape: &[usize], rng: &mut Rng) -> Result<(Tensor, Tensor)> {
        let (value, log_prob) = self.base.sample_and_log_prob(shape, rng)?;
        Ok((value, self.keep(&log_prob)?))
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

impl<D: Detach> Detach for Masked<D> {
    fn detach(&self) -> Self {
        Masked {
            base: self.base.detach(),
            mask: self.mask.detach(),
        }
    }
}

impl<D: Reparameterized> Reparameterized for Masked<D> {}

impl<D: Moments> Moments for Masked<D> {
    fn mean(&self) -> Result<Tensor> {
        self.base.mean()
    }

    fn variance(&self) -> Result<Tensor> {
        self.base.variance()
    }
}

impl<D: Mode> Mode for Masked<D> {
    fn mode(&self) -> Result<Tensor> {
        self.base.mode()
    }
}

impl<D: Entropy> Entropy for Masked<D> {
    fn entropy(&self) -> Result<Tensor> {
        self.keep(&self.base.entropy()?)
    }
}

/// Where the mask of `self` holds; `other` is what it is compared with, unmasked.
impl<D: Kl<Q>, Q: Distribution> Kl<Q> for Masked<D> {
    fn kl(&self, other: &Q) -> Result<Tensor> {
        self.keep(&self.base.kl(other)?)
    }
}

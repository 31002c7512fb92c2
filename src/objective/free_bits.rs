//! Free bits: a part of the rate that costs no more for being smaller, so that codes are used. There are three readings of
//! it, each a type.
//!
//! The value is `max(lambda, rate)`, and where the rate is `lambda` or less its gradient is exactly 0. A rate that is NaN stays
//! NaN.

use crate::check;
use crate::error::Result;
use crate::kernels::elementwise::{Formula, named, named_sum};
use crate::kernels::number::Real;
use crate::shape;
use candle_core::{DType, Tensor};

/// Free bits for each latent dimension of each example.
///
/// Formula: `sum_d max(lambda, rate_d)`.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::distribution::{Distribution, MultivariateNormalDiag, Normal};
/// use candle_prob::objective::{DistortionRate, ElboConfig, FreeBitsPerDimension, elbo, rate_per_dimension};
/// use candle_prob::Rng;
/// # fn main() -> candle_prob::Result<()> {
/// let x = Tensor::zeros((4, 3), DType::F64, &Device::Cpu)?;
/// let posterior = MultivariateNormalDiag::from_log_var(&x, &x)?;
/// let prior = MultivariateNormalDiag::standard(3, x.dtype(), x.device())?;
/// let decoder = |z: &Tensor| Normal::new(z, &z.ones_like()?)?.to_event(1);
/// let parts = elbo(&posterior, &prior, &decoder, &x, &ElboConfig::default(), &mut Rng::new(0))?;
/// // In place of the rate, 0 here: half a nat is free in each of 3 dimensions.
/// let rate = FreeBitsPerDimension { nats: 0.5 }.of(&rate_per_dimension(&posterior, &prior)?)?;
/// assert_eq!(rate.to_vec1::<f64>()?, [1.5; 4]);
/// let loss = DistortionRate::new(parts.distortion, rate, 1.)?.total.mean_all()?;
/// # Ok(())
/// # }
/// ```
///
/// Source: Kingma et al. (2016), Improving variational inference with inverse autoregressive flow, the objective with free
/// bits of its appendix, with each example by itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FreeBitsPerDimension {
    /// What each dimension has for nothing, lambda, in nats.
    pub nats: f64,
}

/// Free bits for each group of latents, on the mean over the batch: an example may use more than its share of a group, and
/// another less.
///
/// Formula: averaged over the batch, `sum_g max(lambda, mean rate_g)`; the rate of an example is `sum_g rate_g` over the groups
/// whose mean is above lambda, and lambda for each of the others.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::{FreeBitsPerDimension, FreeBitsPerGroup};
/// # fn main() -> candle_prob::Result<()> {
/// let rates = Tensor::new(&[[0f64, 1.], [4., 1.]], &Device::Cpu)?;
/// let by_mean = FreeBitsPerGroup { nats: 1.5 }.of(&rates)?;
/// assert_eq!(by_mean.to_vec1::<f64>()?, [1.5, 5.5]);
/// let each = FreeBitsPerDimension { nats: 1.5 }.of(&rates)?;
/// assert_eq!(each.to_vec1::<f64>()?, [3., 5.5]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Kingma et al. (2016), Improving variational inference with inverse autoregressive flow, the objective with free
/// bits of its appendix.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FreeBitsPerGroup {
    /// What each group has for nothing, lambda, in nats.
    pub nats: f64,
}

/// Free bits for the whole rate of each example.
///
/// Formula: `max(lambda, rate)`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::FreeBitsTotal;
/// # fn main() -> candle_prob::Result<()> {
/// let rate = Tensor::new(&[0.2f64, 3.], &Device::Cpu)?;
/// assert_eq!(FreeBitsTotal { nats: 1. }.of(&rate)?.to_vec1::<f64>()?, [1., 3.]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Kingma et al. (2016), Improving variational inference with inverse autoregressive flow, the objective with free
/// bits of its appendix, with one group and each example by itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FreeBitsTotal {
    /// What an example has for nothing, lambda, in nats.
    pub nats: f64,
}

impl FreeBitsPerDimension {
    /// Of the rates `batch ++ [D]` of all dimensions ([`rate_per_dimension`](super::rate_per_dimension)), shape `batch`.
    ///
    /// Errors: a `nats` that is negative or not finite, rates without a dim D or that are not floating point.
    pub fn of(&self, rates: &Tensor) -> Result<Tensor> {
        let op = "FreeBitsPerDimension::of";
        check::non_negative(op, "nats", self.nats)?;
        shape::vectors(op, "rates", rates)?;
        named_sum(op, AtLeast(self.nats), [rates, &rates.detach()])
    }
}

impl FreeBitsPerGroup {
    /// Of the rates `batch ++ [G]` of all groups, shape `batch`. The mean is that over the whole batch.
    ///
    /// Errors: a `nats` that is negative or not finite, rates without a dim G or that are not floating point.
    pub fn of(&self, rates: &Tensor) -> Result<Tensor> {
        let op = "FreeBitsPerGroup::of";
        check::non_negative(op, "nats", self.nats)?;
        let groups = shape::vectors(op, "rates", rates)?;
        let rows = rates.elem_count() / groups;
        let mean = match rows {
            0 => Tensor::zeros(groups, rates.dtype(), rates.device())?,
            _ => {
                let rows = rates.detach().reshape((rows, groups))?;
                rows.to_dtype(DType::F64)?
                    .mean(0)?
                    .to_dtype(rates.dtype())?
            }
        };
        named_sum(op, AtLeast(self.nats), [rates, &mean])
    }
}

impl FreeBitsTotal {
    /// Of the rate of each example, of any shape.
    ///
    /// Errors: a `nats` that is negative or not finite, a rate that is not floating point.
    pub fn of(&self, rate: &Tensor) -> Result<Tensor> {
        let op = "FreeBitsTotal::of";
        check::non_negative(op, "nats", self.nats)?;
        shape::float(op, "rate", rate)?;
        named(op, AtLeast(self.nats), [rate, &rate.detach()])
    }
}

/// The first number, or the bound where the second is not above it.
#[derive(Clone, Copy)]
struct AtLeast(f64);

impl Formula<2> for AtLeast {
    #[inline(always)]
    fn at<R: Real>(self, [rate, decides]: [R; 2]) -> R {
        if decides.value() <= self.0 {
            R::constant(self.0)
        } else {
            rate
        }
    }
}

//! All mass at one point.

use super::parameters::Domain;
use super::*;
use crate::kernels::reduce;

/// Delta distribution: always `value`.
///
/// Formula: `log p(x) = 0` at x = value, -inf elsewhere: a mass, with respect to counting.
///
/// Shapes: the last `event_dims` dims of `value` are the event, the others the batch.
///
/// Gradients: samples and quantiles are the value, with its gradient. `log_prob` and cdf have none.
///
/// Errors: a value that is not floating point, NaN, or of fewer dims than `event_dims`; the cdf of an event that is not a
/// number.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::{Delta, Kl, Normal};
/// # fn main() -> candle_prob::Result<()> {
/// let point = Delta::new(&Tensor::new(0f64, &Device::Cpu)?, 0)?;
/// let normal = Normal::new(&Tensor::new(0f64, &Device::Cpu)?, &Tensor::new(1f64, &Device::Cpu)?)?;
/// // What a maximum a posteriori estimate pays for its prior.
/// assert!((point.kl(&normal)?.to_scalar::<f64>()? - 0.9189385332).abs() < 1e-9);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Delta {
    value: Tensor,
    event_dims: usize,
}

impl Delta {
    /// From the value.
    pub fn new(value: &Tensor, event_dims: usize) -> Result<Self> {
        let op = "Delta::new";
        Domain::Extended.check(op, "value", value)?;
        Self::build(op, value, event_dims)
    }

    /// As [`new`](Delta::new), without looking at the value's elements.
    pub fn new_unchecked(value: &Tensor, event_dims: usize) -> Result<Self> {
        Self::build("Delta::new_unchecked", value, event_dims)
    }

    fn build(op: &'static str, value: &Tensor, event_dims: usize) -> Result<Self> {
        shape::float(op, "value", value)?;
        if event_dims > value.rank() {
            let expected = format!("at least {event_dims} dims");
            return Err(Error::shape(op, "value", expected, value.dims()));
        }
        Ok(Delta {
            value: value.clone(),
            event_dims,
        })
    }

    /// The value.
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    fn split(&self) -> (&[usize], &[usize]) {
        let dims = self.value.dims();
        dims.split_at(dims.len() - self.event_dims)
    }

    /// 0 where it holds, else -inf; NaN where x is, which has no gradient.
    fn log_of(&self, holds: Tensor, x: &Tensor) -> Result<Tensor> {
        let zero = Tensor::zeros(holds.shape(), x.dtype(), x.device())?;
        let log = holds.where_cond(&zero, &(&zero + f64::NEG_INFINITY)?)?;
        let nan = x.ne(x)?.broadcast_as(zero.shape())?;
        Ok(nan.where_cond(&(&zero + f64::NAN)?, &log)?)
    }

    /// The cdf is that of numbers.
    fn check_number(&self, op: &'static str) -> Result<()> {
        match self.event_dims {
            0 => Ok(()),
            dims => Err(Error::value(op, "event_dims", "0", dims)),
        }
    }

    /// The argument of a cdf and the value, without gradients.
    fn numbers(&self, op: &'static str, value: &Tensor) -> Result<[Tensor; 2]> {
        self.check_number(op)?;
        shape::same_kind(op, "value", value, &self.value)?;
        shape::argument_shape(op, "value", value, self.batch_shape(), &[])?;
        Ok([value.detach(), self.value.detach()])
    }
}

impl Distribution for Delta {
    fn batch_shape(&self) -> &[usize] {
        self.split().0
    }

    fn event_shape(&self) -> &[usize] {
        self.split().1
    }

    fn sample(&self, shape: &[usize], _: &mut Rng) -> Result<Tensor> {
        shape::draws("Distribution::sample", shape, self.value.dims())?;
        Ok(self.value.broadcast_left(shape)?)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        let op = "Delta::log_prob";
        shape::same_kind(op, "value", value, &self.value)?;
        let (batch, event) = self.split();
        shape::value_shape(op, value, batch, event)?;
        let value = value.detach();
        let log_prob = self.log_of(value.broadcast_eq(&self.value.detach())?, &value)?;
        reduce::sum_last(&log_prob, self.event_dims)
    }
}

impl Detach for Delta {
    fn detach(&self) -> Self {
        Delta {
            value: self.value.detach(),
            ..self.clone()
        }
    }
}

impl Reparameterized for Delta {}

impl Moments for Delta {
    fn mean(&self) -> Result<Tensor> {
        Ok(self.value.clone())
    }

    fn variance(&self) -> Result<Tensor> {
        Ok(self.value.zeros_like()?.detach())
    }
}

impl Cdf for Delta {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        let [x, own] = self.numbers("Delta::log_cdf", value)?;
        self.log_of(x.broadcast_ge(&own)?, &x)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        let [x, own] = self.numbers("Delta::log_survival", value)?;
        self.log_of(x.broadcast_lt(&own)?, &x)
    }

    /// The value, for every probability.
    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        let op = "Delta::quantile";
        self.check_number(op)?;
        check_probability(op, probability, &self.value, self.batch_shape())?;
        let dims = shape::argument_shape(op, "probability", probability, self.batch_shape(), &[])?;
        Ok(self.value.broadcast_as(dims)?.contiguous()?)
    }
}

impl Mode for Delta {
    fn mode(&self) -> Result<Tensor> {
        Ok(self.value.clone())
    }
}

impl Entropy for Delta {
    /// 0.
    fn entropy(&self) -> Result<Tensor> {
        let like = &self.value;
        Ok(Tensor::zeros(self.split().0, like.dtype(), like.device())?)
    }
}

impl<Q: Distribution + ?Sized> Kl<Q> for Delta {
    /// `-log q(value)`: exact for discrete q; for densities the usual convention, which leaves out an infinite constant.
    fn kl(&self, other: &Q) -> Result<Tensor> {
        let event = other.event_shape();
        if event != self.event_shape() {
            let expected = format!("event shape {:?}", self.event_shape());
            return Err(Error::shape("Delta::kl", "other", expected, event));
        }
        Ok(other.log_prob(&self.value)?.neg()?)
    }
}

impl MixtureComponent for Delta {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        let value = select_component(&self.value, index, after + self.event_dims)?;
        Delta::new_unchecked(&value, self.event_dims)
    }
}

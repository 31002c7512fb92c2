//! The categorical distribution.

use super::*;
use crate::kernels::logits::{categorical_log_prob, categorical_sample};
use candle_core::{D, DType};

/// Categorical distribution over the classes `0..K`, from logits.
///
/// Formula: `log p(i) = l_i - ln sum_k exp(l_k)`.
///
/// Shapes: `logits` is `batch ++ [K]`; the event is scalar. Samples are u32; values are u8, u32 or i64. Units: nats.
///
/// Gradients: one-hot minus softmax for the logits. Samples have none: not [`Reparameterized`].
///
/// Errors: logits that are empty, 0-d or not floating point; values that are not whole numbers; drawing from a row whose
/// logits are all -inf, or NaN.
///
/// A class of logit -inf is masked: it is never drawn, and log-probabilities of the others, entropy, KL and all their
/// gradients stay finite. A row of -inf only is no distribution; its log-probabilities are NaN, because finding it
/// beforehand would mean reading the device. A value that is no class has log-probability -inf and no gradient.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::{Rng, distribution::{Categorical, Distribution, Entropy}};
/// # fn main() -> candle_prob::Result<()> {
/// let logits = Tensor::new(&[0f32, f32::NEG_INFINITY, 1.], &Device::Cpu)?;
/// let masked = Categorical::new(&logits)?;
/// assert!((masked.entropy()?.to_scalar::<f32>()? - 0.5822031).abs() < 1e-6);
/// let draws = masked.sample(&[1000], &mut Rng::new(0))?.to_vec1::<u32>()?;
/// assert!(!draws.contains(&1));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Categorical {
    logits: Tensor,
}

impl Categorical {
    /// From logits, which need not be normalized.
    pub fn new(logits: &Tensor) -> Result<Self> {
        let op = "Categorical::new";
        shape::parameter(op, "logits", logits)?;
        if logits.rank() == 0 {
            return Err(Error::shape(op, "logits", "batch ++ [K]", &[]));
        }
        Ok(Categorical {
            logits: logits.clone(),
        })
    }

    /// The logits, `batch ++ [K]`.
    pub fn logits(&self) -> &Tensor {
        &self.logits
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.logits.dims().last().copied().unwrap_or(1)
    }

    /// Normalized logits, `batch ++ [K]`.
    pub fn log_probs(&self) -> Result<Tensor> {
        let max = self.logits.max_keepdim(D::Minus1)?.detach();
        // Finite, because -inf - -inf is NaN. The shift cancels in value and gradient.
        let shifted = self
            .logits
            .broadcast_sub(&max.maximum(f64::from(f32::MIN))?)?;
        let total = shifted.exp()?.sum_keepdim(D::Minus1)?;
        Ok(shifted.broadcast_sub(&total.log()?)?)
    }

    /// Probabilities, `batch ++ [K]`.
    pub fn probs(&self) -> Result<Tensor> {
        Ok(self.log_probs()?.exp()?)
    }
}

impl Distribution for Categorical {
    fn batch_shape(&self) -> &[usize] {
        let dims = self.logits.dims();
        &dims[..dims.len() - 1]
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let repeats = shape.iter().product();
        let draws = categorical_sample(&self.logits.detach(), repeats, rng.stream())?;
        let dims = shape::concat(&[shape, self.batch_shape()]);
        Ok(Tensor::from_vec(draws, dims, self.logits.device())?)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        let op = "Categorical::log_prob";
        if !matches!(value.dtype(), DType::U8 | DType::U32 | DType::I64) {
            return Err(Error::DType {
                op,
                arg: "value",
                expected: "U8, U32 or I64".into(),
                found: value.dtype(),
            });
        }
        shape::same_device(op, "value", value, &self.logits)?;
        shape::value_shape(op, value, self.batch_shape(), &[])?;
        categorical_log_prob(&self.logits, value)
    }
}

/// `p * x`, 0 where p is 0: a class that cannot happen counts nothing, whatever its logarithm.
fn weigh(p: &Tensor, x: &Tensor) -> Result<Tensor> {
    let x = p.eq(0.)?.where_cond(&x.zeros_like()?, x)?;
    Ok((p * x)?)
}

impl Entropy for Categorical {
    fn entropy(&self) -> Result<Tensor> {
        let log_probs = self.log_probs()?;
        Ok(weigh(&log_probs.exp()?, &log_probs)?
            .sum(D::Minus1)?
            .neg()?)
    }
}

impl Kl for Categorical {
    /// Infinite where `self` has a class that `other` masks.
    fn kl(&self, other: &Categorical) -> Result<Tensor> {
        if self.classes() != other.classes() {
            return Err(Error::shape(
                "Categorical::kl",
                "other",
                format!("{} classes", self.classes()),
                other.logits.dims(),
            ));
        }
        let (p, q) = (self.log_probs()?, other.log_probs()?);
        let [p, q] = shape::broadcast_parameters("Categorical::kl", [("self", &p), ("other", &q)])?;
        Ok(weigh(&p.exp()?, &(&p - &q)?)?.sum(D::Minus1)?)
    }
}

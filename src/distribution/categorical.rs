//! The categorical distribution.

use super::parameters::Domain;
use super::*;
use crate::kernels::elementwise::composed::double;
use crate::kernels::elementwise::{LogMass, named};
use crate::kernels::family::logits::{
    categorical_entropy, categorical_kl, categorical_log_prob, categorical_quantile,
    categorical_sample, log_softmax, log_sum_exp,
};
use crate::kernels::reduce::range::{End, first_outside};
use crate::special::log1mexp;
use candle_core::{D, DType};

/// Categorical distribution over the classes `0..K`, from logits.
///
/// Formula: `log p(i) = l_i - ln sum_k exp(l_k)`.
///
/// Shapes: `logits` is `batch ++ [K]`; the event is scalar. Samples are u32; values are u8, u32 or i64. Units: nats.
///
/// Gradients: one-hot minus softmax for the logits. Samples have none: not [`Reparameterized`].
///
/// Errors: logits that are 0-d, without classes, not floating point, NaN or +inf; a row of -inf only; values that are not whole
/// numbers.
///
/// A class of logit -inf is masked: it is never drawn, and log-probabilities of the others, entropy, KL and all their
/// gradients stay finite. A value that is no class has log-probability -inf and no gradient.
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
        let (op, arg) = ("Categorical::new", "logits");
        let out = Self::build(op, logits)?;
        if Domain::Real.check(op, arg, logits).is_err() {
            // Masked classes: each row needs one that is not.
            Domain::Extended.check(op, arg, logits)?;
            let largest = logits.detach().max(D::Minus1)?;
            if Domain::Real.check(op, arg, &largest).is_err() {
                let expected = "a finite largest logit in each row";
                return Err(Error::value(op, arg, expected, "a row without one"));
            }
        }
        Ok(out)
    }

    /// From probabilities, rows that add up to 1: their logarithms are the logits. Where one is 0 its class is masked, and
    /// its gradient is taken as 0. Weights that need normalizing go in as logits, `Categorical::new(&weights.log()?)`.
    ///
    /// Errors: probabilities that are negative or not finite; a row whose sum is not 1 to rounding, which is `sqrt(K)` times
    /// 1e-10 in f64, 2e-6 in f32, 1e-3 in f16 and 1e-2 in bf16.
    pub fn from_probs(probs: &Tensor) -> Result<Self> {
        Self::of_probs("Categorical::from_probs", probs)
    }

    /// As [`from_probs`](Categorical::from_probs); `op` names the caller in errors.
    pub(super) fn of_probs(op: &'static str, probs: &Tensor) -> Result<Self> {
        let arg = "probs";
        Domain::NonNegative.check(op, arg, probs)?;
        let classes = shape::vectors(op, arg, probs)?;
        let tolerance = shape::sum_tolerance(probs.dtype(), classes);
        let sums = double(&probs.detach())?.sum(D::Minus1)?;
        let ends = [1. - tolerance, 1. + tolerance].map(End::Closed);
        if let Some(sum) = first_outside(&sums, ends[0], ends[1])? {
            let expected = format!("rows that add up to 1 within {tolerance:.1e}");
            let found = format!("a row with the sum {sum}");
            return Err(Error::value(op, arg, expected, found));
        }
        Self::build(op, &named(op, LogMass, [probs])?)
    }

    /// As [`new`](Categorical::new), without looking at the logits' values: a row of -inf only gives NaN, and an error
    /// when it is drawn from.
    pub fn new_unchecked(logits: &Tensor) -> Result<Self> {
        Self::build("Categorical::new_unchecked", logits)
    }

    fn build(op: &'static str, logits: &Tensor) -> Result<Self> {
        shape::vectors(op, "logits", logits)?;
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
        log_softmax(&self.logits)
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
        shape::draws("Distribution::sample", shape, self.logits.dims())?;
        let repeats = shape.iter().product();
        let draws = categorical_sample(&self.logits.detach(), repeats, rng.stream())?;
        let dims = shape::concat(&[shape, self.batch_shape()]);
        Ok(Tensor::from_vec(draws, dims, self.logits.device())?)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.check("Categorical::log_prob", value)?;
        categorical_log_prob(&self.logits, value)
    }
}

impl Detach for Categorical {
    fn detach(&self) -> Self {
        Categorical {
            logits: self.logits.detach(),
        }
    }
}

impl Categorical {
    /// Refuses what are no indices, or do not fit; returns `sample ++ batch`.
    fn check(&self, op: &'static str, value: &Tensor) -> Result<Vec<usize>> {
        if !matches!(value.dtype(), DType::U8 | DType::U32 | DType::I64) {
            return Err(Error::DType {
                op,
                arg: "value",
                expected: "U8, U32 or I64".into(),
                found: value.dtype(),
            });
        }
        shape::same_device(op, "value", value, &self.logits)?;
        shape::value_shape(op, value, self.batch_shape(), &[])
    }

    /// `ln sum p_k` over the classes above the value if `upper`, else over the others; in double precision inside. Where it is
    /// most of the whole, from what is left.
    fn tail(&self, op: &'static str, value: &Tensor, upper: bool) -> Result<Tensor> {
        let out = self.check(op, value)?;
        let (k, like) = (self.classes() as u32, &self.logits);
        let log_probs = log_softmax(&double(like)?)?;
        let log_probs = log_probs.broadcast_as([&out[..], &[k as usize]].concat())?;
        if out.contains(&0) {
            return Ok(log_probs.sum(D::Minus1)?.to_dtype(like.dtype())?);
        }
        let value = value.to_dtype(DType::I64)?.broadcast_as(out)?;
        let classes = Tensor::arange(0, i64::from(k), like.device())?;
        let above = classes.broadcast_gt(&value.unsqueeze(D::Minus1)?)?;
        let nothing = (log_probs.detach().zeros_like()? + f64::NEG_INFINITY)?;
        let possible = log_probs.detach().ne(f64::NEG_INFINITY)?;
        // The sum, and whether there is anything to sum.
        let side = |inside: Tensor| -> Result<(Tensor, Tensor)> {
            let counted = (&inside * &possible)?.to_dtype(DType::F32)?;
            let any = counted.sum(D::Minus1)?.gt(0.)?;
            let masked = inside.where_cond(&log_probs, &nothing)?;
            let every = any.unsqueeze(D::Minus1)?.broadcast_as(masked.shape())?;
            Ok((log_sum_exp(&every.where_cond(&masked, &log_probs)?)?, any))
        };
        let (own, rest) = match upper {
            true => (above.clone(), above.eq(0u8)?),
            false => (above.eq(0u8)?, above),
        };
        let ((own, any), (rest, others)) = (side(own)?, side(rest)?);
        let one_sided = any.ne(&others)?;
        let own_side = (own.detach().lt(&rest.detach())? + one_sided)?.gt(0u8)?;
        // A number of no consequence where `own` is taken, so that no slope is infinite.
        let far = own_side.where_cond(&own.detach().ones_like()?, &rest.neg()?)?;
        let log = own_side.where_cond(&own, &log1mexp(&far)?)?;
        let zero = log.detach().zeros_like()?;
        let log = others.where_cond(&log, &zero)?;
        let log = any.where_cond(&log, &(&zero + f64::NEG_INFINITY)?)?;
        Ok(log.to_dtype(like.dtype())?)
    }
}

/// Over the indices of the classes, which are values of [`log_prob`](Distribution::log_prob); quantiles are u32. Memory is that
/// of K numbers for each value.
impl Cdf for Categorical {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.tail("Categorical::log_cdf", value, false)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.tail("Categorical::log_survival", value, true)
    }

    /// At 0 the first class, at 1 the last that is not masked. Sums are those of the sampler, in double precision.
    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        let op = "Categorical::quantile";
        let batch = self.batch_shape();
        check_probability(op, probability, &self.logits, batch)?;
        let out = shape::value_shape(op, probability, batch, &[])?;
        let p = double(&probability.detach().broadcast_as(out.as_slice())?)?;
        let p = p.flatten_all()?.to_vec1::<f64>()?;
        let classes = categorical_quantile(op, &self.logits.detach(), &p)?;
        Ok(Tensor::from_vec(classes, out, self.logits.device())?)
    }
}

impl Mode for Categorical {
    /// The class of the largest logit, u32; the first of those that tie.
    fn mode(&self) -> Result<Tensor> {
        if self.logits.elem_count() == 0 {
            let device = self.logits.device();
            return Ok(Tensor::zeros(self.batch_shape(), DType::U32, device)?);
        }
        Ok(self.logits.detach().argmax(D::Minus1)?)
    }
}

impl Entropy for Categorical {
    fn entropy(&self) -> Result<Tensor> {
        categorical_entropy(&self.logits)
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
        let (p, q) = (&self.logits, &other.logits);
        shape::broadcast_parameters("Categorical::kl", [("self", p), ("other", q)])?;
        categorical_kl(p, q)
    }
}

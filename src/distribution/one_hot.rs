//! The categorical distribution over one-hot vectors.

use super::*;
use crate::kernels::reduce;
use candle_core::{D, DType};

/// Categorical distribution whose values are one-hot vectors.
///
/// Formula: `log p(x) = sum_k x_k l_k - ln sum_k exp(l_k)` for vectors x of one 1 and zeros.
///
/// Shapes: `logits` or `probs` is `batch ++ [K]`; the event is `[K]`. Samples have the dtype of the logits. Units: nats.
///
/// Gradients: one-hot minus softmax for the logits; none for the value. Samples have none either: not
/// [`Reparameterized`]; see [`OneHotCategoricalStraightThrough`].
///
/// Errors: as for [`Categorical`].
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::{Distribution, OneHotCategorical};
/// # fn main() -> candle_prob::Result<()> {
/// let coin = OneHotCategorical::new(&Tensor::new(&[0f64, 3f64.ln()], &Device::Cpu)?)?;
/// let x = Tensor::new(&[[1f64, 0.], [0., 1.], [0.5, 0.5]], &Device::Cpu)?;
/// let p = coin.log_prob(&x)?.exp()?.to_vec1::<f64>()?;
/// assert!((p[0] - 0.25).abs() < 1e-15 && (p[1] - 0.75).abs() < 1e-15 && p[2] == 0.);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct OneHotCategorical {
    pub(super) classes: Categorical,
    event: [usize; 1],
}

impl From<Categorical> for OneHotCategorical {
    fn from(classes: Categorical) -> Self {
        let event = [classes.classes()];
        OneHotCategorical { classes, event }
    }
}

impl OneHotCategorical {
    /// From logits, which need not be normalized.
    pub fn new(logits: &Tensor) -> Result<Self> {
        let classes = Categorical::new(logits).map_err(|e| e.of("OneHotCategorical::new"))?;
        Ok(classes.into())
    }

    /// From probabilities, rows that add up to 1 as for [`Categorical::from_probs`].
    pub fn from_probs(probs: &Tensor) -> Result<Self> {
        Ok(Categorical::of_probs("OneHotCategorical::from_probs", probs)?.into())
    }

    /// As [`new`](OneHotCategorical::new), without looking at the logits' values.
    pub fn new_unchecked(logits: &Tensor) -> Result<Self> {
        let op = "OneHotCategorical::new_unchecked";
        Ok(Categorical::new_unchecked(logits)
            .map_err(|e| e.of(op))?
            .into())
    }

    /// The distribution of the class.
    pub fn classes(&self) -> &Categorical {
        &self.classes
    }

    fn one_hot(&self, index: &Tensor) -> Result<Tensor> {
        let like = self.classes.logits();
        let all = Tensor::arange(0, self.event[0] as u32, like.device())?;
        let out = index.unsqueeze(D::Minus1)?.broadcast_eq(&all)?;
        Ok(out.to_dtype(like.dtype())?)
    }
}

/// 0 where a row is one-hot, else -inf; NaN where it has a NaN.
fn no_one_hot(value: &Tensor) -> Result<Tensor> {
    let bits = (value.eq(0.)? + value.eq(1.)?)?.to_dtype(DType::F32)?;
    let inside = (bits.min(D::Minus1)?.eq(1.)? * reduce::sum(value)?.eq(1.)?)?;
    let nan = value.ne(value)?.max(D::Minus1)?;
    let zero = inside.to_dtype(value.dtype())?.zeros_like()?;
    let outside = inside.where_cond(&zero, &(&zero + f64::NEG_INFINITY)?)?;
    Ok(nan.where_cond(&(&zero + f64::NAN)?, &outside)?)
}

impl Distribution for OneHotCategorical {
    fn batch_shape(&self) -> &[usize] {
        self.classes.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &self.event
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        self.one_hot(&self.classes.sample(shape, rng)?)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        let op = "OneHotCategorical::log_prob";
        shape::same_kind(op, "value", value, self.classes.logits())?;
        let out = shape::value_shape(op, value, self.batch_shape(), &self.event)?;
        if value.elem_count() == 0 {
            let like = self.classes.logits();
            return Ok(Tensor::zeros(out, like.dtype(), like.device())?);
        }
        let value = value.detach();
        let index = value.argmax(D::Minus1)?;
        let outside = no_one_hot(&value)?;
        Ok(self.classes.log_prob(&index)?.broadcast_add(&outside)?)
    }
}

impl Detach for OneHotCategorical {
    fn detach(&self) -> Self {
        OneHotCategorical {
            classes: self.classes.detach(),
            ..self.clone()
        }
    }
}

impl Moments for OneHotCategorical {
    fn mean(&self) -> Result<Tensor> {
        self.classes.probs()
    }

    fn variance(&self) -> Result<Tensor> {
        let p = self.classes.probs()?;
        Ok((&p * p.affine(-1., 1.)?)?)
    }
}

impl Mode for OneHotCategorical {
    fn mode(&self) -> Result<Tensor> {
        self.one_hot(&self.classes.mode()?)
    }
}

impl Entropy for OneHotCategorical {
    fn entropy(&self) -> Result<Tensor> {
        self.classes.entropy()
    }
}

impl Kl for OneHotCategorical {
    /// Infinite where `self` has a class that `other` masks.
    fn kl(&self, other: &OneHotCategorical) -> Result<Tensor> {
        self.classes.kl(&other.classes)
    }
}

impl MixtureComponent for OneHotCategorical {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        Ok(self.classes.select(index, after)?.into())
    }
}

/// [`OneHotCategorical`] whose samples carry the gradient of the probabilities: the straight-through estimator.
///
/// Formula: a sample is `x + p - detach(p)` with x one-hot: exactly x, with the gradient of p.
///
/// Shapes, units and errors as for [`OneHotCategorical`], which [`hard`](OneHotCategoricalStraightThrough::hard) gives.
///
/// Gradients: of samples, biased: the gradient of `E[f(x)]` is exact only for linear f.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use candle_prob::{Rng, distribution::{Distribution, OneHotCategoricalStraightThrough}};
/// # fn main() -> candle_prob::Result<()> {
/// let logits = Var::new(&[0f32, 1., 2.], &Device::Cpu)?;
/// let codes = OneHotCategoricalStraightThrough::new(&logits)?;
/// let x = codes.sample(&[], &mut Rng::new(0))?;
/// assert_eq!(x.sum_all()?.to_scalar::<f32>()?, 1.);
/// assert!(x.get(0)?.backward()?.get(&logits).is_some());
/// # Ok(())
/// # }
/// ```
///
/// Source: Bengio, Leonard and Courville (2013), Estimating or Propagating Gradients Through Stochastic Neurons.
#[derive(Debug, Clone)]
pub struct OneHotCategoricalStraightThrough {
    hard: OneHotCategorical,
}

impl OneHotCategoricalStraightThrough {
    /// From logits, which need not be normalized.
    pub fn new(logits: &Tensor) -> Result<Self> {
        let op = "OneHotCategoricalStraightThrough::new";
        let hard = OneHotCategorical::new(logits).map_err(|e| e.of(op))?;
        Ok(OneHotCategoricalStraightThrough { hard })
    }

    /// As [`new`](OneHotCategoricalStraightThrough::new), without looking at the logits' values.
    pub fn new_unchecked(logits: &Tensor) -> Result<Self> {
        let op = "OneHotCategoricalStraightThrough::new_unchecked";
        let hard = OneHotCategorical::new_unchecked(logits).map_err(|e| e.of(op))?;
        Ok(OneHotCategoricalStraightThrough { hard })
    }

    /// The same distribution with samples that carry no gradient.
    pub fn hard(&self) -> &OneHotCategorical {
        &self.hard
    }
}

impl Distribution for OneHotCategoricalStraightThrough {
    fn batch_shape(&self) -> &[usize] {
        self.hard.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        self.hard.event_shape()
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let x = self.hard.sample(shape, rng)?;
        let p = self.hard.classes.probs()?;
        // The difference is exactly 0, so that a sample stays in the support.
        Ok(x.broadcast_add(&(&p - p.detach())?)?)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.hard.log_prob(value)
    }
}

impl Detach for OneHotCategoricalStraightThrough {
    fn detach(&self) -> Self {
        OneHotCategoricalStraightThrough {
            hard: self.hard.detach(),
        }
    }
}

impl Reparameterized for OneHotCategoricalStraightThrough {}

impl Moments for OneHotCategoricalStraightThrough {
    fn mean(&self) -> Result<Tensor> {
        self.hard.mean()
    }

    fn variance(&self) -> Result<Tensor> {
        self.hard.variance()
    }
}

impl Mode for OneHotCategoricalStraightThrough {
    fn mode(&self) -> Result<Tensor> {
        self.hard.mode()
    }
}

impl Entropy for OneHotCategoricalStraightThrough {
    fn entropy(&self) -> Result<Tensor> {
        self.hard.entropy()
    }
}

impl Kl for OneHotCategoricalStraightThrough {
    fn kl(&self, other: &OneHotCategoricalStraightThrough) -> Result<Tensor> {
        self.hard.kl(&other.hard)
    }
}

//! Distributions: the traits, one file per family, and combinators.
//!
//! A distribution is an eager value: it holds tensors, owns no variable and is cheap to clone. Shapes follow one law:
//! a sample has shape `sample ++ batch ++ event`, a log-probability `sample ++ batch`.

use crate::error::{Error, Result};
use crate::rng::Rng;
use crate::shape;
use candle_core::Tensor;

/// A probability distribution over tensors.
pub trait Distribution {
    /// Shape of independent, differently parameterized copies.
    fn batch_shape(&self) -> &[usize];

    /// Shape of one draw.
    fn event_shape(&self) -> &[usize];

    /// Draws of shape `shape ++ batch ++ event`. Gradients flow to the parameters exactly when the distribution is
    /// [`Reparameterized`].
    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor>;

    /// Log-density or log-mass, in nats. `value` has shape `S ++ batch ++ event` (the dims before the event broadcast
    /// with the batch, event dims never broadcast); the result has shape `S ++ batch`. Outside the support it is -inf,
    /// and NaN in gives NaN out.
    fn log_prob(&self, value: &Tensor) -> Result<Tensor>;

    /// A sample and its log-probability in one pass.
    fn sample_and_log_prob(&self, shape: &[usize], rng: &mut Rng) -> Result<(Tensor, Tensor)> {
        let value = self.sample(shape, rng)?;
        let log_prob = self.log_prob(&value)?;
        Ok((value, log_prob))
    }

    /// Reinterprets the last `dims` batch dimensions as event dimensions.
    fn to_event(self, dims: usize) -> Result<Independent<Self>>
    where
        Self: Sized,
    {
        Independent::new(self, dims)
    }
}

/// Marker: gradients flow through [`Distribution::sample`] to the parameters.
pub trait Reparameterized: Distribution {}

/// First two moments.
pub trait Moments: Distribution {
    /// Mean, shape `batch ++ event`.
    fn mean(&self) -> Result<Tensor>;

    /// Variance of each element, shape `batch ++ event`.
    fn variance(&self) -> Result<Tensor>;
}

/// Entropy in closed form.
pub trait Entropy: Distribution {
    /// Entropy in nats, shape `batch`.
    fn entropy(&self) -> Result<Tensor>;
}

/// Kullback-Leibler divergence in closed form.
pub trait Kl<Q: ?Sized = Self>: Distribution {
    /// KL(self || other) in nats, shape `batch` (of both, broadcast).
    fn kl(&self, other: &Q) -> Result<Tensor>;
}

mod independent;
mod normal;

pub use independent::Independent;
pub use normal::Normal;

//! Distributions: the traits, one file per family, and combinators.
//!
//! A distribution is an eager value: it holds tensors, owns no variable and is cheap to clone. Shapes follow one law:
//! a sample has shape `sample ++ batch ++ event`, a log-probability `sample ++ batch`.

use crate::bijector::Bijector;
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

    /// [`log_prob`](Distribution::log_prob) summed over the last `dims` dimensions of the batch, as
    /// [`Independent`] needs it. Families that can sum in the same pass override it.
    fn log_prob_sum(&self, value: &Tensor, dims: usize) -> Result<Tensor> {
        independent::sum_last(self.log_prob(value)?, dims)
    }

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

    /// The distribution of `bijector(x)`.
    fn transformed_by<B: Bijector>(self, bijector: B) -> Result<Transformed<Self, B>>
    where
        Self: Sized,
    {
        Transformed::new(self, bijector)
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

/// Where density or mass is largest.
pub trait Mode: Distribution {
    /// The mode, shape `batch ++ event`. Where several values tie, the smallest; NaN where there is none.
    fn mode(&self) -> Result<Tensor>;
}

/// The cumulative distribution function and what belongs to it.
///
/// Values have shape `sample ++ batch` as for [`log_prob`](Distribution::log_prob), and so have results. The logarithms
/// keep their relative precision far out in both tails, where the probabilities underflow.
pub trait Cdf: Distribution {
    /// P(X <= value).
    fn cdf(&self, value: &Tensor) -> Result<Tensor> {
        Ok(self.log_cdf(value)?.exp()?)
    }

    /// ln P(X <= value).
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor>;

    /// P(X > value).
    fn survival(&self, value: &Tensor) -> Result<Tensor> {
        Ok(self.log_survival(value)?.exp()?)
    }

    /// ln P(X > value).
    fn log_survival(&self, value: &Tensor) -> Result<Tensor>;

    /// The smallest value whose [`cdf`](Cdf::cdf) is at least `probability`: the inverse of the cdf where it has one.
    ///
    /// Errors: a probability outside of 0 to 1, or NaN.
    fn quantile(&self, probability: &Tensor) -> Result<Tensor>;
}

fn check_probability(op: &'static str, probability: &Tensor) -> Result<()> {
    if probability.elem_count() == 0 {
        return Ok(());
    }
    parameters::Domain::Unit.check(op, "probability", probability)
}

/// Kullback-Leibler divergence in closed form.
pub trait Kl<Q: ?Sized = Self>: Distribution {
    /// KL(self || other) in nats, shape `batch` (of both, broadcast).
    fn kl(&self, other: &Q) -> Result<Tensor>;

    /// A sample of `self` and KL(self || other): what every variational objective asks for, in one pass where the
    /// family has a fused form.
    fn sample_and_kl(&self, other: &Q, shape: &[usize], rng: &mut Rng) -> Result<(Tensor, Tensor)> {
        Ok((self.sample(shape, rng)?, self.kl(other)?))
    }
}

/// Random combinations `sum_k w_k x_k` of K independent draws, one from each component.
///
/// The default draws all components. Families that are closed under sums override it and draw the sum itself, which is
/// K times less work and has the same law.
pub trait WeightedSum: Reparameterized {
    /// With batch `B ++ [K]`, event `E` and `weights` of shape `S ++ B ++ [K]`: shape `S ++ B ++ E`. Gradients flow to
    /// the weights and to the parameters.
    ///
    /// Errors: weights of another shape.
    fn sample_weighted_sum(&self, weights: &Tensor, rng: &mut Rng) -> Result<Tensor> {
        let (batch, event) = (self.batch_shape(), self.event_shape());
        let sample = check_weights(weights, batch)?;
        let draws = self.sample(&weights.dims()[..sample], rng)?;
        // [.., K] -> [.., K, 1, ..]: one singleton for each event dim.
        let mut aligned = weights.dims().to_vec();
        aligned.extend(event.iter().map(|_| 1));
        let component = weights.rank() - 1;
        Ok(draws
            .broadcast_mul(&weights.reshape(aligned)?)?
            .sum(component)?)
    }
}

/// The rank of `S` for weights of shape `S ++ batch`, where `batch` ends in K.
fn check_weights(weights: &Tensor, batch: &[usize]) -> Result<usize> {
    match weights.rank().checked_sub(batch.len()) {
        Some(sample) if !batch.is_empty() && weights.dims()[sample..] == *batch => Ok(sample),
        _ => Err(Error::shape(
            "sample_weighted_sum",
            "weights",
            format!("sample ++ {batch:?}, the components' batch"),
            weights.dims(),
        )),
    }
}

mod bernoulli;
mod categorical;
mod continuous_bernoulli;
mod covariance;
mod dirichlet;
mod expanded;
mod gamma;
mod independent;
mod laplace;
mod logistic_normal;
mod low_rank;
mod masked;
mod mixture;
mod multivariate_normal;
mod mvn_diag;
mod normal;
mod parameters;
mod transformed;
mod von_mises;

pub use bernoulli::Bernoulli;
pub use categorical::Categorical;
pub use continuous_bernoulli::ContinuousBernoulli;
pub use dirichlet::Dirichlet;
pub use expanded::Expanded;
pub use gamma::Gamma;
pub use independent::Independent;
pub use laplace::Laplace;
pub use logistic_normal::LogisticNormal;
pub use low_rank::LowRankMultivariateNormal;
pub use masked::Masked;
pub use mixture::{MixtureComponent, MixtureSameFamily, select_component};
pub use multivariate_normal::MultivariateNormal;
pub use mvn_diag::MultivariateNormalDiag;
pub use normal::Normal;
pub use transformed::Transformed;
pub use von_mises::VonMises;

//! Distributions: the traits, one file per family, and combinators.
//!
//! A distribution is an eager value: it holds tensors, owns no variable and is cheap to clone. Shapes follow one law:
//! a sample has shape `sample ++ batch ++ event`, a log-probability `sample ++ batch`. Sample and batch dims may be 0, and
//! then all results have no elements; classes and the elements of vectors are 1 or more.
//!
//! Stored parameters are returned by reference, in the batch shape, as views without a copy: `normal.loc()`. What is computed
//! from them is a `Result`: `normal.log_var()` of a distribution made from scales.
//!
//! A value with NaN has no density but NaN. [`MultivariateNormal::log_prob_observed`], `conditional_mean` and
//! `conditional_covariance` take it for a missing element.
//!
//! What each family has beside [`sample`](Distribution::sample) and [`log_prob`](Distribution::log_prob):
//! [pathwise](Reparameterized) gradients of samples, [moments](Moments), [mode](Mode), [entropy](Entropy), [cdf](Cdf),
//! and [KL](Kl) to another of its own in closed form. Combinators pass on what their parts have; their rows are those of
//! [`Normal`], that of [`Transformed`] with a map that is not affine. The pairs of families with a divergence are in the docs of
//! [`Kl`].
//!
//! | family | pathwise | moments | mode | entropy | cdf | KL to its own |
//! |---|---|---|---|---|---|---|
//! | [`Bernoulli`] | - | yes | yes | yes | yes | yes |
//! | [`Beta`] | yes | yes | yes | yes | yes | yes |
//! | [`Binomial`] | - | yes | yes | yes | yes | yes |
//! | [`Categorical`] | - | - | yes | yes | yes | yes |
//! | [`Cauchy`] | yes | yes | yes | yes | yes | yes |
//! | [`Chi2`] | yes | yes | yes | yes | yes | yes |
//! | [`ContinuousBernoulli`] | yes | yes | yes | yes | yes | yes |
//! | [`Delta`] | yes | yes | yes | yes | yes | yes |
//! | [`Dirichlet`] | yes | yes | yes | yes | - | yes |
//! | [`DiscretizedLogistic`] | - | yes | yes | yes | yes | yes |
//! | [`Expanded`] | yes | yes | yes | yes | yes | yes |
//! | [`Exponential`] | yes | yes | yes | yes | yes | yes |
//! | [`Gamma`] | yes | yes | yes | yes | yes | yes |
//! | [`Geometric`] | - | yes | yes | yes | yes | yes |
//! | [`Gumbel`] | yes | yes | yes | yes | yes | yes |
//! | [`HalfCauchy`] | yes | yes | yes | yes | yes | yes |
//! | [`HalfNormal`] | yes | yes | yes | yes | yes | yes |
//! | [`Independent`] | yes | yes | yes | yes | - | yes |
//! | [`InverseGamma`] | yes | yes | yes | yes | yes | yes |
//! | [`Kumaraswamy`] | yes | yes | yes | yes | yes | - |
//! | [`Laplace`] | yes | yes | yes | yes | yes | yes |
//! | [`LogNormal`] | yes | yes | yes | yes | yes | yes |
//! | [`Logistic`] | yes | yes | yes | yes | yes | - |
//! | [`LogisticNormal`] | yes | - | - | - | - | yes |
//! | [`LowRankMultivariateNormal`] | yes | yes | yes | yes | - | yes |
//! | [`Masked`] | yes | yes | yes | yes | - | - |
//! | [`MixtureSameFamily`] | - | yes | - | - | yes | - |
//! | [`Multinomial`] | - | yes | - | yes | - | yes |
//! | [`MultivariateNormal`] | yes | yes | yes | yes | - | yes |
//! | [`MultivariateNormalDiag`] | yes | yes | yes | yes | - | yes |
//! | [`NegativeBinomial`] | - | yes | yes | yes | yes | yes |
//! | [`Normal`] | yes | yes | yes | yes | yes | yes |
//! | [`OneHotCategorical`] | - | yes | yes | yes | - | yes |
//! | [`OneHotCategoricalStraightThrough`] | yes | yes | yes | yes | - | yes |
//! | [`Pareto`] | yes | yes | yes | yes | yes | yes |
//! | [`Poisson`] | - | yes | yes | yes | yes | yes |
//! | [`RelaxedBernoulli`] | yes | - | - | - | yes | - |
//! | [`RelaxedOneHotCategorical`] | yes | - | - | - | - | - |
//! | [`ReparameterizedMixture`] | yes | yes | - | - | yes | - |
//! | [`StudentT`] | yes | yes | yes | yes | yes | - |
//! | [`Transformed`] | yes | - | - | - | yes | yes |
//! | [`Truncated`] | yes | - | - | - | yes | - |
//! | [`TruncatedNormal`] | yes | yes | yes | yes | yes | yes |
//! | [`Uniform`] | yes | yes | yes | yes | yes | yes |
//! | [`VonMises`] | yes | yes | yes | yes | yes | yes |
//! | [`Weibull`] | yes | yes | yes | yes | yes | yes |

use crate::bijector::Bijector;
use crate::detach::Detach;
use crate::error::{Error, Result};
use crate::kernels::number::Real;
use crate::kernels::reduce;
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
    ///
    /// Errors: more elements than memory could hold.
    ///
    /// A draw is rounded to the dtype, and may round to an end of the support, where the density is 0 or infinite: in half
    /// precision that is common. Where the log-density of draws is wanted, [`sample_and_log_prob`](Self::sample_and_log_prob)
    /// of transformed distributions scores them before they are rounded, and [`Gamma::sample_log`], [`Dirichlet::sample_log`],
    /// [`RelaxedBernoulli::sample_logits`] and [`RelaxedOneHotCategorical::sample_log`] draw what does not round to an end.
    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor>;

    /// Log-density or log-mass, in nats. `value` has shape `S ++ batch ++ event` (the dims before the event broadcast
    /// with the batch, event dims never broadcast); the result has shape `S ++ batch`. Outside the support it is -inf,
    /// and NaN in gives NaN out. A row whose upstream gradient is 0 gives no gradient to anything, whatever its value: rows
    /// that are left out of a loss do not spoil the parameters they share with others. That holds on the CPU, without candle's
    /// second derivatives; elsewhere candle's operations multiply 0 by slopes that may be infinite.
    ///
    /// Errors: a value of another dtype or device than the parameters, or whose shape is not `S ++ batch ++ event`. A value
    /// outside of the support is no error.
    fn log_prob(&self, value: &Tensor) -> Result<Tensor>;

    /// [`log_prob`](Distribution::log_prob) summed over the last `dims` dimensions of the batch, as
    /// [`Independent`] needs it. Families that can sum in the same pass override it.
    ///
    /// Errors: as [`log_prob`](Distribution::log_prob).
    fn log_prob_sum(&self, value: &Tensor, dims: usize) -> Result<Tensor> {
        reduce::sum_last(&self.log_prob(value)?, dims)
    }

    /// A sample and its log-probability in one pass. [`Transformed`] and [`LogisticNormal`] score the draw of their base, so
    /// that it is finite also where the sample rounds to an end of the support.
    ///
    /// Errors: those of [`sample`](Distribution::sample) and [`log_prob`](Distribution::log_prob).
    fn sample_and_log_prob(&self, shape: &[usize], rng: &mut Rng) -> Result<(Tensor, Tensor)> {
        let value = self.sample(shape, rng)?;
        let log_prob = self.log_prob(&value)?;
        Ok((value, log_prob))
    }

    /// [`sample_and_log_prob`](Distribution::sample_and_log_prob), with the log-probability summed over the last `dims`
    /// dimensions of the batch, as [`log_prob_sum`](Distribution::log_prob_sum) does. What overrides the one overrides both.
    fn sample_and_log_prob_sum(
        &self,
        shape: &[usize],
        dims: usize,
        rng: &mut Rng,
    ) -> Result<(Tensor, Tensor)> {
        let value = self.sample(shape, rng)?;
        let log_prob = self.log_prob_sum(&value, dims)?;
        Ok((value, log_prob))
    }

    /// Reinterprets the last `dims` batch dimensions as event dimensions.
    ///
    /// Errors: more dimensions than the batch has.
    fn to_event(self, dims: usize) -> Result<Independent<Self>>
    where
        Self: Sized,
    {
        Independent::new(self, dims)
    }

    /// The distribution of `bijector(x)`.
    ///
    /// Errors: an event of lower rank than the bijector's, or of a shape that it does not take.
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
///
/// Errors: none but those of tensor operations, here and in [`Entropy`] and [`Mode`]: parameters are checked when a
/// distribution is built. A moment that does not exist is infinite or NaN, as its family says.
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
    /// The mode, shape `batch ++ event`; NaN where there is none. Of two neighbouring counts that tie it is the larger one,
    /// as in PyTorch; of other values that tie, the smallest.
    fn mode(&self) -> Result<Tensor>;
}

/// The cumulative distribution function and what belongs to it.
///
/// Values have shape `sample ++ batch` as for [`log_prob`](Distribution::log_prob), and so have results. The logarithms
/// keep their relative precision far out in both tails, where the probabilities underflow.
///
/// Errors: as [`log_prob`](Distribution::log_prob), of each of them.
pub trait Cdf: Distribution {
    /// P(X <= value).
    fn cdf(&self, value: &Tensor) -> Result<Tensor> {
        let log = self.log_cdf(value).map_err(|e| e.of("Cdf::cdf"))?;
        Ok(log.exp()?)
    }

    /// ln P(X <= value).
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor>;

    /// P(X > value).
    fn survival(&self, value: &Tensor) -> Result<Tensor> {
        let log = self
            .log_survival(value)
            .map_err(|e| e.of("Cdf::survival"))?;
        Ok(log.exp()?)
    }

    /// ln P(X > value).
    fn log_survival(&self, value: &Tensor) -> Result<Tensor>;

    /// The smallest value whose [`cdf`](Cdf::cdf) is at least `probability`: the inverse of the cdf where it has one.
    ///
    /// Errors: a probability outside of 0 to 1, or NaN.
    fn quantile(&self, probability: &Tensor) -> Result<Tensor>;

    /// The value whose [`survival`](Cdf::survival) is `probability`: the quantile of `1 - probability`, with the digits of
    /// small probabilities in families that say so.
    ///
    /// Errors: as [`quantile`](Cdf::quantile).
    fn survival_quantile(&self, probability: &Tensor) -> Result<Tensor> {
        let op = "Cdf::survival_quantile";
        self.quantile(&(1. - probability)?).map_err(|e| e.of(op))
    }
}

/// Refuses a probability of another dtype or device than `like`, of a shape that is not `sample ++ batch`, or outside of 0 to 1.
fn check_probability(
    op: &'static str,
    probability: &Tensor,
    like: &Tensor,
    batch: &[usize],
) -> Result<()> {
    let arg = "probability";
    shape::same_kind(op, arg, probability, like)?;
    shape::argument_shape(op, arg, probability, batch, &[])?;
    if probability.elem_count() == 0 {
        return Ok(());
    }
    parameters::Domain::Unit.check(op, "probability", probability)
}

/// The logarithm of a tail from an infinite value on: 0 or -inf, without slopes.
fn at_infinity<R: Real>(x: R, upper: bool) -> Option<R> {
    let full = upper == (x.value() < 0.);
    let log = if full { 0. } else { f64::NEG_INFINITY };
    x.value().is_infinite().then(|| R::constant(log))
}

/// Kullback-Leibler divergence in closed form.
///
#[doc = include_str!("kl/pairs.md")]
pub trait Kl<Q: ?Sized = Self>: Distribution {
    /// KL(self || other) in nats, shape `batch` (of both, broadcast); infinite where `self` reaches beyond the support of
    /// `other`.
    ///
    /// Errors: another dtype, device or event, or batches that do not broadcast.
    fn kl(&self, other: &Q) -> Result<Tensor>;

    /// A sample of `self` and KL(self || other): what every variational objective asks for, in one pass where the
    /// family has a fused form.
    ///
    /// Errors: those of [`sample`](Distribution::sample) and [`kl`](Kl::kl).
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
        let sample = check_weights("sample_weighted_sum", weights, self.batch_shape())?;
        weighted_sum(&self.sample(&weights.dims()[..sample], rng)?, weights)
    }
}

/// Sums draws `S ++ B ++ [K] ++ E` over K with weights `S ++ B ++ [K]`.
pub(crate) fn weighted_sum(draws: &Tensor, weights: &Tensor) -> Result<Tensor> {
    // [.., K] -> [.., K, 1, ..]: one singleton for each event dim.
    let mut aligned = weights.dims().to_vec();
    aligned.resize(draws.rank(), 1);
    let component = weights.rank() - 1;
    let weighted = draws.broadcast_mul(&weights.reshape(aligned)?)?;
    Ok(weighted.sum(component)?)
}

/// What the batches of two distributions broadcast to; `arg` is the second. Refuses events that differ.
pub(crate) fn common_batch<P: Distribution, Q: Distribution>(
    op: &'static str,
    p: &P,
    arg: &'static str,
    q: &Q,
) -> Result<Vec<usize>> {
    let (batch, event) = (p.batch_shape(), p.event_shape());
    let common = shape::broadcast(batch, q.batch_shape()).filter(|_| q.event_shape() == event);
    common.ok_or_else(|| {
        let expected = format!("a batch that broadcasts with {batch:?} ++ event {event:?}");
        let found = [q.batch_shape(), q.event_shape()].concat();
        Error::shape(op, arg, expected, &found)
    })
}

/// The rank of `S` for weights of shape `S ++ batch`, where `batch` ends in K.
pub(crate) fn check_weights(op: &'static str, weights: &Tensor, batch: &[usize]) -> Result<usize> {
    match weights.rank().checked_sub(batch.len()) {
        Some(sample) if !batch.is_empty() && weights.dims()[sample..] == *batch => Ok(sample),
        _ => Err(Error::shape(
            op,
            "weights",
            format!("sample ++ {batch:?}, the components' batch"),
            weights.dims(),
        )),
    }
}

mod bernoulli;
mod beta;
mod binomial;
mod categorical;
mod cauchy;
mod chi2;
mod continuous_bernoulli;
mod counts;
mod covariance;
mod delta;
mod dirichlet;
mod discretized_logistic;
mod expanded;
mod exponential;
mod factorized;
mod family;
mod gamma;
mod geometric;
mod gumbel;
mod half_cauchy;
mod half_normal;
mod independent;
mod inverse_gamma;
mod kl;
mod kumaraswamy;
mod laplace;
mod log_normal;
mod logistic;
mod logistic_normal;
mod low_rank;
mod masked;
mod mixture;
mod multinomial;
mod multivariate_normal;
mod mvn_diag;
mod negative_binomial;
mod normal;
mod observed;
mod one_hot;
mod parameters;
mod pareto;
mod poisson;
mod relaxed;
mod reparameterized_mixture;
mod shield;
mod student_t;
mod transformed;
mod truncated;
mod truncated_normal;
mod uniform;
mod von_mises;
mod weibull;

pub use bernoulli::Bernoulli;
pub use beta::Beta;
pub use binomial::Binomial;
pub use categorical::Categorical;
pub use cauchy::Cauchy;
pub use chi2::Chi2;
pub use continuous_bernoulli::ContinuousBernoulli;
pub use delta::Delta;
pub use dirichlet::Dirichlet;
pub use discretized_logistic::DiscretizedLogistic;
pub use expanded::Expanded;
pub use exponential::Exponential;
pub use factorized::Factorized;
pub use gamma::Gamma;
pub use geometric::Geometric;
pub use gumbel::Gumbel;
pub use half_cauchy::HalfCauchy;
pub use half_normal::HalfNormal;
pub use independent::Independent;
pub use inverse_gamma::InverseGamma;
pub use kumaraswamy::Kumaraswamy;
pub use laplace::Laplace;
pub use log_normal::LogNormal;
pub use logistic::Logistic;
pub use logistic_normal::LogisticNormal;
pub use low_rank::LowRankMultivariateNormal;
pub use masked::Masked;
pub use mixture::{MixtureComponent, MixtureSameFamily, select_component};
pub use multinomial::Multinomial;
pub use multivariate_normal::MultivariateNormal;
pub use mvn_diag::MultivariateNormalDiag;
pub use negative_binomial::NegativeBinomial;
pub use normal::Normal;
pub use one_hot::{OneHotCategorical, OneHotCategoricalStraightThrough};
pub use pareto::Pareto;
pub use poisson::Poisson;
pub use relaxed::{RelaxedBernoulli, RelaxedOneHotCategorical};
pub use reparameterized_mixture::ReparameterizedMixture;
pub use student_t::StudentT;
pub use transformed::Transformed;
pub use truncated::Truncated;
pub use truncated_normal::TruncatedNormal;
pub use uniform::Uniform;
pub use von_mises::VonMises;
pub use weibull::Weibull;

//! The rate in three parts, of which the total correlation is one: beta-TC-VAE.

use super::elbo::distortion;
use super::per_dimension::{check_prior, log_prob_per_dimension};
use crate::conditional::Conditional;
use crate::distribution::{Distribution, Factorized, Reparameterized};
use crate::error::{Error, Result};
use crate::rng::Rng;
use crate::special::logsumexp;
use crate::{check, shape};
use candle_core::{D, Tensor};

/// How the density of the aggregated posterior `q(z) = mean_n q(z | x_n)` over N examples is estimated from B of them.
///
/// Formula, for the code `z_i` of example i: `q(z_i) ~ sum_j w_ij q(z_i | x_j)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MinibatchSampler {
    /// `w_ij = 1 / (N B)`: too low by a factor, about B, that codes do not change where an example's own density is all there
    /// is of its sum. The parts are shifted by constants then, and their gradients are not.
    #[default]
    Weighted,
    /// `w_ii = 1 / N`, one of the others `(N - B + 1) / (N (B - 1))` and the rest `1 / (B - 1)`: the weights of a row add up to
    /// 1, and the estimate of `q(z_i)` is unbiased where the others of the batch are drawn from the other examples without
    /// replacement.
    Stratified,
}

impl MinibatchSampler {
    /// The logarithms of the weights, shape `[B, B]`.
    fn log_weights(self, batch: usize, data: usize, like: &Tensor) -> Result<Tensor> {
        let (b, n) = (batch as f64, data as f64);
        let weight = |i: usize, j: usize| match self {
            MinibatchSampler::Weighted => -(n * b).ln(),
            _ if i == j => -n.ln(),
            _ if j == (i + 1) % batch => ((n - b + 1.) / (n * (b - 1.))).ln(),
            _ => -(b - 1.).ln(),
        };
        let weights = (0..batch * batch).map(|at| weight(at / batch, at % batch));
        let weights = Tensor::from_iter(weights, like.device())?;
        Ok(weights.reshape((batch, batch))?.to_dtype(like.dtype())?)
    }
}

/// The rate of codes, in three parts that add up to `ln q(z | x) - ln p(z)`; nats, the shape of the codes' batch.
#[derive(Debug, Clone)]
pub struct RateParts {
    /// `ln q(z | x) - ln q(z)`: on average the mutual information of code and example.
    pub index_code: Tensor,
    /// `ln q(z) - sum_d ln q(z_d)`: on average the divergence of the aggregated posterior from independent dimensions.
    pub total_correlation: Tensor,
    /// `sum_d ln q(z_d) - ln p(z)`: on average the divergences of single dimensions from the prior.
    pub dimension_wise: Tensor,
}

/// The rate of codes as index-code mutual information, total correlation and dimension-wise divergence.
///
/// Formula: `ln q(z|x) - ln p(z) = [ln q(z|x) - ln q(z)] + [ln q(z) - sum_d ln q(z_d)] + [sum_d ln q(z_d) - ln p(z)]`, where q
/// without a condition is the aggregated posterior over `data` examples, as `sampler` estimates it from the batch.
///
/// Shapes: the posterior has batch `[B]` and an event `E` of independent elements, `codes` are draws `S ++ [B] ++ E` of it; the
/// parts have shape `S ++ [B]`. Time and memory are those of `S B^2 D` numbers. Units: nats.
///
/// Gradients: to the codes, and to the parameters of posterior and prior.
///
/// Errors: a posterior whose batch has not one dim, is empty, or has one example for the stratified sampler; fewer data than
/// the batch has; codes of another shape; a prior over other events.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_prob::Rng;
/// use candle_prob::distribution::{Distribution, MultivariateNormalDiag};
/// use candle_prob::objective::{MinibatchSampler, decompose_rate};
/// # fn main() -> candle_prob::Result<()> {
/// let mut rng = Rng::new(0);
/// let loc = rng.normal((64, 3), DType::F64, &Device::Cpu)?;
/// let posterior = MultivariateNormalDiag::new(&loc, &(loc.ones_like()? * 0.3)?)?;
/// let prior = MultivariateNormalDiag::standard(3, DType::F64, &Device::Cpu)?;
/// let z = posterior.sample(&[], &mut rng)?;
/// let parts = decompose_rate(&posterior, &prior, &z, 1000, MinibatchSampler::Stratified)?;
/// let sum = ((parts.index_code + parts.total_correlation)? + parts.dimension_wise)?;
/// let rate = (posterior.log_prob(&z)? - prior.log_prob(&z)?)?;
/// assert!((sum - rate)?.abs()?.max_all()?.to_scalar::<f64>()? < 1e-12);
/// # Ok(())
/// # }
/// ```
///
/// Source: Chen, Li, Grosse and Duvenaud (2018), Isolating sources of disentanglement in VAEs, eq. 2 (the parts), eq. 3
/// (weighted) and appendix C.2 (stratified).
pub fn decompose_rate<P: Factorized, R: Distribution>(
    posterior: &P,
    prior: &R,
    codes: &Tensor,
    data: usize,
    sampler: MinibatchSampler,
) -> Result<RateParts> {
    decompose(
        "objective::decompose_rate",
        posterior,
        prior,
        codes,
        data,
        sampler,
    )
}

fn decompose<P: Factorized, R: Distribution>(
    op: &'static str,
    posterior: &P,
    prior: &R,
    codes: &Tensor,
    data: usize,
    sampler: MinibatchSampler,
) -> Result<RateParts> {
    let (batch, event) = (posterior.batch_shape(), posterior.event_shape());
    let least = match sampler {
        MinibatchSampler::Weighted => 1,
        MinibatchSampler::Stratified => 2,
    };
    let count = match *batch {
        [count] if count >= least => count,
        _ => {
            let expected = format!("a batch [B] of at least {least}");
            return Err(Error::shape(op, "posterior", expected, batch));
        }
    };
    check::at_least(op, "data", data, count)?;
    shape::last_dims(op, "codes", codes.dims(), &[batch, event].concat())?;
    check_prior(op, posterior, prior)?;
    let log_posterior = posterior.log_prob(codes)?;
    let log_prior = prior.log_prob(codes)?;
    // Code i under example j: S ++ [B, B, D].
    let under_all = codes.unsqueeze(codes.rank() - event.len())?;
    let each = log_prob_per_dimension(posterior, &under_all)?;
    let weights = sampler.log_weights(count, data, &each)?;
    let joint = each.sum(D::Minus1)?.broadcast_add(&weights)?;
    let log_joint = logsumexp(&joint, D::Minus1)?;
    let marginals = each.broadcast_add(&weights.unsqueeze(2)?)?;
    let log_marginals = logsumexp(&marginals, D::Minus2)?.sum(D::Minus1)?;
    Ok(RateParts {
        index_code: (log_posterior - &log_joint)?,
        total_correlation: (log_joint - &log_marginals)?,
        dimension_wise: (log_marginals - log_prior)?,
    })
}

/// Settings of [`beta_tc`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BetaTcConfig {
    /// Weight of the index-code mutual information.
    pub alpha: f64,
    /// Weight of the total correlation.
    pub beta: f64,
    /// Weight of the dimension-wise divergence.
    pub gamma: f64,
    /// Number of examples in the data set, not in the batch.
    pub data: usize,
    /// How the aggregated posterior is estimated.
    pub sampler: MinibatchSampler,
}

impl BetaTcConfig {
    /// The weights 1, 6 and 1 and the weighted sampler, as Chen et al. (2018) have them, for a data set of this size.
    pub fn new(data: usize) -> Self {
        BetaTcConfig {
            alpha: 1.,
            beta: 6.,
            gamma: 1.,
            data,
            sampler: MinibatchSampler::default(),
        }
    }
}

/// Parts of the beta-TC-VAE's loss, in nats, of shape `[B]`.
#[derive(Debug, Clone)]
pub struct BetaTc {
    /// `-E[ln p(x | z)]`.
    pub distortion: Tensor,
    /// The rate in three parts, of the very codes that the distortion is of.
    pub rate: RateParts,
    /// `distortion + alpha * index-code + beta * total correlation + gamma * dimension-wise`: its mean over the batch is the
    /// loss.
    pub total: Tensor,
}

/// The beta-TC-VAE: the evidence lower bound with a weight for each part of the rate.
///
/// Formula: `total = -ln p(x | z) + alpha [ln q(z|x) - ln q(z)] + beta [ln q(z) - sum_d ln q(z_d)] + gamma [sum_d ln q(z_d) -
/// ln p(z)]` at one draw z of `q(z | x)` for each example. With all weights 1 it is minus the bound.
///
/// Shapes: as [`elbo`](super::elbo()) with one sample, and as [`decompose_rate`]. Units: nats. Gradients: pathwise.
///
/// Errors: those of both; weights that are negative or not finite. A part of weight 0 is reported and has no influence.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::Rng;
/// use candle_prob::distribution::{Distribution, MultivariateNormalDiag, Normal};
/// use candle_prob::objective::{BetaTcConfig, beta_tc};
/// # fn main() -> candle_prob::Result<()> {
/// let x = Rng::new(0).normal((16, 2), DType::F32, &Device::Cpu)?;
/// let posterior = MultivariateNormalDiag::from_log_var(&x, &x.zeros_like()?)?;
/// let prior = MultivariateNormalDiag::standard(2, DType::F32, &Device::Cpu)?;
/// let decoder = |z: &Tensor| Normal::new(z, &z.ones_like()?)?.to_event(1);
/// let config = BetaTcConfig { beta: 4., ..BetaTcConfig::new(1000) };
/// let parts = beta_tc(&posterior, &prior, &decoder, &x, &config, &mut Rng::new(1))?;
/// let loss = parts.total.mean_all()?;
/// # Ok(())
/// # }
/// ```
///
/// Source: Chen, Li, Grosse and Duvenaud (2018), Isolating sources of disentanglement in VAEs, eq. 4.
pub fn beta_tc<P, R, C>(
    posterior: &P,
    prior: &R,
    decoder: &C,
    target: &Tensor,
    config: &BetaTcConfig,
    rng: &mut Rng,
) -> Result<BetaTc>
where
    P: Factorized + Reparameterized,
    R: Distribution,
    C: Conditional<Output: Distribution>,
{
    let op = "objective::beta_tc";
    let weights = [config.alpha, config.beta, config.gamma];
    for (arg, weight) in ["alpha", "beta", "gamma"].into_iter().zip(weights) {
        check::non_negative(op, arg, weight)?;
    }
    let codes = posterior.sample(&[1], rng)?;
    let parts = decompose(op, posterior, prior, &codes, config.data, config.sampler)?;
    let distortion = distortion(op, decoder, &codes, target, 1, posterior.batch_shape())?;
    let rate = RateParts {
        index_code: parts.index_code.squeeze(0)?,
        total_correlation: parts.total_correlation.squeeze(0)?,
        dimension_wise: parts.dimension_wise.squeeze(0)?,
    };
    let mut total = distortion.clone();
    let parts = [
        &rate.index_code,
        &rate.total_correlation,
        &rate.dimension_wise,
    ];
    for (part, weight) in parts.into_iter().zip(weights) {
        // 0 times infinity is NaN.
        if weight > 0. {
            total = (total + (part * weight)?)?;
        }
    }
    Ok(BetaTc {
        distortion,
        rate,
        total,
    })
}

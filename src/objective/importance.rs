//! Importance-weighted bounds: closer to the evidence with every further draw.

use super::elbo::log_likelihood;
use super::per_dimension::check_prior;
use super::rate::{Latents, mean_of_draws, sample_latents};
use crate::conditional::Conditional;
use crate::detach::Detach;
use crate::distribution::{Distribution, Reparameterized};
use crate::error::{Error, Result};
use crate::kernels::graph::late;
use crate::rng::Rng;
use crate::{check, shape, special};
use candle_core::{DType, Tensor};

/// How [`importance_weighted`] estimates the gradient of its bound. The value is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportanceGradient {
    /// Through the draws and through both densities: unbiased. As draws are added, the signal for the posterior's parameters
    /// falls faster than the noise.
    ///
    /// Source: Burda, Grosse and Salakhutdinov (2016), eq. 13; Rainforth et al. (2018), Tighter variational bounds are not
    /// necessarily better, theorem 1, for the signal.
    Pathwise,
    /// As [`Pathwise`](Self::Pathwise), without the score `d ln q / d parameters` of the posterior. For one draw its mean is 0:
    /// the gradient is unbiased, and has variance 0 where the posterior is exact. For more draws what is left out has another
    /// mean under the weights, and the gradient is biased: prefer [`DoublyReparameterized`](Self::DoublyReparameterized).
    ///
    /// Source: Roeder, Wu and Duvenaud (2017), Sticking the landing, section 3; Tucker et al. (2018), section 4, for the bias.
    StickTheLanding,
    /// For the posterior through the draws alone, by the squares of the normalized weights; for prior and decoder by the
    /// weights: unbiased for any number of draws; for the posterior with a signal that does not fall, and variance 0 where it is exact.
    /// On devices other than the CPU and with candle's second derivatives the model is evaluated twice, first for the weights.
    ///
    /// Source: Tucker, Lawson, Gu and Maddison (2018), Doubly reparameterized gradient estimators for Monte Carlo objectives,
    /// eq. 8.
    DoublyReparameterized,
}

/// Settings of [`importance_weighted`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportanceConfig {
    /// Draws K of the latent for each example, at least 1.
    pub samples: usize,
    /// The estimator of the gradient.
    pub gradient: ImportanceGradient,
}

impl Default for ImportanceConfig {
    /// Five draws, as the smaller models of Burda et al. (2016); doubly reparameterized.
    fn default() -> Self {
        ImportanceConfig {
            samples: 5,
            gradient: ImportanceGradient::DoublyReparameterized,
        }
    }
}

/// An importance-weighted bound on the evidence and what it is made of, in nats; `batch` is the shape of the posterior's batch.
#[derive(Debug, Clone)]
pub struct ImportanceWeighted {
    /// `ln((w_1 + .. + w_K) / K)`, shape `batch`: at most `ln p(x)` in expectation.
    pub bound: Tensor,
    /// `ln w_k = ln p(x | z_k) + ln p(z_k) - ln q(z_k | x)`, shape `[K] ++ batch`.
    pub log_weights: Tensor,
    /// What to minimise, shape `batch`: of the value `-bound`, with the gradient of the estimator.
    pub loss: Tensor,
}

/// The importance-weighted bound of a variational autoencoder.
///
/// Formula: `bound = ln((w_1 + .. + w_K) / K)` with `w_k = p(x | z_k) p(z_k) / q(z_k | x)` for K draws `z_k` of the posterior q.
/// In expectation it rises with K from the evidence lower bound, K = 1, towards `ln p(x)`.
///
/// Shapes: `posterior` has batch `B` and event `E`; latents of shape `[K] ++ B ++ E` go through `decoder`, whose distribution
/// scores `target` (`B ++ data event`) into `[K] ++ B`. The mean of exponentials is over K only. Units: nats.
///
/// Gradients: to posterior, prior and decoder, by the estimator that the config names ([`ImportanceGradient`]). All but
/// [`Pathwise`](ImportanceGradient::Pathwise) score the draws by the [detached](Detach) posterior: a flow inverts them for it,
/// and an inverse autoregressive flow is slow at that. A posterior that cannot be detached has the pathwise gradient by
/// [`sample_latents`], [`Latents::log_weights`] and [`iwae_bound`].
///
/// Errors: zero samples, a prior over other events or whose batch does not broadcast to `B`, a decoder whose log-likelihood has
/// another shape than `[K] ++ B`, and what the posterior, the prior and the decoder refuse.
///
/// ```
/// use candle_core::{D, DType, Device, Tensor};
/// use candle_prob::distribution::{Distribution, MultivariateNormalDiag, Normal};
/// use candle_prob::objective::{ImportanceConfig, importance_weighted};
/// use candle_prob::Rng;
/// # fn main() -> candle_prob::Result<()> {
/// let zero = Tensor::zeros((4, 2), DType::F64, &Device::Cpu)?;
/// let posterior = MultivariateNormalDiag::from_log_var(&zero, &zero)?;
/// let prior = MultivariateNormalDiag::standard(2, DType::F64, &Device::Cpu)?;
/// let decoder = |z: &Tensor| Normal::new(&z.sum(D::Minus1)?, &Tensor::new(1f64, &Device::Cpu)?);
/// let x = Tensor::ones(4, DType::F64, &Device::Cpu)?;
/// let config = ImportanceConfig { samples: 50, ..Default::default() };
/// let parts = importance_weighted(&posterior, &prior, &decoder, &x, &config, &mut Rng::new(0))?;
/// // x is N(0, 3).
/// let exact = -0.5 * ((2. * std::f64::consts::PI * 3.).ln() + 1. / 3.);
/// assert!((parts.bound.mean_all()?.to_scalar::<f64>()? - exact).abs() < 0.1);
/// let loss = parts.loss.mean_all()?;
/// # Ok(())
/// # }
/// ```
///
/// Numerics: in logarithms. A draw of weight 0 has no gradient, and neither has an example all of whose weights are 0: its bound
/// is -inf. For one draw the loss has the bits of [`elbo`](super::elbo()) with the rate of [`MonteCarlo`](super::MonteCarlo).
///
/// Source: Burda, Grosse and Salakhutdinov (2016), Importance weighted autoencoders, eq. 8; the gradients:
/// [`ImportanceGradient`].
pub fn importance_weighted<P, R, C>(
    posterior: &P,
    prior: &R,
    decoder: &C,
    target: &Tensor,
    config: &ImportanceConfig,
    rng: &mut Rng,
) -> Result<ImportanceWeighted>
where
    P: Reparameterized + Detach,
    R: Distribution,
    C: Conditional<Output: Distribution>,
{
    const OP: &str = "objective::importance_weighted";
    check::at_least_one(OP, &[("samples", config.samples)])?;
    check_prior(OP, posterior, prior)?;
    let batch = posterior.batch_shape();
    let weigh = |latents: Latents| -> Result<Tensor> {
        let z = &latents.value;
        latents.log_weights(&log_likelihood(
            OP,
            decoder,
            z,
            target,
            config.samples,
            batch,
        )?)
    };
    let known = |z: Tensor| Latents::new(OP, z, &posterior.detach(), prior);
    let shape = [config.samples];
    let log_weights = match config.gradient {
        ImportanceGradient::Pathwise => weigh(sample_latents(posterior, prior, &shape, rng)?)?,
        ImportanceGradient::StickTheLanding => weigh(known(posterior.sample(&shape, rng)?)?)?,
        ImportanceGradient::DoublyReparameterized => {
            let z = posterior.sample(&shape, rng)?;
            let normalized = |log_weights: &Tensor| special::softmax(&log_weights.detach(), 0);
            match late::scaled(OP, &z)? {
                Some((z, factor)) => {
                    let log_weights = weigh(known(z.clone())?)?;
                    factor.set(&aligned(&normalized(&log_weights)?, z.rank())?);
                    log_weights
                }
                None => {
                    let weights = normalized(&weigh(known(z.detach())?)?)?;
                    let moved = (&z - z.detach())?;
                    let moved = moved.broadcast_mul(&aligned(&weights, z.rank())?)?;
                    weigh(known((z.detach() + moved)?)?)?
                }
            }
        }
    };
    let bound = iwae_bound(&log_weights)?;
    Ok(ImportanceWeighted {
        loss: bound.neg()?,
        bound,
        log_weights,
    })
}

/// Weights of draws of this rank, whose dims they lead.
fn aligned(weights: &Tensor, rank: usize) -> Result<Tensor> {
    let mut dims = weights.dims().to_vec();
    dims.resize(rank, 1);
    Ok(weights.reshape(dims)?)
}

/// Log-weights `[K] ++ batch`, K of 1 or more.
pub(super) fn check_weights(
    op: &'static str,
    arg: &'static str,
    log_weights: &Tensor,
) -> Result<usize> {
    shape::float(op, arg, log_weights)?;
    match log_weights.dims() {
        [count, ..] if *count > 0 => Ok(*count),
        found => Err(Error::shape(
            op,
            arg,
            "[K] ++ batch with K of 1 or more",
            found,
        )),
    }
}

/// The importance-weighted bound of log-weights: the logarithm of the mean weight.
///
/// Formula: `ln((e^l_1 + .. + e^l_K) / K)`. Shapes: `[K] ++ batch` to `batch`. Units: nats.
///
/// Gradients: the normalized weights, [`softmax`](special::softmax) over K; zero where all weights are 0. Through the log-weights
/// of [`Latents`] it is the pathwise estimator.
///
/// Errors: no draw; a dtype that is not floating point.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::iwae_bound;
/// # fn main() -> candle_prob::Result<()> {
/// let log_weights = Tensor::new(&[[0f64, -1e4], [0., 1e4]], &Device::Cpu)?;
/// assert_eq!(iwae_bound(&log_weights)?.to_vec1::<f64>()?, [0., 1e4 - 2f64.ln()]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Burda, Grosse and Salakhutdinov (2016), Importance weighted autoencoders, eq. 8.
pub fn iwae_bound(log_weights: &Tensor) -> Result<Tensor> {
    check_weights("objective::iwae_bound", "log_weights", log_weights)?;
    special::logmeanexp(log_weights, 0)
}

/// The variational Renyi bound of log-weights.
///
/// Formula: `ln (mean of w^(1 - alpha)) / (1 - alpha)`: for alpha 0 the importance-weighted bound, for alpha to 1 the evidence
/// lower bound, the mean of `ln w`, which it is at 1. It falls in alpha. Of the estimate from K draws, only those for alpha of 0
/// and more are lower bounds of `ln p(x)` as K grows.
///
/// Shapes: `[K] ++ batch` to `batch`. Units: nats.
///
/// Gradients: `w^(1 - alpha)`, normalized over K; where the bound is infinite zero, but for alpha 1, the mean's, and for alpha 0,
/// those of [`iwae_bound`].
///
/// Errors: an alpha that is not finite; no draw; a dtype that is not floating point.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::{iwae_bound, renyi_bound};
/// # fn main() -> candle_prob::Result<()> {
/// let log_weights = Tensor::new(&[0f64, -1., -4.], &Device::Cpu)?;
/// let bound = |alpha| renyi_bound(&log_weights, alpha)?.to_scalar::<f64>();
/// assert_eq!(bound(0.)?, iwae_bound(&log_weights)?.to_scalar::<f64>()?);
/// assert!((bound(1.)? + 5. / 3.).abs() < 1e-15);
/// assert!((bound(1. - 1e-9)? - bound(1.)?).abs() < 1e-8);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: near alpha 1 no digits cancel: with a the log-weight of the largest power, it is
/// `a + ln(1 + mean of (e^((1 - alpha) (l - a)) - 1)) / (1 - alpha)`.
///
/// Source: Li and Turner (2016), Renyi divergence variational inference, eq. 14.
pub fn renyi_bound(log_weights: &Tensor, alpha: f64) -> Result<Tensor> {
    const OP: &str = "objective::renyi_bound";
    check::finite(OP, "alpha", alpha)?;
    check_weights(OP, "log_weights", log_weights)?;
    let power = 1. - alpha;
    if power == 0. || log_weights.elem_count() == 0 {
        return mean_of_draws(log_weights);
    }
    if power == 1. {
        return special::logmeanexp(log_weights, 0);
    }
    let known = log_weights.detach();
    let most = match power > 0. {
        true => known.max_keepdim(0)?,
        false => known.min_keepdim(0)?,
    };
    // Of infinite ones nothing is taken off: they are the bound.
    let finite = most.abs()?.lt(f64::INFINITY)?;
    let all = finite.broadcast_as(known.shape())?;
    let ordinary = all.where_cond(log_weights, &known.zeros_like()?)?;
    let most_of_ordinary = finite.where_cond(&most, &most.zeros_like()?)?;
    let terms = special::expm1(&(ordinary.broadcast_sub(&most_of_ordinary)? * power)?)?;
    let rest = (special::log1p(&mean_of_draws(&terms)?)? / power)?;
    Ok((rest + most.squeeze(0)?)?)
}

/// How many draws the weighted ones are worth.
///
/// Formula: `(w_1 + .. + w_K)^2 / (w_1^2 + .. + w_K^2)`, from 1, where one draw has all the weight, to K, where all have the
/// same; 0 where all weights are 0.
///
/// Shapes: `[K] ++ batch` to `batch`. Gradients: none. Errors: no draw; a dtype that is not floating point.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::effective_sample_size;
/// # fn main() -> candle_prob::Result<()> {
/// let log_weights = Tensor::new(&[[0f64, 800.], [0., -800.]], &Device::Cpu)?;
/// assert_eq!(effective_sample_size(&log_weights)?.to_vec1::<f64>()?, [2., 1.]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Kong (1992), A note on importance sampling using standardized weights.
pub fn effective_sample_size(log_weights: &Tensor) -> Result<Tensor> {
    check_weights(
        "objective::effective_sample_size",
        "log_weights",
        log_weights,
    )?;
    // The squares of a thousand weights are too small for half precision.
    let known = match log_weights.dtype() {
        DType::F16 | DType::BF16 => log_weights.detach().to_dtype(DType::F32)?,
        _ => log_weights.detach(),
    };
    let squares = special::softmax(&known, 0)?.sqr()?.sum(0)?;
    let none = squares.eq(0f64)?;
    let size = none.where_cond(&squares, &squares.recip()?)?;
    Ok(size.to_dtype(log_weights.dtype())?)
}

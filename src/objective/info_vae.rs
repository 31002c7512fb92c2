//! Autoencoders whose codes as a whole are matched with the prior: InfoVAE, MMD-VAE and Wasserstein autoencoders.

use super::elbo::distortion;
use crate::check;
use crate::conditional::Conditional;
use crate::distribution::{Distribution, Kl, Reparameterized};
use crate::divergence::{MmdKernel, MmdStatistic, mmd_squared};
use crate::error::{Error, Result};
use crate::rng::Rng;
use candle_core::Tensor;

/// Settings of [`info_vae`].
#[derive(Debug, Clone, PartialEq)]
pub struct InfoVaeConfig {
    /// How much of the rate of single examples is left out, at most 1: their weight is `1 - alpha`. At 1 codes may say all of
    /// their example, and the objective is that of the MMD-VAE.
    pub alpha: f64,
    /// The weight of the aggregated posterior's discrepancy is `alpha + lambda - 1`, which is 0 or more.
    pub lambda: f64,
    /// The kernel of the discrepancy.
    pub kernel: MmdKernel,
    /// Its estimate.
    pub statistic: MmdStatistic,
}

impl InfoVaeConfig {
    /// `alpha = 1` and this `lambda`, for codes of `dims` dimensions under N(0, I).
    pub fn new(lambda: f64, dims: usize) -> Self {
        InfoVaeConfig {
            alpha: 1.,
            lambda,
            kernel: MmdKernel::for_codes(dims),
            statistic: MmdStatistic::default(),
        }
    }
}

/// Parts of the InfoVAE's loss, in nats but for the discrepancy, which has no unit.
#[derive(Debug, Clone)]
pub struct InfoVae {
    /// `-E[ln p(x | z)]`, shape `batch`.
    pub distortion: Tensor,
    /// `KL(q(z | x) || p(z))`, shape `batch`.
    pub rate: Tensor,
    /// The squared maximum mean discrepancy of codes and prior, a scalar: a number of the batch.
    pub discrepancy: Tensor,
    /// `distortion + (1 - alpha) rate + (alpha + lambda - 1) discrepancy`, shape `batch`: its mean is the loss.
    pub total: Tensor,
}

/// The InfoVAE: a rate of less weight, and a discrepancy between all codes and the prior.
///
/// Formula: `total = -ln p(x | z) + (1 - alpha) KL(q(z | x) || p(z)) + (alpha + lambda - 1) MMD^2(q(z), p(z))`, with one code z
/// for each example and as many draws of the prior.
///
/// Shapes: as [`elbo`](super::elbo()) with one sample; the prior has no batch. Events are compared as vectors.
/// Gradients: pathwise, through the codes and through the KL.
///
/// Errors: those of [`elbo`](super::elbo()) and [`mmd_squared`], which asks for two examples (unbiased) or one (biased); a prior
/// with a batch; weights that would be negative, or are not finite.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::Rng;
/// use candle_prob::distribution::{Distribution, MultivariateNormalDiag, Normal};
/// use candle_prob::objective::{InfoVaeConfig, info_vae};
/// # fn main() -> candle_prob::Result<()> {
/// let x = Rng::new(0).normal((64, 2), DType::F32, &Device::Cpu)?;
/// let posterior = MultivariateNormalDiag::from_log_var(&x, &(x.ones_like()? * -4.)?)?;
/// let prior = MultivariateNormalDiag::standard(2, DType::F32, &Device::Cpu)?;
/// let decoder = |z: &Tensor| Normal::new(z, &z.ones_like()?)?.to_event(1);
/// let config = InfoVaeConfig::new(10., 2);
/// let parts = info_vae(&posterior, &prior, &decoder, &x, &config, &mut Rng::new(1))?;
/// assert!(parts.discrepancy.to_scalar::<f32>()?.abs() < 0.2);
/// let loss = parts.total.mean_all()?;
/// # Ok(())
/// # }
/// ```
///
/// Source: Zhao, Song and Ermon (2019), InfoVAE: balancing learning and inference in variational autoencoders, eq. 6.
pub fn info_vae<P, R, C>(
    posterior: &P,
    prior: &R,
    decoder: &C,
    target: &Tensor,
    config: &InfoVaeConfig,
    rng: &mut Rng,
) -> Result<InfoVae>
where
    P: Reparameterized + Kl<R>,
    R: Distribution,
    C: Conditional<Output: Distribution>,
{
    let op = "objective::info_vae";
    let rest = 1. - config.alpha;
    check::non_negative(op, "1 - alpha", rest)?;
    let weight = config.alpha + config.lambda - 1.;
    check::non_negative(op, "alpha + lambda - 1", weight)?;
    let (codes, rate) = posterior.sample_and_kl(prior, &[1], rng)?;
    let against = (&config.kernel, config.statistic);
    let discrepancy = discrepancy(op, posterior, prior, &codes, against, rng)?;
    let distortion = distortion(op, decoder, &codes, target, 1, posterior.batch_shape())?;
    let mut total = weighted(&distortion, &discrepancy, weight)?;
    if rest > 0. {
        total = (total + (&rate * rest)?)?;
    }
    Ok(InfoVae {
        distortion,
        rate,
        discrepancy,
        total,
    })
}

/// Settings of [`wae`].
#[derive(Debug, Clone, PartialEq)]
pub struct WaeConfig {
    /// Weight of the discrepancy, 0 or more.
    pub lambda: f64,
    /// The kernel of the discrepancy.
    pub kernel: MmdKernel,
    /// Its estimate.
    pub statistic: MmdStatistic,
}

impl WaeConfig {
    /// This `lambda`, for codes of `dims` dimensions under N(0, I).
    pub fn new(lambda: f64, dims: usize) -> Self {
        WaeConfig {
            lambda,
            kernel: MmdKernel::for_codes(dims),
            statistic: MmdStatistic::default(),
        }
    }
}

/// Parts of a Wasserstein autoencoder's loss.
#[derive(Debug, Clone)]
pub struct Wae {
    /// `-E[ln p(x | z)]`, shape `batch`, in nats.
    pub distortion: Tensor,
    /// The squared maximum mean discrepancy of codes and prior, a scalar: a number of the batch.
    pub discrepancy: Tensor,
    /// `distortion + lambda * discrepancy`, shape `batch`: its mean is the loss.
    pub total: Tensor,
}

/// The Wasserstein autoencoder with a maximum mean discrepancy (WAE-MMD).
///
/// Formula: `total = -ln p(x | z) + lambda MMD^2(q(z), p(z))`. With a Gaussian decoder of fixed sigma the first part is the
/// squared cost `|x - G(z)|^2 / (2 sigma^2)` and a constant.
///
/// The encoder need not be random: [`Delta`](crate::distribution::Delta) is a posterior here, since no example has a rate.
///
/// Shapes, gradients and errors: as [`info_vae`]; a `lambda` that is negative or not finite.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::Rng;
/// use candle_prob::distribution::{Delta, Distribution, MultivariateNormalDiag, Normal};
/// use candle_prob::objective::{WaeConfig, wae};
/// # fn main() -> candle_prob::Result<()> {
/// let x = Rng::new(0).normal((64, 2), DType::F32, &Device::Cpu)?;
/// let encoded = Delta::new(&x, 1)?;
/// let prior = MultivariateNormalDiag::standard(2, DType::F32, &Device::Cpu)?;
/// let decoder = |z: &Tensor| Normal::new(z, &z.ones_like()?)?.to_event(1);
/// let parts = wae(&encoded, &prior, &decoder, &x, &WaeConfig::new(10., 2), &mut Rng::new(1))?;
/// let loss = parts.total.mean_all()?;
/// # Ok(())
/// # }
/// ```
///
/// Source: Tolstikhin, Bousquet, Gelly and Schölkopf (2018), Wasserstein auto-encoders, algorithm 2.
pub fn wae<P, R, C>(
    posterior: &P,
    prior: &R,
    decoder: &C,
    target: &Tensor,
    config: &WaeConfig,
    rng: &mut Rng,
) -> Result<Wae>
where
    P: Reparameterized,
    R: Distribution,
    C: Conditional<Output: Distribution>,
{
    let op = "objective::wae";
    check::non_negative(op, "lambda", config.lambda)?;
    let codes = posterior.sample(&[1], rng)?;
    let against = (&config.kernel, config.statistic);
    let discrepancy = discrepancy(op, posterior, prior, &codes, against, rng)?;
    let distortion = distortion(op, decoder, &codes, target, 1, posterior.batch_shape())?;
    let total = weighted(&distortion, &discrepancy, config.lambda)?;
    Ok(Wae {
        distortion,
        discrepancy,
        total,
    })
}

/// The squared discrepancy of codes `[1] ++ batch ++ event` and as many draws of the prior.
/// The distortion with the discrepancy's part.
fn weighted(distortion: &Tensor, discrepancy: &Tensor, weight: f64) -> Result<Tensor> {
    match weight {
        // 0 times infinity is NaN.
        0. => Ok(distortion.clone()),
        _ => Ok(distortion.broadcast_add(&(discrepancy * weight)?)?),
    }
}

fn discrepancy<P: Distribution, R: Distribution>(
    op: &'static str,
    posterior: &P,
    prior: &R,
    codes: &Tensor,
    (kernel, statistic): (&MmdKernel, MmdStatistic),
    rng: &mut Rng,
) -> Result<Tensor> {
    let event = posterior.event_shape();
    if !prior.batch_shape().is_empty() || prior.event_shape() != event {
        let expected = format!("no batch, and event {event:?}");
        let found = [prior.batch_shape(), prior.event_shape()].concat();
        return Err(Error::shape(op, "prior", expected, &found));
    }
    let rows: usize = posterior.batch_shape().iter().product();
    let vectors = (rows, event.iter().product::<usize>());
    let draws = prior.sample(&[rows], rng)?.reshape(vectors)?;
    mmd_squared(&codes.reshape(vectors)?, &draws, kernel, statistic)
}

//! The log-likelihood of a latent-variable model, by importance sampling.

use super::elbo::log_likelihood as scored;
use super::per_dimension::check_prior;
use super::rate::Latents;
use crate::check;
use crate::conditional::Conditional;
use crate::distribution::Distribution;
use crate::error::{Error, Result};
use crate::rng::Rng;
use crate::special::logsumexp;
use candle_core::{DType, Tensor};

/// Settings of [`log_likelihood`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLikelihoodConfig {
    /// Importance samples of each example, at least 1.
    pub samples: usize,
    /// How many of them are in memory at once, at least 1.
    pub chunk: usize,
}

impl Default for LogLikelihoodConfig {
    /// 5000 samples, 50 at once: what Burda et al. (2016) report test log-likelihoods by.
    fn default() -> Self {
        LogLikelihoodConfig {
            samples: 5000,
            chunk: 50,
        }
    }
}

/// An estimate of `ln p(x)`, in f64 and without gradients.
#[derive(Debug, Clone)]
pub struct LogLikelihood {
    /// The estimate for each example, in nats, shape `batch`.
    pub value: Tensor,
    /// The effective number of samples `(sum w)^2 / sum w^2`, shape `batch`: where it is a few, the estimate is a guess that is
    /// too low. 0 where all weights are 0.
    pub effective_samples: Tensor,
}

/// The log-likelihood of examples under the decoder and the prior, with the posterior to draw from.
///
/// Formula: `ln (mean_k w_k)`, `w_k = p(x | z_k) p(z_k) / q(z_k | x)`, over K draws of the posterior. Its expectation is a lower
/// bound of `ln p(x)` that rises with K and meets it in the limit.
///
/// Shapes: `posterior` has batch `B`; the decoder scores `target` for chunks of codes `[k] ++ B ++ E` into `[k] ++ B`; the result
/// is `B`. Units: nats. Gradients: none, and the memory is that of one chunk, however many samples there are.
///
/// Errors: no samples, an empty chunk; a prior over other events or whose batch does not broadcast to `B`; a decoder whose
/// log-likelihood has another shape; what all three refuse.
///
/// ```
/// use candle_core::{D, DType, Device, Tensor};
/// use candle_prob::Rng;
/// use candle_prob::distribution::{MultivariateNormalDiag, Normal};
/// use candle_prob::objective::{LogLikelihoodConfig, log_likelihood};
/// # fn main() -> candle_prob::Result<()> {
/// let zero = Tensor::zeros((4, 2), DType::F64, &Device::Cpu)?;
/// let posterior = MultivariateNormalDiag::from_log_var(&zero, &zero)?;
/// let prior = MultivariateNormalDiag::standard(2, DType::F64, &Device::Cpu)?;
/// let decoder = |z: &Tensor| Normal::new(&z.sum(D::Minus1)?, &Tensor::new(1f64, &Device::Cpu)?);
/// let x = Tensor::ones(4, DType::F64, &Device::Cpu)?;
/// let config = LogLikelihoodConfig::default();
/// let estimate = log_likelihood(&posterior, &prior, &decoder, &x, &config, &mut Rng::new(0))?;
/// // x is N(0, 3).
/// let exact = -0.5 * ((2. * std::f64::consts::PI * 3.).ln() + 1. / 3.);
/// assert!((estimate.value.mean_all()?.to_scalar::<f64>()? - exact).abs() < 0.02);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: the logarithms of the chunks' sums are added up in f64.
///
/// Source: Burda, Grosse and Salakhutdinov (2016), Importance weighted autoencoders, eq. 8 and section 5.1.
pub fn log_likelihood<P, R, C>(
    posterior: &P,
    prior: &R,
    decoder: &C,
    target: &Tensor,
    config: &LogLikelihoodConfig,
    rng: &mut Rng,
) -> Result<LogLikelihood>
where
    P: Distribution,
    R: Distribution,
    C: Conditional<Output: Distribution>,
{
    let op = "objective::log_likelihood";
    let counts = [("samples", config.samples), ("chunk", config.chunk)];
    check::at_least_one(op, &counts)?;
    check_prior(op, posterior, prior)?;
    let batch = posterior.batch_shape();
    let (mut sum, mut squares) = (LogSum(None), LogSum(None));
    for start in (0..config.samples).step_by(config.chunk) {
        let draws = config.chunk.min(config.samples - start);
        let (codes, log_posterior) = posterior.sample_and_log_prob(&[draws], rng)?;
        let codes = codes.detach();
        let log_likelihood = scored(op, decoder, &codes, target, draws, batch)?;
        let latents = Latents::scored(op, codes, log_posterior, prior)?;
        let log_weights = latents.log_weights(&log_likelihood)?.detach();
        let log_weights = log_weights.to_dtype(DType::F64)?;
        squares.add(&(&log_weights * 2.)?)?;
        sum.add(&log_weights)?;
    }
    let (LogSum(Some(sum)), LogSum(Some(squares))) = (sum, squares) else {
        return Err(Error::value(op, "samples", "at least 1", config.samples));
    };
    let effective = ((&sum * 2.)? - &squares)?.exp()?;
    let none = sum.eq(f64::NEG_INFINITY)?;
    Ok(LogLikelihood {
        value: (sum - (config.samples as f64).ln())?,
        effective_samples: none.where_cond(&effective.zeros_like()?, &effective)?,
    })
}

/// A running `ln sum e^x`.
struct LogSum(Option<Tensor>);

impl LogSum {
    /// Adds the terms of the first dim.
    fn add(&mut self, terms: &Tensor) -> Result<()> {
        let sum = logsumexp(terms, 0)?;
        self.0 = Some(match &self.0 {
            Some(so_far) => logsumexp(&Tensor::stack(&[so_far, &sum], 0)?, 0)?,
            None => sum,
        });
        Ok(())
    }
}

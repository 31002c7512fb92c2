//! The importance-weighted bound without reparameterization.

use super::importance::{ImportanceWeighted, check_weights, iwae_bound};
use super::score::{check_scores, others, own, scored};
use crate::error::Result;
use crate::special;
use candle_core::Tensor;

/// The importance-weighted bound of a posterior whose draws have no gradient, by the log-derivative trick with a baseline for
/// each draw from the others (VIMCO).
///
/// Formula: with `L = ln((w_1 + .. + w_K) / K)`, and `L_k` the same with `w_k` replaced by the geometric mean of the other
/// weights, the gradient is `sum_k (L - L_k) d ln q(z_k | x) + sum_k w_k / (w_1 + .. + w_K) d ln w_k`.
///
/// Shapes: `log_weights` and `log_posterior`, `ln q` of the draws, are `[K] ++ batch`, as
/// [`sample_detached_latents`](super::sample_detached_latents) and [`Latents::log_weights`](super::Latents::log_weights) make
/// them. Units: nats.
///
/// Gradients: of `loss`, unbiased, to posterior, prior and decoder. A draw beside which all others have weight 0 would have an
/// infinite signal: it gives none.
///
/// Errors: fewer than two draws; two shapes, dtypes or devices.
///
/// Memory: `K^2` numbers for each example.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::distribution::{Bernoulli, Distribution, Normal};
/// use candle_prob::objective::{sample_detached_latents, vimco};
/// use candle_prob::Rng;
/// # fn main() -> candle_prob::Result<()> {
/// let logits = Tensor::zeros((4, 3), DType::F64, &Device::Cpu)?;
/// let posterior = Bernoulli::new(&logits)?.to_event(1)?;
/// let latents = sample_detached_latents(&posterior, &posterior, &[5], &mut Rng::new(0))?;
/// let loc = latents.value.sum(candle_core::D::Minus1)?;
/// let x = Tensor::ones(4, DType::F64, &Device::Cpu)?;
/// let log_likelihood = Normal::new(&loc, &loc.ones_like()?)?.log_prob(&x)?;
/// let parts = vimco(&latents.log_weights(&log_likelihood)?, &latents.log_posterior)?;
/// assert_eq!(parts.loss.dims(), &[4]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Mnih and Rezende (2016), Variational inference for Monte Carlo objectives, eqs. 7 to 10.
pub fn vimco(log_weights: &Tensor, log_posterior: &Tensor) -> Result<ImportanceWeighted> {
    const OP: &str = "objective::vimco";
    let count = check_weights(OP, "log_weights", log_weights)?;
    check_scores(OP, log_weights, log_posterior)?;
    let known = log_weights.detach();
    let others = others(OP, "log_weights", &known, count)?.unsqueeze(1)?;
    let own = own(&known, count)?;
    let all = known.unsqueeze(0)?.broadcast_as(own.shape())?;
    let without = own.where_cond(&others.broadcast_as(own.shape())?, &all)?;
    let bound = iwae_bound(log_weights)?;
    let signal = bound
        .detach()
        .broadcast_sub(&special::logmeanexp(&without, 1)?)?;
    let score = scored(&signal, log_posterior)?.sum(0)?;
    Ok(ImportanceWeighted {
        loss: (&bound + score)?.neg()?,
        bound,
        log_weights: log_weights.clone(),
    })
}

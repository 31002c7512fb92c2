//! The variational information bottleneck and its Gaussian-mixture form.
//!
//! A stochastic code Z of the input X should tell much about the label Y and little about X. Both objectives minimise
//!
//! ```text
//!   E[-ln q(y | z)] + beta * KL(p(z | x) || r(z))  =  distortion + beta * rate
//! ```
//!
//! Averaged over the data the parts bound mutual informations, in nats: `I(Z; X) <= mean rate` and
//! `I(Z; Y) >= H(Y) - mean distortion`. The decoder is any [`Conditional`] whose output is a distribution over labels.

use crate::conditional::Conditional;
use crate::distribution::{Distribution, Kl, Reparameterized, WeightedSum};
use crate::error::{Error, Result};
use crate::rng::Rng;
use candle_core::Tensor;

/// Settings of both objectives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// Weight of the rate, `beta >= 0`. At 0 the rate is reported and has no influence.
    pub beta: f64,
    /// Monte-Carlo samples of the code for each example, at least 1.
    pub samples: usize,
}

impl Default for Config {
    /// The values of Zuo (2023), section 3.2.
    fn default() -> Self {
        Config {
            beta: 1e-3,
            samples: 12,
        }
    }
}

/// Parts of the bottleneck objective, each of the batch shape, in nats.
#[derive(Debug, Clone)]
pub struct Vib {
    /// `-E[ln q(y | z)]`, the mean over the samples.
    pub distortion: Tensor,
    /// `KL(p(z | x) || r(z))`.
    pub rate: Tensor,
    /// `distortion + beta * rate`: its mean over the batch is the loss.
    pub total: Tensor,
}

/// Parts of the Gaussian-mixture bottleneck objective, in nats; `batch` is the shape of the weight posterior's batch.
#[derive(Debug, Clone)]
pub struct Gmvib {
    /// `-E[ln q(y | z)]`, the mean over the samples, shape `batch`.
    pub distortion: Tensor,
    /// `KL(p(z_k | x) || r(z_k))` of each component, shape `batch ++ [K]`.
    pub component_rates: Tensor,
    /// `KL(p(e | x) || r(e))`, shape `batch`.
    pub weight_rate: Tensor,
    /// The sum of all component rates and the weight rate (eq. 11), shape `batch`.
    pub rate: Tensor,
    /// `distortion + beta * rate` (eq. 10), shape `batch`: its mean over the batch is the loss.
    pub total: Tensor,
}

/// The variational information bottleneck.
///
/// Formula: `total = -E_{z ~ p(z|x)}[ln q(y | z)] + beta * KL(p(z | x) || r(z))`.
///
/// Shapes: `posterior` has batch `B` and event `E`; codes of shape `[samples] ++ B ++ E` go through `decoder`, whose
/// distribution scores `target` (`B ++ label event`) into `[samples] ++ B`; the parts have shape `B`. Units: nats.
///
/// Gradients: pathwise through the posterior's samples, and through its KL.
///
/// Errors: zero samples, a negative or non-finite `beta`, a decoder whose log-likelihood has another shape than
/// `[samples] ++ B`, and what the posterior, the prior and the decoder refuse.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::distribution::{Normal, Distribution};
/// use candle_prob::{Rng, objective::bottleneck::{Config, vib}};
/// # fn main() -> candle_prob::Result<()> {
/// let zero = Tensor::zeros((4, 3), DType::F64, &Device::Cpu)?;
/// let posterior = Normal::new(&zero, &(zero.ones_like()? * 0.5)?)?.to_event(1)?;
/// let prior = Normal::new(&zero, &zero.ones_like()?)?.to_event(1)?;
/// let decoder = |z: &Tensor| Normal::new(&z.sum(candle_core::D::Minus1)?, &Tensor::new(1f64, &Device::Cpu)?);
/// let target = Tensor::zeros(4, DType::F64, &Device::Cpu)?;
/// let parts = vib(&posterior, &prior, &decoder, &target, &Config::default(), &mut Rng::new(0))?;
/// assert_eq!(parts.total.dims(), &[4]);
/// let loss = parts.total.mean_all()?;
/// # Ok(())
/// # }
/// ```
///
/// Source: Alemi, Fischer, Dillon and Murphy (2017), eq. 17.
pub fn vib<P, R, C>(
    posterior: &P,
    prior: &R,
    decoder: &C,
    target: &Tensor,
    config: &Config,
    rng: &mut Rng,
) -> Result<Vib>
where
    P: Reparameterized + Kl<R>,
    C: Conditional<Output: Distribution>,
{
    let op = "bottleneck::vib";
    config.check(op)?;
    let (codes, rate) = posterior.sample_and_kl(prior, &[config.samples], rng)?;
    let distortion = distortion(op, decoder, &codes, target, config, posterior.batch_shape())?;
    let total = config.total(&distortion, &rate)?;
    Ok(Vib {
        distortion,
        rate,
        total,
    })
}

/// The Gaussian-mixture variational information bottleneck.
///
/// The code is `z = e_1 z_1 + ... + e_K z_K`: K Gaussian components `z_k` and a random weight `e` on the simplex, all
/// independent given the input. The prior factorises, and so does the KL.
///
/// Formula: `total = -E[ln q(y | z)] + beta * (sum_k KL(p(z_k | x) || r(z_k)) + KL(p(e | x) || r(e)))`.
///
/// Shapes: `weight` has batch `B` and event `[K]`, `components` batch `B ++ [K]` and event `E`; codes have shape
/// `[samples] ++ B ++ E`; `target` and the decoder as for [`vib`]. Units: nats.
///
/// The weight posterior is a choice of type: [`Dirichlet`](crate::distribution::Dirichlet) with implicit gradients and
/// the KL between Dirichlets, or [`LogisticNormal`](crate::distribution::LogisticNormal), a Gaussian through softmax
/// with the KL to `N(0, I)` underneath, as the paper computes it.
///
/// Gradients: pathwise through components and weight, and through both KL terms.
///
/// Errors: as [`vib`]; also a weight whose event is not `[K]` or whose batch is not the components' without `K`.
///
/// Numerics: given the weight, a sum of Gaussians is Gaussian, so [`WeightedSum`] draws one code instead of K.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::distribution::{Dirichlet, Distribution, Normal};
/// use candle_prob::{Rng, objective::bottleneck::{Config, gmvib}};
/// # fn main() -> candle_prob::Result<()> {
/// let (batch, k, d) = (4, 3, 2);
/// let zero = Tensor::zeros((batch, k, d), DType::F64, &Device::Cpu)?;
/// let components = Normal::new(&zero, &zero.ones_like()?)?.to_event(1)?;
/// let weight = Dirichlet::new(&Tensor::ones((batch, k), DType::F64, &Device::Cpu)?)?;
/// let decoder = |z: &Tensor| Normal::new(&z.sum(candle_core::D::Minus1)?, &Tensor::new(1f64, &Device::Cpu)?);
/// let target = Tensor::zeros(batch, DType::F64, &Device::Cpu)?;
/// let parts = gmvib(
///     (&components, &components), (&weight, &weight),
///     &decoder, &target, &Config::default(), &mut Rng::new(0),
/// )?;
/// assert_eq!(parts.component_rates.dims(), &[batch, k]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Zuo (2023), eq. 10 (objective), eq. 11 (split of the KL), eq. 12 (KL of a Gaussian to `N(0, I)`).
pub fn gmvib<P, R, W, V, C>(
    (components, component_prior): (&P, &R),
    (weight, weight_prior): (&W, &V),
    decoder: &C,
    target: &Tensor,
    config: &Config,
    rng: &mut Rng,
) -> Result<Gmvib>
where
    P: WeightedSum + Kl<R>,
    W: Reparameterized + Kl<V>,
    C: Conditional<Output: Distribution>,
{
    let op = "bottleneck::gmvib";
    config.check(op)?;
    let [count] = *weight.event_shape() else {
        return Err(Error::shape(
            op,
            "weight",
            "an event [K], one weight for each component",
            weight.event_shape(),
        ));
    };
    let batch = weight.batch_shape();
    let expected = [batch, &[count]].concat();
    if components.batch_shape() != expected {
        return Err(Error::shape(
            op,
            "components",
            format!("batch shape {expected:?} (the weight's batch, then K)"),
            components.batch_shape(),
        ));
    }
    let (weights, weight_rate) = weight.sample_and_kl(weight_prior, &[config.samples], rng)?;
    let codes = components.sample_weighted_sum(&weights, rng)?;
    let component_rates = components.kl(component_prior)?;
    let distortion = distortion(op, decoder, &codes, target, config, batch)?;
    let rate = (component_rates.sum(candle_core::D::Minus1)? + &weight_rate)?;
    let total = config.total(&distortion, &rate)?;
    Ok(Gmvib {
        distortion,
        component_rates,
        weight_rate,
        rate,
        total,
    })
}

impl Config {
    fn check(&self, op: &'static str) -> Result<()> {
        if self.samples == 0 {
            return Err(Error::value(op, "samples", "at least 1", self.samples));
        }
        if !(self.beta.is_finite() && self.beta >= 0.) {
            return Err(Error::value(op, "beta", "finite and >= 0", self.beta));
        }
        Ok(())
    }

    fn total(&self, distortion: &Tensor, rate: &Tensor) -> Result<Tensor> {
        // An infinite rate must not turn into NaN when it has no weight.
        if self.beta == 0. {
            return Ok(distortion.clone());
        }
        Ok((distortion + (rate * self.beta)?)?)
    }
}

fn distortion<C: Conditional<Output: Distribution>>(
    op: &'static str,
    decoder: &C,
    codes: &Tensor,
    target: &Tensor,
    config: &Config,
    batch: &[usize],
) -> Result<Tensor> {
    let log_likelihood = decoder.given(codes)?.log_prob(target)?;
    let expected = [&[config.samples], batch].concat();
    if log_likelihood.dims() != expected {
        return Err(Error::shape(
            op,
            "decoder",
            format!("a log-likelihood of shape {expected:?} (samples, then batch)"),
            log_likelihood.dims(),
        ));
    }
    Ok(log_likelihood.mean(0)?.neg()?)
}

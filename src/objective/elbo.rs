//! The evidence lower bound, and the body that it shares with the bottleneck.

use super::rate::mean_of_draws;
use super::{DistortionRate, Rate};
use crate::conditional::Conditional;
use crate::distribution::{Distribution, Reparameterized};
use crate::error::{Error, Result};
use crate::rng::Rng;
use crate::{check, shape};
use candle_core::Tensor;

/// Settings of [`elbo`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ElboConfig {
    /// Weight of the rate, `beta >= 0`: 1 is the bound itself. At 0 the rate is reported and has no influence.
    pub beta: f64,
    /// Monte-Carlo samples of the latent for each example, at least 1.
    pub samples: usize,
}

impl Default for ElboConfig {
    /// The bound from one sample.
    fn default() -> Self {
        ElboConfig {
            beta: 1.,
            samples: 1,
        }
    }
}

/// The evidence lower bound of a variational autoencoder, as a loss.
///
/// Formula: `total = -E_{z ~ q(z|x)}[ln p(x | z)] + beta * KL(q(z | x) || p(z))`. With `beta = 1` it is minus the bound:
/// `ln p(x) = -total + KL(q(z | x) || p(z | x))` in expectation.
///
/// Shapes: `posterior` has batch `B` and event `E`; latents of shape `[samples] ++ B ++ E` go through `decoder`, whose
/// distribution scores `target` (`B ++ data event`) into `[samples] ++ B`; the parts have shape `B`: summed over the event,
/// not averaged over the batch. Units: nats.
///
/// Gradients: pathwise through the posterior's samples, and through its KL.
///
/// The prior's type chooses the rate: a distribution to which the posterior has a KL in closed form, or
/// [`MonteCarlo`](super::MonteCarlo) of any other, such as a flow or a mixture, from the same samples.
///
/// Errors: zero samples, a negative or non-finite `beta`, a prior whose batch does not broadcast to `B`, a target that does not
/// broadcast to `B ++ data event`, a decoder whose log-likelihood has another shape than `[samples] ++ B`, and what the posterior, the prior and the decoder refuse. Data
/// outside of the likelihood's support are no error: the distortion is infinite.
///
/// ```
/// use candle_core::{DType, Device, Module, Tensor};
/// use candle_nn::VarMap;
/// use candle_prob::distribution::{Bernoulli, Distribution, MultivariateNormalDiag};
/// use candle_prob::objective::{ElboConfig, elbo};
/// use candle_prob::optim::{Adam, AdamConfig, Optimizer, Schedule};
/// use candle_prob::{Activation, Conditional, Rng, init, net};
/// # fn main() -> candle_prob::Result<()> {
/// let (mut rng, vars, device) = (Rng::new(0), VarMap::new(), Device::Cpu);
/// let vb = init::seeded(&vars, 0, DType::F32, &device);
/// let x = rng.uniform((64, 8), DType::F32, &device)?.gt(0.7f32)?.to_dtype(DType::F32)?;
/// let encoder = net::NormalHead::new(8, 2, net::ScaleForm::LogVar, vb.pp("encoder"))?;
/// let decoder = net::mlp(&[2, 16, 8], Activation::Tanh, vb.pp("decoder"))?;
/// let likelihood = |z: &Tensor| Bernoulli::new(&decoder.forward(z)?)?.to_event(1);
/// let prior = MultivariateNormalDiag::standard(2, DType::F32, &device)?;
/// let mut adam = Adam::new(&vars, &AdamConfig::default())?;
/// // Against posterior collapse: the rate's weight rises over the first half of each of 4 cycles.
/// let beta = Schedule::Cyclical { from: 0., to: 1., period: 10, ramp: 5, cycles: 4 };
/// for step in 0..40 {
///     let config = ElboConfig { beta: beta.at(step), ..Default::default() };
///     let parts = elbo(&encoder.given(&x)?, &prior, &likelihood, &x, &config, &mut rng)?;
///     assert_eq!(parts.total.dims(), &[64]);
///     adam.backward_step(&parts.total.mean_all()?)?;
/// }
/// # Ok(())
/// # }
/// ```
///
/// Source: Kingma and Welling (2014), Auto-encoding variational Bayes, eq. 7 (eq. 6 with
/// [`MonteCarlo`](super::MonteCarlo)); beta: Higgins et al. (2017), eq. 4; cyclical weights: Fu et al. (2019), eq. 6.
pub fn elbo<P, R, C>(
    posterior: &P,
    prior: &R,
    decoder: &C,
    target: &Tensor,
    config: &ElboConfig,
    rng: &mut Rng,
) -> Result<DistortionRate>
where
    P: Reparameterized,
    R: Rate<P>,
    C: Conditional<Output: Distribution>,
{
    bound(
        "objective::elbo",
        posterior,
        prior,
        decoder,
        target,
        config,
        rng,
    )
}

/// [`elbo`] under the name of `op`.
pub(super) fn bound<P, R, C>(
    op: &'static str,
    posterior: &P,
    prior: &R,
    decoder: &C,
    target: &Tensor,
    config: &ElboConfig,
    rng: &mut Rng,
) -> Result<DistortionRate>
where
    P: Reparameterized,
    R: Rate<P>,
    C: Conditional<Output: Distribution>,
{
    config.check(op)?;
    let batch = posterior.batch_shape();
    let (codes, rate) = prior.sample_and_rate(posterior, &[config.samples], rng)?;
    check_rate(op, "prior", &rate, batch)?;
    let distortion = distortion(op, decoder, &codes, target, config.samples, batch)?;
    DistortionRate::new(distortion, rate, config.beta)
}

impl ElboConfig {
    pub(super) fn check(&self, op: &'static str) -> Result<()> {
        check::at_least_one(op, &[("samples", self.samples)])?;
        check::non_negative(op, "beta", self.beta)
    }
}

/// A prior with more copies than the posterior gives more rates than there are codes.
pub(super) fn check_rate(
    op: &'static str,
    arg: &'static str,
    rate: &Tensor,
    batch: &[usize],
) -> Result<()> {
    if rate.dims() == batch {
        return Ok(());
    }
    let expected = format!("a rate of the posterior's batch shape, {batch:?}");
    Err(Error::shape(op, arg, expected, rate.dims()))
}

/// `-E[ln p(target | code)]` over the codes `[samples] ++ batch ++ event`, shape `batch`.
pub(super) fn distortion<C: Conditional<Output: Distribution>>(
    op: &'static str,
    decoder: &C,
    codes: &Tensor,
    target: &Tensor,
    samples: usize,
    batch: &[usize],
) -> Result<Tensor> {
    let log_likelihood = log_likelihood(op, decoder, codes, target, samples, batch)?;
    Ok(mean_of_draws(&log_likelihood)?.neg()?)
}

/// `ln p(target | code)` of the codes `[samples] ++ batch ++ event`, shape `[samples] ++ batch`.
pub(super) fn log_likelihood<C: Conditional<Output: Distribution>>(
    op: &'static str,
    decoder: &C,
    codes: &Tensor,
    target: &Tensor,
    samples: usize,
    batch: &[usize],
) -> Result<Tensor> {
    let decoded = decoder.given(codes)?;
    // More copies of the target would be taken for samples.
    let full = [batch, decoded.event_shape()].concat();
    shape::broadcast_to(op, "target", target.dims(), &full)?;
    let log_likelihood = decoded.log_prob(target)?;
    let expected = [&[samples], batch].concat();
    if log_likelihood.dims() != expected {
        return Err(Error::shape(
            op,
            "decoder",
            format!("a log-likelihood of shape {expected:?} (samples, then batch)"),
            log_likelihood.dims(),
        ));
    }
    Ok(log_likelihood)
}

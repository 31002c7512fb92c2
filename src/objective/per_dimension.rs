//! Rates and densities of single latent dimensions.

use crate::distribution::{Distribution, Factorized, Kl};
use crate::error::{Error, Result};
use crate::shape;
use candle_core::Tensor;

/// The rate of each latent dimension: `KL(q(z_d | x) || p(z_d))` in closed form.
///
/// Shapes: the posterior has batch `B` and an event of D independent elements, and so has the prior, whose batch broadcasts
/// to `B`; the rates have shape `B ++ [D]`, and their sum over D is the rate of [`elbo`](super::elbo()). Units: nats.
/// Gradients: to the parameters of both.
///
/// Errors: a prior over other events, or whose batch does not broadcast to `B`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::MultivariateNormalDiag;
/// use candle_prob::objective::rate_per_dimension;
/// # fn main() -> candle_prob::Result<()> {
/// let loc = Tensor::new(&[[2f64, 0.], [0., 0.]], &Device::Cpu)?;
/// let posterior = MultivariateNormalDiag::new(&loc, &loc.ones_like()?)?;
/// let prior = MultivariateNormalDiag::standard(2, loc.dtype(), loc.device())?;
/// let rates = rate_per_dimension(&posterior, &prior)?;
/// assert_eq!(rates.to_vec2::<f64>()?, [[2., 0.], [0., 0.]]);
/// # Ok(())
/// # }
/// ```
pub fn rate_per_dimension<P, R>(posterior: &P, prior: &R) -> Result<Tensor>
where
    R: Factorized,
    P: Factorized<Factors: Kl<R::Factors>>,
{
    let batch = posterior.batch_shape();
    check_prior("objective::rate_per_dimension", posterior, prior)?;
    let rates = posterior.factors().kl(prior.factors())?;
    parts_last(&rates, batch.len())
}

/// The log-density of each independent element, in one dim: values `S ++ B ++ event` to `S ++ B ++ [D]`.
pub(super) fn log_prob_per_dimension<P: Factorized>(law: &P, value: &Tensor) -> Result<Tensor> {
    let lead = value.rank() - law.event_shape().len();
    parts_last(&law.factors().log_prob(value)?, lead)
}

/// The dims of the parts, which follow `lead` others, as one.
fn parts_last(x: &Tensor, lead: usize) -> Result<Tensor> {
    let (lead, parts) = x.dims().split_at(lead);
    Ok(x.reshape([lead, &[parts.iter().product()]].concat())?)
}

/// Refuses a prior over other events, or with copies that the posterior does not have.
pub(super) fn check_prior<P: Distribution, R: Distribution>(
    op: &'static str,
    posterior: &P,
    prior: &R,
) -> Result<()> {
    let (batch, event) = (posterior.batch_shape(), posterior.event_shape());
    let fits = shape::broadcast(batch, prior.batch_shape()).is_some_and(|both| both == batch);
    if fits && prior.event_shape() == event {
        return Ok(());
    }
    let expected = format!("a batch that broadcasts to {batch:?}, and event {event:?}");
    let found = [prior.batch_shape(), prior.event_shape()].concat();
    Err(Error::shape(op, "prior", expected, &found))
}

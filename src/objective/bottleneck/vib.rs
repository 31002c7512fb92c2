//! The variational information bottleneck.

use super::BottleneckConfig;
use crate::conditional::Conditional;
use crate::distribution::{Distribution, Reparameterized};
use crate::error::Result;
use crate::objective::elbo::bound;
use crate::objective::{DistortionRate, Rate};
use crate::rng::Rng;
use candle_core::Tensor;

/// The variational information bottleneck: [`elbo`](crate::objective::elbo()) of the label.
///
/// Formula: `total = -E_{z ~ p(z|x)}[ln q(y | z)] + beta * KL(p(z | x) || r(z))`.
///
/// Shapes: `posterior` has batch `B` and event `E`; codes of shape `[samples] ++ B ++ E` go through `decoder`, whose
/// distribution scores `target` (`B ++ label event`) into `[samples] ++ B`; the parts have shape `B`. Units: nats.
///
/// Gradients: pathwise through the posterior's samples, and through its KL.
///
/// The prior's type chooses the rate: a distribution to which the posterior has a KL in closed form, or
/// [`MonteCarlo`](crate::objective::MonteCarlo) of any other, such as a flow or a mixture, from the same samples.
///
/// Errors: zero samples, a negative or non-finite `beta`, a prior whose batch does not broadcast to `B`, a decoder whose
/// log-likelihood has another shape than `[samples] ++ B`, and what the posterior, the prior and the decoder refuse.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::distribution::{Normal, Distribution};
/// use candle_prob::{Rng, objective::{BottleneckConfig, vib}};
/// # fn main() -> candle_prob::Result<()> {
/// let zero = Tensor::zeros((4, 3), DType::F64, &Device::Cpu)?;
/// let posterior = Normal::new(&zero, &(zero.ones_like()? * 0.5)?)?.to_event(1)?;
/// let prior = Normal::new(&zero, &zero.ones_like()?)?.to_event(1)?;
/// let decoder = |z: &Tensor| Normal::new(&z.sum(candle_core::D::Minus1)?, &Tensor::new(1f64, &Device::Cpu)?);
/// let target = Tensor::zeros(4, DType::F64, &Device::Cpu)?;
/// let parts = vib(&posterior, &prior, &decoder, &target, &BottleneckConfig::default(), &mut Rng::new(0))?;
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
    config: &BottleneckConfig,
    rng: &mut Rng,
) -> Result<DistortionRate>
where
    P: Reparameterized,
    R: Rate<P>,
    C: Conditional<Output: Distribution>,
{
    let (op, config) = ("objective::vib", config.bound());
    bound(op, posterior, prior, decoder, target, &config, rng)
}

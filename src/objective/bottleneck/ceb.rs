//! The conditional entropy bottleneck.

use super::BottleneckConfig;
use crate::conditional::Conditional;
use crate::distribution::{Distribution, Reparameterized};
use crate::error::Result;
use crate::objective::elbo::bound;
use crate::objective::{DistortionRate, Rate};
use crate::rng::Rng;
use candle_core::Tensor;

/// The conditional entropy bottleneck: the code costs what a second encoder, which sees only the label, does not expect.
///
/// Formula: `total = -E_{z ~ e(z|x)}[ln c(y | z)] + beta * KL(e(z | x) || b(z | y))`, where e is the encoder (`posterior`), b the
/// `backward` encoder and c the decoder. On average the rate is at least the redundant information `I[X;Z|Y]`, and equal to it
/// for the best b. Fischer's weight of the distortion is `gamma = 1 / beta`; at 1, his own objective, it is the information
/// bottleneck at its beta of 2 ([`Tradeoff`](super::Tradeoff)).
///
/// Shapes: as [`vib`](super::vib); `backward` gets `target` and returns a distribution over codes whose batch broadcasts to the
/// posterior's. Units: nats.
///
/// Gradients: pathwise through the posterior's samples, and through the KL to both encoders.
///
/// A backward encoder without a KL divergence in closed form goes into [`vib`](super::vib) in the place of the prior:
/// `MonteCarlo(&backward.given(&target)?)`.
///
/// Errors: those of [`vib`](super::vib), and what the backward encoder refuses.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::distribution::{Categorical, MultivariateNormalDiag};
/// use candle_prob::objective::{BottleneckConfig, ceb};
/// use candle_prob::Rng;
/// # fn main() -> candle_prob::Result<()> {
/// let x = Rng::new(1).normal((4, 3), DType::F64, &Device::Cpu)?;
/// let labels = Tensor::new(&[0u32, 2, 1, 0], &Device::Cpu)?;
/// let posterior = MultivariateNormalDiag::from_log_var(&x, &x.zeros_like()?)?;
/// let means = Tensor::eye(3, DType::F64, &Device::Cpu)?;
/// let backward = |y: &Tensor| {
///     let mean = means.index_select(y, 0)?;
///     MultivariateNormalDiag::from_log_var(&mean, &mean.zeros_like()?)
/// };
/// let decoder = |z: &Tensor| Categorical::new(z);
/// let config = BottleneckConfig { beta: 1., samples: 1 };
/// let parts = ceb(&posterior, &backward, &decoder, &labels, &config, &mut Rng::new(0))?;
/// let redundant = (x - means.index_select(&labels, 0)?)?.sqr()?.sum(1)?;
/// assert!((parts.rate - (redundant / 2.)?)?.abs()?.max_all()?.to_scalar::<f64>()? < 1e-12);
/// # Ok(())
/// # }
/// ```
///
/// Source: Fischer (2020), The conditional entropy bottleneck, section 2; Kirsch, Lyle and Gal (2020), section 4.2, for the
/// relation to the information bottleneck.
pub fn ceb<P, B, C>(
    posterior: &P,
    backward: &B,
    decoder: &C,
    target: &Tensor,
    config: &BottleneckConfig,
    rng: &mut Rng,
) -> Result<DistortionRate>
where
    P: Reparameterized,
    B: Conditional<Output: Rate<P>>,
    C: Conditional<Output: Distribution>,
{
    let (op, config) = ("objective::ceb", config.bound());
    config.check(op)?;
    let backward = backward.given(target)?;
    bound(op, posterior, &backward, decoder, target, &config, rng)
}

//! The loss of a Wasserstein critic.

use super::hinge::MINUS;
use super::{AdversarialLoss, CriticLoss, GeneratorLoss, scores};
use crate::error::Result;
use crate::kernels::elementwise::mean::{Identity, with_mean};
use crate::shape;
use candle_core::Tensor;

/// The dual of the Wasserstein distance, for a critic that is 1-Lipschitz: spectral norms, clipped weights or a gradient
/// penalty see to that.
///
/// Formula: the critic minimizes `L = E_fake[v] - E_real[v]`, the generator `-E_fake[v]`.
///
/// Divergence: `E_real[v] - E_fake[v]`, which for a K-Lipschitz critic is at most K times the Wasserstein distance of order 1.
///
/// Errors: those of [`AdversarialLoss`].
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::{AdversarialLoss, Wasserstein};
/// # fn main() -> candle_prob::Result<()> {
/// // Points of the line with the critic v(x) = x: its divergence is the distance of the means.
/// let (real, fake) = (Tensor::new(&[1f64, 2.], &Device::Cpu)?, Tensor::new(&[0f64, 1., -1.], &Device::Cpu)?);
/// let critic = Wasserstein.critic(&real, &fake)?;
/// assert_eq!(critic.divergence.to_scalar::<f64>()?, 1.5);
/// # Ok(())
/// # }
/// ```
///
/// Source: Arjovsky, Chintala and Bottou (2017), Wasserstein GAN, eq. 2; Kantorovich and Rubinstein (1958).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wasserstein;

impl AdversarialLoss for Wasserstein {
    fn critic(&self, real: &Tensor, fake: &Tensor) -> Result<CriticLoss> {
        let op = "Wasserstein::critic";
        scores(op, real, fake)?;
        let real = with_mean(op, MINUS, real)?;
        CriticLoss::of(real, with_mean(op, Identity, fake)?, 0., 1.)
    }

    fn generator(&self, _: &Tensor, fake: &Tensor) -> Result<GeneratorLoss> {
        let op = "Wasserstein::generator";
        shape::parameter(op, "fake", fake)?;
        Ok(GeneratorLoss::of(with_mean(op, MINUS, fake)?))
    }
}

//! The hinge loss.

use super::{AdversarialLoss, CriticLoss, GeneratorLoss, scores};
use crate::error::Result;
use crate::kernels::elementwise::Formula;
use crate::kernels::elementwise::mean::{Identity, Scaled, with_mean};
use crate::kernels::number::Real;
use crate::shape;
use candle_core::Tensor;

/// Scores beyond a margin count for nothing.
///
/// Formula: the critic minimizes `L = E_real[max(0, 1 - v)] + E_fake[max(0, 1 + v)]`, the generator `-E_fake[v]`.
///
/// Divergence: `1 - L/2`. The best critic is the sign of `p - q`, and its divergence the total variation distance.
///
/// Gradients: 0 at the kinks, as beyond them.
///
/// Errors: those of [`AdversarialLoss`].
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::{AdversarialLoss, Hinge};
/// # fn main() -> candle_prob::Result<()> {
/// let (real, fake) = (Tensor::new(&[1f64, 2.], &Device::Cpu)?, Tensor::new(&[-1.5f64, 0.], &Device::Cpu)?);
/// let critic = Hinge.critic(&real, &fake)?;
/// assert_eq!(critic.real.to_vec1::<f64>()?, [0., 0.]);
/// assert_eq!(critic.fake.to_vec1::<f64>()?, [0., 1.]);
/// assert_eq!(critic.divergence.to_scalar::<f64>()?, 0.75);
/// # Ok(())
/// # }
/// ```
///
/// Source: Lim and Ye (2017), Geometric GAN; Miyato et al. (2018), Spectral normalization for generative adversarial
/// networks, eq. 16 and 17.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hinge;

/// `max(0, 1 + sign v)`.
#[derive(Clone, Copy)]
struct Margin {
    sign: f64,
}

impl Formula<1> for Margin {
    const QUICK: bool = true;
    const SINGLE: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [v]: [R; 1]) -> R {
        let y = v * self.sign + 1.;
        // NaN stays.
        if y.value() <= 0. { R::constant(0.) } else { y }
    }
}

impl AdversarialLoss for Hinge {
    fn critic(&self, real: &Tensor, fake: &Tensor) -> Result<CriticLoss> {
        let op = "Hinge::critic";
        scores(op, real, fake)?;
        let real = with_mean(op, Margin { sign: -1. }, real)?;
        let fake = with_mean(op, Margin { sign: 1. }, fake)?;
        CriticLoss::of(real, fake, 1., 0.5)
    }

    fn generator(&self, _: &Tensor, fake: &Tensor) -> Result<GeneratorLoss> {
        let op = "Hinge::generator";
        shape::parameter(op, "fake", fake)?;
        Ok(GeneratorLoss::of(with_mean(op, MINUS, fake)?))
    }
}

/// The score's negative.
pub(super) const MINUS: Scaled<Identity> = Scaled {
    f: Identity,
    factor: -1.,
};

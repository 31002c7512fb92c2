//! The game whose value is an f-divergence.

use super::{AdversarialLoss, CriticLoss, GeneratorLoss, scores};
use crate::divergence::FDivergence;
use crate::error::Result;
use crate::shape;
use candle_core::Tensor;

/// Which generator plays [`FGan`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FGanGenerator {
    /// The zero-sum game: it minimizes what the critic maximizes. With the best critic its gradient is that of the
    /// divergence.
    #[default]
    Saturating,
    /// It maximizes what the critic maximizes on data: `-E_fake[rho(v)]` (Nowozin, Cseke and Tomioka 2016, section 3.2), in
    /// the other order `E_fake[f*(rho(v))]`.
    NonSaturating,
}

/// From what to what the divergence of [`FGan`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FGanOrder {
    /// `D_f(data || generator)`: high scores mean data.
    #[default]
    DataFirst,
    /// `D_f(generator || data)`: high scores mean fakes. It is `DataFirst` of the divergence with `u f(1/u)`:
    /// [`KullbackLeibler`](crate::divergence::KullbackLeibler) in this order estimates what
    /// [`ReverseKl`](crate::divergence::ReverseKl) does in the other, by another activation.
    GeneratorFirst,
}

/// The variational bound of an f-divergence as a game.
///
/// Formula: the critic maximizes `E_real[rho(v)] - E_fake[f*(rho(v))]`, its loss is the negative; the generator minimizes
/// `-E_fake[f*(rho(v))]`, or another loss by [`FGanGenerator`]. In the order
/// [`GeneratorFirst`](FGanOrder::GeneratorFirst) fakes and data change places.
///
/// The activations rho are those of [`FDivergence`], Nowozin's, which increase. Of those of Ryu (2022) one differs, the reverse
/// KL's `-e^v`: [`Negated`](super::Negated) of this loss has it. There KL's critic is shifted (v + 1 in the place of v, by the
/// bias of a last layer) and the constant dropped; the divergence here has all constants.
///
/// Divergence: the bound itself, at most `D_f`; equal for the critic with `rho(v) = f'(p/q)`.
///
/// Errors: those of [`AdversarialLoss`].
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::divergence::KullbackLeibler;
/// use candle_prob::objective::{AdversarialLoss, FGan};
/// # fn main() -> candle_prob::Result<()> {
/// let (real, fake) = (Tensor::new(&[1e4f32; 100], &Device::Cpu)?, Tensor::new(&[1e4f32; 100], &Device::Cpu)?);
/// let critic = FGan::new(KullbackLeibler).critic(&real, &fake)?;
/// // A sum of these would overflow.
/// assert!(critic.total()?.to_scalar::<f32>()? > 3.6e36);
/// # Ok(())
/// # }
/// ```
///
/// Source: Nowozin, Cseke and Tomioka (2016), f-GAN, eq. 6 and section 3.2.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FGan<F> {
    /// The divergence.
    pub divergence: F,
    /// The generator's loss.
    pub generator: FGanGenerator,
    /// The divergence's order.
    pub order: FGanOrder,
}

impl<F: FDivergence> FGan<F> {
    /// The zero-sum game of `D_f(data || generator)`.
    pub fn new(divergence: F) -> Self {
        FGan {
            divergence,
            generator: FGanGenerator::default(),
            order: FGanOrder::default(),
        }
    }
}

impl<F: FDivergence> AdversarialLoss for FGan<F> {
    fn critic(&self, real: &Tensor, fake: &Tensor) -> Result<CriticLoss> {
        scores("FGan::critic", real, fake)?;
        let f = &self.divergence;
        let (real, fake) = match self.order {
            FGanOrder::DataFirst => (
                f.activation_with_mean(real, -1.)?,
                f.conjugate_with_mean(fake, 1.)?,
            ),
            FGanOrder::GeneratorFirst => (
                f.conjugate_with_mean(real, 1.)?,
                f.activation_with_mean(fake, -1.)?,
            ),
        };
        CriticLoss::of(real, fake, 0., 1.)
    }

    fn generator(&self, _: &Tensor, fake: &Tensor) -> Result<GeneratorLoss> {
        use FGanGenerator::{NonSaturating, Saturating};
        use FGanOrder::{DataFirst, GeneratorFirst};
        shape::parameter("FGan::generator", "fake", fake)?;
        let f = &self.divergence;
        let parts = match (self.order, self.generator) {
            (DataFirst, Saturating) => f.conjugate_with_mean(fake, -1.),
            (DataFirst, NonSaturating) => f.activation_with_mean(fake, -1.),
            (GeneratorFirst, Saturating) => f.activation_with_mean(fake, 1.),
            (GeneratorFirst, NonSaturating) => f.conjugate_with_mean(fake, 1.),
        };
        Ok(GeneratorLoss::of(parts?))
    }
}

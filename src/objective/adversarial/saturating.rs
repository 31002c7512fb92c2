//! The first adversarial losses: the critic's score is the logit of "data".

use super::{AdversarialLoss, CriticLoss, GeneratorLoss, scores};
use crate::check;
use crate::error::Result;
use crate::kernels::elementwise::Formula;
use crate::kernels::elementwise::mean::{Scaled, with_mean};
use crate::kernels::number::Real;
use crate::shape;
use candle_core::Tensor;

/// The minimax loss, a game of zero sum: the generator minimizes what the critic maximizes.
///
/// Formula: the critic minimizes `L = E_real[softplus(-v)] + l E_fake[softplus(v)]`, that is
/// `-E_real[ln D] - l E_fake[ln(1 - D)]` with `D = sigmoid(v)`: errors of type I (data taken for a fake) and, with weight l,
/// of type II (a fake taken for data). The generator minimizes `-l E_fake[softplus(v)]`. Its gradient vanishes where fakes are
/// recognized; [`NonSaturating`]'s does not.
///
/// Divergence: `ln(1+l) + l ln((1+l)/l) - L`, which is 0 for a critic that cannot tell both apart. The best critic is
/// `D = p / (p + l q)`, and with `m = (p + l q) / (1 + l)` its divergence is `KL(p || m) + l KL(q || m)`: twice the
/// Jensen-Shannon divergence at l = 1, where the game's value is `2 JS - ln 4`.
///
/// Errors: those of [`AdversarialLoss`]; a weight that is not positive and finite.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::{AdversarialLoss, Saturating};
/// # fn main() -> candle_prob::Result<()> {
/// let scores = Tensor::new(&[0f64, 0.], &Device::Cpu)?;
/// let critic = Saturating::default().critic(&scores, &scores)?;
/// assert!((critic.total()?.to_scalar::<f64>()? - 4f64.ln()).abs() < 1e-15);
/// assert!(critic.divergence.to_scalar::<f64>()?.abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Source: Goodfellow et al. (2014), Generative adversarial nets, eq. 1 and theorem 1; the weight: Ryu (2022), Mathematical
/// Foundations of Machine Learning, discriminator loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Saturating {
    /// The weight l of an error of type II, positive: 1 by default.
    pub type_two_weight: f64,
}

impl Default for Saturating {
    fn default() -> Self {
        Saturating {
            type_two_weight: 1.,
        }
    }
}

/// The game of [`Saturating`] with a generator whose gradient does not vanish.
///
/// Formula: the critic's loss and divergence are [`Saturating`]'s; the generator minimizes `E_fake[softplus(-v)]`, that is
/// `-E_fake[ln D]`: its best answers are the same, its slope is largest where fakes are recognized.
///
/// Errors: as [`Saturating`].
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use candle_prob::objective::{AdversarialLoss, NonSaturating};
/// # fn main() -> candle_prob::Result<()> {
/// let real = Tensor::new(&[0.5f32], &Device::Cpu)?;
/// let fake = Var::new(&[-1e4f32], &Device::Cpu)?;
/// let loss = NonSaturating::default().generator(&real, &fake)?.total()?;
/// assert_eq!(loss.to_scalar::<f32>()?, 1e4);
/// let slope = loss.backward()?.get(&fake).expect("a gradient").to_vec1::<f32>()?;
/// assert_eq!(slope, [-1.]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Goodfellow et al. (2014), Generative adversarial nets, section 3.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NonSaturating {
    /// The weight l of a critic's error of type II, positive: 1 by default.
    pub type_two_weight: f64,
}

impl Default for NonSaturating {
    fn default() -> Self {
        NonSaturating {
            type_two_weight: 1.,
        }
    }
}

/// softplus(v), or softplus(-v) for a label that the score is to agree with.
#[derive(Clone, Copy)]
pub(super) enum Logistic {
    Fake,
    Real,
}

impl Formula<1> for Logistic {
    const QUICK: bool = true;
    const SINGLE: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [v]: [R; 1]) -> R {
        let sign = if matches!(self, Logistic::Real) {
            -1.
        } else {
            1.
        };
        (v * sign).softplus()
    }
}

impl AdversarialLoss for Saturating {
    fn critic(&self, real: &Tensor, fake: &Tensor) -> Result<CriticLoss> {
        critic("Saturating::critic", self.type_two_weight, real, fake)
    }

    fn generator(&self, _: &Tensor, fake: &Tensor) -> Result<GeneratorLoss> {
        let op = "Saturating::generator";
        check::positive_finite(op, "type_two_weight", self.type_two_weight)?;
        shape::parameter(op, "fake", fake)?;
        let (f, factor) = (Logistic::Fake, -self.type_two_weight);
        Ok(GeneratorLoss::of(with_mean(
            op,
            Scaled { f, factor },
            fake,
        )?))
    }
}

impl AdversarialLoss for NonSaturating {
    fn critic(&self, real: &Tensor, fake: &Tensor) -> Result<CriticLoss> {
        critic("NonSaturating::critic", self.type_two_weight, real, fake)
    }

    fn generator(&self, _: &Tensor, fake: &Tensor) -> Result<GeneratorLoss> {
        let op = "NonSaturating::generator";
        check::positive_finite(op, "type_two_weight", self.type_two_weight)?;
        shape::parameter(op, "fake", fake)?;
        Ok(GeneratorLoss::of(with_mean(op, Logistic::Real, fake)?))
    }
}

fn critic(op: &'static str, weight: f64, real: &Tensor, fake: &Tensor) -> Result<CriticLoss> {
    check::positive_finite(op, "type_two_weight", weight)?;
    scores(op, real, fake)?;
    let real = with_mean(op, Logistic::Real, real)?;
    let (f, factor) = (Logistic::Fake, weight);
    let fake = with_mean(op, Scaled { f, factor }, fake)?;
    let undecided = weight.ln_1p() + weight * weight.recip().ln_1p();
    CriticLoss::of(real, fake, undecided, 1.)
}

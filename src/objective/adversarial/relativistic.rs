//! Relativistic losses: a score says how real something is beside the other kind.

use super::saturating::Logistic;
use super::{AdversarialLoss, CriticLoss, GeneratorLoss, scores};
use crate::error::Result;
use crate::kernels::elementwise::mean::{Identity, centred_with_mean, with_mean};
use crate::shape;
use candle_core::{DType, Tensor};
use std::f64::consts::LN_2;

/// Data and fakes in pairs.
///
/// Formula: the critic minimizes `L = E[softplus(-(v - v'))]` over pairs of a score v of data and a score v' of a fake, the
/// generator `E[softplus(v - v')]`. [`CriticLoss::real`] has the terms, one for each pair; `fake` is 0.
///
/// Divergence: `ln 2 - L`, 0 for a critic that cannot tell both apart. Both players' losses read both kinds of scores, and
/// have gradients to both.
///
/// Errors: those of [`AdversarialLoss`]; scores of different shapes, which make no pairs.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::{AdversarialLoss, Relativistic};
/// # fn main() -> candle_prob::Result<()> {
/// // Only the difference counts.
/// let (real, fake) = (Tensor::new(&[1001f64], &Device::Cpu)?, Tensor::new(&[1000f64], &Device::Cpu)?);
/// let critic = Relativistic.critic(&real, &fake)?;
/// assert!((critic.total()?.to_scalar::<f64>()? - (-1f64).exp().ln_1p()).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Source: Jolicoeur-Martineau (2019), The relativistic discriminator, eq. 7 and 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relativistic;

/// Each score beside the mean of the other kind.
///
/// Formula: the critic minimizes `L = E_real[softplus(-(v - mean v'))] + E_fake[softplus(v' - mean v)]` with scores v of data
/// and v' of fakes, the generator the same with the kinds exchanged: `E_fake[softplus(-(v' - mean v))] +
/// E_real[softplus(v - mean v')]`.
///
/// Divergence: `ln 4 - L`, 0 for a critic that cannot tell both apart.
///
/// Gradients: through the means too; both players' losses read both kinds of scores.
///
/// Errors: those of [`AdversarialLoss`].
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::{AdversarialLoss, RelativisticAverage};
/// # fn main() -> candle_prob::Result<()> {
/// let scores = Tensor::new(&[7f64, 7.], &Device::Cpu)?;
/// let critic = RelativisticAverage.critic(&scores, &scores)?;
/// assert!(critic.divergence.to_scalar::<f64>()?.abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Source: Jolicoeur-Martineau (2019), The relativistic discriminator, eq. 15 and 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelativisticAverage;

/// Terms and mean of pairs.
fn pairs(op: &'static str, v: Logistic, real: &Tensor, fake: &Tensor) -> Result<[Tensor; 2]> {
    scores(op, real, fake)?;
    shape::exactly(op, "fake", fake.dims(), real.dims())?;
    with_mean(op, v, &(real - fake)?)
}

impl AdversarialLoss for Relativistic {
    fn critic(&self, real: &Tensor, fake: &Tensor) -> Result<CriticLoss> {
        let [terms, mean] = pairs("Relativistic::critic", Logistic::Real, real, fake)?;
        let nothing = [terms.zeros_like()?, mean.zeros_like()?];
        CriticLoss::of([terms, mean], nothing, LN_2, 1.)
    }

    fn generator(&self, real: &Tensor, fake: &Tensor) -> Result<GeneratorLoss> {
        let parts = pairs("Relativistic::generator", Logistic::Fake, real, fake)?;
        Ok(GeneratorLoss::of(parts))
    }
}

/// Terms and means of both kinds, of `real` by `v` and of `fake` by the other.
fn beside_means(
    op: &'static str,
    (of_real, of_fake): (Logistic, Logistic),
    real: &Tensor,
    fake: &Tensor,
) -> Result<[[Tensor; 2]; 2]> {
    scores(op, real, fake)?;
    let (centre_real, centre_fake) = (centre(op, real)?, centre(op, fake)?);
    Ok([
        centred_with_mean(op, of_real, real, &centre_fake)?,
        centred_with_mean(op, of_fake, fake, &centre_real)?,
    ])
}

/// The mean score, in f32 of half precision: what is taken from every score is not rounded to their digits.
fn centre(op: &'static str, scores: &Tensor) -> Result<Tensor> {
    let wide = match scores.dtype() {
        DType::F64 => DType::F64,
        _ => DType::F32,
    };
    let [_, mean] = with_mean(op, Identity, &scores.to_dtype(wide)?)?;
    Ok(mean)
}

impl AdversarialLoss for RelativisticAverage {
    fn critic(&self, real: &Tensor, fake: &Tensor) -> Result<CriticLoss> {
        let op = "RelativisticAverage::critic";
        let kinds = (Logistic::Real, Logistic::Fake);
        let [real, fake] = beside_means(op, kinds, real, fake)?;
        CriticLoss::of(real, fake, 2. * LN_2, 1.)
    }

    fn generator(&self, real: &Tensor, fake: &Tensor) -> Result<GeneratorLoss> {
        let op = "RelativisticAverage::generator";
        let kinds = (Logistic::Fake, Logistic::Real);
        let [real, fake] = beside_means(op, kinds, real, fake)?;
        Ok(GeneratorLoss::of_both(fake, real))
    }
}

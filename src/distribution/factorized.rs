//! Distributions whose events are made of independent parts.

use super::{Distribution, Independent, MultivariateNormalDiag, Normal};

/// A distribution whose event is made of independent parts, each with a law of its own: what is said of single latent
/// dimensions is said of these.
///
/// Formula: `log p(x) = sum over parts of log p_part(x_part)`.
///
/// Shapes: with batch `B` and event `M ++ E`, the factors have batch `B ++ M` and event `E`.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::distribution::{Distribution, Factorized, Kl, MultivariateNormalDiag};
/// # fn main() -> candle_prob::Result<()> {
/// let zero = Tensor::zeros((4, 3), DType::F32, &Device::Cpu)?;
/// let posterior = MultivariateNormalDiag::from_log_var(&zero, &zero)?;
/// let prior = MultivariateNormalDiag::standard(3, DType::F32, &Device::Cpu)?;
/// assert_eq!(posterior.kl(&prior)?.dims(), &[4]);
/// assert_eq!(posterior.factors().kl(prior.factors())?.dims(), &[4, 3]);
/// # Ok(())
/// # }
/// ```
pub trait Factorized: Distribution {
    /// The law of the parts.
    type Factors: Distribution;

    /// The parts, as a batch.
    fn factors(&self) -> &Self::Factors;
}

impl Factorized for MultivariateNormalDiag {
    type Factors = Normal;

    fn factors(&self) -> &Normal {
        self.elements()
    }
}

impl<D: Distribution> Factorized for Independent<D> {
    type Factors = D;

    fn factors(&self) -> &D {
        self.base()
    }
}

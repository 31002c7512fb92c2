//! A mixture whose draws have gradients.

use super::*;

/// A mixture of scalar continuous components as a [`Reparameterized`] distribution: what
/// [`MixtureSameFamily::sample_pathwise`] draws, it samples, so that a mixture can be a posterior.
///
/// Shapes: as [`MixtureSameFamily`]; the event is `[]`. For vectors, [`to_event`](Distribution::to_event) makes coordinates
/// independent mixtures given their parameters.
///
/// Gradients: those of [`sample_pathwise`](MixtureSameFamily::sample_pathwise), with its cost of all components' cdfs at each
/// draw; first derivatives only.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use candle_prob::Rng;
/// use candle_prob::distribution::{Categorical, Distribution, MixtureSameFamily, Normal};
/// # fn main() -> candle_prob::Result<()> {
/// let new = |x: &[f32]| Tensor::new(x, &Device::Cpu);
/// let logits = Var::new(&[0f32, 0.], &Device::Cpu)?;
/// let components = Normal::new(&new(&[-1., 1.])?, &new(&[0.5])?)?;
/// let mixture = MixtureSameFamily::new(Categorical::new(&logits)?, components)?.reparameterized();
/// let gradients = mixture.sample(&[1000], &mut Rng::new(0))?.mean_all()?.backward()?;
/// // The mean is w_2 - w_1, and its slope at even weights 1 / 2.
/// let slope = gradients.get(&logits).map(|g| g.to_vec1::<f32>()).transpose()?;
/// assert!(slope.is_some_and(|slope| (slope[1] - 0.5).abs() < 0.1));
/// # Ok(())
/// # }
/// ```
///
/// Source: Graves (2016), Stochastic backpropagation through mixture density distributions.
#[derive(Debug, Clone)]
pub struct ReparameterizedMixture<C> {
    mixture: MixtureSameFamily<C>,
}

impl<C: MixtureComponent + Cdf + Reparameterized> MixtureSameFamily<C> {
    /// The same mixture, whose [`sample`](Distribution::sample) has pathwise gradients.
    pub fn reparameterized(self) -> ReparameterizedMixture<C> {
        ReparameterizedMixture { mixture: self }
    }
}

impl<C> ReparameterizedMixture<C> {
    /// The mixture.
    pub fn mixture(&self) -> &MixtureSameFamily<C> {
        &self.mixture
    }
}

impl<C: MixtureComponent + Cdf + Reparameterized> Distribution for ReparameterizedMixture<C> {
    fn batch_shape(&self) -> &[usize] {
        self.mixture.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        self.mixture.event_shape()
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        self.mixture.sample_pathwise(shape, rng)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.mixture.log_prob(value)
    }
}

impl<C: Detach> Detach for ReparameterizedMixture<C> {
    fn detach(&self) -> Self {
        ReparameterizedMixture {
            mixture: self.mixture.detach(),
        }
    }
}

impl<C: MixtureComponent + Cdf + Reparameterized> Reparameterized for ReparameterizedMixture<C> {}

impl<C: MixtureComponent + Cdf + Reparameterized> WeightedSum for ReparameterizedMixture<C> {}

impl<C: MixtureComponent + Cdf + Reparameterized + Moments> Moments for ReparameterizedMixture<C> {
    fn mean(&self) -> Result<Tensor> {
        self.mixture.mean()
    }

    fn variance(&self) -> Result<Tensor> {
        self.mixture.variance()
    }
}

impl<C: MixtureComponent + Cdf + Reparameterized> Cdf for ReparameterizedMixture<C> {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.mixture.log_cdf(value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.mixture.log_survival(value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.mixture.quantile(probability)
    }
}

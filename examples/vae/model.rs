//! The autoencoder: an encoder to a Gaussian over latents, a decoder to a Bernoulli distribution over pixels.

use crate::config::{Arguments, Kind};
use candle_core::{DType, Device, Module, Tensor};
use candle_nn::VarBuilder;
use candle_prob::distribution::{Bernoulli, Distribution, Independent, MultivariateNormalDiag};
use candle_prob::net::{Mlp, NormalHead, ScaleForm, dense, mlp};
use candle_prob::objective::{DistortionRate, ElboConfig, elbo, sample_latents};
use candle_prob::special::logsumexp;
use candle_prob::{Activation, Conditional, Result, Rng};

pub struct Model {
    kind: Kind,
    features: Mlp,
    head: NormalHead,
    decoder: Mlp,
    pub prior: MultivariateNormalDiag,
    samples: usize,
}

/// One value for each image, in nats.
pub struct Parts {
    /// What is minimised: the negative bound.
    pub total: Tensor,
    pub distortion: Tensor,
    pub rate: Tensor,
}

impl Model {
    pub fn new(kind: Kind, arguments: &Arguments, pixels: usize, vb: VarBuilder) -> Result<Self> {
        let (hidden, latent) = (&arguments.hidden, arguments.latent());
        let widths = [&[pixels], hidden.as_slice()].concat();
        let layers = widths.windows(2).enumerate().map(|(k, pair)| {
            let vb = vb.pp("features").pp(k);
            dense(pair[0], pair[1], Activation::Tanh, vb)
        });
        let back: Vec<usize> = [latent]
            .into_iter()
            .chain(widths.iter().rev().copied())
            .collect();
        let last = widths[widths.len() - 1];
        Ok(Model {
            kind,
            features: Mlp::new(layers.collect::<Result<_>>()?)?,
            head: NormalHead::new(last, latent, ScaleForm::LogVar, vb.pp("head"))?,
            decoder: mlp(&back, Activation::Tanh, vb.pp("decoder"))?,
            prior: MultivariateNormalDiag::standard(latent, DType::F32, &Device::Cpu)?,
            samples: arguments.samples(kind),
        })
    }

    /// Of images [N, pixels].
    pub fn posterior(&self, x: &Tensor) -> Result<MultivariateNormalDiag> {
        self.head.given(&self.features.forward(x)?)
    }

    /// Of latents [.., latent].
    pub fn likelihood(&self, z: &Tensor) -> Result<Independent<Bernoulli>> {
        Bernoulli::new_unchecked(&self.decoder.forward(z)?)?.to_event(1)
    }

    pub fn objective(&self, x: &Tensor, rng: &mut Rng) -> Result<Parts> {
        let posterior = self.posterior(x)?;
        let likelihood = |z: &Tensor| self.likelihood(z);
        match self.kind {
            Kind::Vae => {
                let config = ElboConfig {
                    beta: 1.,
                    samples: self.samples,
                };
                let DistortionRate {
                    distortion,
                    rate,
                    total,
                } = elbo(&posterior, &self.prior, &likelihood, x, &config, rng)?;
                Ok(Parts {
                    total,
                    distortion,
                    rate,
                })
            }
            Kind::Iwae => {
                let latents = sample_latents(&posterior, &self.prior, &[self.samples], rng)?;
                let log_likelihood = self.likelihood(&latents.value)?.log_prob(x)?;
                let log_ratio = latents.log_ratio()?;
                let log_weights = (&log_likelihood - &log_ratio)?;
                let bound = (logsumexp(&log_weights, 0)? - (self.samples as f64).ln())?;
                Ok(Parts {
                    total: bound.neg()?,
                    distortion: log_likelihood.mean(0)?.neg()?,
                    rate: log_ratio.mean(0)?,
                })
            }
        }
    }
}

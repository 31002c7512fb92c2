//! The autoencoder: an encoder to a Gaussian over latents, which a flow may transform, a prior over latents, and a decoder to a
//! likelihood of pixels.

use crate::any::{Any, AnyLikelihood};
use crate::config::{Arguments, Kind, Posterior, Prior};
use crate::data::{Batch, Data};
use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{Init, VarBuilder};
use candle_prob::bijector::{Bijector, Planar, Sequence};
use candle_prob::distribution::{
    Categorical, Distribution, MixtureSameFamily, MultivariateNormalDiag,
};
use candle_prob::flow::{MafConfig, RealNvpConfig, VectorFlow, iaf, real_nvp};
use candle_prob::net::{Mlp, NormalHead, ScaleForm, dense, mlp};
use candle_prob::objective::{
    DistortionRate, ElboConfig, Latents, MonteCarlo, elbo, sample_latents,
};
use candle_prob::special::logsumexp;
use candle_prob::{Activation, Conditional, Result, Rng};

pub struct Model {
    kind: Kind,
    features: Mlp,
    head: NormalHead,
    flow: Option<Flow>,
    standard: MultivariateNormalDiag,
    prior: LatentPrior,
    decoder: Mlp,
    likelihood: Box<dyn AnyLikelihood>,
    samples: usize,
    beta: f64,
}

/// What is taken off the log-weights of the score function.
#[derive(Clone, Copy)]
pub enum Baseline {
    None,
    /// The mean over the other draws for the same image.
    Others,
}

/// What transforms the draws of the encoder's Gaussian.
enum Flow {
    Iaf(VectorFlow),
    /// w, u and bias of each layer.
    Planar(Vec<[Tensor; 3]>),
}

enum LatentPrior {
    Standard,
    /// Logits, means and log-variances of the components.
    Mixture([Tensor; 3]),
    /// Logits, and images of which the encoder makes the components, before a sigmoid.
    Vamp([Tensor; 2]),
    Flow(VectorFlow),
}

/// One value for each image, in nats.
pub struct Parts {
    /// What is minimised.
    pub total: Tensor,
    pub distortion: Tensor,
    pub rate: Tensor,
}

impl From<DistortionRate> for Parts {
    fn from(parts: DistortionRate) -> Self {
        Parts {
            total: parts.total,
            distortion: parts.distortion,
            rate: parts.rate,
        }
    }
}

/// Components of the priors that are mixtures.
const COMPONENTS: usize = 50;

impl Model {
    pub fn new(kind: Kind, arguments: &Arguments, data: &Data, vb: VarBuilder) -> Result<Self> {
        let (hidden, latent) = (&arguments.hidden, arguments.latent());
        let widths = [&[data.size()], hidden.as_slice()].concat();
        let layers = widths.windows(2).enumerate().map(|(k, pair)| {
            let vb = vb.pp("features").pp(k);
            dense(pair[0], pair[1], Activation::Tanh, vb)
        });
        let likelihood = data.likelihood(vb.pp("likelihood"))?;
        let back = hidden.iter().rev().copied();
        let back = [latent].into_iter().chain(back);
        let back: Vec<usize> = back.chain([likelihood.numbers() * data.size()]).collect();
        Ok(Model {
            kind,
            features: Mlp::new(layers.collect::<Result<_>>()?)?,
            head: NormalHead::new(
                widths[widths.len() - 1],
                latent,
                ScaleForm::LogVar,
                vb.pp("head"),
            )?,
            flow: Flow::new(arguments.posterior, latent, vb.pp("flow"))?,
            standard: MultivariateNormalDiag::standard(latent, DType::F32, &Device::Cpu)?,
            prior: LatentPrior::new(arguments.prior, latent, data.size(), vb.pp("prior"))?,
            decoder: mlp(&back, Activation::Tanh, vb.pp("decoder"))?,
            likelihood,
            samples: arguments.samples(kind),
            beta: arguments.beta(kind),
        })
    }

    /// The Gaussian of each image [N, pixels].
    pub fn encode(&self, input: &Tensor) -> Result<MultivariateNormalDiag> {
        self.head.given(&self.features.forward(input)?)
    }

    /// Of latents [.., latent].
    pub fn decode(&self, z: &Tensor) -> Result<Any<'static>> {
        self.likelihood.pixels(&self.decoder.forward(z)?)
    }

    /// The mean pixels of latents, in the likelihood's convention.
    pub fn means(&self, z: &Tensor) -> Result<Tensor> {
        self.likelihood.means(&self.decoder.forward(z)?)
    }

    pub fn prior(&self) -> Result<Any<'_>> {
        Ok(match &self.prior {
            LatentPrior::Standard => Any::of(self.standard.clone()),
            LatentPrior::Mixture([logits, loc, log_var]) => {
                let components = MultivariateNormalDiag::from_log_var(loc, log_var)?;
                Any::of(MixtureSameFamily::new(
                    Categorical::new(logits)?,
                    components,
                )?)
            }
            LatentPrior::Vamp([logits, images]) => {
                let components = self.encode(&candle_nn::ops::sigmoid(images)?)?;
                Any::of(MixtureSameFamily::new(
                    Categorical::new(logits)?,
                    components,
                )?)
            }
            LatentPrior::Flow(flow) => Any::of(self.standard.clone().transformed_by(flow)?),
        })
    }

    /// Where the mean of the encoder's Gaussian leads to.
    pub fn code(&self, input: &Tensor) -> Result<Tensor> {
        let loc = self.encode(input)?.loc().clone();
        match &self.flow {
            None => Ok(loc),
            Some(flow) => flow.bijector()?.transform(&loc),
        }
    }

    pub fn objective(&self, batch: &Batch, rng: &mut Rng) -> Result<Parts> {
        let Batch { input, target } = batch;
        match self.kind {
            Kind::Vae | Kind::Beta => {
                let config = ElboConfig {
                    beta: self.beta,
                    samples: self.samples,
                };
                Ok(self.elbo(batch, &config, rng)?.into())
            }
            Kind::Iwae => {
                let latents = self.latents(input, self.samples, rng)?;
                let log_likelihood = self.decode(&latents.value)?.log_prob(target)?;
                let log_ratio = latents.log_ratio()?;
                let log_weights = (&log_likelihood - &log_ratio)?;
                let bound = (logsumexp(&log_weights, 0)? - (self.samples as f64).ln())?;
                Ok(Parts {
                    total: bound.neg()?,
                    distortion: log_likelihood.mean(0)?.neg()?,
                    rate: log_ratio.mean(0)?,
                })
            }
            Kind::Score => self.score_function(batch, self.samples, Baseline::Others, rng),
        }
    }

    /// The bound, with the rate in closed form where there is one.
    pub fn elbo(
        &self,
        batch: &Batch,
        config: &ElboConfig,
        rng: &mut Rng,
    ) -> Result<DistortionRate> {
        let Batch { input, target } = batch;
        let (posterior, prior) = (self.encode(input)?, self.prior()?);
        let (estimated, decoder) = (MonteCarlo(&prior), |z: &Tensor| self.decode(z));
        match (&self.flow, &self.prior) {
            (None, LatentPrior::Standard) => {
                elbo(&posterior, &self.standard, &decoder, target, config, rng)
            }
            (None, _) => elbo(&posterior, &estimated, &decoder, target, config, rng),
            (Some(flow), _) => {
                let posterior = posterior.transformed_by(flow.bijector()?)?;
                elbo(&posterior, &estimated, &decoder, target, config, rng)
            }
        }
    }

    /// Draws of the posterior, with both log-densities.
    pub fn latents(&self, input: &Tensor, samples: usize, rng: &mut Rng) -> Result<Latents> {
        let (posterior, prior) = (self.encode(input)?, self.prior()?);
        match &self.flow {
            None => sample_latents(&posterior, &prior, &[samples], rng),
            Some(flow) => {
                let posterior = posterior.transformed_by(flow.bijector()?)?;
                sample_latents(&posterior, &prior, &[samples], rng)
            }
        }
    }

    /// The bound with gradients by `f grad ln q(z | x)`, `f` the log-weight of each draw less a baseline: for latents without a
    /// path back, and here to see what that costs. The value is that of the bound.
    pub fn score_function(
        &self,
        batch: &Batch,
        samples: usize,
        baseline: Baseline,
        rng: &mut Rng,
    ) -> Result<Parts> {
        let posterior = self.encode(&batch.input)?;
        let z = posterior.sample(&[samples], rng)?.detach();
        let log_posterior = posterior.log_prob(&z)?;
        let log_likelihood = self.decode(&z)?.log_prob(&batch.target)?;
        let log_prior = self.prior()?.log_prob(&z)?;
        let joint = (&log_likelihood + &log_prior)?;
        let signal = (&joint - &log_posterior)?.detach();
        let centred = match baseline {
            Baseline::None => signal.clone(),
            // The mean of the other draws: f_k - (sum f - f_k) / (K - 1) = (f_k - mean f) K / (K - 1).
            Baseline::Others => {
                let ratio = samples as f64 / (samples - 1) as f64;
                (signal.broadcast_sub(&signal.mean_keepdim(0)?)? * ratio)?
            }
        };
        let slope = (joint + (centred * log_posterior)?)?.mean(0)?;
        let total = ((&slope - slope.detach())? + signal.mean(0)?)?.neg()?;
        let distortion = log_likelihood.mean(0)?.neg()?;
        Ok(Parts {
            rate: (&total - &distortion)?.detach(),
            total,
            distortion,
        })
    }
}

/// Layers of a flow of latents.
const LAYERS: usize = 4;
/// Units of each of its networks.
const UNITS: usize = 64;

impl Flow {
    fn new(kind: Posterior, features: usize, vb: VarBuilder) -> Result<Option<Self>> {
        let planar = |k: usize| -> Result<[Tensor; 3]> {
            let (vb, small) = (
                vb.pp(k),
                Init::Randn {
                    mean: 0.,
                    stdev: 0.1,
                },
            );
            Ok([
                vb.get_with_hints(features, "w", small)?,
                vb.get_with_hints(features, "u", small)?,
                vb.get_with_hints((), "bias", Init::Const(0.))?,
            ])
        };
        Ok(match kind {
            Posterior::Normal => None,
            Posterior::Planar => {
                let layers = (0..LAYERS).map(planar).collect::<Result<_>>()?;
                Some(Flow::Planar(layers))
            }
            Posterior::Iaf => {
                let config = MafConfig {
                    features,
                    layers: LAYERS,
                    hidden: vec![UNITS],
                    ..MafConfig::default()
                };
                Some(Flow::Iaf(iaf(&config, vb)?))
            }
        })
    }

    fn bijector(&self) -> Result<Box<dyn Bijector + '_>> {
        Ok(match self {
            Flow::Iaf(flow) => Box::new(flow),
            Flow::Planar(layers) => {
                let mut all: Vec<Box<dyn Bijector + Send + Sync>> = vec![];
                for [w, u, bias] in layers {
                    all.push(Box::new(Planar::new(w, u, bias)?));
                }
                Box::new(Sequence::new(all))
            }
        })
    }
}

impl LatentPrior {
    fn new(kind: Prior, features: usize, pixels: usize, vb: VarBuilder) -> Result<Self> {
        let normal = Init::Randn {
            mean: 0.,
            stdev: 1.,
        };
        let zero = Init::Const(0.);
        Ok(match kind {
            Prior::Standard => LatentPrior::Standard,
            Prior::Mixture => LatentPrior::Mixture([
                vb.get_with_hints(COMPONENTS, "logits", zero)?,
                vb.get_with_hints((COMPONENTS, features), "loc", normal)?,
                vb.get_with_hints((COMPONENTS, features), "log_var", zero)?,
            ]),
            Prior::Vamp => LatentPrior::Vamp([
                vb.get_with_hints(COMPONENTS, "logits", zero)?,
                vb.get_with_hints((COMPONENTS, pixels), "images", normal)?,
            ]),
            Prior::Flow => {
                let config = RealNvpConfig {
                    features,
                    layers: LAYERS,
                    hidden: vec![UNITS],
                    ..RealNvpConfig::default()
                };
                LatentPrior::Flow(real_nvp(&config, vb)?)
            }
        })
    }
}

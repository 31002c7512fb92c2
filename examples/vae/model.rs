//! The autoencoder: an encoder to a Gaussian over latents, which a flow may transform, a prior over latents, and a decoder to a
//! likelihood of pixels.

use crate::any::{Any, AnyLikelihood};
use crate::config::{Arguments, Kind, Posterior, Prior};
use crate::data::{Batch, Data};
use candle_core::{DType, Device, Module, Tensor};
use candle_nn::VarBuilder;
use candle_prob::bijector::Bijector;
use candle_prob::distribution::{Distribution, Kl, MultivariateNormalDiag, Transformed};
use candle_prob::flow::{
    MafConfig, PlanarConfig, PlanarFlow, RealNvpConfig, VectorFlow, iaf, planar, real_nvp,
};
use candle_prob::net::{
    MixturePrior, MixturePriorConfig, Mlp, NormalHead, ScaleForm, VampPrior, VampPriorConfig,
    dense, mlp,
};
use candle_prob::objective::{
    Baseline, BetaTcConfig, DipConfig, DistortionRate, ElboConfig, LogLikelihoodConfig, MonteCarlo,
    WaeConfig, beta_tc, dip, elbo, iwae_bound, log_likelihood, sample_detached_latents,
    sample_latents, score_function, wae,
};
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
    weight: f64,
    images: usize,
}

/// What transforms the draws of the encoder's Gaussian, given the features of the image.
enum Flow {
    Iaf(VectorFlow),
    Planar(PlanarFlow),
}

/// What the encoder says about the latents of each image.
enum Encoded {
    Normal(MultivariateNormalDiag),
    Flow(Transformed<MultivariateNormalDiag, Box<dyn Bijector>>),
}

enum LatentPrior {
    Standard,
    Mixture(MixturePrior),
    Vamp(VampPrior),
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

/// What is trained.
pub trait Objective {
    fn objective(&self, batch: &Batch, train: bool, rng: &mut Rng) -> Result<Parts>;

    /// Before the steps of an epoch, whose images come in this order.
    fn begin_epoch(&self, _order: &[usize], _data: &Data, _rng: &mut Rng) -> Result<()> {
        Ok(())
    }
}

/// Components of the priors that are mixtures.
const COMPONENTS: usize = 50;

impl Model {
    pub fn new(kind: Kind, arguments: &Arguments, data: &Data, vb: VarBuilder) -> Result<Self> {
        let (hidden, latent) = (&arguments.hidden, arguments.latent());
        let widths = [&[data.size()], hidden.as_slice()].concat();
        let features = widths[widths.len() - 1];
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
            head: NormalHead::new(features, latent, ScaleForm::LogVar, vb.pp("head"))?,
            flow: Flow::new(arguments.posterior, features, latent, vb.pp("flow"))?,
            standard: MultivariateNormalDiag::standard(latent, DType::F32, &Device::Cpu)?,
            prior: LatentPrior::new(arguments.prior, latent, data.size(), vb.pp("prior"))?,
            decoder: mlp(&back, Activation::Tanh, vb.pp("decoder"))?,
            likelihood,
            samples: arguments.samples(kind),
            weight: arguments.weight(kind),
            images: data.split.train.len(),
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
            LatentPrior::Mixture(mixture) => Any::of(mixture.distribution()?),
            LatentPrior::Vamp(vamp) => Any::of(vamp.given(&|x: &Tensor| self.encode(x))?),
            LatentPrior::Flow(flow) => Any::of(self.standard.clone().transformed_by(flow)?),
        })
    }

    fn posterior(&self, input: &Tensor) -> Result<Encoded> {
        let features = self.features.forward(input)?;
        let normal = self.head.given(&features)?;
        Ok(match &self.flow {
            None => Encoded::Normal(normal),
            Some(flow) => Encoded::Flow(normal.transformed_by(flow.given(&features)?)?),
        })
    }

    /// Where the mean of the encoder's Gaussian leads to.
    pub fn code(&self, input: &Tensor) -> Result<Tensor> {
        let features = self.features.forward(input)?;
        let loc = self.head.given(&features)?.loc().clone();
        match &self.flow {
            None => Ok(loc),
            Some(flow) => flow.given(&features)?.transform(&loc),
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
        let (prior, decoder) = (self.prior()?, |z: &Tensor| self.decode(z));
        let any = MonteCarlo(&prior);
        match (self.posterior(input)?, &self.prior) {
            (Encoded::Normal(posterior), LatentPrior::Standard) => {
                elbo(&posterior, &self.standard, &decoder, target, config, rng)
            }
            (Encoded::Normal(posterior), _) => {
                elbo(&posterior, &any, &decoder, target, config, rng)
            }
            (Encoded::Flow(posterior), _) => elbo(&posterior, &any, &decoder, target, config, rng),
        }
    }

    /// The importance-weighted bound.
    fn importance_weighted(&self, batch: &Batch, rng: &mut Rng) -> Result<Parts> {
        let (prior, samples) = (self.prior()?, &[self.samples]);
        let latents = match self.posterior(&batch.input)? {
            Encoded::Normal(posterior) => sample_latents(&posterior, &prior, samples, rng)?,
            Encoded::Flow(posterior) => sample_latents(&posterior, &prior, samples, rng)?,
        };
        let log_likelihood = self.decode(&latents.value)?.log_prob(&batch.target)?;
        Ok(Parts {
            total: iwae_bound(&latents.log_weights(&log_likelihood)?)?.neg()?,
            distortion: log_likelihood.mean(0)?.neg()?,
            rate: latents.log_ratio()?.mean(0)?,
        })
    }

    /// `ln p(x)` of each image by importance sampling.
    pub fn log_likelihood(
        &self,
        batch: &Batch,
        config: &LogLikelihoodConfig,
        rng: &mut Rng,
    ) -> Result<Tensor> {
        let posterior = match self.posterior(&batch.input)? {
            Encoded::Normal(posterior) => Any::of(posterior),
            Encoded::Flow(posterior) => Any::of(posterior),
        };
        let (prior, decoder) = (self.prior()?, |z: &Tensor| self.decode(z));
        let target = &batch.target;
        Ok(log_likelihood(&posterior, &prior, &decoder, target, config, rng)?.value)
    }

    /// The bound, with the encoder's gradient by the score function.
    pub fn score_function(
        &self,
        batch: &Batch,
        samples: usize,
        baseline: Baseline,
        rng: &mut Rng,
    ) -> Result<Parts> {
        let (posterior, prior) = (self.encode(&batch.input)?, self.prior()?);
        let latents = sample_detached_latents(&posterior, &prior, &[samples], rng)?;
        let log_likelihood = self.decode(&latents.value)?.log_prob(&batch.target)?;
        let rewards = latents.rewards(&log_likelihood)?;
        Ok(Parts {
            total: score_function(&rewards, &latents.log_posterior, baseline)?.loss,
            distortion: log_likelihood.mean(0)?.neg()?,
            rate: latents.log_ratio()?.mean(0)?,
        })
    }
}

impl Objective for Model {
    fn objective(&self, batch: &Batch, _: bool, rng: &mut Rng) -> Result<Parts> {
        let Batch { input, target } = batch;
        let (standard, decoder) = (&self.standard, |z: &Tensor| self.decode(z));
        match self.kind {
            Kind::Vae | Kind::Beta => {
                let config = ElboConfig {
                    beta: self.weight,
                    samples: self.samples,
                };
                Ok(self.elbo(batch, &config, rng)?.into())
            }
            Kind::Iwae => self.importance_weighted(batch, rng),
            Kind::Tc => {
                // A batch of test images may be longer than all training.
                let images = self.images.max(input.dim(0)?);
                let config = BetaTcConfig {
                    beta: self.weight,
                    ..BetaTcConfig::new(images)
                };
                let posterior = self.encode(input)?;
                let tc = beta_tc(&posterior, standard, &decoder, target, &config, rng)?;
                Ok(Parts {
                    total: tc.total,
                    distortion: tc.distortion,
                    rate: posterior.kl(standard)?,
                })
            }
            Kind::Dip => {
                let penalty = dip(&self.encode(input)?, &DipConfig::means(self.weight))?;
                let bound = self.elbo(batch, &ElboConfig::default(), rng)?;
                Ok(Parts {
                    total: bound.total.broadcast_add(&penalty.total)?,
                    ..bound.into()
                })
            }
            Kind::Wae => {
                let config = WaeConfig::new(self.weight, standard.event_shape()[0]);
                let posterior = self.encode(input)?;
                let wae = wae(&posterior, standard, &decoder, target, &config, rng)?;
                Ok(Parts {
                    total: wae.total,
                    distortion: wae.distortion,
                    rate: posterior.kl(standard)?,
                })
            }
            // The last are not made of a model like this one.
            Kind::Score | Kind::Vq | Kind::Vq2 => {
                self.score_function(batch, self.samples, Baseline::LeaveOneOut, rng)
            }
        }
    }
}

/// Layers of a flow of latents.
const LAYERS: usize = 4;
/// Units of each of its networks.
const UNITS: usize = 64;

impl Flow {
    fn new(
        kind: Posterior,
        context: usize,
        features: usize,
        vb: VarBuilder,
    ) -> Result<Option<Self>> {
        Ok(match kind {
            Posterior::Normal => None,
            Posterior::Planar => {
                let config = PlanarConfig {
                    features,
                    layers: LAYERS,
                    context,
                    ..PlanarConfig::default()
                };
                Some(Flow::Planar(planar(&config, vb)?))
            }
            Posterior::Iaf => {
                let config = MafConfig {
                    features,
                    layers: LAYERS,
                    hidden: vec![UNITS],
                    context,
                    ..MafConfig::default()
                };
                Some(Flow::Iaf(iaf(&config, vb)?))
            }
        })
    }

    fn given(&self, features: &Tensor) -> Result<Box<dyn Bijector>> {
        Ok(match self {
            Flow::Iaf(flow) => Box::new(flow.given(features)?),
            Flow::Planar(flow) => Box::new(flow.given(features)?),
        })
    }
}

impl LatentPrior {
    fn new(kind: Prior, dims: usize, pixels: usize, vb: VarBuilder) -> Result<Self> {
        Ok(match kind {
            Prior::Standard => LatentPrior::Standard,
            Prior::Mixture => {
                let config = MixturePriorConfig {
                    components: COMPONENTS,
                    dims,
                    ..MixturePriorConfig::default()
                };
                LatentPrior::Mixture(MixturePrior::new(&config, vb)?)
            }
            Prior::Vamp => {
                let config = VampPriorConfig {
                    components: COMPONENTS,
                    event: vec![pixels],
                    ..VampPriorConfig::default()
                };
                LatentPrior::Vamp(VampPrior::new(&config, vb)?)
            }
            Prior::Flow => {
                let config = RealNvpConfig {
                    features: dims,
                    layers: LAYERS,
                    hidden: vec![UNITS],
                    ..RealNvpConfig::default()
                };
                LatentPrior::Flow(real_nvp(&config, vb)?)
            }
        })
    }
}

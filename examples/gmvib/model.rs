//! The three models: one convolutional encoder and one decoder, with three kinds of code between them.

use crate::common::images::CLASSES;
use crate::config::{Arguments, Kind, Scale, Weight};
use candle_core::{D, DType, Device, Tensor};
use candle_nn::{Module, VarBuilder};
use candle_prob::distribution::{
    Bernoulli, Dirichlet, Distribution, Independent, Kl, LogisticNormal, MultivariateNormalDiag,
    Reparameterized, WeightedSum,
};
use candle_prob::net::{
    ConvEncoder, ConvEncoderConfig, Dense, DirichletHead, LogisticNormalHead, Mlp,
    NormalComponentsHead, NormalHead, Positions, ScaleForm, conv_encoder, dense, mlp,
};
use candle_prob::objective::{BottleneckConfig, DistortionRate, gmvib, gmvib_code_rate, vib};
use candle_prob::{Activation, Conditional, Result, Rng};

/// Width of the layer between the convolutions and the code, and of the decoder's hidden layer.
pub const HIDDEN: usize = 256;

pub struct Model {
    encoder: ConvEncoder,
    head: Head,
    decoder: Mlp,
    samples: usize,
    latent: usize,
}

enum Head {
    Point(Dense),
    Gaussian(NormalHead),
    Mixture {
        components: NormalComponentsHead,
        weight: WeightHead,
    },
}

enum WeightHead {
    Dirichlet(DirichletHead),
    Gaussian(LogisticNormalHead),
}

/// What the encoder says about the code of each image.
pub enum Posterior {
    Point(Tensor),
    Gaussian(MultivariateNormalDiag),
    Dirichlet(MultivariateNormalDiag, Dirichlet),
    LogisticNormal(MultivariateNormalDiag, LogisticNormal),
}

/// The objective's parts, one value for each image, in nats.
pub struct Parts {
    pub distortion: Tensor,
    pub rate: Option<Tensor>,
    pub total: Tensor,
}

/// KL divergences to the priors, one value for each image, in nats.
pub struct Rates {
    /// Of everything random: all components and their weight.
    pub all: Tensor,
    /// Of the one code that is decoded.
    pub code: Tensor,
}

impl Model {
    pub fn new(
        kind: Kind,
        arguments: &Arguments,
        (height, width): (usize, usize),
        vb: VarBuilder,
    ) -> Result<Self> {
        let config = ConvEncoderConfig {
            channels: arguments.channels(),
            // A label says that a digit is there, not where.
            positions: Positions::Max,
            hidden: Some(HIDDEN),
            ..ConvEncoderConfig::default()
        };
        let encoder = conv_encoder(&config, (1, height, width), vb.pp("encoder"))?;
        let latent = arguments.latent;
        let features = encoder.features();
        let scale = match arguments.scale {
            Scale::LogVariance => ScaleForm::LogVar,
            Scale::Softplus => ScaleForm::bottleneck(),
        };
        let vb_head = vb.pp("head");
        let head = match kind {
            Kind::Basic => Head::Point(dense(features, latent, Activation::Identity, vb_head)?),
            Kind::Vib => Head::Gaussian(NormalHead::new(features, latent, scale, vb_head)?),
            Kind::Gmvib => Head::Mixture {
                components: NormalComponentsHead::new(
                    features,
                    CLASSES,
                    latent,
                    scale,
                    vb_head.pp("components"),
                )?,
                weight: match arguments.weight {
                    Weight::Dirichlet => {
                        let (vb, floor) = (vb_head.pp("weight"), DirichletHead::FLOOR);
                        WeightHead::Dirichlet(match arguments.concentration {
                            None => DirichletHead::new(features, CLASSES, floor, vb)?,
                            Some(first) => {
                                DirichletHead::starting_at(features, CLASSES, first, floor, vb)?
                            }
                        })
                    }
                    Weight::Gaussian => WeightHead::Gaussian(LogisticNormalHead::new(
                        features,
                        CLASSES,
                        ScaleForm::LogVar,
                        vb_head.pp("weight"),
                    )?),
                },
            },
        };
        Ok(Model {
            head,
            decoder: mlp(
                &[latent, HIDDEN, CLASSES],
                Activation::Relu,
                vb.pp("decoder"),
            )?,
            encoder,
            samples: arguments.samples(),
            latent,
        })
    }

    pub fn posterior(&self, images: &Tensor) -> Result<Posterior> {
        let features = self.encoder.forward(images)?;
        Ok(match &self.head {
            Head::Point(layer) => Posterior::Point(layer.forward(&features)?),
            Head::Gaussian(head) => Posterior::Gaussian(head.given(&features)?),
            Head::Mixture { components, weight } => {
                let components = components.given(&features)?;
                match weight {
                    WeightHead::Dirichlet(head) => {
                        Posterior::Dirichlet(components, head.given(&features)?)
                    }
                    WeightHead::Gaussian(head) => {
                        Posterior::LogisticNormal(components, head.given(&features)?)
                    }
                }
            }
        })
    }

    /// The distribution of the label set given the code.
    fn labels(&self, code: &Tensor) -> Result<Independent<Bernoulli>> {
        Bernoulli::new(&self.decoder.forward(code)?)?.to_event(1)
    }

    /// Basic: the negative log-likelihood. VIB and GMVIB: their objectives, with the prior N(0, I) for each Gaussian and
    /// the uniform distribution on the simplex for a Dirichlet weight. `beta` is the weight of the rate.
    pub fn objective(
        &self,
        posterior: &Posterior,
        target: &Tensor,
        beta: f64,
        rng: &mut Rng,
    ) -> Result<Parts> {
        let decoder = |code: &Tensor| self.labels(code);
        let normal = self.prior()?;
        let config = &BottleneckConfig {
            beta,
            samples: self.samples,
        };
        let with_rate = |parts: DistortionRate| Parts {
            distortion: parts.distortion,
            rate: Some(parts.rate),
            total: parts.total,
        };
        Ok(match posterior {
            Posterior::Point(code) => {
                let distortion = self.labels(code)?.log_prob(target)?.neg()?;
                Parts {
                    total: distortion.clone(),
                    distortion,
                    rate: None,
                }
            }
            Posterior::Gaussian(posterior) => {
                with_rate(vib(posterior, &normal, &decoder, target, config, rng)?)
            }
            Posterior::Dirichlet(components, weight) => {
                let uniform = uniform()?;
                let parts = gmvib(
                    (components, &normal),
                    (weight, &uniform),
                    &decoder,
                    target,
                    config,
                    rng,
                )?;
                with_rate(parts.parts)
            }
            Posterior::LogisticNormal(components, weight) => {
                let standard = standard_weight()?;
                let parts = gmvib(
                    (components, &normal),
                    (weight, &standard),
                    &decoder,
                    target,
                    config,
                    rng,
                )?;
                with_rate(parts.parts)
            }
        })
    }

    fn prior(&self) -> Result<MultivariateNormalDiag> {
        MultivariateNormalDiag::standard(self.latent, DType::F32, &Device::Cpu)
    }

    /// Bounds of what the code tells about the image; none for a code without noise.
    pub fn rates(&self, posterior: &Posterior, rng: &mut Rng) -> Result<Option<Rates>> {
        let prior = &self.prior()?;
        Ok(match posterior {
            Posterior::Point(_) => None,
            Posterior::Gaussian(posterior) => {
                let rate = posterior.kl(prior)?;
                Some(Rates {
                    all: rate.clone(),
                    code: rate,
                })
            }
            Posterior::Dirichlet(components, weight) => {
                Some(self.mixture_rates((components, prior), (weight, &uniform()?), rng)?)
            }
            Posterior::LogisticNormal(components, weight) => {
                let weight = (weight, &standard_weight()?);
                Some(self.mixture_rates((components, prior), weight, rng)?)
            }
        })
    }

    fn mixture_rates<W: Reparameterized + Kl>(
        &self,
        (components, prior): (&MultivariateNormalDiag, &MultivariateNormalDiag),
        (weight, weight_prior): (&W, &W),
        rng: &mut Rng,
    ) -> Result<Rates> {
        let (parts, weights) = ((components, prior), (weight, weight_prior));
        Ok(Rates {
            all: (components.kl(prior)?.sum(D::Minus1)? + weight.kl(weight_prior)?)?,
            code: gmvib_code_rate(parts, weights, self.samples, rng)?,
        })
    }

    /// Draws of the code, `[samples, B, latent]`.
    pub fn codes(&self, posterior: &Posterior, samples: usize, rng: &mut Rng) -> Result<Tensor> {
        let samples = &[samples];
        match posterior {
            Posterior::Point(code) => Ok(code.unsqueeze(0)?),
            Posterior::Gaussian(posterior) => posterior.sample(samples, rng),
            Posterior::Dirichlet(components, weight) => {
                components.sample_weighted_sum(&weight.sample(samples, rng)?, rng)
            }
            Posterior::LogisticNormal(components, weight) => {
                components.sample_weighted_sum(&weight.sample(samples, rng)?, rng)
            }
        }
    }

    /// The label set's distribution for each Monte-Carlo sample of the code, batch `[samples, B]`.
    pub fn predictions(
        &self,
        posterior: &Posterior,
        rng: &mut Rng,
    ) -> Result<Independent<Bernoulli>> {
        self.labels(&self.codes(posterior, self.samples, rng)?)
    }
}

/// The prior of Dirichlet weights: uniform on the simplex.
fn uniform() -> Result<Dirichlet> {
    Dirichlet::new(&Tensor::ones(CLASSES, DType::F32, &Device::Cpu)?)
}

/// The prior of Gaussian weights.
fn standard_weight() -> Result<LogisticNormal> {
    LogisticNormal::standard(CLASSES, DType::F32, &Device::Cpu)
}

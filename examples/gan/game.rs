//! Both networks, and the game that they play.

use crate::config::Arguments;
use crate::data::Data;
use crate::loss::{Bound, Loss};
use candle_core::{DType, Device, Tensor};
use candle_nn::{Module, ModuleT, VarBuilder, VarMap};
use candle_prob::dual::{Dual, DualModule};
use candle_prob::net::{
    DcganConfig, DcganDiscriminator, DcganGenerator, Dense, DiscriminatorNorm, Mlp,
    SpectralConstraint, SpectralNorm, SpectralNormConfig, dcgan_discriminator, dcgan_generator,
    dense, mlp, spectral_norm,
};
use candle_prob::objective::{
    AdversarialLoss, GradientPenaltyForm, gradient_penalty, interpolate_random,
};
use candle_prob::optim::{Game, clip_weights};
use candle_prob::{Activation, Detach, Result, Rng};

const SLOPE: f64 = 0.2;

pub enum Generator {
    Points(Mlp),
    Images(DcganGenerator),
}

impl Generator {
    pub fn new(arguments: &Arguments, data: &Data, vb: VarBuilder) -> Result<Self> {
        let (latent, hidden) = (arguments.latent(), arguments.hidden);
        Ok(match data {
            Data::Points(_) => {
                let widths = [latent, hidden, hidden, 2];
                Generator::Points(mlp(&widths, Activation::Relu, vb)?)
            }
            Data::Images(_) => {
                let config = dcgan(arguments, data, DiscriminatorNorm::None);
                Generator::Images(dcgan_generator(&config, vb)?)
            }
        })
    }

    pub fn forward(&self, z: &Tensor, train: bool) -> Result<Tensor> {
        Ok(match self {
            Generator::Points(network) => network.forward(z)?,
            Generator::Images(network) => network.forward_t(z, train)?,
        })
    }

    /// Samples, a block at a time.
    pub fn sample(&self, count: usize, latent: usize, rng: &mut Rng) -> Result<Tensor> {
        const BLOCK: usize = 500;
        let z = noise(count, latent, rng)?;
        let starts = (0..count).step_by(BLOCK);
        let parts = starts.map(|start| {
            let part = z.narrow(0, start, BLOCK.min(count - start))?;
            Ok(self.forward(&part, false)?.detach())
        });
        Ok(Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)?)
    }
}

fn noise(count: usize, latent: usize, rng: &mut Rng) -> Result<Tensor> {
    rng.normal((count, latent), DType::F32, &Device::Cpu)
}

/// The images' size and the networks'.
fn dcgan(arguments: &Arguments, data: &Data, norm: DiscriminatorNorm) -> DcganConfig {
    let image = match data {
        Data::Images(split) => (1, split.images.height, split.images.width),
        Data::Points(_) => (1, 1, 1),
    };
    DcganConfig {
        image,
        latents: arguments.latent(),
        channels: arguments.channels.clone(),
        output: Activation::Tanh,
        norm,
    }
}

pub enum Critic {
    Points(Vec<Layer>),
    Images(DcganDiscriminator),
}

pub enum Layer {
    Plain(Dense),
    Spectral(SpectralNorm<Dense>),
}

impl Layer {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        Ok(match self {
            Layer::Plain(layer) => layer.forward(x)?,
            Layer::Spectral(layer) => layer.forward_t(x, train)?,
        })
    }
}

fn spectral(bound: Bound) -> Option<SpectralNormConfig> {
    let constraint = match bound {
        Bound::Spectral => SpectralConstraint::Normalize,
        Bound::Project => SpectralConstraint::Project,
        _ => return None,
    };
    Some(SpectralNormConfig {
        constraint,
        ..SpectralNormConfig::default()
    })
}

impl Critic {
    pub fn new(arguments: &Arguments, data: &Data, bound: Bound, vb: VarBuilder) -> Result<Self> {
        let hidden = arguments.hidden;
        Ok(match data {
            Data::Points(_) => {
                let leaky = Activation::LeakyRelu(SLOPE);
                let sizes = [
                    (2, hidden, leaky),
                    (hidden, hidden, leaky),
                    (hidden, 1, Activation::Identity),
                ];
                let layer = |(k, (from, to, activation)): (usize, (usize, usize, Activation))| {
                    let layer = dense(from, to, activation, vb.pp(k))?;
                    Ok(match spectral(bound) {
                        Some(config) => Layer::Spectral(spectral_norm(layer, &config, vb.pp(k))?),
                        None => Layer::Plain(layer),
                    })
                };
                let layers = sizes.into_iter().enumerate().map(layer);
                Critic::Points(layers.collect::<Result<_>>()?)
            }
            Data::Images(_) => {
                let norm = match (bound, spectral(bound)) {
                    (_, Some(config)) => DiscriminatorNorm::Spectral(config),
                    (Bound::None | Bound::Clip, None) => DiscriminatorNorm::Batch,
                    _ => DiscriminatorNorm::None,
                };
                let config = dcgan(arguments, data, norm);
                Critic::Images(dcgan_discriminator(&config, vb)?)
            }
        })
    }

    /// Raw scores. In training layers with state write it.
    fn scores(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        match self {
            Critic::Points(layers) => {
                let mut y = x.clone();
                for layer in layers {
                    y = layer.forward_t(&y, train)?;
                }
                Ok(y.squeeze(1)?)
            }
            Critic::Images(network) => Ok(network.forward_t(x, train)?),
        }
    }

    /// What the generator plays against: no gradients for the critic's own parameters.
    fn detached(&self) -> Self {
        match self {
            Critic::Points(layers) => {
                let layers = layers.iter().map(|layer| match layer {
                    Layer::Plain(layer) => Layer::Plain(layer.detach()),
                    Layer::Spectral(layer) => Layer::Spectral(layer.detach()),
                });
                Critic::Points(layers.collect())
            }
            Critic::Images(network) => Critic::Images(network.detach()),
        }
    }

    fn forward_dual(&self, x: &Dual) -> Result<Dual> {
        match self {
            Critic::Points(layers) => {
                let mut y = x.clone();
                for layer in layers {
                    y = match layer {
                        Layer::Plain(layer) => layer.forward_dual(&y)?,
                        Layer::Spectral(layer) => layer.forward_dual(&y)?,
                    };
                }
                Ok(y)
            }
            Critic::Images(network) => network.forward_dual(x),
        }
    }

    fn project(&self) -> Result<()> {
        match self {
            Critic::Points(layers) => {
                for layer in layers {
                    if let Layer::Spectral(layer) = layer {
                        layer.project()?;
                    }
                }
                Ok(())
            }
            Critic::Images(network) => network.project(),
        }
    }
}

/// Sums over the steps since they were last taken.
#[derive(Default)]
pub struct Tally {
    pub critic: f64,
    pub generator: f64,
    pub divergence: f64,
    pub critic_steps: f64,
    pub generator_steps: f64,
}

/// Bounds of weights on points and on images, the second that of the source.
const LIMITS: [f64; 2] = [0.1, 0.01];

pub struct Play<'a> {
    pub generator: Generator,
    critic: Critic,
    loss: Loss,
    losses: Box<dyn AdversarialLoss>,
    data: &'a Data,
    vars: VarMap,
    batch: usize,
    latent: usize,
    /// Of this step.
    pub rng: Rng,
    pub tally: Tally,
}

impl<'a> Play<'a> {
    /// The maps are filled with the variables of critic and generator.
    pub fn new(
        arguments: &Arguments,
        data: &'a Data,
        loss: Loss,
        [(critic, of_critic), (_, of_generator)]: [(&VarMap, VarBuilder); 2],
    ) -> Result<Self> {
        Ok(Play {
            generator: Generator::new(arguments, data, of_generator)?,
            critic: Critic::new(arguments, data, loss.bound, of_critic)?,
            loss,
            losses: loss.build(arguments.generator()),
            data,
            vars: critic.clone(),
            batch: arguments.batch(),
            latent: arguments.latent(),
            rng: Rng::new(0),
            tally: Tally::default(),
        })
    }

    fn fake(&mut self) -> Result<Tensor> {
        let z = noise(self.batch, self.latent, &mut self.rng)?;
        self.generator.forward(&z, true)
    }

    fn penalty(&mut self, real: &Tensor, fake: &Tensor) -> Result<Option<Tensor>> {
        let (x, form) = match self.loss.bound {
            Bound::Penalty => {
                let between = interpolate_random(real, fake, &mut self.rng)?;
                (between, GradientPenaltyForm::TwoSided { weight: 10. })
            }
            Bound::R1 => (
                real.clone(),
                GradientPenaltyForm::ZeroCentred { gamma: 10. },
            ),
            _ => return Ok(None),
        };
        let critic = &self.critic;
        let parts = gradient_penalty(|x| critic.forward_dual(x), &x, form)?;
        Ok(Some(parts.penalty.mean_all()?))
    }
}

impl Game for Play<'_> {
    fn critic_loss(&mut self) -> Result<Tensor> {
        let real = self.data.draw(self.batch, &mut self.rng)?;
        let fake = self.fake()?.detach();
        let scores = [&real, &fake].map(|x| self.critic.scores(x, true));
        let [of_real, of_fake] = scores;
        let parts = self.losses.critic(&of_real?, &of_fake?)?;
        let total = parts.total()?;
        self.tally.critic += number(&total)?;
        self.tally.divergence += number(&parts.divergence)?;
        self.tally.critic_steps += 1.;
        match self.penalty(&real, &fake)? {
            Some(penalty) => Ok((total + penalty)?),
            None => Ok(total),
        }
    }

    fn generator_loss(&mut self) -> Result<Tensor> {
        let fake = self.fake()?;
        let critic = self.critic.detached();
        // Batches are normalized; vectors of spectral norms stay as the critic's own step left them.
        let train = matches!(self.loss.bound, Bound::None | Bound::Clip);
        let of_fake = critic.scores(&fake, train)?;
        let of_real = match self.loss.reads_data() {
            true => {
                let real = self.data.draw(self.batch, &mut self.rng)?;
                critic.scores(&real, train)?
            }
            false => of_fake.detach(),
        };
        let total = self.losses.generator(&of_real, &of_fake)?.total()?;
        self.tally.generator += number(&total)?;
        self.tally.generator_steps += 1.;
        Ok(total)
    }

    fn constrain(&mut self) -> Result<()> {
        match self.loss.bound {
            Bound::Clip => {
                let points = matches!(self.data, Data::Points(_));
                let limit = LIMITS[usize::from(!points)];
                clip_weights(&self.vars, limit).map(drop)
            }
            Bound::Project => self.critic.project(),
            _ => Ok(()),
        }
    }
}

fn number(x: &Tensor) -> Result<f64> {
    Ok(f64::from(x.to_dtype(DType::F32)?.to_scalar::<f32>()?))
}

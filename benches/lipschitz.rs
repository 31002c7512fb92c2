//! What holding a critic Lipschitz costs: a Wasserstein critic's step, with its Adam step, as it is, with spectral norms of both
//! kinds, by projection, by clipping, and with gradient penalties.

mod common;

use candle_core::{DType, Device, ModuleT, Tensor};
use candle_nn::{VarBuilder, VarMap};
use candle_prob::dual::{Dual, DualModule};
use candle_prob::net::{
    Conv2dConfig, Dense, SpectralConstraint, SpectralNorm, SpectralNormConfig, conv2d, dense,
    spectral_norm,
};
use candle_prob::objective::{GradientPenaltyForm, gradient_penalty, interpolate_random};
use candle_prob::optim::{Adam, AdamConfig, Optimizer, clip_weights};
use candle_prob::{Activation, Result, Rng, init};
use common::Timed as _;
use criterion::{Criterion, criterion_group, criterion_main};

const LEAKY: Activation = Activation::LeakyRelu(0.2);

/// A layer as it is or held.
enum Layer<L> {
    Plain(L),
    Held(SpectralNorm<L>),
}

type Convolution = Layer<candle_prob::net::Conv2d>;

impl<L: candle_prob::net::SpectralLayer> Layer<L> {
    fn new(layer: L, config: Option<&SpectralNormConfig>, vb: VarBuilder) -> Result<Self> {
        Ok(match config {
            None => Layer::Plain(layer),
            Some(config) => Layer::Held(spectral_norm(layer, config, vb)?),
        })
    }

    fn train(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Layer::Plain(layer) => layer.forward(x)?,
            Layer::Held(layer) => layer.forward_t(x, true)?,
        })
    }

    fn dual(&self, x: &Dual) -> Result<Dual> {
        match self {
            Layer::Plain(layer) => layer.forward_dual(x),
            Layer::Held(layer) => layer.forward_dual(x),
        }
    }

    fn project(&self) -> Result<()> {
        if let Layer::Held(layer) = self {
            layer.project()?;
        }
        Ok(())
    }
}

/// Convolutions, if any, then dense layers.
struct Critic {
    convolutions: Vec<Convolution>,
    layers: Vec<Layer<Dense>>,
}

impl Critic {
    /// Of points in the plane.
    fn points(vb: VarBuilder, config: Option<SpectralNormConfig>) -> Result<Self> {
        let widths = [2, 256, 256, 256, 1];
        let layer = |i: usize| {
            let activation = if i < 3 { LEAKY } else { Activation::Identity };
            let vb = vb.pp(i);
            let layer = dense(widths[i], widths[i + 1], activation, vb.clone())?;
            Layer::new(layer, config.as_ref(), vb)
        };
        Ok(Critic {
            convolutions: vec![],
            layers: (0..4).map(layer).collect::<Result<_>>()?,
        })
    }

    /// Of images of 28 x 28.
    fn images(vb: VarBuilder, config: Option<SpectralNormConfig>) -> Result<Self> {
        let options = Conv2dConfig {
            kernel: (4, 4),
            stride: (2, 2),
            activation: LEAKY,
            ..Default::default()
        };
        let (channels, sides) = ([1, 64, 128], [28, 14]);
        let convolution = |i: usize| {
            let vb = vb.pp(format!("conv{i}"));
            let layer = conv2d(channels[i], channels[i + 1], &options, vb.clone())?;
            let config = config.map(|c| SpectralNormConfig {
                image: c.image.map(|_| (sides[i], sides[i])),
                ..c
            });
            Layer::new(layer, config.as_ref(), vb)
        };
        let vb = vb.pp("score");
        let last = dense(128 * 49, 1, Activation::Identity, vb.clone())?;
        let config = config.map(|c| SpectralNormConfig { image: None, ..c });
        Ok(Critic {
            convolutions: (0..2).map(convolution).collect::<Result<_>>()?,
            layers: vec![Layer::new(last, config.as_ref(), vb)?],
        })
    }

    fn train(&self, x: &Tensor) -> Result<Tensor> {
        let mut y = x.clone();
        for layer in &self.convolutions {
            y = layer.train(&y)?;
        }
        y = y.flatten_from(1)?;
        for layer in &self.layers {
            y = layer.train(&y)?;
        }
        Ok(y)
    }

    fn dual(&self, x: &Dual) -> Result<Dual> {
        let mut y = x.clone();
        for layer in &self.convolutions {
            y = layer.dual(&y)?;
        }
        if !self.convolutions.is_empty() {
            y = y.linear(|t| Ok(t.flatten_from(1)?))?;
        }
        for layer in &self.layers {
            y = layer.dual(&y)?;
        }
        Ok(y)
    }

    fn project(&self) -> Result<()> {
        self.convolutions.iter().try_for_each(Layer::project)?;
        self.layers.iter().try_for_each(Layer::project)
    }
}

enum After {
    Nothing,
    Project,
    Clip,
}

type Make = fn(VarBuilder, Option<SpectralNormConfig>) -> Result<Critic>;

fn steps(c: &mut Criterion, name: &str, dims: &[usize], make: Make) {
    let mut rng = Rng::new(0);
    let mut examples = || rng.normal(dims, DType::F32, &Device::Cpu).unwrap();
    let (real, fake) = (examples(), examples());
    let plain = SpectralNormConfig::default();
    let (project, own) = (
        SpectralNormConfig {
            constraint: SpectralConstraint::Project,
            ..plain
        },
        SpectralNormConfig {
            image: Some((1, 1)),
            ..plain
        },
    );
    let two_sided = GradientPenaltyForm::TwoSided { weight: 10. };
    let r1 = GradientPenaltyForm::ZeroCentred { gamma: 10. };
    let mut variants = vec![
        ("as it is", None, After::Nothing, None),
        ("clipped", None, After::Clip, None),
        ("spectral norm", Some(plain), After::Nothing, None),
        ("projected", Some(project), After::Project, None),
        ("gradient penalty", None, After::Nothing, Some(two_sided)),
        ("R1", None, After::Nothing, Some(r1)),
    ];
    if dims.len() == 4 {
        variants.push(("convolutions' own norm", Some(own), After::Nothing, None));
    }
    for (variant, config, after, penalty) in variants {
        let vars = VarMap::new();
        let vb = init::seeded(&vars, 0, DType::F32, &Device::Cpu);
        let critic = make(vb, config).unwrap();
        let mut adam = Adam::new(&vars, &AdamConfig::default()).unwrap();
        let mut rng = Rng::new(1);
        let mut step = || -> Result<()> {
            let (up, down) = (critic.train(&real)?, critic.train(&fake)?);
            let mut loss = (down.mean_all()? - up.mean_all()?)?;
            if let Some(form) = penalty {
                let at = match form {
                    GradientPenaltyForm::ZeroCentred { .. } => real.clone(),
                    _ => interpolate_random(&real, &fake, &mut rng)?,
                };
                let parts = gradient_penalty(|x| critic.dual(x), &at, form)?;
                loss = (loss + parts.penalty.mean_all()?)?;
            }
            adam.backward_step(&loss)?;
            match after {
                After::Nothing => Ok(()),
                After::Project => critic.project(),
                After::Clip => clip_weights(&vars, 0.01).map(|_| ()),
            }
        };
        c.timed(format!("{name}/{variant}"), || step().unwrap());
    }
}

fn points(c: &mut Criterion) {
    steps(
        c,
        "critic/256 points, dense 256-256-256",
        &[256, 2],
        Critic::points,
    );
}

fn images(c: &mut Criterion) {
    steps(
        c,
        "critic/64 images 28x28, conv 64-128",
        &[64, 1, 28, 28],
        Critic::images,
    );
}

criterion_group!(name = benches; config = common::config(); targets = points, images);
criterion_main!(benches);

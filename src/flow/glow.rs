//! Glow.

use super::image::{ImageContext, ImageFlow, Layer, Net, Scale, check_scales};
use crate::Rng;
use crate::bijector::{Lu, Split};
use crate::check;
use crate::error::Result;
use crate::init::Buffer;
use crate::kernels::network::activation::Activation;
use crate::net::{Conv2d, Conv2dConfig, zero_conv2d};
use candle_core::Tensor;
use candle_nn::init::{FanInOut, NonLinearity, NormalOrUniform};
use candle_nn::{Init, VarBuilder};

/// What [`glow`] builds.
#[derive(Debug, Clone, PartialEq)]
pub struct GlowConfig {
    /// Channels, height and width.
    pub image: [usize; 3],
    /// The number of levels; every one halves height and width.
    pub levels: usize,
    /// Steps of each level.
    pub steps: usize,
    /// Channels of each conditioner's two hidden layers.
    pub channels: usize,
    /// The conditioners' activation.
    pub activation: Activation,
    /// What the flow is conditioned on.
    pub context: ImageContext,
    /// No log-scale of a coupling leaves +-bound: `ln scale = bound tanh(raw / bound)`.
    pub bound: f64,
}

impl Default for GlowConfig {
    /// Two levels of eight steps for 28 x 28 grey images, conditioners of 64 channels.
    fn default() -> Self {
        GlowConfig {
            image: [1, 28, 28],
            levels: 2,
            steps: 8,
            channels: 64,
            activation: Activation::Relu,
            context: ImageContext::None,
            bound: 2.,
        }
    }
}

/// Glow: a multi-scale flow of invertible 1x1 convolutions and affine couplings.
///
/// Formula: on the way from images to latents, each level squeezes the image and has `steps` times an
/// [`ActNorm`](crate::bijector::ActNorm), a [`Conv1x1`](crate::bijector::Conv1x1) by its LU factors and a coupling whose
/// first half of the channels says how the second is scaled and shifted. Every level but the last then factors the second
/// half out, after an affine map that one convolution of the first half gives: the learned prior of Glow.
///
/// The conditioners are convolutions of 3 x 3, 1 x 1 and 3 x 3, the last of which is initialized to zero. The 1x1
/// convolutions are initialized to random rotations that depend on level and step only; what is learned is added to
/// their factors. So a fresh flow keeps volumes: its log-det is 0. [`ImageFlow::initialize`] sets the `ActNorm`s from
/// data.
///
/// The variables are `initialized` and, for level L and step S, `L.S.norm.loc`, `L.S.norm.log_scale`, `L.S.mix.lower`,
/// `L.S.mix.upper`, `L.S.mix.log_diagonal` and `L.S.net.I`; those of the learned priors are under `L.prior`.
///
/// Errors: an image of fewer than two pixels, more levels than its height and width can be halved for, no steps or channels,
/// a bound that is not positive, and what `vb` refuses.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::VarMap;
/// use candle_prob::bijector::Bijector;
/// use candle_prob::flow::{GlowConfig, glow};
/// use candle_prob::Rng;
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = candle_prob::init::seeded(&vars, 1, DType::F32, &Device::Cpu);
/// let config = GlowConfig { image: [3, 8, 8], steps: 2, channels: 8, ..Default::default() };
/// let flow = glow(&config, vb)?;
/// assert_eq!(flow.latent_shapes(), [[6, 4, 4], [24, 2, 2]]);
/// let images = Rng::new(0).normal((10, 3, 8, 8), DType::F32, &Device::Cpu)?;
/// assert!(flow.initialize(&images)?);
/// assert!(!flow.initialize(&images)?);
/// let (latents, log_det) = flow.inverse_and_log_det(&images)?;
/// assert_eq!((latents.dims(), log_det.dims()), (&[10, 3, 8, 8][..], &[10][..]));
/// # Ok(())
/// # }
/// ```
///
/// Source: Kingma and Dhariwal (2018), Glow: Generative flow with invertible 1x1 convolutions, section 3.
pub fn glow(config: &GlowConfig, vb: VarBuilder) -> Result<ImageFlow> {
    let op = "flow::glow";
    check_scales([op, "levels"], config.image, config.levels, 0)?;
    let counts = [("steps", config.steps), ("channels", config.channels)];
    check::at_least_one(op, &counts)?;
    check::positive(op, "bound", config.bound)?;
    let (mut scales, mut c) = (vec![], config.image[0]);
    for level in 0..config.levels {
        let vb = vb.pp(level);
        let (split, mut after) = (Split::channels(4 * c, false)?, vec![]);
        for step in 0..config.steps {
            after.extend(config.step([level, step], 4 * c, vb.pp(step))?);
        }
        let last = level + 1 == config.levels;
        if !last {
            let inputs = 2 * c + config.context.channels(level + 1);
            let prior = zero_conv2d(inputs, 4 * c, Activation::Identity, vb.pp("prior"))?;
            after.push(Layer::Coupling(split.clone(), Net::Convs(vec![prior])));
        }
        scales.push(Scale {
            before: vec![],
            squeeze: true,
            after,
            factor: (!last).then_some(split),
        });
        c *= 2;
    }
    Ok(ImageFlow {
        image: config.image,
        scales,
        bound: config.bound,
        takes: config.context,
        like: Tensor::zeros(1, vb.dtype(), vb.device())?,
        initialized: Some(Buffer::new((), "initialized", Init::Const(0.), vb)?),
        context: None,
    })
}

/// Uniform within 1 / sqrt(fan in). Initializers that keep the size of what goes through make the last layer, which is
/// zero at first, run away in the first hundred steps at learning rates of a thousandth or two.
const SMALL: Init = Init::Kaiming {
    dist: NormalOrUniform::Uniform,
    fan: FanInOut::FanIn,
    // 1 / sqrt(3)
    non_linearity: NonLinearity::ExplicitGain(0.577_350_269_189_625_8),
};

impl GlowConfig {
    /// One step on `channels` channels.
    fn step(&self, at: [usize; 2], channels: usize, vb: VarBuilder) -> Result<[Layer; 3]> {
        let zeros = |name: &str, dims: &[usize]| vb.get_with_hints(dims, name, Init::Const(0.));
        let (inputs, width) = (
            channels / 2 + self.context.channels(at[0] + 1),
            self.channels,
        );
        let net = vb.pp("net");
        let hidden = |inputs: usize, size: usize, i: usize| {
            let config = Conv2dConfig {
                kernel: (size, size),
                padding: (size / 2, size / 2),
                activation: self.activation,
                ..Conv2dConfig::default()
            };
            let vb = net.pp(i);
            let weight = vb.get_with_hints((width, inputs, size, size), "weight", SMALL)?;
            let bias = vb.get_with_hints(width, "bias", Init::Const(0.))?;
            Conv2d::new(weight, Some(bias), &config)
        };
        let net = vec![
            hidden(inputs, 3, 0)?,
            hidden(width, 1, 1)?,
            zero_conv2d(width, channels, Activation::Identity, net.pp(2))?,
        ];
        let mut rng = Rng::new(0).fork(&format!("glow {} {}", at[0], at[1]));
        let fixed = Lu::random_rotation(channels, vb.dtype(), vb.device(), &mut rng)?;
        let square = [channels, channels];
        Ok([
            Layer::ActNorm {
                loc: zeros("norm.loc", &[channels])?,
                log_scale: zeros("norm.log_scale", &[channels])?,
            },
            Layer::Conv1x1 {
                fixed,
                parts: [
                    zeros("mix.lower", &square)?,
                    zeros("mix.upper", &square)?,
                    zeros("mix.log_diagonal", &[channels])?,
                ],
            },
            Layer::Coupling(Split::channels(channels, false)?, Net::Convs(net)),
        ])
    }
}

//! Residual convolutional networks.

use super::{Conv2d, Conv2dConfig};
use crate::check;
use crate::detach::Detach;
use crate::error::Result;
use crate::kernels::network::activation::Activation;
use crate::kernels::network::conv2d::{self, Kind, Layer, Order, Settings};
use candle_core::{D, Tensor};
use candle_nn::init::{FanInOut, NonLinearity, NormalOrUniform};
use candle_nn::{Init, Module, VarBuilder};

/// What [`residual_net`] builds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResidualNetConfig {
    /// Channels of the images it takes.
    pub inputs: usize,
    /// Channels of the images it gives.
    pub outputs: usize,
    /// Channels in between.
    pub channels: usize,
    /// Residual blocks of two convolutions each.
    pub blocks: usize,
    /// Before every convolution but the first.
    pub activation: Activation,
}

impl Default for ResidualNetConfig {
    /// Two blocks of 32 channels with ReLU, from one channel to two.
    fn default() -> Self {
        ResidualNetConfig {
            inputs: 1,
            outputs: 2,
            channels: 32,
            blocks: 2,
            activation: Activation::Relu,
        }
    }
}

/// A residual network of 3 x 3 convolutions that keep the size of the image: a conditioner of image flows.
///
/// Formula: `h = conv(x)`, then for each block `h <- h + conv(f(conv(f(h))))`, then `y = conv(f(h))`, with the activation f.
/// All but the last convolution are weight-normalized: filter o is `gain_o v_o / |v_o|`. The last is initialized to zero.
///
/// Shapes: x `[N, inputs, H, W]`, y `[N, outputs, H, W]`. Gradients: to x and all weights.
///
/// Errors: images of another rank, number of channels, dtype or device.
///
/// ```
/// use candle_core::{DType, Device, Module, Tensor};
/// use candle_nn::VarMap;
/// use candle_prob::net::{ResidualNetConfig, residual_net};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = candle_prob::init::seeded(&vars, 0, DType::F32, &Device::Cpu);
/// let net = residual_net(&ResidualNetConfig::default(), vb)?;
/// let y = net.forward(&Tensor::ones((4, 1, 8, 6), DType::F32, &Device::Cpu)?)?;
/// assert_eq!(y.dims(), [4, 2, 8, 6]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: in f32 on the CPU the network is one node of the graph, and inside the images lie channels-last. An activation
/// whose slope needs its argument (`Silu`, `Gelu`) makes it several.
///
/// Source: He, Zhang, Ren and Sun (2016), Identity mappings in deep residual networks; Salimans and Kingma (2016), Weight
/// normalization; Dinh, Sohl-Dickstein and Bengio (2017), section 4.1, for their use in flows.
#[derive(Debug, Clone)]
pub struct ResidualNet {
    config: ResidualNetConfig,
    first: Normalized,
    blocks: Vec<[Normalized; 2]>,
    last: Conv2d,
}

/// A convolution whose filters are given by direction and length.
#[derive(Debug, Clone)]
struct Normalized {
    direction: Tensor,
    gain: Tensor,
    bias: Tensor,
}

impl Normalized {
    /// Random directions; all filters of one length at first.
    fn new(inputs: usize, outputs: usize, gain: f64, vb: VarBuilder) -> Result<Self> {
        let direction = Init::Kaiming {
            dist: NormalOrUniform::Normal,
            fan: FanInOut::FanIn,
            non_linearity: NonLinearity::Linear,
        };
        Ok(Normalized {
            direction: vb.get_with_hints((outputs, inputs, 3, 3), "direction", direction)?,
            gain: vb.get_with_hints(outputs, "gain", Init::Const(gain))?,
            bias: vb.get_with_hints(outputs, "bias", Init::Const(0.))?,
        })
    }

    fn weight(&self) -> Result<Tensor> {
        let flat = self.direction.flatten_from(1)?;
        let length = flat.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
        let factor = (self.gain.unsqueeze(1)? / length)?;
        let weight = flat.broadcast_mul(&factor)?;
        Ok(weight.reshape(self.direction.shape())?)
    }
}

impl Detach for Normalized {
    fn detach(&self) -> Self {
        Normalized {
            direction: self.direction.detach(),
            gain: self.gain.detach(),
            bias: self.bias.detach(),
        }
    }
}

/// A [`ResidualNet`] with the variables `first`, `blocks.I.0`, `blocks.I.1` and `last`; all but the last have `direction`,
/// `gain` and `bias`.
///
/// Errors: no inputs, outputs or channels, and what `vb` refuses.
pub fn residual_net(config: &ResidualNetConfig, vb: VarBuilder) -> Result<ResidualNet> {
    let width = config.channels;
    let counts = [
        ("inputs", config.inputs),
        ("outputs", config.outputs),
        ("channels", width),
    ];
    check::at_least_one("net::residual_net", &counts)?;
    // The length that keeps the signal's variance through a ReLU; what is added to it grows slower.
    let keep = 2f64.sqrt();
    let block = |i: usize| -> Result<[Normalized; 2]> {
        let vb = vb.pp("blocks").pp(i);
        let second = Normalized::new(width, width, 1., vb.pp(1))?;
        Ok([Normalized::new(width, width, keep, vb.pp(0))?, second])
    };
    Ok(ResidualNet {
        first: Normalized::new(config.inputs, width, 1., vb.pp("first"))?,
        blocks: (0..config.blocks).map(block).collect::<Result<_>>()?,
        last: zero_conv2d(width, config.outputs, Activation::Identity, vb.pp("last"))?,
        config: *config,
    })
}

/// A 3 x 3 convolution whose weights and biases are initialized to zero.
pub(crate) fn zero_conv2d(
    inputs: usize,
    outputs: usize,
    activation: Activation,
    vb: VarBuilder,
) -> Result<Conv2d> {
    let weight = vb.get_with_hints((outputs, inputs, 3, 3), "weight", Init::Const(0.))?;
    let bias = vb.get_with_hints(outputs, "bias", Init::Const(0.))?;
    let config = Conv2dConfig {
        activation,
        ..Conv2dConfig::default()
    };
    Conv2d::new(weight, Some(bias), &config)
}

impl ResidualNet {
    /// The config it was built from.
    pub fn config(&self) -> &ResidualNetConfig {
        &self.config
    }

    pub(crate) fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let f = self.config.activation;
        let (inside, between) = (Order::ChannelsLast, Activation::Identity);
        let settings = |activation, input, output| Settings {
            kind: Kind::Convolution,
            stride: (1, 1),
            padding: (1, 1),
            activation,
            input,
            output,
        };
        let mut parts = vec![(&self.first, settings(between, Order::ChannelsFirst, inside))];
        for [one, two] in &self.blocks {
            parts.push((one, settings(f, inside, inside)));
            parts.push((two, settings(between, inside, inside)));
        }
        let weights = parts.iter().map(|(conv, _)| conv.weight());
        let weights = weights.collect::<Result<Vec<_>>>()?;
        let mut layers: Vec<Layer> = parts
            .iter()
            .zip(&weights)
            .map(|((conv, settings), weight)| Layer {
                weight,
                bias: Some(&conv.bias),
                settings: *settings,
            })
            .collect();
        layers.push(Layer {
            weight: self.last.weight(),
            bias: self.last.bias(),
            settings: settings(between, inside, Order::ChannelsFirst),
        });
        conv2d::residual(x, &layers, f)
    }
}

impl Module for ResidualNet {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        Ok(self.apply(x)?)
    }
}

impl Detach for ResidualNet {
    fn detach(&self) -> Self {
        ResidualNet {
            first: self.first.detach(),
            blocks: self.blocks.detach(),
            last: self.last.detach(),
            ..self.clone()
        }
    }
}

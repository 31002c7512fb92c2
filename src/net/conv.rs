//! Convolutional layers and image encoders.

use super::dense::{Dense, dense};
use super::initializer;
use crate::check;
use crate::detach::Detach;
use crate::dual::{Dual, DualModule, images};
use crate::error::{Error, Result};
use crate::kernels::network::activation::Activation;
use crate::kernels::network::conv2d::{self, Kind, Layer, Order, Settings};
use crate::kernels::network::max_positions::max_positions;
use crate::shape;
use candle_core::{D, Tensor};
use candle_nn::{Module, VarBuilder};

/// Options of a [`Conv2d`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conv2dConfig {
    /// Rows and columns of the kernel.
    pub kernel: (usize, usize),
    /// Steps between patches, down and across.
    pub stride: (usize, usize),
    /// Zeros above and below, left and right.
    pub padding: (usize, usize),
    /// Applied to every output.
    pub activation: Activation,
    /// Whether a bias is added.
    pub bias: bool,
}

impl Default for Conv2dConfig {
    /// A kernel of 3 x 3 that keeps the size: stride 1, padding 1, a bias, no activation.
    fn default() -> Self {
        Conv2dConfig {
            kernel: (3, 3),
            stride: (1, 1),
            padding: (1, 1),
            activation: Activation::Identity,
            bias: true,
        }
    }
}

/// Two-dimensional convolution with bias and activation.
///
/// Formula: `y[n, o, i, j] = f(bias[o] + sum over c, k, l of weight[o, c, k, l] x[n, c, i s - p + k, j t - q + l])` with
/// strides `(s, t)`, paddings `(p, q)` and `x` zero outside its borders.
///
/// Shapes: x `[N, C, H, W]`, weight `[O, C, kh, kw]`, bias `[O]`, y `[N, O, (H + 2p - kh) / s + 1, (W + 2q - kw) / t + 1]`
/// (divisions rounded down).
///
/// Gradients: for x, weight and bias, for every image size, stride and padding; a gradient that nobody reads is not
/// computed (the first layer of a network needs none for its images).
///
/// Errors: ranks, channels, dtypes or devices that do not fit; a zero stride; a kernel larger than the padded image.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::{Module, VarMap};
/// use candle_prob::Activation;
/// use candle_prob::net::{Conv2dConfig, conv2d};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = candle_prob::init::seeded(&vars, 0, DType::F32, &Device::Cpu);
/// let config = Conv2dConfig { stride: (2, 2), activation: Activation::Relu, ..Default::default() };
/// let layer = conv2d(3, 8, &config, vb)?;
/// let images = Tensor::ones((4, 3, 28, 20), DType::F32, &Device::Cpu)?;
/// assert_eq!(layer.forward(&images)?.dims(), [4, 8, 14, 10]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: f32 on the CPU is one fused operation; each output is one chain of multiply-adds, so an image gives the same
/// bits alone and in a batch, and all gradients the same bits for any number of threads.
#[derive(Debug, Clone)]
pub struct Conv2d {
    weight: Tensor,
    bias: Option<Tensor>,
    config: Conv2dConfig,
}

impl Conv2d {
    /// A layer with the given parameters; `config.kernel` and `config.bias` follow from them.
    ///
    /// Errors: a weight that is not `[O, C, kh, kw]`, a bias that is not `[O]`, a zero stride.
    pub fn new(weight: Tensor, bias: Option<Tensor>, config: &Conv2dConfig) -> Result<Self> {
        const OP: &str = "Conv2d::new";
        let kernel = kernel_of(OP, &weight, bias.as_ref(), 0)?;
        check_stride(OP, config.stride)?;
        Ok(Conv2d {
            config: Conv2dConfig {
                kernel,
                bias: bias.is_some(),
                ..*config
            },
            weight,
            bias,
        })
    }

    /// `[O, C, kh, kw]`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// `[O]`.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// The options.
    pub fn config(&self) -> &Conv2dConfig {
        &self.config
    }

    /// For the kernel, with channels-first images on both sides.
    pub(super) fn parts(&self) -> Layer<'_> {
        Layer {
            weight: &self.weight,
            bias: self.bias.as_ref(),
            settings: Settings {
                kind: Kind::Convolution,
                stride: self.config.stride,
                padding: self.config.padding,
                activation: self.config.activation,
                input: Order::ChannelsFirst,
                output: Order::ChannelsFirst,
            },
        }
    }
}

impl Module for Conv2d {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        Ok(self.parts().forward(x)?)
    }
}

impl DualModule for Conv2d {
    fn forward_dual(&self, x: &Dual) -> Result<Dual> {
        dual(self.parts(), x)
    }
}

impl Detach for Conv2d {
    fn detach(&self) -> Self {
        Conv2d {
            weight: self.weight.detach(),
            bias: self.bias.detach(),
            ..self.clone()
        }
    }
}

/// A [`Conv2d`] with parameters `weight` and `bias` from `vb`.
///
/// Initializers: weights normal with standard deviation `gain / sqrt(channels_in kh kw)`, the gain that of the
/// activation (sqrt 2 for ReLU), biases uniform in `+- 1 / sqrt(channels_in kh kw)`: candle's defaults.
///
/// Errors: a zero channel count, kernel size or stride; those of `vb`.
pub fn conv2d(
    channels_in: usize,
    channels_out: usize,
    config: &Conv2dConfig,
    vb: VarBuilder,
) -> Result<Conv2d> {
    const OP: &str = "conv2d";
    let (kh, kw) = config.kernel;
    let counts = [
        ("channels_in", channels_in),
        ("channels_out", channels_out),
        ("kernel", kh.min(kw)),
    ];
    check::at_least_one(OP, &counts)?;
    check_stride(OP, config.stride)?;
    let weight = vb.get_with_hints(
        (channels_out, channels_in, kh, kw),
        "weight",
        initializer::weight(config.activation),
    )?;
    let bias = config
        .bias
        .then(|| {
            vb.get_with_hints(
                channels_out,
                "bias",
                initializer::bias((channels_in * kh * kw) as f64),
            )
        })
        .transpose()?;
    Conv2d::new(weight, bias, config)
}

/// Convolutions one after the other, with channels-last images between them, so that nothing is transposed there.
pub(crate) fn in_turn(layers: &[Conv2d], x: &Tensor, last: Order) -> Result<Tensor> {
    conv2d::in_turn(layers.iter().map(Conv2d::parts).collect(), x, last)
}

/// Checks a layer's parameters, with its outputs along dim `outputs` of the weight; the rows and columns of its kernel.
pub(super) fn kernel_of(
    op: &'static str,
    weight: &Tensor,
    bias: Option<&Tensor>,
    outputs: usize,
) -> Result<(usize, usize)> {
    let layout = match outputs {
        0 => "[O, C, kh, kw]",
        _ => "[C, O, kh, kw]",
    };
    shape::parameter(op, "weight", weight)?;
    let dims: [usize; 4] = shape::dims(op, "weight", weight.dims(), layout)?;
    if let Some(bias) = bias {
        shape::same_kind(op, "bias", bias, weight)?;
        shape::exactly(op, "bias", bias.dims(), &[dims[outputs]])?;
    }
    Ok((dims[2], dims[3]))
}

pub(super) fn check_stride(op: &'static str, stride: (usize, usize)) -> Result<()> {
    check::at_least_one(op, &[("stride", stride.0.min(stride.1))])
}

/// Options of a [`ConvEncoder`].
#[derive(Debug, Clone, PartialEq)]
pub struct ConvEncoderConfig {
    /// Output channels of each convolution.
    pub channels: Vec<usize>,
    /// Kernel size, both ways.
    pub kernel: usize,
    /// Stride, both ways.
    pub stride: usize,
    /// Padding, on every side.
    pub padding: usize,
    /// After every layer.
    pub activation: Activation,
    /// What becomes of the positions after the last convolution.
    pub positions: Positions,
    /// Width of a dense layer at the end, if any.
    pub hidden: Option<usize>,
}

/// What an encoder does with the positions of its last feature map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    /// Keep all: the features are in the order (channel, row, column).
    Flatten,
    /// The largest value of each channel: what is in the image, wherever it is. Of equal values the first gets the
    /// gradient.
    Max,
}

impl Default for ConvEncoderConfig {
    /// Three convolutions of 4 x 4 that halve the image, to 32, 64 and 128 channels, with ReLU and no dense layer.
    fn default() -> Self {
        ConvEncoderConfig {
            channels: vec![32, 64, 128],
            kernel: 4,
            stride: 2,
            padding: 1,
            activation: Activation::Relu,
            positions: Positions::Flatten,
            hidden: None,
        }
    }
}

/// From images to feature vectors: convolutions, then a flattening or the maximum over positions, then perhaps a dense
/// layer.
///
/// Shapes: x `[N, C, H, W]` -> `[N, F]`, with `F =` [`features()`](Self::features).
///
/// Gradients: for x and every parameter.
///
/// Errors: those of [`Conv2d`]; images of another size than the encoder was built for.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::{Module, VarMap};
/// use candle_prob::net::{ConvEncoderConfig, conv_encoder};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = candle_prob::init::seeded(&vars, 0, DType::F32, &Device::Cpu);
/// let config = ConvEncoderConfig { channels: vec![8, 16], hidden: Some(32), ..Default::default() };
/// let encoder = conv_encoder(&config, (1, 28, 28), vb)?;
/// let images = Tensor::ones((4, 1, 28, 28), DType::F32, &Device::Cpu)?;
/// assert_eq!(encoder.forward(&images)?.dims(), [4, encoder.features()]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: in f32 on the CPU all convolutions are one node of the graph, and between them the images lie channels-last,
/// which saves their transposition. An activation whose slope needs its argument (`Silu`, `Gelu`) makes them one each.
#[derive(Debug, Clone)]
pub struct ConvEncoder {
    layers: Vec<Conv2d>,
    positions: Positions,
    hidden: Option<Dense>,
    image: (usize, usize, usize),
    features: usize,
}

/// A [`ConvEncoder`] for images of shape `(C, H, W)`, with parameters `conv0.weight`, `conv0.bias`, ... and
/// `hidden.weight`, `hidden.bias` from `vb`.
///
/// Errors: no convolution; a zero size; an image that becomes smaller than the kernel.
pub fn conv_encoder(
    config: &ConvEncoderConfig,
    (c, h, w): (usize, usize, usize),
    vb: VarBuilder,
) -> Result<ConvEncoder> {
    const OP: &str = "conv_encoder";
    if config.channels.is_empty() {
        return Err(Error::value(
            OP,
            "channels",
            "at least one convolution",
            "none",
        ));
    }
    let options = Conv2dConfig {
        kernel: (config.kernel, config.kernel),
        stride: (config.stride, config.stride),
        padding: (config.padding, config.padding),
        activation: config.activation,
        bias: true,
    };
    let mut layers = vec![];
    let mut shape = (c, h, w);
    for (i, &channels) in config.channels.iter().enumerate() {
        layers.push(conv2d(
            shape.0,
            channels,
            &options,
            vb.pp(format!("conv{i}")),
        )?);
        let after = |size| after(size, config.padding, config.kernel, config.stride);
        let (Some((rows, _)), Some((columns, _))) = (after(shape.1), after(shape.2)) else {
            return Err(Error::value(
                OP,
                "image",
                format!("at least the kernel's size {} after padding", config.kernel),
                format!("{shape:?} before convolution {i}"),
            ));
        };
        shape = (channels, rows, columns);
    }
    let flat = match config.positions {
        Positions::Flatten => shape.0 * shape.1 * shape.2,
        Positions::Max => shape.0,
    };
    let hidden = config
        .hidden
        .map(|width| dense(flat, width, config.activation, vb.pp("hidden")))
        .transpose()?;
    Ok(ConvEncoder {
        layers,
        positions: config.positions,
        hidden,
        image: (c, h, w),
        features: config.hidden.unwrap_or(flat),
    })
}

impl ConvEncoder {
    /// The length of a feature vector.
    pub fn features(&self) -> usize {
        self.features
    }

    /// The convolutions.
    pub fn layers(&self) -> &[Conv2d] {
        &self.layers
    }

    fn check(&self, x: &Tensor) -> Result<()> {
        let (c, h, w) = self.image;
        if x.rank() != 4 || x.dims()[1..] != [c, h, w] {
            let expected = format!("[N, {c}, {h}, {w}]");
            return Err(Error::shape("ConvEncoder", "x", expected, x.dims()));
        }
        Ok(())
    }

    fn encode(&self, x: &Tensor) -> Result<Tensor> {
        self.check(x)?;
        // The maximum reads channels-last maps, so then the last convolution leaves them so.
        let order = match self.positions {
            Positions::Flatten => Order::ChannelsFirst,
            Positions::Max => Order::ChannelsLast,
        };
        let y = in_turn(&self.layers, x, order)?;
        let y = match self.positions {
            Positions::Flatten => y.flatten_from(1)?,
            Positions::Max => max_positions(&y.flatten(1, 2)?)?,
        };
        match &self.hidden {
            None => Ok(y),
            Some(layer) => layer.apply(&y),
        }
    }

    /// The dense layer at the end, if any.
    pub fn hidden(&self) -> Option<&Dense> {
        self.hidden.as_ref()
    }
}

impl Module for ConvEncoder {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        Ok(self.encode(x)?)
    }
}

impl DualModule for ConvEncoder {
    fn forward_dual(&self, x: &Dual) -> Result<Dual> {
        self.check(x.value())?;
        let mut layers = self.layers.iter();
        let y = layers.try_fold(x.clone(), |x, layer| layer.forward_dual(&x))?;
        let y = match self.positions {
            Positions::Flatten => y.linear(|t| Ok(t.flatten_from(t.rank() - 3)?))?,
            Positions::Max => {
                let y = y.linear(|t| Ok(t.flatten_from(t.rank() - 2)?))?;
                largest(&y)?
            }
        };
        match &self.hidden {
            None => Ok(y),
            Some(layer) => layer.forward_dual(&y),
        }
    }
}

/// The maximum over the last dim: its first place counts, for every direction.
pub(super) fn largest(x: &Dual) -> Result<Dual> {
    if x.value().elem_count() == 0 {
        // Candle finds no place among nothing.
        return x.sum_last();
    }
    let at = x.value().detach().argmax_keepdim(D::Minus1)?;
    x.linear(|t| {
        let dims = [&t.dims()[..t.rank() - 1], &[1]].concat();
        let at = at.broadcast_as(dims)?.contiguous()?;
        Ok(t.contiguous()?.gather(&at, D::Minus1)?.squeeze(D::Minus1)?)
    })
}

impl Detach for ConvEncoder {
    fn detach(&self) -> Self {
        ConvEncoder {
            layers: self.layers.detach(),
            hidden: self.hidden.detach(),
            ..self.clone()
        }
    }
}

/// A convolution or its transpose, with its bias and activation, on dual numbers.
pub(super) fn dual(part: Layer<'_>, x: &Dual) -> Result<Dual> {
    let with = |bias, activation| {
        let mut layer = part;
        layer.bias = bias;
        layer.settings.activation = activation;
        layer
    };
    let layer = |x: &Tensor, activation| with(part.bias, activation).forward(x);
    let linear = with(None, Activation::Identity);
    let linear = |t: &Tensor| images(t, |x| linear.forward(x));
    x.layer(part.settings.activation, layer, linear)
}

/// Rows of a convolution's result for `size` rows, and the rows that it leaves unread. The stride is at least 1.
pub(super) fn after(
    size: usize,
    padding: usize,
    kernel: usize,
    stride: usize,
) -> Option<(usize, usize)> {
    let padded = padding.checked_mul(2)?.checked_add(size)?;
    let left = padded.checked_sub(kernel)?;
    Some((left / stride + 1, left % stride))
}

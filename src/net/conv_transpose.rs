//! The transposed convolutional layer.

use super::conv::{check_stride, dual, kernel_of};
use super::initializer;
use crate::check;
use crate::detach::Detach;
use crate::dual::{Dual, DualModule};
use crate::error::Result;
use crate::kernels::network::activation::Activation;
use crate::kernels::network::conv2d::{Kind, Layer, Order, Settings, check_output_padding};
use candle_core::Tensor;
use candle_nn::{Module, VarBuilder};

/// Options of a [`ConvTranspose2d`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConvTranspose2dConfig {
    /// Rows and columns of the kernel.
    pub kernel: (usize, usize),
    /// Steps between the patches of the result, down and across.
    pub stride: (usize, usize),
    /// Rows cut from top and bottom of the result, columns from left and right.
    pub padding: (usize, usize),
    /// Rows added to the bottom, columns to the right, fewer than the stride: which of the sizes that a convolution leads
    /// to one size the result has.
    pub output_padding: (usize, usize),
    /// Applied to every output.
    pub activation: Activation,
    /// Whether a bias is added.
    pub bias: bool,
}

impl Default for ConvTranspose2dConfig {
    /// A kernel of 4 x 4 that doubles the size: stride 2, padding 1, a bias, no activation.
    fn default() -> Self {
        ConvTranspose2dConfig {
            kernel: (4, 4),
            stride: (2, 2),
            padding: (1, 1),
            output_padding: (0, 0),
            activation: Activation::Identity,
            bias: true,
        }
    }
}

/// Two-dimensional transposed convolution with bias and activation: the layer that leads from few pixels to many.
///
/// Formula: `y[n, o, i, j] = f(bias[o] + sum of weight[c, o, k, l] x[n, c, a, b])` over c and all a, b, k, l with `i = a s - p + k`
/// and `j = b t - q + l`, with strides `(s, t)` and paddings `(p, q)`. Without f and bias it is the transpose of the linear
/// map that [`Conv2d`](super::Conv2d) with the same weight, stride and padding is.
///
/// Shapes: x `[N, C, H, W]`, weight `[C, O, kh, kw]`, bias `[O]`, y `[N, O, (H - 1) s - 2p + kh + r, (W - 1) t - 2q + kw + u]`
/// with output padding `(r, u)`: all as in torch's `ConvTranspose2d`.
///
/// Gradients: for x, weight and bias; a gradient that nobody reads is not computed.
///
/// Errors: ranks, channels, dtypes or devices that do not fit; a zero stride; an output padding that is not less than the
/// stride; a result without rows or columns.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::{Module, VarMap};
/// use candle_prob::Activation;
/// use candle_prob::net::{ConvTranspose2dConfig, conv_transpose2d};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = candle_prob::init::seeded(&vars, 0, DType::F32, &Device::Cpu);
/// let config = ConvTranspose2dConfig { activation: Activation::Relu, ..Default::default() };
/// let layer = conv_transpose2d(8, 3, &config, vb)?;
/// let maps = Tensor::ones((4, 8, 14, 10), DType::F32, &Device::Cpu)?;
/// assert_eq!(layer.forward(&maps)?.dims(), [4, 3, 28, 20]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: f32 on the CPU is one fused operation; nothing is scattered, each output is one chain of multiply-adds over the
/// pixels that reach it. An image gives the same bits alone and in a batch, and all gradients the same bits for any number
/// of threads.
///
/// Source: Zeiler, Krishnan, Taylor and Fergus (2010), Deconvolutional networks; Dumoulin and Visin (2016), A guide to
/// convolution arithmetic, chapter 4.
#[derive(Debug, Clone)]
pub struct ConvTranspose2d {
    weight: Tensor,
    bias: Option<Tensor>,
    config: ConvTranspose2dConfig,
}

impl ConvTranspose2d {
    /// A layer with the given parameters; `config.kernel` and `config.bias` follow from them.
    ///
    /// Errors: a weight that is not `[C, O, kh, kw]`, a bias that is not `[O]`, a zero stride, an output padding that is not
    /// less than the stride.
    pub fn new(
        weight: Tensor,
        bias: Option<Tensor>,
        config: &ConvTranspose2dConfig,
    ) -> Result<Self> {
        const OP: &str = "ConvTranspose2d::new";
        let kernel = kernel_of(OP, &weight, bias.as_ref(), 1)?;
        check_stride(OP, config.stride)?;
        check_output_padding(OP, config.output_padding, config.stride)?;
        Ok(ConvTranspose2d {
            config: ConvTranspose2dConfig {
                kernel,
                bias: bias.is_some(),
                ..*config
            },
            weight,
            bias,
        })
    }

    /// `[C, O, kh, kw]`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// `[O]`.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// The options.
    pub fn config(&self) -> &ConvTranspose2dConfig {
        &self.config
    }

    /// For the kernel, with channels-first images on both sides.
    pub(super) fn parts(&self) -> Layer<'_> {
        let output_padding = self.config.output_padding;
        Layer {
            weight: &self.weight,
            bias: self.bias.as_ref(),
            settings: Settings {
                kind: Kind::Transposed { output_padding },
                stride: self.config.stride,
                padding: self.config.padding,
                activation: self.config.activation,
                input: Order::ChannelsFirst,
                output: Order::ChannelsFirst,
            },
        }
    }
}

impl Module for ConvTranspose2d {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        Ok(self.parts().forward(x)?)
    }
}

impl DualModule for ConvTranspose2d {
    fn forward_dual(&self, x: &Dual) -> Result<Dual> {
        dual(self.parts(), x)
    }
}

impl Detach for ConvTranspose2d {
    fn detach(&self) -> Self {
        ConvTranspose2d {
            weight: self.weight.detach(),
            bias: self.bias.detach(),
            ..self.clone()
        }
    }
}

/// A [`ConvTranspose2d`] with parameters `weight` and `bias` from `vb`.
///
/// Initializers: an output sums about `F = channels_in max(kh / s, 1) max(kw / t, 1)` products. Weights are normal with standard
/// deviation `gain / sqrt(F)`, the gain that of the activation (sqrt 2 for ReLU), biases uniform in `+- 1 / sqrt(F)`.
///
/// Errors: a zero channel count, kernel size or stride; an output padding that is not less than the stride; those of `vb`.
pub fn conv_transpose2d(
    channels_in: usize,
    channels_out: usize,
    config: &ConvTranspose2dConfig,
    vb: VarBuilder,
) -> Result<ConvTranspose2d> {
    const OP: &str = "conv_transpose2d";
    let (kh, kw) = config.kernel;
    let counts = [
        ("channels_in", channels_in),
        ("channels_out", channels_out),
        ("kernel", kh.min(kw)),
    ];
    check::at_least_one(OP, &counts)?;
    check_stride(OP, config.stride)?;
    check_output_padding(OP, config.output_padding, config.stride)?;
    let (sh, sw) = config.stride;
    let taps = |kernel: usize, stride: usize| (kernel as f64 / stride as f64).max(1.);
    let terms = channels_in as f64 * taps(kh, sh) * taps(kw, sw);
    let weight = vb.get_with_hints(
        (channels_in, channels_out, kh, kw),
        "weight",
        initializer::weight_of(terms, config.activation),
    )?;
    let bias = config
        .bias
        .then(|| vb.get_with_hints(channels_out, "bias", initializer::bias(terms)))
        .transpose()?;
    ConvTranspose2d::new(weight, bias, config)
}

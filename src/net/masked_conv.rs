//! The masked convolutional layer.

use super::conv::kernel_of;
use super::initializer;
use crate::check;
use crate::detach::Detach;
use crate::error::{Error, Result};
use crate::kernels::network::activation::Activation;
use crate::kernels::network::conv2d::{Kind, Layer, Order, Settings};
use candle_core::Tensor;
use candle_nn::{Module, VarBuilder};

/// What a [`MaskedConv2d`] sees of the position that it computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConvMask {
    /// Nothing: the positions before it alone. The first layer's mask.
    A,
    /// Its own channels too. The mask of all layers after the first.
    B,
}

/// Options of a [`MaskedConv2d`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MaskedConv2dConfig {
    /// Rows and columns of the kernel, odd.
    pub kernel: (usize, usize),
    /// Whether the position itself is seen.
    pub mask: ConvMask,
    /// Applied to every output.
    pub activation: Activation,
    /// Whether a bias is added.
    pub bias: bool,
}

impl Default for MaskedConv2dConfig {
    /// A kernel of 3 x 3 with mask B, a bias, no activation.
    fn default() -> Self {
        MaskedConv2dConfig {
            kernel: (3, 3),
            mask: ConvMask::B,
            activation: Activation::Identity,
            bias: true,
        }
    }
}

/// A convolution that keeps the size and sees, of the positions in raster order, those before its own alone, with
/// [`ConvMask::B`] its own too.
///
/// Formula: that of [`Conv2d`](super::Conv2d) with stride 1 and padding `(kh / 2, kw / 2)`, where the weights of rows below the
/// centre, of columns right of it in its row and, with mask A, of the centre count as zero.
///
/// A stack of a layer with mask A and others with mask B has a strictly triangular Jacobian, exactly, but a blind spot:
/// positions above and to the right that it never sees. [`PixelCnn`](super::PixelCnn) has none.
///
/// Shapes: x `[N, C, H, W]`, weight `[O, C, kh, kw]`, bias `[O]`, y `[N, O, H, W]`.
///
/// Gradients: to x, the weights in use and the bias; the other weights' are zero.
///
/// Errors: those of [`Conv2d`](super::Conv2d); an even kernel.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::{Module, VarMap};
/// use candle_prob::net::{ConvMask, MaskedConv2dConfig, masked_conv2d};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = candle_prob::init::seeded(&vars, 0, DType::F32, &Device::Cpu);
/// let config = MaskedConv2dConfig { kernel: (7, 7), mask: ConvMask::A, ..Default::default() };
/// let layer = masked_conv2d(1, 8, &config, vb)?;
/// let images = Tensor::ones((4, 1, 28, 20), DType::F32, &Device::Cpu)?;
/// assert_eq!(layer.forward(&images)?.dims(), [4, 8, 28, 20]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: the rows below the centre are not computed.
///
/// Source: van den Oord, Kalchbrenner and Kavukcuoglu (2016), Pixel recurrent neural networks, section 3.4.
#[derive(Debug, Clone)]
pub struct MaskedConv2d {
    weight: Tensor,
    bias: Option<Tensor>,
    /// `[kh / 2 + 1, kw]`: one for the weights in use.
    mask: Tensor,
    config: MaskedConv2dConfig,
}

impl MaskedConv2d {
    /// A layer with the given parameters; `config.kernel` and `config.bias` follow from them.
    ///
    /// Errors: a weight that is not `[O, C, kh, kw]` with odd kh and kw, a bias that is not `[O]`.
    pub fn new(weight: Tensor, bias: Option<Tensor>, config: &MaskedConv2dConfig) -> Result<Self> {
        const OP: &str = "MaskedConv2d::new";
        let (kh, kw) = kernel_of(OP, &weight, bias.as_ref(), 0)?;
        odd(OP, (kh, kw))?;
        let (rows, centre) = (kh / 2 + 1, kh / 2 * kw + kw / 2);
        let seen = match config.mask {
            ConvMask::A => centre,
            ConvMask::B => centre + 1,
        };
        let mask = (0..rows * kw).map(|i| u8::from(i < seen)).collect();
        let mask = Tensor::from_vec(mask, (rows, kw), weight.device())?;
        Ok(MaskedConv2d {
            mask: mask.to_dtype(weight.dtype())?,
            config: MaskedConv2dConfig {
                kernel: (kh, kw),
                bias: bias.is_some(),
                ..*config
            },
            weight,
            bias,
        })
    }

    /// `[O, C, kh, kw]`, with the weights that are not in use.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// `[O]`.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// The options.
    pub fn config(&self) -> &MaskedConv2dConfig {
        &self.config
    }

    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let (kh, kw) = self.config.kernel;
        let above = self.weight.narrow(2, 0, kh / 2 + 1)?;
        let layer = Layer {
            weight: &above.broadcast_mul(&self.mask)?,
            bias: self.bias.as_ref(),
            settings: same(
                (kh / 2, kw / 2),
                self.config.activation,
                Order::ChannelsFirst,
            ),
        };
        // The kernel ends at its centre, so there are more rows than positions.
        let y = layer.forward(x)?;
        Ok(y.narrow(2, 0, x.dim(2)?)?)
    }
}

impl Module for MaskedConv2d {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        Ok(self.apply(x)?)
    }
}

impl Detach for MaskedConv2d {
    fn detach(&self) -> Self {
        MaskedConv2d {
            weight: self.weight.detach(),
            bias: self.bias.detach(),
            ..self.clone()
        }
    }
}

/// Settings of a convolution of stride 1 between images of the same order.
pub(super) fn same(padding: (usize, usize), activation: Activation, order: Order) -> Settings {
    Settings {
        kind: Kind::Convolution,
        stride: (1, 1),
        padding,
        activation,
        input: order,
        output: order,
    }
}

/// A kernel with a centre.
pub(super) fn odd(op: &'static str, kernel: (usize, usize)) -> Result<()> {
    if kernel.0 % 2 == 1 && kernel.1 % 2 == 1 {
        return Ok(());
    }
    Err(Error::value(
        op,
        "kernel",
        "odd sizes",
        format!("{kernel:?}"),
    ))
}

/// A [`MaskedConv2d`] with parameters `weight` and `bias` from `vb`.
///
/// Initializers: those of [`conv2d`](super::conv2d) for the number of weights in use.
///
/// Errors: a zero channel count, an even kernel; those of `vb`.
pub fn masked_conv2d(
    channels_in: usize,
    channels_out: usize,
    config: &MaskedConv2dConfig,
    vb: VarBuilder,
) -> Result<MaskedConv2d> {
    const OP: &str = "masked_conv2d";
    let counts = [("channels_in", channels_in), ("channels_out", channels_out)];
    check::at_least_one(OP, &counts)?;
    odd(OP, config.kernel)?;
    let (kh, kw) = config.kernel;
    let seen = kh / 2 * kw + kw / 2 + usize::from(config.mask == ConvMask::B);
    // A kernel of one position with mask A sees nothing.
    let terms = (channels_in * seen).max(1) as f64;
    let weight = vb.get_with_hints(
        (channels_out, channels_in, kh, kw),
        "weight",
        initializer::weight_of(terms, config.activation),
    )?;
    let bias = config
        .bias
        .then(|| vb.get_with_hints(channels_out, "bias", initializer::bias(terms)))
        .transpose()?;
    MaskedConv2d::new(weight, bias, config)
}

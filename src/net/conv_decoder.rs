//! From feature vectors to images.

use super::conv::after;
use super::dense::{Dense, dense};
use super::{ConvTranspose2d, ConvTranspose2dConfig, conv_transpose2d};
use crate::check;
use crate::detach::Detach;
use crate::error::{Error, Result};
use crate::kernels::network::activation::Activation;
use crate::kernels::network::conv2d::{self, Order};
use crate::shape;
use candle_core::Tensor;
use candle_nn::{Module, VarBuilder};

/// Options of a [`ConvDecoder`].
#[derive(Debug, Clone, PartialEq)]
pub struct ConvDecoderConfig {
    /// Width of a dense layer at the start, if any.
    pub hidden: Option<usize>,
    /// Input channels of each transposed convolution: those of a [`ConvEncoder`](super::ConvEncoder) from its last to its
    /// first.
    pub channels: Vec<usize>,
    /// Kernel size, both ways.
    pub kernel: usize,
    /// Stride, both ways.
    pub stride: usize,
    /// Padding, on every side.
    pub padding: usize,
    /// After every layer but the last, which has none.
    pub activation: Activation,
}

impl Default for ConvDecoderConfig {
    /// Three transposed convolutions of 4 x 4 that double the image, from 128, 64 and 32 channels, with ReLU and one dense
    /// layer: the mirror of the default encoder.
    fn default() -> Self {
        ConvDecoderConfig {
            hidden: None,
            channels: vec![128, 64, 32],
            kernel: 4,
            stride: 2,
            padding: 1,
            activation: Activation::Relu,
        }
    }
}

/// From feature vectors to images: perhaps a dense layer, a dense layer to a feature map, then transposed convolutions. The
/// mirror of a [`ConvEncoder`](super::ConvEncoder) that keeps all positions.
///
/// The feature map has the size that convolutions of this kernel, stride and padding make of the image; output paddings
/// make up for the rows and columns that they leave unread, so that every size of image is reached.
///
/// Shapes: x `[.., features]` -> `[.., C, H, W]`, with any leading dims, so that decoders take draws `[K, B, features]`. The
/// result is not activated: logits, or whatever the likelihood makes of it.
///
/// Gradients: for x and every parameter.
///
/// Errors: features of another width, dtype or device.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::{Module, VarMap};
/// use candle_prob::Rng;
/// use candle_prob::net::{ConvDecoderConfig, conv_decoder};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = candle_prob::init::seeded(&vars, 0, DType::F32, &Device::Cpu);
/// let config = ConvDecoderConfig { channels: vec![16, 8], ..Default::default() };
/// let decoder = conv_decoder(&config, 20, (1, 28, 28), vb)?;
/// let latents = Rng::new(1).normal((5, 4, 20), DType::F32, &Device::Cpu)?;
/// assert_eq!(decoder.forward(&latents)?.dims(), [5, 4, 1, 28, 28]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: in f32 on the CPU all transposed convolutions are one node of the graph, and between them the images lie
/// channels-last, which saves their transposition.
#[derive(Debug, Clone)]
pub struct ConvDecoder {
    dense: Vec<Dense>,
    layers: Vec<ConvTranspose2d>,
    /// Channels, rows and columns after the dense layers.
    map: (usize, usize, usize),
    image: (usize, usize, usize),
}

/// A [`ConvDecoder`] for images of shape `(C, H, W)`, with parameters `hidden.*`, `map.*` (the dense layers) and `conv0.*`,
/// `conv1.*`, ... from `vb`.
///
/// Errors: no transposed convolution; a zero size; an image that becomes smaller than the kernel on the way back; those of
/// `vb`.
pub fn conv_decoder(
    config: &ConvDecoderConfig,
    features: usize,
    (c, h, w): (usize, usize, usize),
    vb: VarBuilder,
) -> Result<ConvDecoder> {
    const OP: &str = "conv_decoder";
    let ConvDecoderConfig {
        kernel,
        stride,
        padding,
        activation,
        ..
    } = *config;
    let Some(first) = config.channels.first() else {
        let expected = "at least one transposed convolution";
        return Err(Error::value(OP, "channels", expected, "none"));
    };
    let counts = [
        ("features", features),
        ("kernel", kernel),
        ("stride", stride),
        ("image", c.min(h).min(w)),
    ];
    check::at_least_one(OP, &counts)?;
    // Sizes from the image back to the feature map.
    let (mut size, mut unread) = ((h, w), vec![]);
    for i in (0..config.channels.len()).rev() {
        let (Some(rows), Some(columns)) = (
            after(size.0, padding, kernel, stride),
            after(size.1, padding, kernel, stride),
        ) else {
            let expected = format!("at least the kernel's size {kernel} after padding");
            let found = format!("{size:?} after transposed convolution {i}");
            return Err(Error::value(OP, "image", expected, found));
        };
        unread.push((rows.1, columns.1));
        size = (rows.0, columns.0);
    }
    let map = (*first, size.0, size.1);
    let mut widths = vec![features];
    widths.extend(config.hidden);
    widths.push(check::product(OP, "channels", &[map.0, map.1, map.2])?);
    let count = widths.len() - 1;
    let names = &["hidden", "map"][2 - count..];
    let steps = widths.windows(2).zip(names);
    let dense = steps.map(|(w, name)| dense(w[0], w[1], activation, vb.pp(name)));
    let dense = dense.collect::<Result<_>>()?;
    let mut layers = vec![];
    for (i, output_padding) in unread.into_iter().rev().enumerate() {
        let last = i + 1 == config.channels.len();
        let (to, activation) = match last {
            true => (c, Activation::Identity),
            false => (config.channels[i + 1], activation),
        };
        let options = ConvTranspose2dConfig {
            kernel: (kernel, kernel),
            stride: (stride, stride),
            padding: (padding, padding),
            output_padding,
            activation,
            bias: true,
        };
        let vb = vb.pp(format!("conv{i}"));
        layers.push(conv_transpose2d(config.channels[i], to, &options, vb)?);
    }
    Ok(ConvDecoder {
        dense,
        layers,
        map,
        image: (c, h, w),
    })
}

impl ConvDecoder {
    /// The dense layers before the transposed convolutions.
    pub fn dense(&self) -> &[Dense] {
        &self.dense
    }

    /// The transposed convolutions.
    pub fn layers(&self) -> &[ConvTranspose2d] {
        &self.layers
    }

    /// Channels, rows and columns of the feature map that the first transposed convolution takes.
    pub fn map(&self) -> (usize, usize, usize) {
        self.map
    }

    /// Channels, rows and columns of the images.
    pub fn image(&self) -> (usize, usize, usize) {
        self.image
    }

    fn decode(&self, x: &Tensor) -> Result<Tensor> {
        const OP: &str = "ConvDecoder::forward";
        let first = &self.dense[0];
        shape::same_kind(OP, "x", x, first.weight())?;
        let leading = shape::last_dim(OP, "x", x.dims(), first.inputs())?.to_vec();
        let mut y = x.reshape((leading.iter().product::<usize>(), first.inputs()))?;
        for layer in &self.dense {
            y = layer.apply(&y)?;
        }
        let (c, h, w) = self.map;
        let y = y.reshape((y.dim(0)?, c, h, w))?;
        let layers = self.layers.iter().map(ConvTranspose2d::parts).collect();
        let y = conv2d::in_turn(layers, &y, Order::ChannelsFirst)?;
        let (c, h, w) = self.image;
        Ok(y.reshape([leading.as_slice(), &[c, h, w]].concat())?)
    }
}

impl Module for ConvDecoder {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        Ok(self.decode(x)?)
    }
}

impl Detach for ConvDecoder {
    fn detach(&self) -> Self {
        ConvDecoder {
            dense: self.dense.detach(),
            layers: self.layers.detach(),
            ..self.clone()
        }
    }
}

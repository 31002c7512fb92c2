//! An autoencoder of images with two levels of codes.

use super::quantizer::{Quantized, VectorQuantizer, VectorQuantizerConfig, commit};
use super::{
    Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig, ResidualNet, ResidualNetConfig,
    conv_transpose2d, conv2d, residual_net, vector_quantizer,
};
use crate::bijector::Axis;
use crate::check;
use crate::detach::Detach;
use crate::error::{Error, Result};
use crate::kernels::network::activation::Activation;
use crate::rng::Rng;
use crate::shape;
use candle_core::Tensor;
use candle_nn::{Module, ModuleT, VarBuilder};

/// What [`vq_vae2`] builds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VqVae2Config {
    /// Channels, height and width of the images; both sizes are multiples of 4.
    pub image: (usize, usize, usize),
    /// Channels of the raw output: the numbers that a likelihood takes for each pixel.
    pub outputs: usize,
    /// Channels in between.
    pub channels: usize,
    /// Residual blocks of both encoders and of the decoder.
    pub blocks: usize,
    /// Both quantizers; its axis is that of channels.
    pub quantizer: VectorQuantizerConfig,
}

impl Default for VqVae2Config {
    /// Images of one channel and 28 x 28 pixels, 32 channels and one block, 512 codes of 64 numbers.
    fn default() -> Self {
        VqVae2Config {
            image: (1, 28, 28),
            outputs: 1,
            channels: 32,
            blocks: 1,
            quantizer: VectorQuantizerConfig::default(),
        }
    }
}

/// A vector-quantized autoencoder of two levels: the top has a code for each 4 x 4 pixels, the bottom one for each 2 x 2, given
/// the top.
///
/// Formula: `h = E_b(x)`, `e_t = Q_t(E_t(h))`, `c = D_t(e_t)`, `e_b = Q_b(W [h, c])`, `raw = D(e_t, e_b)`, with encoders E and
/// decoders D of convolutions and residual blocks, W linear at each position, and [`VectorQuantizer`]s Q.
///
/// Shapes: x `[N, C, H, W]`, raw `[N, outputs, H, W]`, top indices `[N, H/4, W/4]`, bottom indices `[N, H/2, W/2]`, context
/// `[N, channels, H/2, W/2]`.
///
/// Gradients: of raw to both decoders and, straight through both quantizers, to the encoders; the losses of the codes are those
/// of [`objective::vq`](crate::objective::vq()) for each level.
///
/// State: that of both quantizers, written by [`quantize_t`](Self::quantize_t) and `forward_t` where `train` is true, once the
/// whole pass has succeeded.
///
/// Errors: images of another size, dtype or device, those of [`VectorQuantizer`].
///
/// A prior of the codes is a [`PixelCnn`](super::PixelCnn) of the top indices and one of the bottom indices given the
/// [`context`](Self::context); what they draw [`decode`](Self::decode) turns into images:
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::VarMap;
/// use candle_prob::distribution::Distribution;
/// use candle_prob::net::{PixelCnnConfig, VectorQuantizerConfig, VqVae2Config, pixel_cnn, vq_vae2};
/// use candle_prob::objective::vq;
/// use candle_prob::{Conditional, Rng, init};
/// # fn main() -> candle_prob::Result<()> {
/// let (vars, mut rng) = (VarMap::new(), Rng::new(0));
/// let vb = init::seeded(&vars, 0, DType::F32, &Device::Cpu);
/// let quantizer = VectorQuantizerConfig { codes: 16, dims: 4, ..Default::default() };
/// let config = VqVae2Config { image: (1, 8, 8), channels: 8, quantizer, ..Default::default() };
/// let model = vq_vae2(&config, vb.pp("model"))?;
/// let images = rng.uniform((20, 1, 8, 8), DType::F32, &Device::Cpu)?;
/// model.initialize(&images, &mut rng)?;
/// let found = model.quantize_t(&images, true)?;
/// let off = (&found.raw - &images)?.sqr()?.sum_all()?; // or a likelihood's
/// let [top, bottom] = [&found.top, &found.bottom].map(|level| vq(&level.rows, &level.codes, 0.25));
/// let loss = ((off + top?.total.sum_all()?)? + bottom?.total.sum_all()?)?;
/// loss.backward()?;
///
/// // Once the model is trained and the priors are, on the indices of the images:
/// let prior = PixelCnnConfig { levels: 16, size: (2, 2), blocks: 1, ..Default::default() };
/// let top = pixel_cnn(&prior, vb.pp("top"))?.sample(&[3], &mut rng)?;
/// let prior = PixelCnnConfig { size: (4, 4), context: config.channels, ..prior };
/// let context = model.context(&top)?;
/// let bottom = pixel_cnn(&prior, vb.pp("bottom"))?.given(&context)?.sample(&[], &mut rng)?;
/// assert_eq!(model.decode(&top, &bottom)?.dims(), [3, 1, 8, 8]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Razavi, van den Oord and Vinyals (2019), Generating diverse high-fidelity images with VQ-VAE-2, section 3.1 and
/// algorithm 1.
#[doc(alias = "vqvae")]
#[derive(Debug, Clone)]
pub struct VqVae2 {
    config: VqVae2Config,
    bottom_encoder: Halving,
    top_encoder: Halving,
    to_top: Conv2d,
    to_bottom: Conv2d,
    top: VectorQuantizer,
    bottom: VectorQuantizer,
    top_decoder: ConvTranspose2d,
    upsample: ConvTranspose2d,
    mix: Conv2d,
    refine: ResidualNet,
    to_raw: ConvTranspose2d,
}

/// What a [`VqVae2`] makes of images.
#[derive(Debug, Clone)]
pub struct TwoLevels {
    /// The decoder's raw output, `[N, outputs, H, W]`.
    pub raw: Tensor,
    /// The top level, the coarser one.
    pub top: Quantized,
    /// The bottom level.
    pub bottom: Quantized,
}

/// An encoder to images of half the size.
#[derive(Debug, Clone)]
struct Halving {
    first: Conv2d,
    refine: ResidualNet,
}

impl Halving {
    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        refined(&self.refine, &self.first.forward(x)?)
    }
}

/// The network begins as zero, so this begins as the identity.
fn refined(net: &ResidualNet, x: &Tensor) -> Result<Tensor> {
    Ok((x + net.apply(x)?)?)
}

/// A [`VqVae2`] with the variables of `bottom_encoder`, `top_encoder`, `to_top`, `top`, `top_decoder`, `to_bottom`, `bottom`,
/// `upsample`, `mix`, `refine` and `to_raw`.
///
/// Errors: sizes that are not multiples of 4, no channels or outputs, the axis of features, those of [`vector_quantizer`].
pub fn vq_vae2(config: &VqVae2Config, vb: VarBuilder) -> Result<VqVae2> {
    let op = "net::vq_vae2";
    let ((c, h, w), width) = (config.image, config.channels);
    let counts = [
        ("image", c.min(h).min(w)),
        ("outputs", config.outputs),
        ("channels", width),
    ];
    check::at_least_one(op, &counts)?;
    if h % 4 != 0 || w % 4 != 0 {
        let expected = "height and width that are multiples of 4";
        return Err(Error::value(op, "image", expected, format!("{h} x {w}")));
    }
    let quantizer = config.quantizer;
    if quantizer.axis != Axis::Channel {
        let found = format!("{:?}", quantizer.axis);
        return Err(Error::value(op, "quantizer.axis", "Channel", found));
    }
    let dims = quantizer.dims;
    let joined = check::product(op, "channels", &[2, width])?;
    let mixed = check::product(op, "quantizer.dims", &[2, dims])?;
    let conv = |inputs, outputs, kernel, stride, activation, name: &str| {
        let config = Conv2dConfig {
            kernel: (kernel, kernel),
            stride: (stride, stride),
            padding: ((kernel - 1) / 2, (kernel - 1) / 2),
            activation,
            bias: true,
        };
        conv2d(inputs, outputs, &config, vb.pp(name))
    };
    let doubling = |inputs, outputs, activation, name: &str| {
        let config = ConvTranspose2dConfig {
            activation,
            ..Default::default()
        };
        conv_transpose2d(inputs, outputs, &config, vb.pp(name))
    };
    let refine = |name: &str| {
        let config = ResidualNetConfig {
            inputs: width,
            outputs: width,
            channels: width,
            blocks: config.blocks,
            activation: Activation::Relu,
        };
        residual_net(&config, vb.pp(name))
    };
    let halving = |inputs, name: &str| -> Result<Halving> {
        Ok(Halving {
            first: conv(
                inputs,
                width,
                4,
                2,
                Activation::Relu,
                &format!("{name}.first"),
            )?,
            refine: refine(&format!("{name}.refine"))?,
        })
    };
    let (relu, none) = (Activation::Relu, Activation::Identity);
    let quantizer = |name| vector_quantizer(&quantizer, vb.pp(name)).map_err(|e| e.of(op));
    Ok(VqVae2 {
        top: quantizer("top")?,
        bottom: quantizer("bottom")?,
        bottom_encoder: halving(c, "bottom_encoder")?,
        top_encoder: halving(width, "top_encoder")?,
        to_top: conv(width, dims, 1, 1, none, "to_top")?,
        to_bottom: conv(joined, dims, 1, 1, none, "to_bottom")?,
        top_decoder: doubling(dims, width, relu, "top_decoder")?,
        upsample: doubling(dims, dims, none, "upsample")?,
        mix: conv(mixed, width, 3, 1, relu, "mix")?,
        refine: refine("refine")?,
        to_raw: doubling(width, config.outputs, none, "to_raw")?,
        config: *config,
    })
}

impl VqVae2 {
    /// The config it was built from.
    pub fn config(&self) -> &VqVae2Config {
        &self.config
    }

    /// The quantizer of the top level.
    pub fn top(&self) -> &VectorQuantizer {
        &self.top
    }

    /// The quantizer of the bottom level.
    pub fn bottom(&self) -> &VectorQuantizer {
        &self.bottom
    }

    /// Codes and raw output, without writing.
    pub fn quantize(&self, images: &Tensor) -> Result<TwoLevels> {
        self.quantize_t(images, false)
    }

    /// Codes and raw output, by the codes before this call; in training the state of both levels then moves.
    pub fn quantize_t(&self, images: &Tensor, train: bool) -> Result<TwoLevels> {
        let op = "VqVae2::quantize";
        let [h, z] = self.encode(op, images)?;
        let top = self.top.find(op, &self.top.rows(op, &z)?)?;
        let z = self.join(&h, &top.output)?;
        let bottom = self.bottom.find(op, &self.bottom.rows(op, &z)?)?;
        let raw = self.raw(&top.output, &bottom.output)?;
        if train {
            let mut writes = self.top.moved(op, &top)?;
            writes.extend(self.bottom.moved(op, &bottom)?);
            commit(op, &writes)?;
        }
        Ok(TwoLevels { raw, top, bottom })
    }

    /// The raw output for the codes of these numbers.
    ///
    /// Errors: those of [`VectorQuantizer::decode`], shapes that are not `[N, H/4, W/4]` and `[N, H/2, W/2]`.
    pub fn decode(&self, top: &Tensor, bottom: &Tensor) -> Result<Tensor> {
        let op = "VqVae2::decode";
        let (_, h, w) = self.config.image;
        let top_codes = self.codes(op, top)?;
        shape::exactly(op, "bottom", bottom.dims(), &[top.dims()[0], h / 2, w / 2])?;
        let bottom = self.bottom.decode(bottom).map_err(|e| e.of(op))?;
        self.raw(&top_codes, &bottom)
    }

    /// What the bottom level knows of the top one: the context of a prior of the bottom codes.
    ///
    /// Errors: as for [`decode`](Self::decode).
    pub fn context(&self, top: &Tensor) -> Result<Tensor> {
        let codes = self.codes("VqVae2::context", top)?;
        Ok(self.top_decoder.forward(&codes)?)
    }

    /// [`VectorQuantizer::initialize`] for the top level and then for the bottom one, which sees the top. Whether one was
    /// initialized.
    pub fn initialize(&self, images: &Tensor, rng: &mut Rng) -> Result<bool> {
        let mut any = false;
        self.each("VqVae2::initialize", images, |level, z| {
            any |= level.initialize(z, rng)?;
            Ok(())
        })?;
        Ok(any)
    }

    /// [`VectorQuantizer::revive`] for both levels: how many codes.
    pub fn revive(&self, images: &Tensor, threshold: f64, rng: &mut Rng) -> Result<usize> {
        let mut count = 0;
        self.each("VqVae2::revive", images, |level, z| {
            count += level.revive(z, threshold, rng)?;
            Ok(())
        })?;
        Ok(count)
    }

    /// Calls `f` with each level and what it quantizes, the bottom one's after the call for the top.
    fn each(
        &self,
        op: &'static str,
        images: &Tensor,
        mut f: impl FnMut(&VectorQuantizer, &Tensor) -> Result<()>,
    ) -> Result<()> {
        let [h, z] = self.encode(op, images)?;
        let top = f(&self.top, &z).and_then(|()| self.top.quantize(&z));
        let z = self.join(&h, &top.map_err(|e| e.of(op))?.output)?;
        f(&self.bottom, &z).map_err(|e| e.of(op))
    }

    /// Features of both levels, those of the top as they are quantized.
    fn encode(&self, op: &'static str, images: &Tensor) -> Result<[Tensor; 2]> {
        let (c, h, w) = self.config.image;
        shape::same_kind(op, "images", images, self.to_top.weight())?;
        if images.rank() != 4 || images.dims()[1..] != [c, h, w] {
            let expected = format!("[N, {c}, {h}, {w}]");
            return Err(Error::shape(op, "images", expected, images.dims()));
        }
        let bottom = self.bottom_encoder.apply(images)?;
        let top = self.to_top.forward(&self.top_encoder.apply(&bottom)?)?;
        Ok([bottom, top])
    }

    /// What the bottom level quantizes.
    fn join(&self, features: &Tensor, top: &Tensor) -> Result<Tensor> {
        let context = self.top_decoder.forward(top)?;
        let both = Tensor::cat(&[features, &context], 1)?;
        Ok(self.to_bottom.forward(&both)?)
    }

    fn raw(&self, top: &Tensor, bottom: &Tensor) -> Result<Tensor> {
        let both = Tensor::cat(&[&self.upsample.forward(top)?, bottom], 1)?;
        let h = refined(&self.refine, &self.mix.forward(&both)?)?;
        Ok(self.to_raw.forward(&h)?)
    }

    /// The vectors of top codes.
    fn codes(&self, op: &'static str, top: &Tensor) -> Result<Tensor> {
        let (_, h, w) = self.config.image;
        let [n, _, _] = shape::dims(op, "top", top.dims(), "[N, H/4, W/4]")?;
        shape::exactly(op, "top", top.dims(), &[n, h / 4, w / 4])?;
        self.top.decode(top).map_err(|e| e.of(op))
    }
}

impl ModuleT for VqVae2 {
    /// The raw output of [`quantize_t`](VqVae2::quantize_t).
    fn forward_t(&self, images: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        Ok(self.quantize_t(images, train)?.raw)
    }
}

impl Detach for Halving {
    fn detach(&self) -> Self {
        Halving {
            first: self.first.detach(),
            refine: self.refine.detach(),
        }
    }
}

impl Detach for VqVae2 {
    fn detach(&self) -> Self {
        VqVae2 {
            config: self.config,
            bottom_encoder: self.bottom_encoder.detach(),
            top_encoder: self.top_encoder.detach(),
            to_top: self.to_top.detach(),
            to_bottom: self.to_bottom.detach(),
            top: self.top.detach(),
            bottom: self.bottom.detach(),
            top_decoder: self.top_decoder.detach(),
            upsample: self.upsample.detach(),
            mix: self.mix.detach(),
            refine: self.refine.detach(),
            to_raw: self.to_raw.detach(),
        }
    }
}

//! From images to scores.

use super::held::Held;
use super::pass::{Images, Part, run};
use super::{DcganConfig, DiscriminatorNorm, KERNEL, PADDING, SLOPE, STRIDE, gains, weights};
use crate::check;
use crate::detach::Detach;
use crate::dual::{Dual, DualModule};
use crate::error::{Error, Result};
use crate::kernels::network::activation::Activation;
use crate::kernels::network::conv2d::Order;
use crate::net::batch_norm::{BatchNorm, BatchNormConfig, initialized};
use crate::net::conv::{Conv2d, Conv2dConfig};
use crate::net::dense::Dense;
use crate::net::spectral_norm::SpectralNormConfig;
use crate::shape;
use candle_core::{D, ModuleT, Tensor};
use candle_nn::{Init, VarBuilder};

/// DCGAN's discriminator, or a critic: convolutions that halve the image, with batch normalization in all but the first and
/// LeakyReLU of slope 0.2, then a dense layer to one score.
///
/// Shapes: images `[N, C, H, W]` -> scores `[N]`. Scores are raw, any number: there is no sigmoid, which the losses
/// of [`objective`](crate::objective) have in them.
///
/// Gradients: for images and parameters; in training through the moments of the batch. The generator's step needs none for the
/// discriminator's parameters: with `discriminator.detach()` they are not computed.
///
/// Errors: images of another shape, dtype or device; in training those of [`BatchNorm`].
///
/// Training: score real and generated images each in a batch of its own, `forward_t(x, true)`, which normalizes by the batch and
/// writes the running moments.
///
/// Example: that of [`DcganGenerator`](super::DcganGenerator).
///
/// Numerics: the dense layer reads the last map in the order (row, column, channel), as the convolutions write it.
///
/// Source: Radford, Metz and Chintala (2016), Unsupervised representation learning with deep convolutional generative adversarial
/// networks, section 3.
#[derive(Debug, Clone)]
pub struct DcganDiscriminator {
    layers: Vec<Held<Conv2d>>,
    /// After the convolutions behind the first, if there are any.
    norms: Vec<BatchNorm>,
    score: Held<Dense>,
    image: (usize, usize, usize),
}

/// A [`DcganDiscriminator`] with parameters `conv0.weight`, `conv0.bias`, `conv1.weight`, `norm1.*`, ..., `score.weight` and
/// `score.bias` from `vb`; without batch normalization every convolution has a bias. With spectral norms each layer has the buffers
/// `u` and `v` too.
///
/// Initializers: weights normal with mean 0 and standard deviation 0.02, gains with mean 1, biases 0.
///
/// Errors: no channels, a zero size, rows or columns of the image that cannot be halved that often; those of `vb`.
pub fn dcgan_discriminator(config: &DcganConfig, vb: VarBuilder) -> Result<DcganDiscriminator> {
    const OP: &str = "dcgan_discriminator";
    let (rows, columns) = config.smallest(OP)?;
    let width = check::product(OP, "channels", &[config.channels[0], rows, columns])?;
    let leaky = Activation::LeakyRelu(SLOPE);
    let spectral = match config.norm {
        DiscriminatorNorm::Spectral(config) => Some(config),
        _ => None,
    };
    let (mut layers, mut norms) = (vec![], vec![]);
    let (_, mut h, mut w) = config.image;
    let mut from = config.image.0;
    for (i, &to) in config.channels.iter().rev().enumerate() {
        let normalized = i > 0 && config.norm == DiscriminatorNorm::Batch;
        let part = vb.pp(format!("conv{i}"));
        let (kh, kw) = KERNEL;
        let weight = part.get_with_hints((to, from, kh, kw), "weight", weights())?;
        let (bias, activation) = match normalized {
            true => (None, Activation::Identity),
            false => {
                let bias = part.get_with_hints(to, "bias", Init::Const(0.))?;
                (Some(bias), leaky)
            }
        };
        let options = Conv2dConfig {
            kernel: KERNEL,
            stride: STRIDE,
            padding: PADDING,
            activation,
            bias: bias.is_some(),
        };
        let layer = Conv2d::new(weight, bias, &options)?;
        let held = spectral.map(|config| SpectralNormConfig {
            image: config.image.map(|_| (h, w)),
            ..config
        });
        layers.push(Held::new(layer, held.as_ref(), part)?);
        (h, w) = (h / STRIDE.0, w / STRIDE.1);
        if normalized {
            let options = BatchNormConfig {
                activation: leaky,
                ..Default::default()
            };
            norms.push(initialized(
                to,
                &options,
                gains(),
                vb.pp(format!("norm{i}")),
            )?);
        }
        from = to;
    }
    let part = vb.pp("score");
    let weight = part.get_with_hints((1, width), "weight", weights())?;
    let bias = part.get_with_hints(1, "bias", Init::Const(0.))?;
    let score = Dense::new(weight, Some(bias), Activation::Identity)?;
    let held = spectral.map(|config| SpectralNormConfig {
        image: None,
        ..config
    });
    Ok(DcganDiscriminator {
        layers,
        norms,
        score: Held::new(score, held.as_ref(), part)?,
        image: config.image,
    })
}

impl DcganDiscriminator {
    /// Channels, rows and columns of the images.
    pub fn image(&self) -> (usize, usize, usize) {
        self.image
    }

    /// The convolutions, with their weights as the optimizer has them.
    pub fn layers(&self) -> Vec<&Conv2d> {
        self.layers.iter().map(Held::layer).collect()
    }

    /// The batch normalizations, one behind each convolution but the first, or none.
    pub fn norms(&self) -> &[BatchNorm] {
        &self.norms
    }

    /// The dense layer at the end, with its weight as the optimizer has it.
    pub fn score(&self) -> &Dense {
        self.score.layer()
    }

    /// How far apart two scores can be for images of distance 1, with spectral norms; `None` without them. The product over the
    /// layers of [`SpectralNorm::lipschitz`](crate::net::SpectralNorm::lipschitz).
    pub fn lipschitz(&self) -> Option<f64> {
        let layers = self.layers.iter().map(Held::lipschitz);
        layers.chain([self.score.lipschitz()]).product()
    }

    /// After a step of the optimizer: [`SpectralNorm::project`](crate::net::SpectralNorm::project) of every layer where spectral norms
    /// are held by projection, nothing elsewhere.
    ///
    /// Errors: a network that was built on constants.
    pub fn project(&self) -> Result<()> {
        self.layers.iter().try_for_each(Held::project)?;
        self.score.project()
    }

    /// The number of images.
    fn check(&self, op: &'static str, x: &Tensor) -> Result<usize> {
        shape::same_kind(op, "x", x, self.score().weight())?;
        let (c, h, w) = self.image;
        let [n, ..] = shape::dims::<4>(op, "x", x.dims(), &format!("[N, {c}, {h}, {w}]"))?;
        shape::exactly(op, "x", x.dims(), &[n, c, h, w])?;
        Ok(n)
    }

    fn scores(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        const OP: &str = "DcganDiscriminator::forward_t";
        let n = self.check(OP, x)?;
        let (c, h, w) = self.image;
        let passes = self.layers.iter().map(|layer| layer.pass(train));
        let passes = passes.collect::<Result<Vec<_>>>()?;
        let (layers, states): (Vec<_>, Vec<_>) = passes.into_iter().unzip();
        let (score, state) = self.score.pass(train)?;
        let mut parts = vec![];
        for (i, layer) in layers.iter().enumerate() {
            parts.push(Part::Convolution(layer.parts()));
            let norm = i.checked_sub(1).and_then(|i| self.norms.get(i));
            parts.extend(norm.map(Part::Norm));
        }
        let images = Images {
            dims: [n, c, h, w],
            orders: [Order::ChannelsFirst, Order::ChannelsLast],
            flat: true,
        };
        let y = run(OP, x, images, &parts, train)?;
        let y = score.apply(&y)?.reshape(n)?;
        for (layer, state) in self.layers.iter().zip(states) {
            layer.write(state)?;
        }
        self.score.write(state)?;
        Ok(y)
    }
}

impl ModuleT for DcganDiscriminator {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        Ok(self.scores(x, train)?)
    }
}

impl DualModule for DcganDiscriminator {
    /// As `forward_t` with `train` false; what gradient penalties ask for.
    ///
    /// Errors: those of `forward_t`; batch normalization, with which the gradient of a score is in training not one of its own
    /// image alone.
    fn forward_dual(&self, x: &Dual) -> Result<Dual> {
        const OP: &str = "DcganDiscriminator::forward_dual";
        if !self.norms.is_empty() {
            let expected = "spectral norms or none: with batch normalization an image's score depends on the others";
            return Err(Error::value(OP, "norm", expected, "batch normalization"));
        }
        self.check(OP, x.value())?;
        let mut y = x.clone();
        for layer in &self.layers {
            y = layer.pass(false)?.0.forward_dual(&y)?;
        }
        // To the order (row, column, channel).
        let rows = y.linear(|t| {
            let first = t.rank() - 3;
            let t = t
                .transpose(first, first + 1)?
                .transpose(first + 1, first + 2)?;
            Ok(t.flatten_from(first)?)
        })?;
        let scores = self.score.pass(false)?.0.forward_dual(&rows)?;
        scores.linear(|t| Ok(t.squeeze(D::Minus1)?))
    }
}

impl Detach for DcganDiscriminator {
    /// Without gradients to the parameters. The running moments are the same buffers.
    fn detach(&self) -> Self {
        DcganDiscriminator {
            layers: self.layers.detach(),
            norms: self.norms.detach(),
            score: self.score.detach(),
            ..self.clone()
        }
    }
}

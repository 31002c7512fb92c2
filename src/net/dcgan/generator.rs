//! From latents to images.

use super::pass::{Images, Part, run};
use super::{DcganConfig, KERNEL, PADDING, STRIDE, gains, weights};
use crate::check;
use crate::detach::Detach;
use crate::error::Result;
use crate::kernels::network::activation::Activation;
use crate::kernels::network::conv2d::Order;
use crate::net::batch_norm::{BatchNorm, BatchNormConfig, initialized};
use crate::net::conv_transpose::{ConvTranspose2d, ConvTranspose2dConfig};
use crate::net::dense::Dense;
use crate::shape;
use candle_core::{ModuleT, Tensor};
use candle_nn::{Init, VarBuilder};

/// DCGAN's generator: a dense layer to a small map, then transposed convolutions that double it, with batch normalization and
/// ReLU before each.
///
/// Shapes: latents `[N, latents]` -> images `[N, C, H, W]`.
///
/// Gradients: for latents and parameters; in training through the moments of the batch. Errors: latents of another shape, dtype or
/// device; in training those of [`BatchNorm`].
///
/// Training: `forward_t(z, true)` normalizes by the batch and writes the running moments, `false` (for the images to show) by the
/// running ones.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::{ModuleT, VarMap};
/// use candle_prob::net::{DcganConfig, dcgan_discriminator, dcgan_generator};
/// use candle_prob::{Rng, init};
/// # fn main() -> candle_prob::Result<()> {
/// let config = DcganConfig { image: (3, 32, 32), channels: vec![16, 8], ..Default::default() };
/// let (generator_vars, critic_vars) = (VarMap::new(), VarMap::new());
/// let vb = init::seeded(&generator_vars, 0, DType::F32, &Device::Cpu);
/// let generator = dcgan_generator(&config, vb)?;
/// let vb = init::seeded(&critic_vars, 1, DType::F32, &Device::Cpu);
/// let critic = dcgan_discriminator(&config, vb)?;
/// let latents = Rng::new(2).normal((4, 64), DType::F32, &Device::Cpu)?;
/// let images = generator.forward_t(&latents, true)?;
/// assert_eq!(images.dims(), [4, 3, 32, 32]);
/// assert_eq!(critic.forward_t(&images, true)?.dims(), [4]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: the dense layer is what a transposed convolution of one pixel is; it writes its map in the order (row, column,
/// channel), as the convolutions read it.
///
/// Source: Radford, Metz and Chintala (2016), Unsupervised representation learning with deep convolutional generative adversarial
/// networks, section 3.
#[derive(Debug, Clone)]
pub struct DcganGenerator {
    dense: Dense,
    /// One before each transposed convolution.
    norms: Vec<BatchNorm>,
    layers: Vec<ConvTranspose2d>,
    /// Channels, rows and columns of the dense layer's map.
    map: (usize, usize, usize),
    image: (usize, usize, usize),
}

/// A [`DcganGenerator`] with parameters `map.weight`, `norm0.*`, `conv0.weight`, `norm1.*`, ... and the last convolution's
/// bias from `vb`.
///
/// Initializers: weights normal with mean 0 and standard deviation 0.02, gains with mean 1, biases 0. What is followed by batch
/// normalization has no bias, which the mean would take away.
///
/// Errors: no channels, a zero size, rows or columns of the image that cannot be halved that often; those of `vb`.
pub fn dcgan_generator(config: &DcganConfig, vb: VarBuilder) -> Result<DcganGenerator> {
    const OP: &str = "dcgan_generator";
    let (rows, columns) = config.smallest(OP)?;
    let map = (config.channels[0], rows, columns);
    let width = check::product(OP, "channels", &[map.0, rows, columns])?;
    let weight = vb.get_with_hints((width, config.latents), "map.weight", weights())?;
    let dense = Dense::new(weight, None, Activation::Identity)?;
    let options = BatchNormConfig {
        activation: Activation::Relu,
        ..Default::default()
    };
    let (mut norms, mut layers) = (vec![], vec![]);
    for (i, &from) in config.channels.iter().enumerate() {
        norms.push(initialized(
            from,
            &options,
            gains(),
            vb.pp(format!("norm{i}")),
        )?);
        let next = config.channels.get(i + 1);
        let vb = vb.pp(format!("conv{i}"));
        let (kh, kw) = KERNEL;
        let to = next.copied().unwrap_or(config.image.0);
        let weight = vb.get_with_hints((from, to, kh, kw), "weight", weights())?;
        let (bias, activation) = match next {
            Some(_) => (None, Activation::Identity),
            None => {
                let bias = vb.get_with_hints(to, "bias", Init::Const(0.))?;
                (Some(bias), config.output)
            }
        };
        let options = ConvTranspose2dConfig {
            kernel: KERNEL,
            stride: STRIDE,
            padding: PADDING,
            output_padding: (0, 0),
            activation,
            bias: bias.is_some(),
        };
        layers.push(ConvTranspose2d::new(weight, bias, &options)?);
    }
    Ok(DcganGenerator {
        dense,
        norms,
        layers,
        map,
        image: config.image,
    })
}

impl DcganGenerator {
    /// The size of a latent vector.
    pub fn latents(&self) -> usize {
        self.dense.inputs()
    }

    /// Channels, rows and columns of the images.
    pub fn image(&self) -> (usize, usize, usize) {
        self.image
    }

    /// The dense layer to the first map.
    pub fn dense(&self) -> &Dense {
        &self.dense
    }

    /// The batch normalizations, one before each transposed convolution.
    pub fn norms(&self) -> &[BatchNorm] {
        &self.norms
    }

    /// The transposed convolutions.
    pub fn layers(&self) -> &[ConvTranspose2d] {
        &self.layers
    }

    fn generate(&self, z: &Tensor, train: bool) -> Result<Tensor> {
        const OP: &str = "DcganGenerator::forward_t";
        shape::same_kind(OP, "z", z, self.dense.weight())?;
        let [n, _] = shape::dims(OP, "z", z.dims(), &format!("[N, {}]", self.latents()))?;
        shape::last_dim(OP, "z", z.dims(), self.latents())?;
        let (c, h, w) = self.map;
        let pairs = self.norms.iter().zip(&self.layers);
        let parts = pairs.flat_map(|(n, l)| [Part::Norm(n), Part::Convolution(l.parts())]);
        let images = Images {
            dims: [n, h, w, c],
            orders: [Order::ChannelsLast, Order::ChannelsFirst],
            flat: false,
        };
        let y = self.dense.apply(z)?;
        run(OP, &y, images, &parts.collect::<Vec<_>>(), train)
    }
}

impl ModuleT for DcganGenerator {
    fn forward_t(&self, z: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        Ok(self.generate(z, train)?)
    }
}

impl Detach for DcganGenerator {
    /// Without gradients to the parameters. The running moments are the same buffers.
    fn detach(&self) -> Self {
        DcganGenerator {
            dense: self.dense.detach(),
            norms: self.norms.detach(),
            layers: self.layers.detach(),
            ..self.clone()
        }
    }
}

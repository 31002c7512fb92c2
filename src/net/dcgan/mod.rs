//! The networks of DCGAN: a generator and a discriminator of images.

mod discriminator;
mod generator;
mod held;
mod pass;

pub use discriminator::{DcganDiscriminator, dcgan_discriminator};
pub use generator::{DcganGenerator, dcgan_generator};

use crate::check;
use crate::error::{Error, Result};
use crate::kernels::network::activation::Activation;
use crate::net::spectral_norm::SpectralNormConfig;
use candle_nn::Init;

/// What keeps the layers of a discriminator in bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiscriminatorNorm {
    /// Batch normalization after every convolution but the first.
    Batch,
    /// A spectral norm of 1 of every layer, the dense one too: a Lipschitz critic for Wasserstein distances. With an
    /// [`image`](SpectralNormConfig::image), whatever size it says, that of each convolution on the images that it takes.
    Spectral(SpectralNormConfig),
    /// Nothing.
    None,
}

/// Sizes and options of a [`DcganGenerator`] and a [`DcganDiscriminator`].
#[derive(Debug, Clone, PartialEq)]
pub struct DcganConfig {
    /// Channels, rows and columns of the images. Every convolution halves rows and columns and every transposed one doubles
    /// them: both are multiples of 2 to the number of `channels`.
    pub image: (usize, usize, usize),
    /// The size of the generator's argument.
    pub latents: usize,
    /// Channels of the maps, from the smallest map, which is the generator's first and the discriminator's last.
    pub channels: Vec<usize>,
    /// After the generator's last layer. With [`Tanh`](Activation::Tanh) its images, and so those of the data, have pixels
    /// in [-1, 1].
    pub output: Activation,
    /// In the discriminator.
    pub norm: DiscriminatorNorm,
}

impl Default for DcganConfig {
    /// Images of 28 x 28 with one channel out of 64 latents, by way of 128 maps of 7 x 7 and 64 of 14 x 14.
    fn default() -> Self {
        DcganConfig {
            image: (1, 28, 28),
            latents: 64,
            channels: vec![128, 64],
            output: Activation::Tanh,
            norm: DiscriminatorNorm::Batch,
        }
    }
}

/// Radford, Metz and Chintala (2016), section 4.
const STDEV: f64 = 0.02;

/// The slope of the discriminator's activations on the left.
const SLOPE: f64 = 0.2;

/// Kernels are 4 x 4, strides 2, paddings 1.
const KERNEL: (usize, usize) = (4, 4);
const STRIDE: (usize, usize) = (2, 2);
const PADDING: (usize, usize) = (1, 1);

fn weights() -> Init {
    let (mean, stdev) = (0., STDEV);
    Init::Randn { mean, stdev }
}

fn gains() -> Init {
    let (mean, stdev) = (1., STDEV);
    Init::Randn { mean, stdev }
}

impl DcganConfig {
    /// The rows and columns of the smallest map.
    fn smallest(&self, op: &'static str) -> Result<(usize, usize)> {
        let (c, h, w) = self.image;
        let least = self.channels.iter().copied().min().unwrap_or(0);
        let counts = [
            ("image", c.min(h).min(w)),
            ("latents", self.latents),
            ("channels", least),
        ];
        check::at_least_one(op, &counts)?;
        let halvings = self.channels.len();
        let power = u32::try_from(halvings).ok();
        let unit = power.and_then(|power| 2usize.checked_pow(power));
        match unit {
            Some(unit) if h % unit == 0 && w % unit == 0 => Ok((h / unit, w / unit)),
            _ => Err(Error::value(
                op,
                "image",
                format!("rows and columns that can be halved {halvings} times"),
                format!("{h} x {w}"),
            )),
        }
    }
}

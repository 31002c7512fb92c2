//! Autoencoders of which each image is a grid of codes (VQ-VAE), or a coarse grid and a fine one (VQ-VAE-2), and an
//! autoregressive prior of the grids, from which images are drawn.

use crate::any::AnyLikelihood;
use crate::config::{Arguments, Kind};
use crate::data::{Batch, Data};
use crate::model::{Objective, Parts};
use candle_core::{D, Module, Tensor};
use candle_nn::VarBuilder;
use candle_prob::distribution::Distribution;
use candle_prob::net::{
    Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig, PixelCnn, PixelCnnConfig,
    Quantized, VectorQuantizer, VectorQuantizerConfig, conv_transpose2d, conv2d, pixel_cnn,
    vector_quantizer,
};
use candle_prob::objective::vq;
use candle_prob::{Activation, Conditional, Result, Rng};

/// Channels between the layers.
const CHANNELS: usize = 32;
/// Numbers of a code.
const DIMS: usize = 16;
/// Images that codes begin from.
const BEGIN: usize = 256;
/// Weight of the commitment.
const COMMITMENT: f64 = 0.25;

/// Halvings of an image on the way to its grid: down to a few pixels.
fn halvings([_, height, width]: [usize; 3]) -> usize {
    if height.min(width) < 16 { 1 } else { 2 }
}

/// Codes of an image in the fine grid.
pub fn cells(image: [usize; 3]) -> usize {
    let shift = halvings(image);
    (image[1] >> shift) * (image[2] >> shift)
}

pub struct Grid {
    encoder: Vec<Conv2d>,
    /// From the features of the fine grid to its vectors; of two grids, beside what the coarse one decodes to.
    fine: Conv2d,
    quantizer: VectorQuantizer,
    coarse: Option<Coarse>,
    decoder: Vec<ConvTranspose2d>,
    likelihood: Box<dyn AnyLikelihood>,
    image: [usize; 3],
}

/// The grid of half the size, in front of the fine one.
struct Coarse {
    down: Conv2d,
    vectors: Conv2d,
    quantizer: VectorQuantizer,
    up: ConvTranspose2d,
}

/// The codes of images.
pub struct Codes {
    fine: Quantized,
    coarse: Option<Quantized>,
}

impl Grid {
    pub fn new(kind: Kind, arguments: &Arguments, data: &Data, vb: VarBuilder) -> Result<Self> {
        let image = data.split.image();
        // Of each size the next is half, rounded down.
        let mut sizes = vec![[image[1], image[2]]];
        for _ in 0..halvings(image) {
            sizes.push(sizes[sizes.len() - 1].map(|n| n / 2));
        }
        let half = Conv2dConfig {
            kernel: (4, 4),
            stride: (2, 2),
            activation: Activation::Relu,
            ..Conv2dConfig::default()
        };
        let same = Conv2dConfig {
            activation: Activation::Relu,
            ..Conv2dConfig::default()
        };
        let point = Conv2dConfig {
            kernel: (1, 1),
            padding: (0, 0),
            ..Conv2dConfig::default()
        };
        let quantizer = |name: &str| {
            let config = VectorQuantizerConfig {
                codes: arguments.codes(),
                dims: DIMS,
                ..VectorQuantizerConfig::default()
            };
            vector_quantizer(&config, vb.pp(name))
        };
        let double = |from: [usize; 2], to: [usize; 2], activation| ConvTranspose2dConfig {
            output_padding: (to[0] - 2 * from[0], to[1] - 2 * from[1]),
            activation,
            ..ConvTranspose2dConfig::default()
        };
        let (mut encoder, mut channels) = (vec![], 1);
        for k in 1..sizes.len() {
            let vb = vb.pp("encoder").pp(k);
            encoder.push(conv2d(channels, CHANNELS, &half, vb)?);
            channels = CHANNELS;
        }
        encoder.push(conv2d(channels, CHANNELS, &same, vb.pp("encoder").pp(0))?);
        let size = sizes[sizes.len() - 1];
        let coarse = match kind {
            Kind::Vq2 => {
                let vb = vb.pp("coarse");
                let up = double(size.map(|n| n / 2), size, Activation::Identity);
                Some(Coarse {
                    down: conv2d(CHANNELS, CHANNELS, &half, vb.pp("down"))?,
                    vectors: conv2d(CHANNELS, DIMS, &point, vb.pp("vectors"))?,
                    quantizer: quantizer("coarse_codes")?,
                    up: conv_transpose2d(DIMS, DIMS, &up, vb.pp("up"))?,
                })
            }
            _ => None,
        };
        let beside = if coarse.is_some() { DIMS } else { 0 };
        let likelihood = data.likelihood(vb.pp("likelihood"))?;
        let first = ConvTranspose2dConfig {
            kernel: (3, 3),
            stride: (1, 1),
            activation: Activation::Relu,
            ..ConvTranspose2dConfig::default()
        };
        let vb_decoder = vb.pp("decoder");
        let mut decoder = vec![conv_transpose2d(
            DIMS + beside,
            CHANNELS,
            &first,
            vb_decoder.pp(0),
        )?];
        for k in (1..sizes.len()).rev() {
            let (outputs, activation) = match k {
                1 => (likelihood.numbers(), Activation::Identity),
                _ => (CHANNELS, Activation::Relu),
            };
            let config = double(sizes[k], sizes[k - 1], activation);
            decoder.push(conv_transpose2d(
                CHANNELS,
                outputs,
                &config,
                vb_decoder.pp(k),
            )?);
        }
        Ok(Grid {
            encoder,
            fine: conv2d(CHANNELS + beside, DIMS, &point, vb.pp("vectors"))?,
            quantizer: quantizer("codes")?,
            coarse,
            decoder,
            likelihood,
            image,
        })
    }

    /// The codes of images, looked up by `quantize`: the coarse grid first, which the fine one completes.
    fn codes(
        &self,
        input: &Tensor,
        quantize: &mut dyn FnMut(&VectorQuantizer, &Tensor) -> Result<Quantized>,
    ) -> Result<Codes> {
        let [channels, height, width] = self.image;
        let mut x = input.reshape((input.dim(0)?, channels, height, width))?;
        for layer in &self.encoder {
            x = layer.forward(&x)?;
        }
        let mut found = None;
        if let Some(coarse) = &self.coarse {
            let z = coarse.vectors.forward(&coarse.down.forward(&x)?)?;
            let codes = quantize(&coarse.quantizer, &z)?;
            x = Tensor::cat(&[&x, &coarse.up.forward(&codes.output)?], 1)?;
            found = Some(codes);
        }
        Ok(Codes {
            fine: quantize(&self.quantizer, &self.fine.forward(&x)?)?,
            coarse: found,
        })
    }

    /// What the decoder makes of both grids' vectors, for the likelihood.
    fn decode(&self, fine: &Tensor, coarse: Option<&Tensor>) -> Result<Tensor> {
        let mut x = match (&self.coarse, coarse) {
            (Some(layers), Some(coarse)) => Tensor::cat(&[fine, &layers.up.forward(coarse)?], 1)?,
            _ => fine.clone(),
        };
        for layer in &self.decoder {
            x = layer.forward(&x)?;
        }
        Ok(x.flatten_from(1)?)
    }

    fn raw(&self, codes: &Codes) -> Result<Tensor> {
        let coarse = codes.coarse.as_ref().map(|codes| &codes.output);
        self.decode(&codes.fine.output, coarse)
    }

    /// The mean pixels of images after quantization.
    pub fn reconstruct(&self, input: &Tensor) -> Result<Tensor> {
        let codes = self.codes(input, &mut |q, z| q.quantize(z))?;
        self.likelihood.means(&self.raw(&codes)?)
    }

    /// The fine grid's codes, and the coarse one's, with what found them.
    fn levels<'a>(
        &'a self,
        codes: &'a Codes,
    ) -> impl Iterator<Item = (&'a VectorQuantizer, &'a Quantized)> {
        let coarse = self.coarse.iter().map(|coarse| &coarse.quantizer);
        [(&self.quantizer, &codes.fine)]
            .into_iter()
            .chain(coarse.zip(&codes.coarse))
    }

    fn distortion(&self, codes: &Codes, target: &Tensor) -> Result<Tensor> {
        let pixels = self.likelihood.pixels(&self.raw(codes)?)?;
        Ok(pixels.log_prob(target)?.neg()?)
    }
}

impl Objective for Grid {
    /// `-ln p(x | codes)` and what pulls vectors and codes together. The rate is that of codes that are equally likely.
    fn objective(&self, batch: &Batch, train: bool, _: &mut Rng) -> Result<Parts> {
        let codes = self.codes(&batch.input, &mut |q, z| q.quantize(z))?;
        let distortion = self.distortion(&codes, &batch.target)?;
        let (mut total, mut count) = (distortion.clone(), 0);
        for (_, grid) in self.levels(&codes) {
            let pull = vq(&grid.rows, &grid.codes, COMMITMENT)?.total;
            let pull = pull.flatten_from(1)?;
            count += pull.dim(1)?;
            total = (total + pull.sum(D::Minus1)?)?;
        }
        // Codes move once the whole pass has succeeded.
        for (quantizer, grid) in self.levels(&codes).filter(|_| train) {
            let z = grid.rows.detach().permute((0, 3, 1, 2))?;
            quantizer.quantize_t(&z, train)?;
        }
        let rate = count as f64 * (self.quantizer.config().codes as f64).ln();
        Ok(Parts {
            total,
            rate: distortion.ones_like()?.affine(rate, 0.)?,
            distortion,
        })
    }

    /// Codes begin among the vectors of data; those that nothing chooses begin again.
    fn begin_epoch(&self, order: &[usize], data: &Data, rng: &mut Rng) -> Result<()> {
        let batch = data.batch(&order[..BEGIN.min(order.len())], rng)?;
        let begin = &mut |quantizer: &VectorQuantizer, z: &Tensor| {
            if !quantizer.initialize(z, rng)? {
                quantizer.revive(z, 0.1, rng)?;
            }
            quantizer.quantize(z)
        };
        self.codes(&batch.input, begin).map(|_| ())
    }
}

/// The prior of the codes: of the coarse grid, and of the fine one given what the coarse one decodes to.
pub struct GridPrior {
    fine: PixelCnn,
    coarse: Option<PixelCnn>,
}

impl GridPrior {
    pub fn new(grid: &Grid, vb: VarBuilder) -> Result<Self> {
        let [_, mut height, mut width] = grid.image;
        for _ in 1..grid.encoder.len() {
            (height, width) = (height / 2, width / 2);
        }
        let config = PixelCnnConfig {
            levels: grid.quantizer.config().codes,
            size: (height, width),
            blocks: 3,
            first_kernel: 5,
            context: if grid.coarse.is_some() { DIMS } else { 0 },
            ..PixelCnnConfig::default()
        };
        let coarse = PixelCnnConfig {
            size: (height / 2, width / 2),
            context: 0,
            ..config
        };
        Ok(GridPrior {
            fine: pixel_cnn(&config, vb.pp("fine"))?,
            coarse: match &grid.coarse {
                Some(_) => Some(pixel_cnn(&coarse, vb.pp("coarse"))?),
                None => None,
            },
        })
    }

    /// The mean pixels of images that are drawn.
    pub fn sample(&self, grid: &Grid, count: usize, rng: &mut Rng) -> Result<Tensor> {
        let (fine, coarse) = match (&self.coarse, &grid.coarse) {
            (Some(prior), Some(layers)) => {
                let vectors = layers.quantizer.decode(&prior.sample(&[count], rng)?)?;
                let fine = self.fine.given(&layers.up.forward(&vectors)?)?;
                (fine.sample(&[], rng)?, Some(vectors))
            }
            _ => (self.fine.sample(&[count], rng)?, None),
        };
        let fine = grid.quantizer.decode(&fine)?;
        grid.likelihood.means(&grid.decode(&fine, coarse.as_ref())?)
    }
}

impl Objective for (&Grid, &GridPrior) {
    /// The nats that the codes cost under the prior.
    fn objective(&self, batch: &Batch, _: bool, _: &mut Rng) -> Result<Parts> {
        let (grid, prior) = self;
        let codes = grid.codes(&batch.input, &mut |q, z| q.quantize(z))?;
        let log_prob = match (&prior.coarse, &grid.coarse, &codes.coarse) {
            (Some(first), Some(layers), Some(coarse)) => {
                let context = layers.up.forward(&coarse.output)?.detach();
                let fine = prior.fine.given(&context)?.log_prob(&codes.fine.index)?;
                (fine + first.log_prob(&coarse.index)?)?
            }
            _ => prior.fine.log_prob(&codes.fine.index)?,
        };
        let rate = log_prob.neg()?;
        Ok(Parts {
            total: rate.clone(),
            distortion: grid.distortion(&codes, &batch.target)?.detach(),
            rate,
        })
    }
}

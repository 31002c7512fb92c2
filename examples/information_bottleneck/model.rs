//! The networks: a chain of dense layers, the dropout CNN of the PyTorch examples, residual networks.

use crate::config::Net;
use candle_core::{Module, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use candle_prob::net::{
    BatchNorm, BatchNormConfig, Conv2d, Conv2dConfig, Dense, Mlp, Pool2d, Pool2dConfig, batch_norm,
    conv2d, dense, dropout, mlp,
};
use candle_prob::{Activation, Result, Rng};

/// From images to so many numbers.
pub enum Encoder {
    Mlp(Mlp),
    Residual(Box<Residual>),
}

impl Encoder {
    pub fn mlp(image: [usize; 3], hidden: usize, outputs: usize, vb: VarBuilder) -> Result<Self> {
        let sizes = [image.iter().product(), hidden, hidden, outputs];
        Ok(Encoder::Mlp(mlp(&sizes, Activation::Relu, vb)?))
    }

    pub fn residual(net: Net, image: [usize; 3], outputs: usize, vb: VarBuilder) -> Result<Self> {
        let net = Residual::new(net, image, outputs, vb)?;
        Ok(Encoder::Residual(Box::new(net)))
    }

    /// `[N, C, H, W]` to `[N, outputs]`.
    pub fn forward(&self, images: &Tensor, train: bool) -> Result<Tensor> {
        match self {
            Encoder::Mlp(net) => Ok(net.forward(&images.flatten_from(1)?)?),
            Encoder::Residual(net) => net.forward(images, train),
        }
    }
}

/// A residual network with batch normalization (He, Zhang, Ren and Sun, 2016, Deep residual learning), in the form for small
/// images: a stem of 3 x 3, stages of which all but the first halve the image, the mean over pixels, a dense layer.
pub struct Residual {
    stem: (Conv2d, BatchNorm),
    blocks: Vec<Block>,
    head: Dense,
}

struct Block {
    first: (Conv2d, BatchNorm),
    second: (Conv2d, BatchNorm),
    /// Where the size changes.
    shortcut: Option<(Conv2d, BatchNorm)>,
}

/// A convolution without bias and what normalizes its channels.
fn normalized(
    (from, to): (usize, usize),
    kernel: usize,
    stride: usize,
    activation: Activation,
    vb: VarBuilder,
) -> Result<(Conv2d, BatchNorm)> {
    let convolution = Conv2dConfig {
        kernel: (kernel, kernel),
        stride: (stride, stride),
        padding: (kernel / 2, kernel / 2),
        bias: false,
        ..Conv2dConfig::default()
    };
    let norm = BatchNormConfig {
        activation,
        ..BatchNormConfig::default()
    };
    Ok((
        conv2d(from, to, &convolution, vb.pp("conv"))?,
        batch_norm(to, &norm, vb.pp("norm"))?,
    ))
}

fn apply((conv, norm): &(Conv2d, BatchNorm), x: &Tensor, train: bool) -> Result<Tensor> {
    Ok(norm.forward_t(&conv.forward(x)?, train)?)
}

/// Channels of the stages and blocks of each.
fn stages(net: Net) -> (&'static [usize], usize) {
    match net {
        Net::Small => (&[16, 32, 64], 1),
        Net::Resnet18 => (&[64, 128, 256, 512], 2),
    }
}

/// Bytes of an image's features and their gradients, roughly.
pub fn bytes(net: Net, [_, height, width]: [usize; 3]) -> f64 {
    let (stages, blocks) = stages(net);
    // Each stage has half of what the one before it has.
    (2 * 4 * 6 * blocks * 2 * stages[0] * height * width) as f64
}

impl Residual {
    fn new(
        net: Net,
        [inputs, height, width]: [usize; 3],
        outputs: usize,
        vb: VarBuilder,
    ) -> Result<Self> {
        let (stages, blocks) = stages(net);
        // The small one halves large images at once.
        let stride = match net {
            Net::Small if height.min(width) >= 16 => 2,
            _ => 1,
        };
        let stem = normalized(
            (inputs, stages[0]),
            3,
            stride,
            Activation::Relu,
            vb.pp("stem"),
        )?;
        let (mut all, mut channels) = (vec![], stages[0]);
        for (stage, to) in stages.iter().enumerate() {
            for k in 0..blocks {
                let stride = if stage > 0 && k == 0 { 2 } else { 1 };
                let vb = vb.pp(format!("stage_{stage}_block_{k}"));
                all.push(Block::new((channels, *to), stride, vb)?);
                channels = *to;
            }
        }
        Ok(Residual {
            stem,
            blocks: all,
            head: dense(channels, outputs, Activation::Identity, vb.pp("head"))?,
        })
    }

    fn forward(&self, images: &Tensor, train: bool) -> Result<Tensor> {
        let mut features = apply(&self.stem, images, train)?;
        for block in &self.blocks {
            features = block.forward(&features, train)?;
        }
        Ok(self.head.forward(&features.mean((2, 3))?)?)
    }
}

impl Block {
    fn new((from, to): (usize, usize), stride: usize, vb: VarBuilder) -> Result<Self> {
        let (relu, linear) = (Activation::Relu, Activation::Identity);
        let shortcut = match (from, stride) == (to, 1) {
            true => None,
            false => Some(normalized(
                (from, to),
                1,
                stride,
                linear,
                vb.pp("shortcut"),
            )?),
        };
        Ok(Block {
            first: normalized((from, to), 3, stride, relu, vb.pp("first"))?,
            second: normalized((to, to), 3, 1, linear, vb.pp("second"))?,
            shortcut,
        })
    }

    fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let y = apply(&self.second, &apply(&self.first, x, train)?, train)?;
        let x = match &self.shortcut {
            Some(shortcut) => apply(shortcut, x, train)?,
            None => x.clone(),
        };
        Ok((y + x)?.relu()?)
    }
}

/// Widths of the dropout CNN, and shares that its dropouts leave out.
const CHANNELS: [usize; 2] = [32, 64];
pub const HIDDEN: usize = 128;
const DROPOUT: [f64; 2] = [0.25, 0.5];

/// Two convolutions of 3 x 3 without padding, the largest of each 2 x 2 pixels, two dense layers; dropout before each of those.
pub struct DropoutCnn {
    convolutions: [Conv2d; 2],
    pool: Pool2d,
    hidden: Dense,
    last: Dense,
}

impl DropoutCnn {
    /// Numbers before the first dropout.
    pub fn features([_, height, width]: [usize; 3]) -> usize {
        let half = |n: usize| n.saturating_sub(4) / 2;
        CHANNELS[1] * half(height) * half(width)
    }

    pub fn new(image: [usize; 3], outputs: usize, vb: VarBuilder) -> Result<Self> {
        let config = Conv2dConfig {
            padding: (0, 0),
            activation: Activation::Relu,
            ..Conv2dConfig::default()
        };
        let [first, second] = CHANNELS;
        let features = Self::features(image);
        Ok(DropoutCnn {
            convolutions: [
                conv2d(image[0], first, &config, vb.pp("first"))?,
                conv2d(first, second, &config, vb.pp("second"))?,
            ],
            pool: Pool2d::new(&Pool2dConfig::default())?,
            hidden: dense(features, HIDDEN, Activation::Relu, vb.pp("hidden"))?,
            last: dense(HIDDEN, outputs, Activation::Identity, vb.pp("last"))?,
        })
    }

    /// `[N, C, H, W]` to `[samples, N, outputs]`: each sample has its own masks, and all have the same convolutions.
    pub fn forward(&self, images: &Tensor, samples: usize, rng: &mut Rng) -> Result<Tensor> {
        let [first, second] = &self.convolutions;
        let pixels = self
            .pool
            .forward(&second.forward(&first.forward(images)?)?)?;
        let (count, features) = pixels.flatten_from(1)?.dims2()?;
        let copies = pixels
            .reshape((1, count, features))?
            .broadcast_as((samples, count, features))?;
        let [before, between] = DROPOUT;
        let hidden = self.hidden.forward(&dropout(&copies, before, rng)?)?;
        Ok(self.last.forward(&dropout(&hidden, between, rng)?)?)
    }
}

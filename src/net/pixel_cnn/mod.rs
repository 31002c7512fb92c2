//! PixelCNN: an autoregressive distribution over grids of classes.

use super::dense::{Dense, dense};
use super::masked_conv::{odd, same};
use super::{Conv2d, Conv2dConfig, conv2d};
use crate::check;
use crate::conditional::Conditional;
use crate::detach::Detach;
use crate::distribution::Distribution;
use crate::error::{Error, Result};
use crate::kernels::network::activation::Activation;
use crate::kernels::network::conv2d::{Layer, Order};
use crate::rng::Rng;
use crate::shape;
use candle_core::{D, Tensor};
use candle_nn::{Init, VarBuilder};

mod distribution;

pub use distribution::PixelDistribution;

/// What [`pixel_cnn`] builds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PixelCnnConfig {
    /// The classes of a position: codes, or levels of grey.
    pub levels: usize,
    /// Rows and columns of the grid.
    pub size: (usize, usize),
    /// Width of the vector that stands for a class.
    pub embedding: usize,
    /// Channels of both stacks.
    pub channels: usize,
    /// Gated blocks.
    pub blocks: usize,
    /// Kernel size of the first layer, odd and at least 3.
    pub first_kernel: usize,
    /// Kernel size of the blocks, odd and at least 3.
    pub kernel: usize,
    /// Channels of a spatial context `[N, C, H, W]`, 0 for none.
    pub context: usize,
    /// Width of a context `[N, D]` that all positions share, 0 for none.
    pub global: usize,
}

impl Default for PixelCnnConfig {
    /// Two levels on 28 x 28 positions, five blocks of 32 channels, kernels of 7 and then of 3, no context.
    fn default() -> Self {
        PixelCnnConfig {
            levels: 2,
            size: (28, 28),
            embedding: 16,
            channels: 32,
            blocks: 5,
            first_kernel: 7,
            kernel: 3,
            context: 0,
            global: 0,
        }
    }
}

/// An autoregressive network over grids of classes: position after position in raster order, each given all before it and
/// perhaps a context.
///
/// Formula: `ln p(x | c) = sum over i of ln softmax(l_i(x_0, .., x_{i-1}, c))[x_i]`. Two stacks of convolutions make the
/// logits: the vertical one sees the rows above, the horizontal one the positions to the left and, through a linear map, the
/// vertical one; together they have no blind spot. With `G(z) = tanh(z_1) sigmoid(z_2)` of the two halves of the channels, a block
/// is
///
/// `z = V v + P c; v <- G(z); h <- h + O G(U h + L z + Q c)`,
///
/// with V and U convolutions, O and L linear at each position, and P c, Q c linear in the context, at each position or of what
/// all positions share. At the end `logits = B relu(A relu(h))`. B is initialized to zero: a fresh network is uniform over
/// its levels.
///
/// A position sees what is within `first_kernel / 2 + blocks (kernel / 2)` rows above and columns to the sides. Choose them so
/// that this is the grid, or as far as structure goes.
///
/// What it gives: without context the network is itself a [`Distribution`] with the event `[H, W]`; with one it is a
/// [`Conditional`], a context `[N, C, H, W]` or `[N, D]` by the config, and gives a [`PixelDistribution`] with the batch `[N]`.
/// [`with`](Self::with) takes both contexts.
///
/// Shapes: values `S ++ batch ++ [H, W]`, u8, u32 or i64; log-probabilities `S ++ batch`. Samples are u32. Units: nats.
///
/// Gradients: to the parameters and the contexts. Samples have none.
///
/// Errors: a context that is missing, not expected or of another shape; values that are not whole numbers or of another
/// shape. A value that is no class has log-probability -inf.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::VarMap;
/// use candle_prob::Rng;
/// use candle_prob::distribution::Distribution;
/// use candle_prob::net::{PixelCnnConfig, pixel_cnn};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = candle_prob::init::seeded(&vars, 0, DType::F32, &Device::Cpu);
/// let config = PixelCnnConfig { levels: 4, size: (3, 5), blocks: 1, ..Default::default() };
/// let prior = pixel_cnn(&config, vb)?;
/// let codes = prior.sample(&[2], &mut Rng::new(1))?;
/// assert_eq!(codes.dims(), [2, 3, 5]);
/// let uniform = -15. * 4f32.ln();
/// assert!((prior.log_prob(&codes)?.to_vec1::<f32>()?[0] - uniform).abs() < 1e-4);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: the convolutions end where the kernel's mask would begin, so that no product is masked. Sampling computes the
/// vertical stack once for each row and the horizontal one once for each position, both on what the position sees alone.
///
/// Source: van den Oord, Kalchbrenner and Kavukcuoglu (2016), Pixel recurrent neural networks; van den Oord, Kalchbrenner,
/// Vinyals, Espeholt, Graves and Kavukcuoglu (2016), Conditional image generation with PixelCNN decoders, equations 2 to 5
/// and figure 2.
#[derive(Debug, Clone)]
pub struct PixelCnn {
    config: PixelCnnConfig,
    event: [usize; 2],
    /// `[levels, embedding]`.
    embedding: Tensor,
    /// Of the first layer: the rows above, the positions to the left, the link between.
    above: Conv2d,
    left: Conv2d,
    link: Dense,
    blocks: Vec<Block>,
    last: [Dense; 2],
}

/// One block; images are channels-last.
#[derive(Debug, Clone)]
struct Block {
    vertical: Conv2d,
    horizontal: Conv2d,
    link: Dense,
    out: Dense,
    /// Of the vertical and the horizontal stack, for each kind of context.
    spatial: Option<[Dense; 2]>,
    global: Option<[Dense; 2]>,
}

/// A [`PixelCnn`] with the variables `embedding`, `above`, `left`, `link`, `blocks.I.vertical`, `.horizontal`, `.link`, `.out`,
/// `.context.J`, `.global.J`, and `last.0`, `last.1`.
///
/// Errors: no levels, an empty grid, no channels or no embedding; a kernel that is even or 1; those of `vb`.
pub fn pixel_cnn(config: &PixelCnnConfig, vb: VarBuilder) -> Result<PixelCnn> {
    const OP: &str = "pixel_cnn";
    let PixelCnnConfig {
        levels,
        embedding,
        channels,
        ..
    } = *config;
    let counts = [
        ("levels", levels),
        ("size", config.size.0.min(config.size.1)),
        ("embedding", embedding),
        ("channels", channels),
    ];
    check::at_least_one(OP, &counts)?;
    check::at_most(OP, "levels", levels, u32::MAX as usize)?;
    check::at_least(OP, "first_kernel", config.first_kernel, 3)?;
    check::at_least(OP, "kernel", config.kernel, 3)?;
    odd(OP, (config.first_kernel, config.kernel))?;
    let gates = check::product(OP, "channels", &[2, channels])?;
    let plain = |from, to, vb| dense(from, to, Activation::Identity, vb);
    let conv = |from, to, kernel, vb| {
        let config = Conv2dConfig {
            kernel,
            ..Default::default()
        };
        conv2d(from, to, &config, vb)
    };
    let (first, reach) = (config.first_kernel / 2, config.kernel / 2);
    let block = |i: usize| -> Result<Block> {
        let vb = vb.pp("blocks").pp(i);
        let pair = |width: usize, name: &str| -> Result<Option<[Dense; 2]>> {
            if width == 0 {
                return Ok(None);
            }
            let vb = vb.pp(name);
            let first = plain(width, gates, vb.pp(0))?;
            Ok(Some([first, plain(width, gates, vb.pp(1))?]))
        };
        let kernel = (reach + 1, config.kernel);
        Ok(Block {
            vertical: conv(channels, gates, kernel, vb.pp("vertical"))?,
            horizontal: conv(channels, gates, (1, reach + 1), vb.pp("horizontal"))?,
            link: plain(gates, gates, vb.pp("link"))?,
            out: plain(channels, channels, vb.pp("out"))?,
            spatial: pair(config.context, "context")?,
            global: pair(config.global, "global")?,
        })
    };
    let zero = Init::Const(0.);
    let last = vb.pp("last").pp(1);
    let weight = last.get_with_hints((levels, channels), "weight", zero)?;
    let bias = last.get_with_hints(levels, "bias", zero)?;
    let normal = Init::Randn {
        mean: 0.,
        stdev: 1.,
    };
    let above = (first, config.first_kernel);
    Ok(PixelCnn {
        config: *config,
        event: [config.size.0, config.size.1],
        embedding: vb.get_with_hints((levels, embedding), "embedding", normal)?,
        above: conv(embedding, channels, above, vb.pp("above"))?,
        left: conv(embedding, channels, (1, first), vb.pp("left"))?,
        link: plain(channels, channels, vb.pp("link"))?,
        blocks: (0..config.blocks).map(block).collect::<Result<_>>()?,
        last: [
            dense(channels, channels, Activation::Relu, vb.pp("last").pp(0))?,
            Dense::new(weight, Some(bias), Activation::Identity)?,
        ],
    })
}

/// A convolution that sees the rows above a position and as many columns to both sides; `own` says whether the last row of
/// its kernel is the position's own.
fn above(conv: &Conv2d, x: &Tensor, own: bool) -> Result<Tensor> {
    let (kh, kw) = conv.config().kernel;
    first(conv, x, (kh - usize::from(own), kw / 2), 1)
}

/// A convolution that sees the positions to the left, and with `own` the position.
fn left(conv: &Conv2d, x: &Tensor, own: bool) -> Result<Tensor> {
    let (_, kw) = conv.config().kernel;
    first(conv, x, (0, kw - usize::from(own)), 2)
}

/// The results at as many places of `dim` as x has: what it is padded with at the end gives others.
fn first(conv: &Conv2d, x: &Tensor, padding: (usize, usize), dim: usize) -> Result<Tensor> {
    let layer = Layer {
        weight: conv.weight(),
        bias: conv.bias(),
        settings: same(padding, Activation::Identity, Order::ChannelsLast),
    };
    Ok(layer.forward(x)?.narrow(dim, 0, x.dim(dim)?)?)
}

/// `tanh(a) sigmoid(b)` of the halves of the last dim.
fn gate(z: &Tensor) -> Result<Tensor> {
    let half = z.dim(D::Minus1)? / 2;
    let part = |at, f: Activation| f.forward(&z.narrow(D::Minus1, at, half)?.contiguous()?);
    Ok((part(0, Activation::Tanh)? * part(half, Activation::Sigmoid)?)?)
}

fn add(x: Tensor, more: Option<&Tensor>) -> Result<Tensor> {
    match more {
        None => Ok(x),
        Some(more) => Ok(x.broadcast_add(more)?),
    }
}

/// What the contexts add in each block, to the vertical and to the horizontal stack: `[M, H or 1, W or 1, 2 channels]`.
type Terms = Vec<[Option<Tensor>; 2]>;

impl PixelCnn {
    /// The config it was built from.
    pub fn config(&self) -> &PixelCnnConfig {
        &self.config
    }

    /// The distribution under a spatial context `[N, C, H, W]` and one `[N, D]` that all positions share: those of the
    /// config's, no others.
    ///
    /// Errors: a context that is missing or not expected, of another shape, dtype or device; two of different lengths.
    pub fn with(
        &self,
        spatial: Option<&Tensor>,
        global: Option<&Tensor>,
    ) -> Result<PixelDistribution> {
        const OP: &str = "PixelCnn::with";
        let (h, w) = self.config.size;
        let expected = [
            ("spatial", spatial, self.config.context),
            ("global", global, self.config.global),
        ];
        let mut batch = vec![];
        for (arg, context, width) in expected {
            let Some(context) = context else {
                if width > 0 {
                    let expected = format!("a context of width {width}");
                    return Err(Error::value(OP, arg, expected, "none"));
                }
                continue;
            };
            let dims = context.dims();
            if width == 0 {
                return Err(Error::value(OP, arg, "none", format!("{dims:?}")));
            }
            shape::same_kind(OP, arg, context, &self.embedding)?;
            let event = match arg {
                "spatial" => vec![width, h, w],
                _ => vec![width],
            };
            let leading = shape::last_dims(OP, arg, dims, &event)?;
            if leading.len() != 1 || (!batch.is_empty() && leading != batch) {
                let n = batch.first().map_or("N".to_string(), usize::to_string);
                let event: Vec<String> = event.iter().map(usize::to_string).collect();
                let expected = format!("[{n}, {}]", event.join(", "));
                return Err(Error::shape(OP, arg, expected, dims));
            }
            batch = leading.to_vec();
        }
        Ok(PixelDistribution::new(self, [spatial, global], batch))
    }

    /// The embedded values, `[M, H, W, embedding]`.
    fn embed(&self, values: &[u32], [m, h, w]: [usize; 3]) -> Result<Tensor> {
        let index = Tensor::from_slice(values, values.len(), self.embedding.device())?;
        let rows = self.embedding.index_select(&index, 0)?;
        Ok(rows.reshape((m, h, w, self.config.embedding))?)
    }

    /// For each layer what the vertical stack and the context give the horizontal one.
    fn vertical(&self, x: &Tensor, terms: &Terms) -> Result<Vec<Tensor>> {
        let mut v = above(&self.above, x, false)?.contiguous()?;
        let mut links = vec![self.link.apply(&v)?];
        for (i, (block, [down, across])) in self.blocks.iter().zip(terms).enumerate() {
            let z = add(above(&block.vertical, &v, true)?, down.as_ref())?;
            links.push(add(block.link.apply(&z)?, across.as_ref())?);
            // The last block hands nothing down.
            if i + 1 < self.blocks.len() {
                v = gate(&z)?;
            }
        }
        Ok(links)
    }

    /// Logits `[M, H, W, levels]`.
    fn horizontal(&self, x: &Tensor, links: &[Tensor]) -> Result<Tensor> {
        let mut h = (left(&self.left, x, false)? + &links[0])?;
        for (block, link) in self.blocks.iter().zip(&links[1..]) {
            let z = (left(&block.horizontal, &h, true)? + link)?;
            h = (h + block.out.apply(&gate(&z)?)?)?;
        }
        let h = self.last[0].apply(&Activation::Relu.forward(&h)?)?;
        self.last[1].apply(&h)
    }

    /// How far a position sees.
    fn reach(&self) -> usize {
        self.config.first_kernel / 2 + self.config.blocks * (self.config.kernel / 2)
    }
}

impl Conditional for PixelCnn {
    type Output = PixelDistribution;

    /// For the one context that the config names: `[N, C, H, W]` or `[N, D]`.
    fn given(&self, context: &Tensor) -> Result<PixelDistribution> {
        match self.config.context {
            0 => self.with(None, Some(context)),
            _ => self.with(Some(context), None),
        }
    }
}

impl Detach for Block {
    fn detach(&self) -> Self {
        Block {
            vertical: self.vertical.detach(),
            horizontal: self.horizontal.detach(),
            link: self.link.detach(),
            out: self.out.detach(),
            spatial: self.spatial.detach(),
            global: self.global.detach(),
        }
    }
}

impl Detach for PixelCnn {
    fn detach(&self) -> Self {
        PixelCnn {
            embedding: self.embedding.detach(),
            above: self.above.detach(),
            left: self.left.detach(),
            link: self.link.detach(),
            blocks: self.blocks.detach(),
            last: self.last.detach(),
            ..self.clone()
        }
    }
}

/// Without context.
impl Distribution for PixelCnn {
    fn batch_shape(&self) -> &[usize] {
        &[]
    }

    fn event_shape(&self) -> &[usize] {
        &self.event
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        self.with(None, None)?.sample(shape, rng)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.with(None, None)?.log_prob(value)
    }
}

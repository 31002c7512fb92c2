//! Residual convolutional networks with batch normalization.

use super::residual::zero_conv2d;
use super::{BatchNorm, BatchNormConfig, Conv2d, Conv2dConfig, ResidualNetConfig, batch_norm};
use crate::check;
use crate::detach::Detach;
use crate::error::Result;
use crate::init::write;
use crate::kernels::network::activation::Activation;
use candle_core::Tensor;
use candle_nn::init::{FanInOut, NonLinearity, NormalOrUniform};
use candle_nn::{Init, Module, ModuleT, VarBuilder};

/// A residual network of 3 x 3 convolutions that keep the size of the image, with batch normalization before every activation.
///
/// Formula: `h = conv(x)`, then for each block `h <- h + conv(f(norm(conv(f(norm(h))))))`, then `y = conv(f(norm(h)))`, with the
/// activation f and a [`BatchNorm`] of its own at each place. The last convolution is initialized to zero and alone has a bias:
/// a norm takes that of the others away again, or has one itself.
///
/// Shapes: x `[N, inputs, H, W]`, y `[N, outputs, H, W]`. Gradients: to x and all weights, in training through the moments of
/// the batch too.
///
/// State: the running moments of the norms, which `forward_t(x, true)` writes when all of the pass has succeeded and nothing
/// else does. A batch of no images leaves them alone.
///
/// Errors: images of another rank, number of channels, dtype or device; in training those of [`BatchNorm`].
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::{ModuleT, VarMap};
/// use candle_prob::net::{ResidualNetConfig, residual_batch_norm_net};
/// use candle_prob::{Rng, init};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = init::seeded(&vars, 0, DType::F32, &Device::Cpu);
/// let net = residual_batch_norm_net(&ResidualNetConfig::default(), vb)?;
/// let x = Rng::new(0).normal((4, 1, 8, 6), DType::F32, &Device::Cpu)?;
/// assert_eq!(net.forward_t(&x, true)?.dims(), [4, 2, 8, 6]);
/// # Ok(())
/// # }
/// ```
///
/// See also: [`ResidualNet`](super::ResidualNet) normalizes its weights instead, needs no state and is faster; batches of few images
/// do not disturb it.
///
/// Source: He, Zhang, Ren and Sun (2016), Identity mappings in deep residual networks; Ioffe and Szegedy (2015), Batch
/// normalization; Dinh, Sohl-Dickstein and Bengio (2017), section 4.1, for their use in flows.
#[derive(Debug, Clone)]
pub struct ResidualBatchNormNet {
    config: ResidualNetConfig,
    first: Conv2d,
    blocks: Vec<[Step; 2]>,
    last: Step,
}

/// A norm with its activation, and the convolution behind it.
#[derive(Debug, Clone)]
struct Step {
    norm: BatchNorm,
    conv: Conv2d,
}

/// A [`ResidualBatchNormNet`] with the variables `first`, `blocks.I.0`, `blocks.I.1` and `last`; each but the first has a
/// `norm` before its convolution, see [`batch_norm`], whose options but the activation are the default ones.
///
/// Errors: no inputs, outputs or channels, and what `vb` refuses.
pub fn residual_batch_norm_net(
    config: &ResidualNetConfig,
    vb: VarBuilder,
) -> Result<ResidualBatchNormNet> {
    let width = config.channels;
    let counts = [
        ("inputs", config.inputs),
        ("outputs", config.outputs),
        ("channels", width),
    ];
    check::at_least_one("net::residual_batch_norm_net", &counts)?;
    let norm = |vb: &VarBuilder| {
        let options = BatchNormConfig {
            activation: config.activation,
            ..BatchNormConfig::default()
        };
        batch_norm(width, &options, vb.pp("norm"))
    };
    let step = |vb: VarBuilder| -> Result<Step> {
        Ok(Step {
            norm: norm(&vb)?,
            conv: conv(width, width, NonLinearity::ReLU, vb)?,
        })
    };
    let block = |i: usize| -> Result<[Step; 2]> {
        let vb = vb.pp("blocks").pp(i);
        Ok([step(vb.pp(0))?, step(vb.pp(1))?])
    };
    let last = vb.pp("last");
    Ok(ResidualBatchNormNet {
        first: conv(config.inputs, width, NonLinearity::Linear, vb.pp("first"))?,
        blocks: (0..config.blocks).map(block).collect::<Result<_>>()?,
        last: Step {
            norm: norm(&last)?,
            conv: zero_conv2d(width, config.outputs, Activation::Identity, last)?,
        },
        config: *config,
    })
}

/// A convolution without bias that keeps the variance of what goes through.
fn conv(
    inputs: usize,
    outputs: usize,
    non_linearity: NonLinearity,
    vb: VarBuilder,
) -> Result<Conv2d> {
    let init = Init::Kaiming {
        dist: NormalOrUniform::Normal,
        fan: FanInOut::FanIn,
        non_linearity,
    };
    let weight = vb.get_with_hints((outputs, inputs, 3, 3), "weight", init)?;
    let config = Conv2dConfig {
        activation: Activation::Identity,
        ..Conv2dConfig::default()
    };
    Conv2d::new(weight, None, &config)
}

/// Variables, and the values that a pass has found for them.
pub(crate) type Writes = Vec<(Tensor, Tensor)>;

impl ResidualBatchNormNet {
    /// The config it was built from.
    pub fn config(&self) -> &ResidualNetConfig {
        &self.config
    }

    /// The result and, in training, what is to be written when all of the pass has succeeded.
    pub(crate) fn apply(
        &self,
        op: &'static str,
        x: &Tensor,
        train: bool,
    ) -> Result<(Tensor, Writes)> {
        let mut writes = vec![];
        let mut h = self.first.forward(x)?;
        // A batch of nothing has no moments.
        let train = train && h.elem_count() > 0;
        let mut through = |step: &Step, x: &Tensor| -> Result<Tensor> {
            let (y, moments) = step.norm.apply(op, x, train)?;
            if let Some(moments) = moments {
                let moved = step.norm.moved(op, &moments)?;
                let variables = step.norm.variables().map(Tensor::clone);
                writes.extend(variables.into_iter().zip(moved));
            }
            Ok(step.conv.forward(&y)?)
        };
        for [one, two] in &self.blocks {
            let inside = through(one, &h)?;
            h = (h + through(two, &inside)?)?;
        }
        let y = through(&self.last, &h)?;
        Ok((y, writes))
    }
}

impl ModuleT for ResidualBatchNormNet {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        const OP: &str = "ResidualBatchNormNet::forward_t";
        let (y, writes) = self.apply(OP, x, train)?;
        for (variable, value) in &writes {
            write(OP, variable, value)?;
        }
        Ok(y)
    }
}

impl Detach for Step {
    fn detach(&self) -> Self {
        Step {
            norm: self.norm.detach(),
            conv: self.conv.detach(),
        }
    }
}

impl Detach for ResidualBatchNormNet {
    /// Without gradients to the weights. The running moments are the same buffers: a training pass of either writes them.
    fn detach(&self) -> Self {
        ResidualBatchNormNet {
            first: self.first.detach(),
            blocks: self.blocks.detach(),
            last: self.last.detach(),
            ..self.clone()
        }
    }
}

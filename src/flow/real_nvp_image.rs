//! RealNVP for images.

use super::image::{ImageContext, ImageFlow, Layer, Net, Scale, check_scales};
use crate::bijector::Split;
use crate::check;
use crate::error::Result;
use crate::init::Buffer;
use crate::kernels::network::activation::Activation;
use crate::net::{ResidualNetConfig, residual_batch_norm_net, residual_net};
use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};

/// How the residual conditioners of [`real_nvp_image`] are normalized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionerNorm {
    /// By the lengths of their filters, see [`ResidualNet`](crate::net::ResidualNet).
    Weight,
    /// By the moments of the batch, see [`ResidualBatchNormNet`](crate::net::ResidualBatchNormNet). Train with
    /// [`ImageFlow::inverse_and_log_det_t`] then.
    Batch,
}

/// What [`real_nvp_image`] builds.
#[derive(Debug, Clone, PartialEq)]
pub struct RealNvpImageConfig {
    /// Channels, height and width.
    pub image: [usize; 3],
    /// The number of scales; every one but the last halves height and width.
    pub scales: usize,
    /// The last scale is as the others: it halves height and width too and has channel couplings after its checkerboard ones,
    /// so that the last latents have four times the channels. If not, it has one checkerboard coupling more in their place,
    /// as in the source.
    pub squeeze_last: bool,
    /// Channels of each conditioner's convolutions.
    pub channels: usize,
    /// Residual blocks of each conditioner.
    pub blocks: usize,
    /// How the conditioners are normalized.
    pub norm: ConditionerNorm,
    /// The conditioners' activation.
    pub activation: Activation,
    /// Batch normalization after every coupling. Train with [`ImageFlow::inverse_and_log_det_t`] then.
    pub batch_norm: bool,
    /// What a training pass keeps of the running statistics: they become `momentum running + (1 - momentum) batch`, as in
    /// Dinh et al. (2017), appendix E. The momentum of candle and PyTorch is 1 minus this one.
    pub momentum: f64,
    /// What the flow is conditioned on.
    pub context: ImageContext,
    /// No log-scale leaves +-bound: `ln scale = bound tanh(raw / bound)`.
    pub bound: f64,
}

impl Default for RealNvpImageConfig {
    /// Three scales of 28 x 28 grey images, the last without a squeeze, weight-normalized conditioners of two blocks of 32
    /// channels, no batch normalization between couplings.
    fn default() -> Self {
        RealNvpImageConfig {
            image: [1, 28, 28],
            scales: 3,
            squeeze_last: false,
            channels: 32,
            blocks: 2,
            norm: ConditionerNorm::Weight,
            activation: Activation::Relu,
            batch_norm: false,
            momentum: 0.9,
            context: ImageContext::None,
            bound: 2.,
        }
    }
}

/// A multi-scale flow of affine couplings with residual convolutional conditioners: RealNVP for images.
///
/// Formula: on the way from images to latents, each scale has three couplings with a checkerboard mask, a squeeze and three
/// couplings with channel halves, which take turns; then half of the channels is factored out. The last scale has four
/// couplings with a checkerboard mask instead, or with `squeeze_last` the same layers as the others.
///
/// The variables of coupling i are under `S.checkerboard.I` and `S.channel.I` for scale S, as
/// [`residual_net`] or [`residual_batch_norm_net`] names them; with batch normalization between couplings there are `norm.mean`
/// and `norm.variance`. What norms keep training passes write and no optimizer moves. A fresh flow is the identity but for the
/// epsilon of the batch normalization between couplings.
///
/// Errors: an image of fewer than two pixels, more scales than its height and width can be halved for, a bound that is not
/// positive, no channels, a momentum outside [0, 1], and what `vb` refuses.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::VarMap;
/// use candle_prob::distribution::{Distribution, Normal};
/// use candle_prob::flow::{RealNvpImageConfig, real_nvp_image};
/// use candle_prob::Rng;
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = candle_prob::init::seeded(&vars, 1, DType::F32, &Device::Cpu);
/// let config = RealNvpImageConfig { image: [1, 8, 8], channels: 8, ..Default::default() };
/// let flow = real_nvp_image(&config, vb)?;
/// assert_eq!(flow.latent_shapes(), [[2, 4, 4], [4, 2, 2], [4, 2, 2]]);
/// let zeros = Tensor::zeros((1, 8, 8), DType::F32, &Device::Cpu)?;
/// let base = Normal::new(&zeros, &zeros.ones_like()?)?.to_event(3)?;
/// let model = base.transformed_by(&flow)?;
/// let images = model.sample(&[5], &mut Rng::new(0))?;
/// assert_eq!(model.log_prob(&images)?.dims(), [5]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Dinh, Sohl-Dickstein and Bengio (2017), Density estimation using Real NVP, sections 3.6 and 4.1. Their residual
/// networks have both normalizations at once; here a network has one of them.
pub fn real_nvp_image(config: &RealNvpImageConfig, vb: VarBuilder) -> Result<ImageFlow> {
    let op = "flow::real_nvp_image";
    let [mut c, mut h, mut w] = config.image;
    let whole = usize::from(!config.squeeze_last);
    check_scales([op, "scales"], config.image, config.scales, whole)?;
    check::positive(op, "bound", config.bound)?;
    check::in_interval(op, "momentum", config.momentum, 0. ..=1.)?;
    let mut scales = vec![];
    for at in 0..config.scales {
        let (vb, last) = (vb.pp(at), at + 1 == config.scales);
        let board = |i: usize| -> Result<Vec<Layer>> {
            let split = Split::checkerboard(h, w, i % 2 == 1)?;
            let vb = vb.pp("checkerboard").pp(i);
            config.coupling(split, [c, c], c, at, vb)
        };
        let halves = |i: usize| -> Result<Vec<Layer>> {
            let split = Split::channels(4 * c, i % 2 == 1)?;
            let vb = vb.pp("channel").pp(i);
            config.coupling(split, [2 * c, 2 * c], 4 * c, at + 1, vb)
        };
        let all = |layers: Vec<Vec<Layer>>| layers.into_iter().flatten().collect();
        let squeeze = !last || config.squeeze_last;
        let boards = if squeeze { 3 } else { 4 };
        let before = (0..boards).map(board).collect::<Result<_>>()?;
        let after = match squeeze {
            true => (0..3).map(halves).collect::<Result<_>>()?,
            false => vec![],
        };
        let factor = match last {
            true => None,
            false => Some(Split::channels(4 * c, false)?),
        };
        scales.push(Scale {
            before: all(before),
            squeeze,
            after: all(after),
            factor,
        });
        [c, h, w] = [2 * c, h / 2, w / 2];
    }
    Ok(ImageFlow {
        image: config.image,
        scales,
        bound: config.bound,
        takes: config.context,
        initialized: None,
        like: Tensor::zeros(1, vb.dtype(), vb.device())?,
        context: None,
    })
}

impl RealNvpImageConfig {
    /// A coupling from these numbers of channels to those, among `channels` in all, and its batch normalization.
    fn coupling(
        &self,
        split: Split,
        [passing, changing]: [usize; 2],
        channels: usize,
        squeezes: usize,
        vb: VarBuilder,
    ) -> Result<Vec<Layer>> {
        let net = ResidualNetConfig {
            inputs: passing + self.context.channels(squeezes),
            outputs: 2 * changing,
            channels: self.channels,
            blocks: self.blocks,
            activation: self.activation,
        };
        let net = match self.norm {
            ConditionerNorm::Weight => Net::Residual(residual_net(&net, vb.clone())?),
            ConditionerNorm::Batch => {
                Net::Normed(Box::new(residual_batch_norm_net(&net, vb.clone())?))
            }
        };
        let mut layers = vec![Layer::Coupling(split, net)];
        if self.batch_norm {
            let vb = vb.pp("norm");
            layers.push(Layer::BatchNorm {
                mean: Buffer::new(channels, "mean", Init::Const(0.), vb.clone())?,
                variance: Buffer::new(channels, "variance", Init::Const(1.), vb)?,
                momentum: self.momentum,
            });
        }
        Ok(layers)
    }
}

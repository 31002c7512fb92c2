//! The layers of a flow of images.

use super::training::Writes;
use crate::bijector::{
    ActNorm, Affine, Axis, Bijector, Conv1x1, Coupling, FlowBatchNorm, Lu, Split,
};
use crate::detach::Detach;
use crate::error::Result;
use crate::init::Buffer;
use crate::kernels::network::conv2d::Order;
use crate::net::{Conv2d, ResidualBatchNormNet, ResidualNet, in_turn};
use candle_core::Tensor;

/// The layers of one scale, from images to latents.
#[derive(Debug, Clone)]
pub(in crate::flow) struct Scale {
    pub(in crate::flow) before: Vec<Layer>,
    /// Whether the image is squeezed between the two.
    pub(in crate::flow) squeeze: bool,
    pub(in crate::flow) after: Vec<Layer>,
    /// The passing part goes on to the next scale.
    pub(in crate::flow) factor: Option<Split>,
}

#[derive(Debug, Clone)]
pub(in crate::flow) enum Layer {
    Coupling(Split, Net),
    ActNorm {
        loc: Tensor,
        log_scale: Tensor,
    },
    BatchNorm {
        mean: Buffer,
        variance: Buffer,
        /// Of the running statistics, kept in a training pass.
        momentum: f64,
    },
    /// What learns is added to the parts of a fixed matrix.
    Conv1x1 {
        fixed: Lu,
        parts: [Tensor; 3],
    },
}

/// A conditioner: from the passing channels and the context to raw log-scales, then shifts.
#[derive(Debug, Clone)]
pub(in crate::flow) enum Net {
    Residual(ResidualNet),
    /// In training its norms go by the batch, and their running moments are written.
    Normed(Box<ResidualBatchNormNet>),
    Convs(Vec<Conv2d>),
}

pub(super) type Member = Box<dyn Bijector + Send + Sync>;

pub(super) const EPSILON: f64 = 1e-5;

impl Net {
    fn apply(&self, x: &Tensor, training: Option<&Writes>) -> Result<Tensor> {
        match self {
            Net::Residual(net) => net.apply(x),
            Net::Normed(net) => {
                let op = training.map_or("ImageFlow", Writes::op);
                let (y, found) = net.apply(op, x, training.is_some())?;
                if let Some(writes) = training {
                    for (variable, value) in &found {
                        writes.add(variable, value)?;
                    }
                }
                Ok(y)
            }
            Net::Convs(layers) => in_turn(layers, x, Order::ChannelsFirst),
        }
    }

    /// The affine map of the changing part, for the passing one.
    fn affine(
        &self,
        passing: &Tensor,
        context: Option<&Tensor>,
        bound: f64,
        training: Option<&Writes>,
    ) -> Result<Affine> {
        let rank = passing.rank();
        let (lead, image) = passing.dims().split_at(rank - 3);
        let n: usize = lead.iter().product();
        let mut x = passing.reshape([&[n], image].concat())?;
        if let Some(context) = context {
            let full = [
                lead,
                &context.dims()[context.rank() - 3..][..1],
                &image[1..],
            ]
            .concat();
            let flat = [&[n], &full[lead.len()..]].concat();
            let context = context.broadcast_as(full)?.reshape(flat)?;
            x = Tensor::cat(&[x, context], 1)?;
        }
        let out = self.apply(&x, training)?;
        let out = out.reshape([lead, &out.dims()[1..]].concat())?;
        let width = out.dim(rank - 3)? / 2;
        let raw = out.narrow(rank - 3, 0, width)?;
        Affine::soft_clamped(&out.narrow(rank - 3, width, width)?, &raw, bound)
    }
}

impl Detach for Net {
    fn detach(&self) -> Self {
        match self {
            Net::Residual(net) => Net::Residual(net.detach()),
            Net::Normed(net) => Net::Normed(Box::new(net.as_ref().detach())),
            Net::Convs(layers) => Net::Convs(layers.detach()),
        }
    }
}

impl Detach for Scale {
    fn detach(&self) -> Self {
        Scale {
            before: self.before.detach(),
            after: self.after.detach(),
            ..self.clone()
        }
    }
}

impl Layer {
    /// As a bijector; a coupling in a pass that trains notes there what its network is to write.
    pub(super) fn bijector(
        &self,
        context: Option<Tensor>,
        bound: f64,
        training: Option<Writes>,
    ) -> Result<Member> {
        Ok(match self {
            Layer::Coupling(split, net) => {
                let (split, net) = (split.clone(), net.clone());
                let affine =
                    move |a: &Tensor| net.affine(a, context.as_ref(), bound, training.as_ref());
                Box::new(Coupling::new(split, affine))
            }
            Layer::ActNorm { loc, log_scale } => {
                Box::new(ActNorm::new(loc, log_scale, Axis::Channel)?)
            }
            Layer::BatchNorm { mean, variance, .. } => {
                let (mean, variance) = (mean.value()?, variance.value()?);
                Box::new(FlowBatchNorm::new(
                    &mean,
                    &variance,
                    EPSILON,
                    Axis::Channel,
                )?)
            }
            Layer::Conv1x1 { fixed, parts } => {
                let [lower, upper, log_diagonal] = parts;
                let lu = Lu::new(
                    fixed.permutation(),
                    fixed.signs(),
                    &(fixed.lower() + lower)?,
                    &(fixed.upper() + upper)?,
                    &(fixed.log_diagonal() + log_diagonal)?,
                )?;
                Box::new(Conv1x1::new(&lu))
            }
        })
    }
}

impl Detach for Layer {
    fn detach(&self) -> Self {
        match self {
            Layer::Coupling(split, net) => Layer::Coupling(split.clone(), net.detach()),
            Layer::ActNorm { loc, log_scale } => Layer::ActNorm {
                loc: loc.detach(),
                log_scale: log_scale.detach(),
            },
            Layer::BatchNorm { .. } => self.clone(),
            Layer::Conv1x1 { fixed, parts } => Layer::Conv1x1 {
                fixed: fixed.detach(),
                parts: parts.detach(),
            },
        }
    }
}

//! Multi-scale flows of images.

use crate::bijector::{Bijector, FactorOut, Reversible, Sequence, Squeeze};
use crate::detach::Detach;
use crate::error::{Error, Result};
use crate::init::Buffer;
use crate::shape;
use candle_core::{DType, Tensor, Var};
use layer::Member;
use training::{Pass, Writes, Writing};

mod layer;
mod training;

pub(super) use layer::{Layer, Net, Scale};

/// What a flow of images is conditioned on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageContext {
    /// Nothing.
    None,
    /// A vector of this width for each image, such as a class.
    PerImage(usize),
    /// An image of this many channels and the flow's height and width. Where the flow squeezes its images it squeezes this
    /// one.
    PerPixel(usize),
}

impl ImageContext {
    /// Channels that it adds to those of a network after this many squeezes.
    pub(super) fn channels(self, squeezes: usize) -> usize {
        match self {
            ImageContext::None => 0,
            ImageContext::PerImage(width) => width,
            ImageContext::PerPixel(channels) => channels * (1 << (2 * squeezes)),
        }
    }
}

/// A multi-scale flow of images, as [`real_nvp_image`](super::real_nvp_image) and [`glow`](super::glow) build it.
///
/// Formula: `transform` leads from latents to images, `inverse` from images to latents. On the way from images each scale
/// has its layers, squeezes the image, and factors half of the channels out: the other half goes on to the next scale. The
/// log-det is the sum of all layers'.
///
/// Shapes: latents and images are `batch ++ [C, H, W]`, log-dets `batch`. What was factored out lies in the latents where
/// the pixels lie that it stands for; [`latents`](ImageFlow::latents) takes the scales apart. The base of a density is a
/// distribution on images, a standard normal say, `to_event(3)`. The context is `batch ++ [K]` or `batch ++ [K, H, W]`, see
/// [`ImageContext`].
///
/// Gradients: to argument, context and all weights, first derivatives only.
///
/// Errors: an argument of another size, dtype or device; a context where none is expected, none where one is, or one of
/// another shape.
///
/// Both directions cost the same.
///
/// Source: Dinh, Sohl-Dickstein and Bengio (2017), Density estimation using Real NVP, section 3.6; Kingma and Dhariwal
/// (2018), Glow, section 3.
#[derive(Debug, Clone)]
pub struct ImageFlow {
    pub(super) image: [usize; 3],
    pub(super) scales: Vec<Scale>,
    pub(super) bound: f64,
    pub(super) takes: ImageContext,
    /// 1 where data have initialized the norms.
    pub(super) initialized: Option<Buffer>,
    pub(super) like: Tensor,
    pub(super) context: Option<Tensor>,
}

/// Refuses a number of scales, of which the last `whole` do not halve the image, that the image is too small for.
pub(super) fn check_scales(
    [op, arg]: [&'static str; 2],
    [c, h, w]: [usize; 3],
    count: usize,
    whole: usize,
) -> Result<()> {
    // A scale has up to four times the channels.
    let count_all = [c, h, w, 4]
        .iter()
        .try_fold(1usize, |n, m| n.checked_mul(*m));
    if c == 0 || h == 0 || w == 0 || h.max(w) < 2 || count_all.is_none() {
        let expected = "one channel or more of two pixels or more that can be counted";
        let found = format!("{:?}", [c, h, w]);
        return Err(Error::value(op, "image", expected, found));
    }
    let halves = h.trailing_zeros().min(w.trailing_zeros()) as usize;
    // A mask needs two pixels, in the scale that does not halve them too.
    let most = match (h >> halves) * (w >> halves) {
        1 => halves,
        _ => halves + whole,
    };
    if count == 0 || count > most {
        let expected = match most {
            0 => format!("none, as {h} x {w} pixels cannot be halved"),
            _ => format!("1 to {most}: no more halves of {h} x {w} pixels"),
        };
        return Err(Error::value(op, arg, expected, count));
    }
    Ok(())
}

impl ImageFlow {
    /// The flow under this context: `batch ++ [K]` of [`ImageContext::PerImage`], `batch ++ [K, H, W]` of
    /// [`ImageContext::PerPixel`]. Leading dims broadcast with those of the arguments.
    ///
    /// Errors: a flow without context, a context of another shape, dtype or device.
    pub fn given(&self, context: &Tensor) -> Result<Self> {
        let op = "ImageFlow::given";
        shape::same_kind(op, "context", context, &self.like)?;
        let [_, h, w] = self.image;
        let (event, dims) = match self.takes {
            ImageContext::None => {
                let expected = "no context";
                let found = format!("{:?}", context.dims());
                return Err(Error::value(op, "context", expected, found));
            }
            ImageContext::PerImage(width) => (vec![width], 1),
            ImageContext::PerPixel(channels) => (vec![channels, h, w], 3),
        };
        shape::last_dims(op, "context", context.dims(), &event)?;
        let context = match dims {
            1 => context.reshape([context.dims(), &[1, 1]].concat())?,
            _ => context.clone(),
        };
        Ok(ImageFlow {
            context: Some(context),
            ..self.clone()
        })
    }

    /// Channels, height and width of images and latents.
    pub fn image(&self) -> [usize; 3] {
        self.image
    }

    /// The shapes of the scales' latents, the finest first.
    pub fn latent_shapes(&self) -> Vec<[usize; 3]> {
        let ([mut c, mut h, mut w], mut shapes) = (self.image, vec![]);
        for scale in &self.scales {
            if scale.squeeze {
                [c, h, w] = [4 * c, h / 2, w / 2];
            }
            if scale.factor.is_some() {
                c /= 2;
            }
            shapes.push([c, h, w]);
        }
        shapes
    }

    /// Latents `batch ++ [C, H, W]` by scale, the finest first, in the shapes of
    /// [`latent_shapes`](ImageFlow::latent_shapes).
    pub fn latents(&self, z: &Tensor) -> Result<Vec<Tensor>> {
        self.check(["ImageFlow::latents", "z"], z)?;
        let (mut z, mut parts) = (z.clone(), vec![]);
        for scale in &self.scales {
            if scale.squeeze {
                z = Squeeze.transform(&z)?;
            }
            let Some(split) = &scale.factor else {
                break;
            };
            let (on, out) = split.take(&z)?;
            parts.push(out);
            z = on;
        }
        parts.push(z);
        Ok(parts)
    }

    /// Initializes what data initialize, the [`ActNorm`](crate::bijector::ActNorm)s of [`glow`](super::glow), so that these
    /// images leave each of them with mean 0 and standard deviation 1. That it has been done is a [`Buffer`] and so saved
    /// with the weights: a second call, or one after loading, changes nothing and returns false.
    ///
    /// Errors: images that do not fit, that are not finite or none; a flow built on constants. Then nothing is written.
    pub fn initialize(&self, images: &Tensor) -> Result<bool> {
        let op = "ImageFlow::initialize";
        let Some(flag) = &self.initialized else {
            return Ok(false);
        };
        let done = flag.value()?;
        if done.to_dtype(DType::F64)?.to_scalar::<f64>()? > 0. {
            return Ok(false);
        }
        let writes = Writes::new(op);
        writes.add(flag.variable(), &done.ones_like()?)?;
        let pass = Pass::Initialize(writes.clone());
        self.apply([op, "images"], true, &images.detach(), pass)?;
        writes.commit()?;
        Ok(true)
    }

    /// Latents and log-det, in training if `train`, as `forward_t` of candle's `ModuleT` has it. In training the
    /// statistics of batch normalization are `momentum running + (1 - momentum) batch`, with the momentum of the
    /// config; they are written, once in a call, and let the gradient through to this batch, see
    /// [`FlowBatchNorm::observe`](crate::bijector::FlowBatchNorm::observe). Else, and in a flow without batch
    /// normalization, this is `inverse_and_log_det`, which writes nothing.
    ///
    /// Errors: those of the inverse; in training a batch that is not finite where it is normalized, a flow built on constants.
    /// Then nothing is written.
    pub fn inverse_and_log_det_t(&self, images: &Tensor, train: bool) -> Result<(Tensor, Tensor)> {
        if !train {
            return self.inverse_and_log_det(images);
        }
        let op = "ImageFlow::inverse_and_log_det_t";
        let writes = Writes::new(op);
        let pass = Pass::Train(writes.clone());
        let done = self.apply([op, "images"], true, images, pass)?;
        writes.commit()?;
        Ok(done)
    }

    /// The flow without kept activations, from its variables and those of its context, see [`Reversible`]: what a backward
    /// pass needs of memory does not grow with the number of layers. Batch normalization is that of use, not of training. What
    /// layers compute from their variables they have computed here: ask anew after each step of an optimizer or of training.
    ///
    /// Errors: a context where none is expected, none where one is.
    pub fn reversible(&self, variables: &[Var]) -> Result<Reversible> {
        self.check_context("ImageFlow::reversible")?;
        let context = self.context.clone();
        let flow = self.sequence(0, context, &Pass::Evaluate, Some(variables))?;
        Ok(Reversible::new(flow, variables))
    }

    fn check_context(&self, op: &'static str) -> Result<()> {
        match (&self.context, self.takes) {
            (None, ImageContext::None) | (Some(_), _) => Ok(()),
            (None, takes) => {
                let expected = format!("one {takes:?}: call `given` first");
                Err(Error::value(op, "context", expected, "none"))
            }
        }
    }

    fn check<'a>(&self, [op, arg]: [&'static str; 2], x: &'a Tensor) -> Result<&'a [usize]> {
        shape::same_kind(op, arg, x, &self.like)?;
        shape::last_dims(op, arg, x.dims(), &self.image)
    }

    fn apply(
        &self,
        [op, arg]: [&'static str; 2],
        inverse: bool,
        x: &Tensor,
        pass: Pass,
    ) -> Result<(Tensor, Tensor)> {
        let batch = self.check([op, arg], x)?;
        self.check_context(op)?;
        if let Some(context) = &self.context {
            let lead = &context.dims()[..context.rank() - 3];
            shape::broadcast_to(op, "context", lead, batch)?;
        }
        let flow = self.sequence(0, self.context.clone(), &pass, None)?;
        match inverse {
            false => flow.transform_and_log_det(x),
            true => flow.inverse_and_log_det(x),
        }
    }

    /// The scales from this one on, from latents to images. Given the variables, each deeper scale is a [`Reversible`].
    fn sequence(
        &self,
        at: usize,
        context: Option<Tensor>,
        pass: &Pass,
        variables: Option<&[Var]>,
    ) -> Result<Sequence> {
        let scale = &self.scales[at];
        let layer = |layer: &Layer, context: &Option<Tensor>| -> Result<Member> {
            match (pass, layer) {
                (Pass::Evaluate, _) | (_, Layer::Coupling(..)) => {
                    layer.bijector(context.clone(), self.bound, pass.training())
                }
                _ => Ok(Box::new(Writing {
                    layer: layer.clone(),
                    pass: pass.clone(),
                })),
            }
        };
        // From images to latents, and turned at the end.
        let mut members: Vec<Member> = vec![];
        for before in &scale.before {
            members.push(layer(before, &context)?);
        }
        let context = match (context, self.takes) {
            (Some(context), ImageContext::PerPixel(_)) if scale.squeeze => {
                Some(Squeeze.transform(&context)?)
            }
            (context, _) => context,
        };
        if scale.squeeze {
            members.push(Box::new(Squeeze.inverted()));
        }
        for after in &scale.after {
            members.push(layer(after, &context)?);
        }
        if let Some(split) = &scale.factor {
            let (split, deeper) = (
                split.clone(),
                self.sequence(at + 1, context, pass, variables)?,
            );
            members.push(match variables {
                None => Box::new(FactorOut::new(split, deeper)?),
                Some(variables) => {
                    let deeper = Reversible::new(deeper, variables);
                    Box::new(FactorOut::new(split, deeper)?)
                }
            });
        }
        // Back to the shape of the image.
        if scale.squeeze {
            members.push(Box::new(Squeeze));
        }
        members.reverse();
        Ok(Sequence::new(members))
    }
}

impl Bijector for ImageFlow {
    fn event_rank(&self) -> usize {
        3
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        self.apply(["ImageFlow::transform", "x"], false, x, Pass::Evaluate)
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        self.apply(["ImageFlow::inverse", "y"], true, y, Pass::Evaluate)
    }
}

impl Detach for ImageFlow {
    fn detach(&self) -> Self {
        ImageFlow {
            scales: self.scales.detach(),
            like: self.like.detach(),
            context: self.context.detach(),
            ..self.clone()
        }
    }
}

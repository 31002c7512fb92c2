//! Multi-scale flows of images.

use crate::bijector::{
    ActNorm, Affine, Bijector, Conv1x1, Coupling, FactorOut, FlowBatchNorm, Lu, Per, Reversible,
    Sequence, Split, Squeeze,
};
use crate::error::{Error, Result};
use crate::kernels::network::conv2d::Order;
use crate::net::{Conv2d, ResidualNet, in_turn};
use crate::shape;
use candle_core::{DType, Tensor, Var};

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
    /// 1 where the layers that start from data have done so.
    pub(super) initialized: Option<Tensor>,
    pub(super) like: Tensor,
    pub(super) context: Option<Tensor>,
}

/// The layers of one scale, from images to latents.
#[derive(Debug, Clone)]
pub(super) struct Scale {
    pub(super) before: Vec<Layer>,
    /// Whether the image is squeezed between the two.
    pub(super) squeeze: bool,
    pub(super) after: Vec<Layer>,
    /// The passing part goes on to the next scale.
    pub(super) factor: Option<Split>,
}

#[derive(Debug, Clone)]
pub(super) enum Layer {
    Coupling(Split, Net),
    ActNorm {
        loc: Tensor,
        log_scale: Tensor,
    },
    BatchNorm {
        mean: Tensor,
        variance: Tensor,
    },
    /// What learns is added to the parts of a fixed matrix.
    Conv1x1 {
        start: Lu,
        parts: [Tensor; 3],
    },
}

/// A conditioner: from the passing channels and the context to raw log-scales, then shifts.
#[derive(Debug, Clone)]
pub(super) enum Net {
    Residual(ResidualNet),
    Convs(Vec<Conv2d>),
}

/// What the way from images to latents does beside.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    Use,
    /// Starts the layers that start from data.
    Start,
    /// Moves the running statistics by those of the batch.
    Observe {
        momentum: f64,
    },
}

type Member = Box<dyn Bijector + Send + Sync>;

const EPSILON: f64 = 1e-5;

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

impl Net {
    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Net::Residual(net) => net.apply(x),
            Net::Convs(layers) => in_turn(layers, x, Order::ChannelsFirst),
        }
    }

    /// The affine map of the changing part, for the passing one.
    fn affine(&self, passing: &Tensor, context: Option<&Tensor>, bound: f64) -> Result<Affine> {
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
        let out = self.apply(&x)?;
        let out = out.reshape([lead, &out.dims()[1..]].concat())?;
        let width = out.dim(rank - 3)? / 2;
        let raw = out.narrow(rank - 3, 0, width)?;
        Affine::soft_clamped(&out.narrow(rank - 3, width, width)?, &raw, bound)
    }
}

impl Layer {
    fn bijector(self, context: Option<Tensor>, bound: f64) -> Result<Member> {
        Ok(match self {
            Layer::Coupling(split, net) => {
                let affine = move |a: &Tensor| net.affine(a, context.as_ref(), bound);
                Box::new(Coupling::new(split, affine))
            }
            Layer::ActNorm { loc, log_scale } => {
                Box::new(ActNorm::new(&loc, &log_scale, Per::Channel)?)
            }
            Layer::BatchNorm { mean, variance } => {
                Box::new(FlowBatchNorm::new(&mean, &variance, EPSILON, Per::Channel)?)
            }
            Layer::Conv1x1 { start, parts } => {
                let [lower, upper, log_diagonal] = parts;
                let lu = Lu::new(
                    start.permutation(),
                    start.signs(),
                    &(start.lower() + lower)?,
                    &(start.upper() + upper)?,
                    &(start.log_diagonal() + log_diagonal)?,
                )?;
                Box::new(Conv1x1::new(&lu))
            }
        })
    }
}

/// A layer that sets its variables from the data that come through it on the way to latents.
struct Watching {
    layer: Layer,
    mode: Mode,
}

impl Watching {
    fn current(&self) -> Result<Member> {
        self.layer.clone().bijector(None, f64::INFINITY)
    }
}

impl Bijector for Watching {
    fn event_rank(&self) -> usize {
        3
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        self.current()?.transform_and_log_det(x)
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        match (&self.layer, self.mode) {
            (Layer::ActNorm { loc, log_scale }, Mode::Start) => {
                let norm = ActNorm::from_data(y, Per::Channel)?;
                set(loc, norm.loc())?;
                set(log_scale, norm.log_scale())?;
                norm.inverse_and_log_det(y)
            }
            (Layer::BatchNorm { mean, variance }, Mode::Observe { momentum }) => {
                let norm = FlowBatchNorm::new(mean, variance, EPSILON, Per::Channel)?;
                let norm = norm.observe(y, momentum)?;
                set(mean, norm.mean())?;
                set(variance, norm.variance())?;
                norm.inverse_and_log_det(y)
            }
            _ => self.current()?.inverse_and_log_det(y),
        }
    }
}

/// Refuses tensors that are no variables: what is written to them would be lost.
fn check_variable(op: &'static str, tensor: &Tensor) -> Result<()> {
    if tensor.is_variable() {
        return Ok(());
    }
    let expected = "a flow built on variables, as those of a VarMap";
    Err(Error::value(op, "flow", expected, "one built on constants"))
}

fn set(variable: &Tensor, value: &Tensor) -> Result<()> {
    Ok(Var::from_tensor(variable)?.set(&value.detach())?)
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
        if context.rank() < dims || context.dims()[context.rank() - dims..] != event {
            let expected = format!("[..] ++ {event:?}");
            return Err(Error::shape(op, "context", expected, context.dims()));
        }
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

    /// Starts the layers that start from data, the [`ActNorm`]s of [`glow`](super::glow), so that these images leave each
    /// of them with mean 0 and standard deviation 1. That it has been done is a variable and so saved with the weights:
    /// a second call, or one after loading, changes nothing and returns false.
    ///
    /// Errors: images that do not fit or none; a flow built on constants.
    pub fn initialize(&self, images: &Tensor) -> Result<bool> {
        let op = "ImageFlow::initialize";
        let Some(flag) = &self.initialized else {
            return Ok(false);
        };
        if flag.to_dtype(DType::F64)?.to_scalar::<f64>()? > 0. {
            return Ok(false);
        }
        check_variable(op, flag)?;
        let images = images.detach();
        self.apply([op, "images"], true, &images, Mode::Start)?;
        set(flag, &flag.ones_like()?)?;
        Ok(true)
    }

    /// Latents and log-det of a training batch, as `inverse_and_log_det` gives them, but with batch normalization as in
    /// training: the statistics that run are `momentum running + (1 - momentum) batch`, are kept, and let the gradient
    /// through to this batch, see [`FlowBatchNorm::observe`]. In a flow without batch normalization the two are the same.
    ///
    /// Errors: those of the inverse, a momentum outside [0, 1], a flow built on constants.
    pub fn observe(&self, images: &Tensor, momentum: f64) -> Result<(Tensor, Tensor)> {
        let op = "ImageFlow::observe";
        let layers = self
            .scales
            .iter()
            .flat_map(|s| s.before.iter().chain(&s.after));
        for layer in layers {
            if let Layer::BatchNorm { mean, .. } = layer {
                check_variable(op, mean)?;
            }
        }
        self.apply([op, "images"], true, images, Mode::Observe { momentum })
    }

    /// The flow without stored activations, from its variables and those of its context, see [`Reversible`]: what a backward
    /// pass needs of memory does not grow with the number of layers. Batch normalization is that of use, not of training.
    ///
    /// Errors: a context where none is expected, none where one is.
    pub fn reversible(&self, variables: &[Var]) -> Result<Reversible> {
        self.check_context("ImageFlow::reversible")?;
        let flow = self.sequence(0, self.context.clone(), Mode::Use, Some(variables))?;
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
        match x.dims() {
            [batch @ .., c, h, w] if [*c, *h, *w] == self.image => Ok(batch),
            dims => {
                let expected = format!("[..] ++ {:?}", self.image);
                Err(Error::shape(op, arg, expected, dims))
            }
        }
    }

    fn apply(
        &self,
        [op, arg]: [&'static str; 2],
        inverse: bool,
        x: &Tensor,
        mode: Mode,
    ) -> Result<(Tensor, Tensor)> {
        let batch = self.check([op, arg], x)?;
        self.check_context(op)?;
        if let Some(context) = &self.context {
            let lead = &context.dims()[..context.rank() - 3];
            if shape::broadcast(lead, batch).as_deref() != Some(batch) {
                let expected = format!("leading dims that broadcast to {batch:?}");
                return Err(Error::shape(op, "context", expected, lead));
            }
        }
        let flow = self.sequence(0, self.context.clone(), mode, None)?;
        match inverse {
            false => flow.transform_and_log_det(x),
            true => flow.inverse_and_log_det(x),
        }
    }

    /// The scales from this one on, from latents to images; the deeper ones keep no activations where variables are told.
    fn sequence(
        &self,
        at: usize,
        context: Option<Tensor>,
        mode: Mode,
        variables: Option<&[Var]>,
    ) -> Result<Sequence> {
        let scale = &self.scales[at];
        let layer = |layer: &Layer, context: &Option<Tensor>| -> Result<Member> {
            let layer = layer.clone();
            match (mode, &layer) {
                (Mode::Use, _) | (_, Layer::Coupling(..)) => {
                    layer.bijector(context.clone(), self.bound)
                }
                _ => Ok(Box::new(Watching { layer, mode })),
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
                self.sequence(at + 1, context, mode, variables)?,
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
        self.apply(["ImageFlow::transform", "x"], false, x, Mode::Use)
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        self.apply(["ImageFlow::inverse", "y"], true, y, Mode::Use)
    }
}

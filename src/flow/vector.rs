//! Flows of vectors: layers with dense networks, one after the other, under a context.

use super::conditioner::{beside, conditioner};
use crate::bijector::{
    Affine, Autoregressive, Bijector, Coupling, RationalQuadraticSpline as Spline, Sequence, Shift,
    Split,
};
use crate::check;
use crate::detach::Detach;
use crate::error::Result;
use crate::kernels::network::activation::Activation;
use crate::kernels::network::coupling::{self, Map, Mode};
use crate::net::{Dense, MaskedMlp, MaskedMlpConfig, Mlp, masked_mlp};
use candle_core::{D, Module, Tensor};
use candle_nn::VarBuilder;

/// A flow of vectors, as [`real_nvp`](super::real_nvp), [`nice`](super::nice), [`neural_spline`](super::neural_spline),
/// [`maf`](super::maf), [`iaf`](super::iaf) and [`autoregressive_spline`](super::autoregressive_spline) build it.
///
/// Formula: `transform` leads from the base to data through the layers, `inverse` from data to the base; the log-det is the
/// sum of all layers'.
///
/// Shapes: arguments are [.., features], log-dets [..]; the context is [.., context] with the argument's leading dims, to which
/// it broadcasts.
///
/// Gradients: to argument, context and all weights. On the CPU in f32 all layers are one node of the graph; the layers one by
/// one, as [`layers`](VectorFlow::layers) gives them, agree with it.
///
/// Errors: an argument of another width, dtype or device; a context where none is expected, none where one is, or one of
/// another shape.
///
/// A fresh flow is the identity, because the last layer of every network is initialized to zero.
#[derive(Debug, Clone)]
pub struct VectorFlow {
    layers: Vec<Layer>,
    map: Map,
    features: usize,
    keep_activations: bool,
    /// From data to latent, the last layer's result is multiplied by `e^log_scale`.
    log_scale: Option<Tensor>,
    /// Both directions change places.
    inverted: bool,
    /// The width of a context.
    takes: usize,
    context: Option<Tensor>,
}

/// A layer: its network says how columns are mapped.
#[derive(Debug, Clone)]
enum Layer {
    /// The changing columns, by the passing ones.
    Coupling(Split, Mlp),
    /// Every column, by those before it.
    Masked(MaskedMlp),
}

/// What a flow of vectors is built from; most of it is in every config.
pub(super) struct Plan<'a> {
    pub(super) features: usize,
    pub(super) layers: usize,
    pub(super) hidden: &'a [usize],
    pub(super) activation: Activation,
    pub(super) context: usize,
    pub(super) map: Map,
    pub(super) keep_activations: bool,
}

type Member = Box<dyn Bijector + Send + Sync>;

/// How many numbers a network gives for each element.
fn parameters(map: Map) -> usize {
    match map {
        Map::Shift => 1,
        Map::Affine { .. } => 2,
        Map::Spline { bins, .. } => Spline::parameters(bins),
    }
}

/// The elementwise map that follows from what a network says: `part` is the shift (0) and the raw log-scale (1), `all` the
/// numbers of one element after the other.
fn elementwise(
    map: Map,
    part: impl Fn(usize) -> Result<Tensor>,
    all: impl Fn() -> Result<Tensor>,
) -> Result<Box<dyn Bijector>> {
    Ok(match map {
        Map::Shift => Box::new(Shift::new(&part(0)?)),
        Map::Affine { bound } => Box::new(Affine::soft_clamped(&part(0)?, &part(1)?, bound)?),
        Map::Spline { bound, .. } => Box::new(Spline::new(&all()?, bound)?),
    })
}

impl Layer {
    /// A weight, of the flow's dtype and device.
    fn weight(&self) -> &Tensor {
        match self {
            Layer::Coupling(_, net) => net.layers()[0].weight(),
            Layer::Masked(net) => net.layers()[0].0.weight(),
        }
    }

    /// The network, layer by layer.
    fn net(&self) -> Result<Vec<Dense>> {
        match self {
            Layer::Coupling(_, net) => Ok(net.layers().to_vec()),
            Layer::Masked(net) => net.masked(),
        }
    }

    /// As the kernel takes it.
    fn fused<'a>(&self, net: &'a [Dense]) -> coupling::Layer<'a> {
        let (columns, order) = match self {
            Layer::Coupling(split, _) => {
                let columns = split.columns();
                let columns = columns.map_or_else(Default::default, |c| c.map(<[u32]>::to_vec));
                (columns, None)
            }
            Layer::Masked(net) => {
                let all: Vec<u32> = (0..).take(net.config().features).collect();
                let order = net.config().order.as_ref().map_or_else(
                    || all.clone(),
                    |order| order.iter().map(|i| *i as u32).collect(),
                );
                ([all.clone(), all], Some(order))
            }
        };
        coupling::Layer {
            columns,
            order,
            net: net.iter().map(Dense::parts).collect(),
        }
    }

    /// As one bijector.
    fn bijector(&self, map: Map, context: Option<&Tensor>) -> Member {
        let context = context.cloned();
        match self.clone() {
            Layer::Coupling(split, net) => {
                Box::new(Coupling::new(split, move |passing: &Tensor| {
                    let context = spread(context.as_ref(), passing)?;
                    let said = net.forward(&beside(passing, context.as_ref())?)?;
                    // All raw log-scales, then all shifts; of a spline all numbers of a column, then of the next.
                    let count = parameters(map);
                    let width = said.dim(D::Minus1)? / count;
                    let mut columns = said.dims().to_vec();
                    columns.pop();
                    columns.extend([width, count]);
                    elementwise(
                        map,
                        |i| Ok(said.narrow(D::Minus1, (count - 1 - i) * width, width)?),
                        || Ok(said.reshape(columns.as_slice())?),
                    )
                }))
            }
            Layer::Masked(net) => Box::new(Autoregressive::new(move |y: &Tensor| {
                let said = net.forward(y, spread(context.as_ref(), y)?.as_ref())?;
                elementwise(
                    map,
                    |i| {
                        let at = parameters(map) - 1 - i;
                        Ok(said.narrow(D::Minus1, at, 1)?.squeeze(D::Minus1)?)
                    },
                    || Ok(said.clone()),
                )
            })),
        }
    }
}

impl Detach for Layer {
    fn detach(&self) -> Self {
        match self {
            Layer::Coupling(split, net) => Layer::Coupling(split.clone(), net.detach()),
            Layer::Masked(net) => Layer::Masked(net.detach()),
        }
    }
}

/// The context with the leading dims of `x`, [.., width].
fn spread(context: Option<&Tensor>, x: &Tensor) -> Result<Option<Tensor>> {
    let Some(context) = context else {
        return Ok(None);
    };
    let mut full = x.dims().to_vec();
    if let (Some(last), Some(width)) = (full.last_mut(), context.dims().last()) {
        *last = *width;
    }
    if context.dims() == full {
        return Ok(Some(context.clone()));
    }
    Ok(Some(context.broadcast_as(full)?))
}

/// The product with `e^log_scale`.
fn scale(log_scale: &Tensor) -> Result<Affine> {
    let zero = log_scale.detach().zeros_like()?;
    Affine::soft_clamped(&zero, log_scale, f64::INFINITY)
}

impl VectorFlow {
    /// Couplings whose parts take turns, as `split` makes them of the number of features and of whether they change places.
    /// The variables of coupling i are under `i`.
    pub(super) fn couplings(
        op: &'static str,
        plan: Plan,
        split: fn(usize, bool) -> Result<Split>,
        vb: VarBuilder,
    ) -> Result<Self> {
        let coupling = |i: usize| {
            let split = split(plan.features, i % 2 == 1)?;
            let [passing, changing] = split
                .columns()
                .map_or([0; 2], |both| both.map(<[u32]>::len));
            let widths = [&[passing + plan.context], plan.hidden].concat();
            let outputs = parameters(plan.map) * changing;
            let net = conditioner(&widths, outputs, plan.activation, vb.pp(i))?;
            Ok(Layer::Coupling(split, net))
        };
        Self::new(op, &plan, coupling)
    }

    /// Autoregressive layers with masked networks; the order of the features turns round from layer to layer. The variables of
    /// layer i are under `i`.
    pub(super) fn autoregressive(op: &'static str, plan: Plan, vb: VarBuilder) -> Result<Self> {
        let layer = |i: usize| {
            let config = MaskedMlpConfig {
                features: plan.features,
                parameters: parameters(plan.map),
                hidden: plan.hidden.to_vec(),
                activation: plan.activation,
                context: plan.context,
                order: (i % 2 == 1).then(|| (0..plan.features).rev().collect()),
            };
            Ok(Layer::Masked(masked_mlp(&config, vb.pp(i))?))
        };
        Self::new(op, &plan, layer)
    }

    fn new(op: &'static str, plan: &Plan, layer: impl Fn(usize) -> Result<Layer>) -> Result<Self> {
        check::at_least_one(op, &[("layers", plan.layers)])?;
        Ok(VectorFlow {
            layers: (0..plan.layers).map(layer).collect::<Result<_>>()?,
            map: plan.map,
            features: plan.features,
            keep_activations: plan.keep_activations,
            log_scale: None,
            inverted: false,
            takes: plan.context,
            context: None,
        })
    }

    /// The flow with these logarithms of scales after its last layer, from data to latent.
    pub(super) fn scaled(self, log_scale: Tensor) -> Self {
        let log_scale = Some(log_scale);
        VectorFlow { log_scale, ..self }
    }

    /// The flow whose directions have changed places.
    pub(super) fn turned(self) -> Self {
        let inverted = !self.inverted;
        VectorFlow { inverted, ..self }
    }

    fn weight(&self) -> &Tensor {
        self.layers[0].weight()
    }

    /// The width of the data.
    pub fn features(&self) -> usize {
        self.features
    }

    /// The flow under this context, [.., context], whose leading dims broadcast to those of the arguments.
    ///
    /// Errors: a flow without context, a context of another width, dtype or device.
    pub fn given(&self, context: &Tensor) -> Result<Self> {
        let op = "VectorFlow::given";
        super::check_context(op, context, self.takes, self.weight())?;
        Ok(VectorFlow {
            context: Some(context.clone()),
            ..self.clone()
        })
    }

    /// The layers one by one, from the base to data, under the flow's context: what
    /// [`Reversible`](crate::bijector::Reversible) takes, and a reference for the one node.
    ///
    /// Errors: no context where one is expected.
    pub fn layers(&self) -> Result<Sequence> {
        let context = self.context.as_ref();
        super::check_given("VectorFlow::layers", context, self.takes)?;
        let mut members = self.members(context);
        if let Some(log_scale) = &self.log_scale {
            members.insert(0, Box::new(scale(log_scale)?.inverted()));
        }
        if self.inverted {
            members.reverse();
            let turn = |member: Member| Box::new(member.inverted()) as Member;
            members = members.into_iter().map(turn).collect();
        }
        Ok(Sequence::new(members))
    }

    fn members(&self, context: Option<&Tensor>) -> Vec<Member> {
        let bijector = |layer: &Layer| layer.bijector(self.map, context);
        self.layers.iter().map(bijector).collect()
    }

    /// Through all layers: as one node where there is such a form, else one by one.
    fn through(
        &self,
        backward: bool,
        x: &Tensor,
        context: Option<&Tensor>,
    ) -> Result<(Tensor, Tensor)> {
        let nets: Vec<_> = self.layers.iter().map(Layer::net).collect::<Result<_>>()?;
        let layers = self.layers.iter().zip(&nets);
        let layers = layers.map(|(layer, net)| layer.fused(net)).collect();
        let mode = Mode {
            inverse: backward,
            stored: match self.layers[0] {
                Layer::Coupling(..) => self.keep_activations,
                Layer::Masked(_) => backward,
            },
            map: self.map,
        };
        if let Some(done) = coupling::couplings(x, context, layers, mode)? {
            return Ok(done);
        }
        let layers = Sequence::new(self.members(context));
        match backward {
            false => layers.transform_and_log_det(x),
            true => layers.inverse_and_log_det(x),
        }
    }

    fn apply(
        &self,
        [op, arg]: [&'static str; 2],
        inverse: bool,
        x: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let batch = super::batch_of([op, arg], x, self.features, self.weight())?;
        let context = super::context_for(op, self.context.as_ref(), self.takes, batch)?;
        let (context, backward) = (context.as_ref(), inverse != self.inverted);
        let Some(log_scale) = &self.log_scale else {
            return self.through(backward, x, context);
        };
        // The layers before the scales keep volumes.
        let (scale, log_det) = (scale(log_scale)?, log_scale.sum_all()?.broadcast_as(batch)?);
        match backward {
            true => Ok((
                scale.transform(&self.through(true, x, context)?.0)?,
                log_det,
            )),
            false => {
                let y = self.through(false, &scale.inverse(x)?, context)?.0;
                Ok((y, log_det.neg()?))
            }
        }
    }
}

impl Bijector for VectorFlow {
    fn event_rank(&self) -> usize {
        1
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        self.apply(["VectorFlow::transform", "x"], false, x)
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        self.apply(["VectorFlow::inverse", "y"], true, y)
    }
}

impl Detach for VectorFlow {
    fn detach(&self) -> Self {
        VectorFlow {
            layers: self.layers.detach(),
            log_scale: self.log_scale.detach(),
            context: self.context.detach(),
            ..self.clone()
        }
    }
}

//! Layers with dense networks, one after the other, under a context: what the recipes for vectors have in common.

use super::conditioner::{beside, conditioner};
use crate::bijector::{Bijector, Coupling, Split};
use crate::error::{Error, Result};
use crate::kernels::network::activation::Activation;
use crate::kernels::network::coupling::{self, Mode};
use crate::net::{Dense, Mlp};
use candle_core::{Module, Tensor};
use candle_nn::VarBuilder;

/// The layers of a flow, and the context it is under.
#[derive(Debug, Clone)]
pub(super) struct Layers<L> {
    all: Vec<L>,
    features: usize,
    /// The width of a context.
    width: usize,
    context: Option<Tensor>,
}

/// A layer: its network, and the part that each column has.
pub(super) trait Layer {
    /// A weight, of the flow's dtype and device.
    fn weight(&self) -> &Tensor;

    /// The network, layer by layer.
    fn net(&self) -> Result<Vec<Dense>>;

    /// The columns that go into the network, and those that change.
    fn columns(&self) -> [Vec<u32>; 2];

    /// Of an autoregressive layer all columns, each after those on which it depends.
    fn order(&self) -> Option<Vec<u32>> {
        None
    }
}

impl<L: Layer> Layers<L> {
    /// So many layers. `[features, width]` are the widths of data and context.
    pub(super) fn new(
        op: &'static str,
        count: usize,
        [features, width]: [usize; 2],
        layer: impl FnMut(usize) -> Result<L>,
    ) -> Result<Self> {
        if count == 0 {
            return Err(Error::value(op, "layers", "at least 1", 0));
        }
        Ok(Layers {
            all: (0..count).map(layer).collect::<Result<_>>()?,
            features,
            width,
            context: None,
        })
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, L> {
        self.all.iter()
    }

    fn weight(&self) -> &Tensor {
        self.all[0].weight()
    }

    /// The layers under this context.
    pub(super) fn given(&self, op: &'static str, context: &Tensor) -> Result<Self>
    where
        L: Clone,
    {
        super::check_context(op, context, self.width, self.weight())?;
        Ok(Layers {
            context: Some(context.clone()),
            ..self.clone()
        })
    }

    /// The argument of that name through all layers: as one node where there is such a form, else one by one.
    pub(super) fn apply<B: Bijector>(
        &self,
        [op, arg]: [&'static str; 2],
        x: &Tensor,
        mode: Mode,
        one_by_one: impl FnOnce(Option<Tensor>) -> Vec<B>,
    ) -> Result<(Tensor, Tensor)> {
        let batch = super::batch_of([op, arg], x, self.features, self.weight())?;
        let context = super::context_for(op, self.context.as_ref(), self.width, batch)?;
        let nets: Vec<_> = self.iter().map(Layer::net).collect::<Result<_>>()?;
        let layers = self.iter().zip(&nets).map(|(layer, net)| coupling::Layer {
            columns: layer.columns(),
            order: layer.order(),
            net: net.iter().map(Dense::parts).collect(),
        });
        let layers: Vec<_> = layers.collect();
        if let Some(done) = coupling::couplings(x, context.as_ref(), layers, mode)? {
            return Ok(done);
        }
        super::through(&one_by_one(context), mode.inverse, x)
    }
}

/// What couplings with dense conditioners are built from; most of it is in every config.
pub(super) struct Plan<'a> {
    pub(super) features: usize,
    pub(super) layers: usize,
    pub(super) hidden: &'a [usize],
    pub(super) activation: Activation,
    pub(super) context: usize,
    /// From the number of features and whether the parts change places.
    pub(super) split: fn(usize, bool) -> Result<Split>,
    /// How many numbers a network gives for each changing column.
    pub(super) parameters: usize,
}

/// A coupling: what it splits by, and its conditioner.
pub(super) type DenseCoupling = (Split, Mlp);

impl Layer for DenseCoupling {
    fn weight(&self) -> &Tensor {
        self.1.layers()[0].weight()
    }

    fn net(&self) -> Result<Vec<Dense>> {
        Ok(self.1.layers().to_vec())
    }

    fn columns(&self) -> [Vec<u32>; 2] {
        self.0
            .columns()
            .map_or_else(Default::default, |both| both.map(<[u32]>::to_vec))
    }
}

impl Layers<DenseCoupling> {
    /// Couplings whose parts take turns; the variables of coupling i are under `i`.
    pub(super) fn couplings(op: &'static str, plan: Plan, vb: VarBuilder) -> Result<Self> {
        let Plan {
            features, context, ..
        } = plan;
        Layers::new(op, plan.layers, [features, context], |i| {
            let split = (plan.split)(features, i % 2 == 1)?;
            let [passing, changing] = split
                .columns()
                .map_or([0; 2], |both| both.map(<[u32]>::len));
            let widths = [&[passing + context], plan.hidden].concat();
            let outputs = plan.parameters * changing;
            let net = conditioner(&widths, outputs, plan.activation, vb.pp(i))?;
            Ok((split, net))
        })
    }

    /// The couplings one by one, with the map that follows from what a network says.
    pub(super) fn one_by_one<B, F>(
        &self,
        context: Option<Tensor>,
        map: F,
    ) -> Vec<impl Bijector + use<B, F>>
    where
        B: Bijector,
        F: Fn(&Tensor) -> Result<B> + Clone,
    {
        let coupling = |(split, net): &DenseCoupling| {
            let (net, context, map) = (net.clone(), context.clone(), map.clone());
            Coupling::new(split.clone(), move |passing: &Tensor| {
                map(&net.forward(&beside(passing, context.as_ref())?)?)
            })
        };
        self.iter().map(coupling).collect()
    }
}

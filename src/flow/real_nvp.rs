//! RealNVP for vectors.

use crate::bijector::{Affine, Bijector, Coupling, Split};
use crate::error::{Error, Result};
use crate::kernels;
use crate::kernels::activation::Activation;
use crate::kernels::coupling::{Map, Mode};
use crate::net::{Dense, Mlp, dense};
use candle_core::{D, Module, Tensor};
use candle_nn::VarBuilder;

/// What [`real_nvp`] builds.
#[derive(Debug, Clone, PartialEq)]
pub struct RealNvpConfig {
    /// The width of the data.
    pub features: usize,
    /// The number of couplings. The halves take turns.
    pub layers: usize,
    /// The widths of each conditioner's hidden layers.
    pub hidden: Vec<usize>,
    /// What follows each hidden layer.
    pub activation: Activation,
    /// The width of the context, 0 for a flow without one.
    pub context: usize,
    /// No log-scale leaves +-bound: `ln scale = bound tanh(raw / bound)`. Without a bound (infinity) deep flows blow up.
    pub bound: f64,
    /// Keep the networks' activations for the backward pass. If not, each layer's argument is computed again from its
    /// result: the memory does not depend on the number of layers, for a third more arithmetic.
    pub stored: bool,
}

impl Default for RealNvpConfig {
    fn default() -> Self {
        RealNvpConfig {
            features: 2,
            layers: 8,
            hidden: vec![64, 64],
            activation: Activation::Relu,
            context: 0,
            bound: 2.,
            stored: true,
        }
    }
}

/// A flow of affine couplings with dense conditioners: RealNVP for vectors.
///
/// Formula: layer i leaves one half `a` of the features and takes the other to `b e^s + t`, with `(raw, t) = net_i(a,
/// context)` and `s = bound tanh(raw / bound)`; the log-det is the sum of all s. The halves take turns.
///
/// Shapes: arguments are [.., features], log-dets [..]; the context is [.., context] with the argument's leading dims.
///
/// Gradients: to argument, context and all weights. On the CPU in f32 all layers are one node of the graph; the layers one by
/// one, as [`couplings`](RealNvp::couplings) gives them, agree with it.
///
/// Errors: an argument of another width, dtype or device; a context where none is expected, none where one is, or one of
/// another shape.
///
/// Both directions cost the same. A fresh flow is the identity, because the last layer of every network starts at zero.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::VarMap;
/// use candle_prob::distribution::{Distribution, Normal};
/// use candle_prob::flow::{RealNvpConfig, real_nvp};
/// use candle_prob::Rng;
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = candle_prob::init::seeded(&vars, 1, DType::F32, &Device::Cpu);
/// let flow = real_nvp(&RealNvpConfig::default(), vb)?;
/// let zeros = Tensor::zeros(2, DType::F32, &Device::Cpu)?;
/// let base = Normal::new(&zeros, &zeros.ones_like()?)?.to_event(1)?;
/// let model = base.transformed_by(&flow)?;
/// let x = model.sample(&[100], &mut Rng::new(0))?;
/// assert_eq!(model.log_prob(&x)?.dims(), &[100]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Dinh, Sohl-Dickstein and Bengio (2017), Density estimation using Real NVP, equations 7 and 8.
#[derive(Debug, Clone)]
pub struct RealNvp {
    config: RealNvpConfig,
    layers: Vec<(Split, Mlp)>,
    context: Option<Tensor>,
}

/// A RealNVP flow; the variables of coupling i are under `i`.
///
/// Errors: fewer than two features, no layer, a bound that is not positive, and what `vb` refuses.
pub fn real_nvp(config: &RealNvpConfig, vb: VarBuilder) -> Result<RealNvp> {
    let op = "flow::real_nvp";
    if config.layers == 0 {
        return Err(Error::value(op, "layers", "at least 1", 0));
    }
    if !(config.bound > 0.) {
        let found = config.bound;
        return Err(Error::value(op, "bound", "a positive number", found));
    }
    let layer = |i: usize| {
        let split = Split::half(config.features, i % 2 == 1)?;
        let passing = if i % 2 == 1 {
            config.features / 2
        } else {
            config.features.div_ceil(2)
        };
        let outputs = 2 * (config.features - passing);
        let mut widths = vec![passing + config.context];
        widths.extend(&config.hidden);
        Ok((
            split,
            conditioner(&widths, outputs, config.activation, vb.pp(i))?,
        ))
    };
    Ok(RealNvp {
        config: config.clone(),
        layers: (0..config.layers).map(layer).collect::<Result<_>>()?,
        context: None,
    })
}

/// Hidden layers of these widths, inputs first, and a last layer that starts at zero.
pub(super) fn conditioner(
    widths: &[usize],
    outputs: usize,
    activation: Activation,
    vb: VarBuilder,
) -> Result<Mlp> {
    let mut layers = vec![];
    for (i, pair) in widths.windows(2).enumerate() {
        layers.push(dense(pair[0], pair[1], activation, vb.pp(i))?);
    }
    let (last, zero) = (vb.pp(layers.len()), candle_nn::Init::Const(0.));
    let inputs = widths.last().copied().unwrap_or(0);
    let weight = last.get_with_hints((outputs, inputs), "weight", zero)?;
    let bias = last.get_with_hints(outputs, "bias", zero)?;
    layers.push(Dense::new(weight, Some(bias), Activation::Identity)?);
    Mlp::new(layers)
}

/// The argument of a conditioner: what passes, beside the context.
pub(super) fn beside(passing: &Tensor, context: Option<&Tensor>) -> Result<Tensor> {
    match context {
        Some(context) => Ok(Tensor::cat(&[passing, context], D::Minus1)?),
        None => Ok(passing.clone()),
    }
}

impl RealNvp {
    /// The flow under this context, [.., context].
    ///
    /// Errors: a flow without context, a context of another width.
    pub fn given(&self, context: &Tensor) -> Result<Self> {
        let width = self.config.context;
        super::check_context("RealNvp::given", context, width, self.weight())?;
        Ok(RealNvp {
            context: Some(context.clone()),
            ..self.clone()
        })
    }

    /// The config it was built from.
    pub fn config(&self) -> &RealNvpConfig {
        &self.config
    }

    fn weight(&self) -> &Tensor {
        self.layers[0].1.layers()[0].weight()
    }

    /// The layers one by one, first to last; `context` in the shape of the arguments.
    pub fn couplings(&self, context: Option<Tensor>) -> Vec<impl Bijector + use<>> {
        let bound = self.config.bound;
        let coupling = |(split, net): &(Split, Mlp)| {
            let (net, context) = (net.clone(), context.clone());
            Coupling::new(split.clone(), move |passing: &Tensor| {
                let out = net.forward(&beside(passing, context.as_ref())?)?;
                let width = out.dim(D::Minus1)? / 2;
                let raw = out.narrow(D::Minus1, 0, width)?;
                Affine::soft_clamped(&out.narrow(D::Minus1, width, width)?, &raw, bound)
            })
        };
        self.layers.iter().map(coupling).collect()
    }

    fn apply(
        &self,
        [op, arg]: [&'static str; 2],
        inverse: bool,
        x: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let batch = super::batch_of([op, arg], x, self.config.features, self.weight())?;
        let context = super::context_for(op, self.context.as_ref(), self.config.context, batch)?;
        let layers = self.layers.iter().filter_map(|(split, net)| {
            Some(kernels::coupling::Layer {
                columns: split.columns()?,
                order: None,
                net: net.layers().iter().map(Dense::parts).collect(),
            })
        });
        let layers: Vec<_> = layers.collect();
        let mode = Mode {
            inverse,
            stored: self.config.stored,
            map: Map::Affine {
                bound: self.config.bound,
            },
        };
        if let Some(done) = kernels::coupling::couplings(x, context.as_ref(), &layers, mode)? {
            return Ok(done);
        }
        super::through(&self.couplings(context), inverse, x)
    }
}

impl Bijector for RealNvp {
    fn event_rank(&self) -> usize {
        1
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        self.apply(["RealNvp::transform", "x"], false, x)
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        self.apply(["RealNvp::inverse", "y"], true, y)
    }
}

//! Autoregressive flows: masked, inverse, and with splines.

use super::NeuralSplineConfig;
use super::layers::{Layer, Layers};
use crate::bijector::{
    Affine, Autoregressive, Bijector, Inverted, RationalQuadraticSpline as Spline, Shift,
};
use crate::error::{Error, Result};
use crate::kernels::network::activation::Activation;
use crate::kernels::network::coupling::{Map, Mode};
use crate::net::{Dense, MaskedMlp, MaskedMlpConfig, masked_mlp};
use candle_core::{D, Tensor};
use candle_nn::VarBuilder;

/// What [`maf`] and [`iaf`] build.
#[derive(Debug, Clone, PartialEq)]
pub struct MafConfig {
    /// The width of the data.
    pub features: usize,
    /// The number of layers.
    pub layers: usize,
    /// The widths of each conditioner's hidden layers.
    pub hidden: Vec<usize>,
    /// What follows each hidden layer.
    pub activation: Activation,
    /// The width of the context, 0 for a flow without one.
    pub context: usize,
    /// No log-scale leaves +-bound: `ln scale = bound tanh(raw / bound)`.
    pub bound: f64,
}

impl Default for MafConfig {
    /// Five layers; log-scales within +-2.
    fn default() -> Self {
        MafConfig {
            features: 2,
            layers: 5,
            hidden: vec![64, 64],
            activation: Activation::Relu,
            context: 0,
            bound: 2.,
        }
    }
}

/// A flow of autoregressive layers whose conditioners are masked networks.
///
/// Formula: layer i takes each feature by an elementwise map whose parameters `net_i(y, context)` depend on the features of
/// the layer's result before it: affine, `y e^s + t` with `s = bound tanh(raw / bound)`, for [`maf`], a spline for
/// [`autoregressive_spline`]. The order of the features turns round from layer to layer.
///
/// Cost: `inverse`, from data to latent, calls each network once; `transform`, from latent to data, as often as there are
/// features. So log-densities are cheap and draws are not; for [`iaf`] it is the other way round.
///
/// Shapes: arguments are [.., features], log-dets [..]; the context is [.., context] with the argument's leading dims.
///
/// Gradients: to argument, context and all weights. On the CPU in f32 all layers are one node of the graph; the layers one by
/// one, as [`layers`](AutoregressiveFlow::layers) gives them, agree with it.
///
/// Errors: an argument of another width, dtype or device; a context where none is expected, none where one is, or one of
/// another shape.
///
/// A fresh flow is the identity, because the last layer of every network starts at zero.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::VarMap;
/// use candle_prob::distribution::{Distribution, Normal};
/// use candle_prob::flow::{MafConfig, maf};
/// use candle_prob::Rng;
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = candle_prob::init::seeded(&vars, 1, DType::F32, &Device::Cpu);
/// let flow = maf(&MafConfig { features: 3, ..Default::default() }, vb)?;
/// let zeros = Tensor::zeros(3, DType::F32, &Device::Cpu)?;
/// let base = Normal::new(&zeros, &zeros.ones_like()?)?.to_event(1)?;
/// let model = base.transformed_by(&flow)?;
/// let x = model.sample(&[100], &mut Rng::new(0))?;
/// assert_eq!(model.log_prob(&x)?.dims(), &[100]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Papamakarios, Pavlakou and Murray (2017), Masked Autoregressive Flow, section 3; Kingma et al. (2016), Inverse
/// Autoregressive Flow, equations 10 to 12; Durkan et al. (2019), Neural Spline Flows, section 3.2.
#[derive(Debug, Clone)]
pub struct AutoregressiveFlow {
    map: Map,
    layers: Layers<MaskedMlp>,
}

/// A masked autoregressive flow, for densities: from data to latent in one pass. The variables of layer i are under `i`.
///
/// Errors: no features, no layer, a bound that is not positive, and what `vb` refuses.
pub fn maf(config: &MafConfig, vb: VarBuilder) -> Result<AutoregressiveFlow> {
    let op = "flow::maf";
    let bound = config.bound;
    if !(bound > 0.) {
        return Err(Error::value(op, "bound", "a positive number", bound));
    }
    let net = MaskedMlpConfig {
        features: config.features,
        parameters: 2,
        hidden: config.hidden.clone(),
        activation: config.activation,
        context: config.context,
        order: None,
    };
    flow(op, Map::Affine { bound }, config.layers, net, vb)
}

/// An inverse autoregressive flow, for draws: from latent to data in one pass. It is [`maf`], inverted; a context is given
/// to the flow underneath: `iaf.base().given(context)?.inverted()`.
///
/// Errors: those of [`maf`].
pub fn iaf(config: &MafConfig, vb: VarBuilder) -> Result<Inverted<AutoregressiveFlow>> {
    Ok(maf(config, vb)?.inverted())
}

/// A neural spline flow with autoregressive layers: from data to latent in one pass. The variables of layer i are under `i`.
///
/// Errors: no features, no layer, bins or a bound that make no spline, and what `vb` refuses.
pub fn autoregressive_spline(
    config: &NeuralSplineConfig,
    vb: VarBuilder,
) -> Result<AutoregressiveFlow> {
    let op = "flow::autoregressive_spline";
    config.check(op)?;
    let NeuralSplineConfig { bins, bound, .. } = *config;
    let net = MaskedMlpConfig {
        features: config.features,
        parameters: Spline::parameters(bins),
        hidden: config.hidden.clone(),
        activation: config.activation,
        context: config.context,
        order: None,
    };
    flow(op, Map::Spline { bins, bound }, config.layers, net, vb)
}

fn flow(
    op: &'static str,
    map: Map,
    layers: usize,
    net: MaskedMlpConfig,
    vb: VarBuilder,
) -> Result<AutoregressiveFlow> {
    let layer = |i: usize| {
        let order = (i % 2 == 1).then(|| (0..net.features).rev().collect());
        let config = MaskedMlpConfig {
            order,
            ..net.clone()
        };
        masked_mlp(&config, vb.pp(i))
    };
    Ok(AutoregressiveFlow {
        map,
        layers: Layers::new(op, layers, [net.features, net.context], layer)?,
    })
}

impl Layer for MaskedMlp {
    fn weight(&self) -> &Tensor {
        self.layers()[0].0.weight()
    }

    fn net(&self) -> Result<Vec<Dense>> {
        self.masked()
    }

    fn columns(&self) -> [Vec<u32>; 2] {
        let all: Vec<u32> = (0..).take(self.config().features).collect();
        [all.clone(), all]
    }

    fn order(&self) -> Option<Vec<u32>> {
        Some(match &self.config().order {
            Some(order) => order.iter().map(|i| *i as u32).collect(),
            None => (0..).take(self.config().features).collect(),
        })
    }
}

impl AutoregressiveFlow {
    /// The flow under this context, [.., context].
    ///
    /// Errors: a flow without context, a context of another width.
    pub fn given(&self, context: &Tensor) -> Result<Self> {
        Ok(AutoregressiveFlow {
            map: self.map,
            layers: self.layers.given("AutoregressiveFlow::given", context)?,
        })
    }

    /// The layers one by one, first to last; `context` in the shape of the arguments.
    pub fn layers(&self, context: Option<Tensor>) -> Vec<impl Bijector + use<>> {
        let layer = |net: &MaskedMlp| {
            let (map, net, context) = (self.map, net.clone(), context.clone());
            Autoregressive::new(move |y: &Tensor| -> Result<Box<dyn Bijector>> {
                let out = net.forward(y, context.as_ref())?;
                let column = |i: usize| out.narrow(D::Minus1, i, 1)?.squeeze(D::Minus1);
                Ok(match map {
                    Map::Affine { bound } => {
                        Box::new(Affine::soft_clamped(&column(1)?, &column(0)?, bound)?)
                    }
                    Map::Shift => Box::new(Shift::new(&column(0)?)),
                    Map::Spline { bound, .. } => Box::new(Spline::new(&out, bound)?),
                })
            })
        };
        self.layers.iter().map(layer).collect()
    }

    fn apply(
        &self,
        names: [&'static str; 2],
        inverse: bool,
        x: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let mode = Mode {
            inverse,
            stored: inverse,
            map: self.map,
        };
        let layers = |context| self.layers(context);
        self.layers.apply(names, x, mode, layers)
    }
}

impl Bijector for AutoregressiveFlow {
    fn event_rank(&self) -> usize {
        1
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        self.apply(["AutoregressiveFlow::transform", "x"], false, x)
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        self.apply(["AutoregressiveFlow::inverse", "y"], true, y)
    }
}

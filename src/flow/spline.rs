//! Neural spline flows with couplings.

use super::real_nvp::{beside, conditioner};
use crate::bijector::{Bijector, Coupling, RationalQuadraticSpline, Split};
use crate::error::{Error, Result};
use crate::kernels::activation::Activation;
use crate::kernels::coupling;
use crate::net::{Dense, Mlp};
use candle_core::{D, Module, Tensor};
use candle_nn::VarBuilder;

/// What [`neural_spline`] and [`autoregressive_spline`](super::autoregressive_spline) build.
#[derive(Debug, Clone, PartialEq)]
pub struct NeuralSplineConfig {
    /// The width of the data.
    pub features: usize,
    /// The number of layers.
    pub layers: usize,
    /// The number of bins of each spline, from 2 to 999.
    pub bins: usize,
    /// The splines reach from -bound to bound; beyond, they are the identity. Data should lie mostly within.
    pub bound: f64,
    /// The widths of each conditioner's hidden layers.
    pub hidden: Vec<usize>,
    /// What follows each hidden layer.
    pub activation: Activation,
    /// The width of the context, 0 for a flow without one.
    pub context: usize,
}

impl Default for NeuralSplineConfig {
    /// Five layers of eight bins on [-5, 5].
    fn default() -> Self {
        NeuralSplineConfig {
            features: 2,
            layers: 5,
            bins: 8,
            bound: 5.,
            hidden: vec![64, 64],
            activation: Activation::Relu,
            context: 0,
        }
    }
}

impl NeuralSplineConfig {
    pub(super) fn check(&self, op: &'static str) -> Result<()> {
        if self.layers == 0 {
            return Err(Error::value(op, "layers", "at least 1", 0));
        }
        if !(2..1000).contains(&self.bins) {
            return Err(Error::value(op, "bins", "2 to 999", self.bins));
        }
        if !(self.bound > 0. && self.bound.is_finite()) {
            let expected = "a positive finite number";
            return Err(Error::value(op, "bound", expected, self.bound));
        }
        Ok(())
    }
}

/// A flow of spline couplings with dense conditioners: the coupling version of neural spline flows.
///
/// Formula: layer i leaves one half `a` of the features and takes each of the other by a
/// [`RationalQuadraticSpline`] whose raw parameters are `net_i(a, context)`; the log-det is the sum of all log-slopes. The
/// halves take turns.
///
/// Shapes: arguments are [.., features], log-dets [..]; the context is [.., context] with the argument's leading dims.
///
/// Gradients: to argument, context and all weights. On the CPU in f32 all layers are one node of the graph; the layers one by
/// one, as [`couplings`](NeuralSpline::couplings) gives them, agree with it.
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
/// use candle_prob::flow::{NeuralSplineConfig, neural_spline};
/// use candle_prob::Rng;
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = candle_prob::init::seeded(&vars, 1, DType::F32, &Device::Cpu);
/// let flow = neural_spline(&NeuralSplineConfig::default(), vb)?;
/// let zeros = Tensor::zeros(2, DType::F32, &Device::Cpu)?;
/// let base = Normal::new(&zeros, &zeros.ones_like()?)?.to_event(1)?;
/// let model = base.transformed_by(&flow)?;
/// let x = model.sample(&[100], &mut Rng::new(0))?;
/// assert_eq!(model.log_prob(&x)?.dims(), &[100]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Durkan, Bekasov, Murray and Papamakarios (2019), Neural Spline Flows, section 3.2.
#[derive(Debug, Clone)]
pub struct NeuralSpline {
    config: NeuralSplineConfig,
    layers: Vec<(Split, Mlp)>,
    context: Option<Tensor>,
}

/// A neural spline flow; the variables of coupling i are under `i`.
///
/// Errors: fewer than two features, no layer, bins or a bound that make no spline, and what `vb` refuses.
pub fn neural_spline(config: &NeuralSplineConfig, vb: VarBuilder) -> Result<NeuralSpline> {
    config.check("flow::neural_spline")?;
    let layer = |i: usize| {
        let flip = i % 2 == 1;
        let split = Split::half(config.features, flip)?;
        let passing = match flip {
            true => config.features / 2,
            false => config.features.div_ceil(2),
        };
        let each = RationalQuadraticSpline::parameters(config.bins);
        let outputs = (config.features - passing) * each;
        let mut widths = vec![passing + config.context];
        widths.extend(&config.hidden);
        let net = conditioner(&widths, outputs, config.activation, vb.pp(i))?;
        Ok((split, net))
    };
    Ok(NeuralSpline {
        config: config.clone(),
        layers: (0..config.layers).map(layer).collect::<Result<_>>()?,
        context: None,
    })
}

impl NeuralSpline {
    /// The flow under this context, [.., context].
    ///
    /// Errors: a flow without context, a context of another width.
    pub fn given(&self, context: &Tensor) -> Result<Self> {
        let width = self.config.context;
        super::check_context("NeuralSpline::given", context, width, self.weight())?;
        Ok(NeuralSpline {
            context: Some(context.clone()),
            ..self.clone()
        })
    }

    /// The config it was built from.
    pub fn config(&self) -> &NeuralSplineConfig {
        &self.config
    }

    fn weight(&self) -> &Tensor {
        self.layers[0].1.layers()[0].weight()
    }

    /// The layers one by one, first to last; `context` in the shape of the arguments.
    pub fn couplings(&self, context: Option<Tensor>) -> Vec<impl Bijector + use<>> {
        let NeuralSplineConfig { bins, bound, .. } = self.config;
        let coupling = |(split, net): &(Split, Mlp)| {
            let (net, context) = (net.clone(), context.clone());
            Coupling::new(split.clone(), move |passing: &Tensor| {
                let out = net.forward(&beside(passing, context.as_ref())?)?;
                let each = RationalQuadraticSpline::parameters(bins);
                let mut shape = out.dims().to_vec();
                shape.pop();
                shape.extend([out.dim(D::Minus1)? / each, each]);
                RationalQuadraticSpline::new(&out.reshape(shape)?, bound)
            })
        };
        self.layers.iter().map(coupling).collect()
    }

    fn apply(
        &self,
        names: [&'static str; 2],
        inverse: bool,
        x: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let batch = super::batch_of(names, x, self.config.features, self.weight())?;
        let (context, width) = (self.context.as_ref(), self.config.context);
        let context = super::context_for(names[0], context, width, batch)?;
        let layers = self.layers.iter().filter_map(|(split, net)| {
            Some(coupling::Layer {
                columns: split.columns()?,
                order: None,
                net: net.layers().iter().map(Dense::parts).collect(),
            })
        });
        let layers: Vec<_> = layers.collect();
        let NeuralSplineConfig { bins, bound, .. } = self.config;
        let mode = coupling::Mode {
            inverse,
            stored: true,
            map: coupling::Map::Spline { bins, bound },
        };
        if let Some(done) = coupling::couplings(x, context.as_ref(), &layers, mode)? {
            return Ok(done);
        }
        super::through(&self.couplings(context), inverse, x)
    }
}

impl Bijector for NeuralSpline {
    fn event_rank(&self) -> usize {
        1
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        self.apply(["NeuralSpline::transform", "x"], false, x)
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        self.apply(["NeuralSpline::inverse", "y"], true, y)
    }
}

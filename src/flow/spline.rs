//! Neural spline flows with couplings.

use super::layers::{DenseCoupling, Layers, Plan};
use crate::bijector::{Bijector, RationalQuadraticSpline, Split};
use crate::error::{Error, Result};
use crate::kernels::network::activation::Activation;
use crate::kernels::network::coupling::{Map, Mode};
use candle_core::{D, Tensor};
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
    /// Keep the networks' activations for the backward pass. If not, each layer's argument is computed again from its
    /// result: the memory does not depend on the number of layers, for more arithmetic. Of couplings alone; autoregressive
    /// layers keep what they keep.
    pub stored: bool,
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
            stored: true,
        }
    }
}

impl NeuralSplineConfig {
    pub(super) fn check(&self, op: &'static str) -> Result<()> {
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
    layers: Layers<DenseCoupling>,
}

/// A neural spline flow; the variables of coupling i are under `i`.
///
/// Errors: fewer than two features, no layer, bins or a bound that make no spline, and what `vb` refuses.
pub fn neural_spline(config: &NeuralSplineConfig, vb: VarBuilder) -> Result<NeuralSpline> {
    let op = "flow::neural_spline";
    config.check(op)?;
    let plan = Plan {
        features: config.features,
        layers: config.layers,
        hidden: &config.hidden,
        activation: config.activation,
        context: config.context,
        split: Split::half,
        parameters: RationalQuadraticSpline::parameters(config.bins),
    };
    Ok(NeuralSpline {
        config: config.clone(),
        layers: Layers::couplings(op, plan, vb)?,
    })
}

impl NeuralSpline {
    /// The flow under this context, [.., context].
    ///
    /// Errors: a flow without context, a context of another width.
    pub fn given(&self, context: &Tensor) -> Result<Self> {
        Ok(NeuralSpline {
            config: self.config.clone(),
            layers: self.layers.given("NeuralSpline::given", context)?,
        })
    }

    /// The config it was built from.
    pub fn config(&self) -> &NeuralSplineConfig {
        &self.config
    }

    /// The layers one by one, first to last; `context` in the shape of the arguments.
    pub fn couplings(&self, context: Option<Tensor>) -> Vec<impl Bijector + use<>> {
        let NeuralSplineConfig { bins, bound, .. } = self.config;
        self.layers.one_by_one(context, move |said: &Tensor| {
            let each = RationalQuadraticSpline::parameters(bins);
            let mut shape = said.dims().to_vec();
            shape.pop();
            shape.extend([said.dim(D::Minus1)? / each, each]);
            RationalQuadraticSpline::new(&said.reshape(shape)?, bound)
        })
    }

    fn apply(
        &self,
        names: [&'static str; 2],
        inverse: bool,
        x: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let NeuralSplineConfig {
            bins,
            bound,
            stored,
            ..
        } = self.config;
        let mode = Mode {
            inverse,
            stored,
            map: Map::Spline { bins, bound },
        };
        let couplings = |context| self.couplings(context);
        self.layers.apply(names, x, mode, couplings)
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

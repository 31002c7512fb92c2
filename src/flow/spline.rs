//! Neural spline flows with couplings.

use super::vector::{Plan, VectorFlow};
use crate::bijector::Split;
use crate::check;
use crate::error::Result;
use crate::kernels::network::activation::Activation;
use crate::kernels::network::coupling::Map;
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
    /// The activation of the hidden layers.
    pub activation: Activation,
    /// The width of the context, 0 for a flow without one.
    pub context: usize,
    /// Keep the networks' activations for the backward pass. If not, each layer's argument is computed again from its
    /// result: the memory does not depend on the number of layers, for more arithmetic. Of couplings alone; autoregressive
    /// layers keep what they keep.
    pub keep_activations: bool,
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
            keep_activations: true,
        }
    }
}

impl NeuralSplineConfig {
    pub(super) fn plan(&self, op: &'static str) -> Result<Plan<'_>> {
        check::count_in(op, "bins", self.bins, 2..=999, "bins")?;
        check::positive_finite(op, "bound", self.bound)?;
        Ok(Plan {
            features: self.features,
            layers: self.layers,
            hidden: &self.hidden,
            activation: self.activation,
            context: self.context,
            map: Map::Spline {
                bins: self.bins,
                bound: self.bound,
            },
            keep_activations: self.keep_activations,
        })
    }
}

/// A flow of spline couplings with dense conditioners: the coupling version of neural spline flows.
///
/// Formula: layer i leaves one half `a` of the features and takes each of the other by a
/// [`RationalQuadraticSpline`](crate::bijector::RationalQuadraticSpline) whose raw parameters are `net_i(a, context)`;
/// the log-det is the sum of all log-slopes. The halves take turns.
///
/// Both directions cost the same. The variables of coupling i are under `i`.
///
/// Errors: fewer than two features, no layer, bins or a bound that make no spline, and what `vb` refuses.
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
pub fn neural_spline(config: &NeuralSplineConfig, vb: VarBuilder) -> Result<VectorFlow> {
    let op = "flow::neural_spline";
    VectorFlow::couplings(op, config.plan(op)?, Split::half, vb)
}

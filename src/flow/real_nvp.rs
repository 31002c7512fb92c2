//! RealNVP for vectors.

use super::vector::{Plan, VectorFlow};
use crate::bijector::Split;
use crate::check;
use crate::error::Result;
use crate::kernels::network::activation::Activation;
use crate::kernels::network::coupling::Map;
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
    /// The activation of the hidden layers.
    pub activation: Activation,
    /// The width of the context, 0 for a flow without one.
    pub context: usize,
    /// No log-scale leaves +-bound: `ln scale = bound tanh(raw / bound)`. Without a bound (infinity) deep flows blow up.
    pub bound: f64,
    /// Keep the networks' activations for the backward pass. If not, each layer's argument is computed again from its
    /// result: the memory does not depend on the number of layers, for a third more arithmetic.
    pub keep_activations: bool,
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
            keep_activations: true,
        }
    }
}

/// A flow of affine couplings with dense conditioners: RealNVP for vectors.
///
/// Formula: layer i leaves one half `a` of the features and takes the other to `b e^s + t`, with `(raw, t) = net_i(a,
/// context)` and `s = bound tanh(raw / bound)`; the log-det is the sum of all s. The halves take turns.
///
/// Both directions cost the same. The variables of coupling i are under `i`.
///
/// Errors: fewer than two features, no layer, a bound that is not positive, and what `vb` refuses.
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
pub fn real_nvp(config: &RealNvpConfig, vb: VarBuilder) -> Result<VectorFlow> {
    let op = "flow::real_nvp";
    check::positive(op, "bound", config.bound)?;
    let plan = Plan {
        features: config.features,
        layers: config.layers,
        hidden: &config.hidden,
        activation: config.activation,
        context: config.context,
        map: Map::Affine {
            bound: config.bound,
        },
        keep_activations: config.keep_activations,
    };
    VectorFlow::couplings(op, plan, Split::half, vb)
}

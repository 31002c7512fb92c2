//! NICE: additive couplings and a scale.

use super::vector::{Plan, VectorFlow};
use crate::bijector::Split;
use crate::error::Result;
use crate::kernels::network::activation::Activation;
use crate::kernels::network::coupling::Map;
use candle_nn::{Init, VarBuilder};

/// What [`nice`] builds.
#[derive(Debug, Clone, PartialEq)]
pub struct NiceConfig {
    /// The width of the data.
    pub features: usize,
    /// The number of couplings. The elements of even and of odd number take turns.
    pub layers: usize,
    /// The widths of each conditioner's hidden layers.
    pub hidden: Vec<usize>,
    /// The activation of the hidden layers.
    pub activation: Activation,
    /// The width of the context, 0 for a flow without one.
    pub context: usize,
    /// Keep the networks' activations for the backward pass. If not, each layer's argument is computed again from its
    /// result: the memory does not depend on the number of layers, for a third more arithmetic.
    pub keep_activations: bool,
}

impl Default for NiceConfig {
    /// Four couplings.
    fn default() -> Self {
        NiceConfig {
            features: 2,
            layers: 4,
            hidden: vec![64, 64],
            activation: Activation::Relu,
            context: 0,
            keep_activations: true,
        }
    }
}

/// A flow of additive couplings with dense conditioners, which keep volumes, and a scale of each feature, which does not.
///
/// Formula: from data to latent, a coupling leaves one half `a` of the features and takes the other to `b - net_i(a,
/// context)`; after the last, `z = h e^log_scale`, so that the log-det is the sum of `log_scale`: the same for all data.
///
/// Both directions cost the same. The source takes a logistic base for its images.
///
/// The variables of coupling i are under `i`, the scales in `log_scale`, initialized to zero.
///
/// Errors: fewer than two features, no layer, and what `vb` refuses.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::VarMap;
/// use candle_prob::distribution::{Distribution, Logistic};
/// use candle_prob::flow::{NiceConfig, nice};
/// use candle_prob::{Rng, init};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = init::seeded(&vars, 1, DType::F32, &Device::Cpu);
/// let zeros = Tensor::zeros(2, DType::F32, &Device::Cpu)?;
/// let base = Logistic::new(&zeros, &zeros.ones_like()?)?.to_event(1)?;
/// let model = base.transformed_by(nice(&NiceConfig::default(), vb)?)?;
/// let x = model.sample(&[100], &mut Rng::new(0))?;
/// assert_eq!(model.log_prob(&x)?.dims(), &[100]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Dinh, Krueger and Bengio (2015), NICE, sections 3.2 and 3.3.
pub fn nice(config: &NiceConfig, vb: VarBuilder) -> Result<VectorFlow> {
    let plan = Plan {
        features: config.features,
        layers: config.layers,
        hidden: &config.hidden,
        activation: config.activation,
        context: config.context,
        map: Map::Shift,
        keep_activations: config.keep_activations,
    };
    let flow = VectorFlow::couplings("flow::nice", plan, Split::alternating, vb.clone())?;
    let log_scale = vb.get_with_hints(config.features, "log_scale", Init::Const(0.))?;
    Ok(flow.scaled(log_scale))
}

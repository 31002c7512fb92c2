//! Autoregressive flows: masked, inverse, and with splines.

use super::NeuralSplineConfig;
use super::vector::{Plan, VectorFlow};
use crate::check;
use crate::error::Result;
use crate::kernels::network::activation::Activation;
use crate::kernels::network::coupling::Map;
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
    /// The activation of the hidden layers.
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

/// A masked autoregressive flow, for densities: layers whose conditioners are masked networks.
///
/// Formula: layer i takes each feature to `y e^s + t` with `s = bound tanh(raw / bound)`, where `(raw, t) = net_i(y, context)`
/// depend on the features of the layer's result before it. The order of the features turns round from layer to layer.
///
/// Cost: `inverse`, from data to latent, calls each network once; `transform`, from latent to data, as often as there are
/// features. So log-densities are cheap and draws are not; for [`iaf`] it is the other way round.
///
/// The variables of layer i are under `i`.
///
/// Errors: no features, no layer, a bound that is not positive, and what `vb` refuses.
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
/// Source: Papamakarios, Pavlakou and Murray (2017), Masked Autoregressive Flow, section 3.
pub fn maf(config: &MafConfig, vb: VarBuilder) -> Result<VectorFlow> {
    let op = "flow::maf";
    VectorFlow::autoregressive(op, config.plan(op)?, vb)
}

/// An inverse autoregressive flow, for draws: [`maf`], inverted, so that one pass leads from latent to data.
///
/// Errors: those of [`maf`].
///
/// Source: Kingma et al. (2016), Inverse Autoregressive Flow, equations 10 to 12.
pub fn iaf(config: &MafConfig, vb: VarBuilder) -> Result<VectorFlow> {
    let op = "flow::iaf";
    Ok(VectorFlow::autoregressive(op, config.plan(op)?, vb)?.turned())
}

/// A neural spline flow with autoregressive layers: [`maf`] with a
/// [`RationalQuadraticSpline`](crate::bijector::RationalQuadraticSpline) for each feature in place of the affine map.
///
/// Errors: no features, no layer, bins or a bound that make no spline, and what `vb` refuses.
///
/// Source: Durkan, Bekasov, Murray and Papamakarios (2019), Neural Spline Flows, section 3.2.
pub fn autoregressive_spline(config: &NeuralSplineConfig, vb: VarBuilder) -> Result<VectorFlow> {
    let op = "flow::autoregressive_spline";
    VectorFlow::autoregressive(op, config.plan(op)?, vb)
}

impl MafConfig {
    fn plan(&self, op: &'static str) -> Result<Plan<'_>> {
        check::positive(op, "bound", self.bound)?;
        Ok(Plan {
            features: self.features,
            layers: self.layers,
            hidden: &self.hidden,
            activation: self.activation,
            context: self.context,
            map: Map::Affine { bound: self.bound },
            keep_activations: true,
        })
    }
}

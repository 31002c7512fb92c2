//! RealNVP for vectors.

use super::layers::{DenseCoupling, Layers, Plan};
use crate::bijector::{Affine, Bijector, Split};
use crate::error::{Error, Result};
use crate::kernels::network::activation::Activation;
use crate::kernels::network::coupling::{Map, Mode};
use candle_core::{D, Tensor};
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
    layers: Layers<DenseCoupling>,
}

/// A RealNVP flow; the variables of coupling i are under `i`.
///
/// Errors: fewer than two features, no layer, a bound that is not positive, and what `vb` refuses.
pub fn real_nvp(config: &RealNvpConfig, vb: VarBuilder) -> Result<RealNvp> {
    let op = "flow::real_nvp";
    if !(config.bound > 0.) {
        let found = config.bound;
        return Err(Error::value(op, "bound", "a positive number", found));
    }
    let plan = Plan {
        features: config.features,
        layers: config.layers,
        hidden: &config.hidden,
        activation: config.activation,
        context: config.context,
        split: Split::half,
        parameters: 2,
    };
    Ok(RealNvp {
        config: config.clone(),
        layers: Layers::couplings(op, plan, vb)?,
    })
}

impl RealNvp {
    /// The flow under this context, [.., context].
    ///
    /// Errors: a flow without context, a context of another width.
    pub fn given(&self, context: &Tensor) -> Result<Self> {
        Ok(RealNvp {
            config: self.config.clone(),
            layers: self.layers.given("RealNvp::given", context)?,
        })
    }

    /// The config it was built from.
    pub fn config(&self) -> &RealNvpConfig {
        &self.config
    }

    /// The layers one by one, first to last; `context` in the shape of the arguments.
    pub fn couplings(&self, context: Option<Tensor>) -> Vec<impl Bijector + use<>> {
        let bound = self.config.bound;
        self.layers.one_by_one(context, move |said: &Tensor| {
            let width = said.dim(D::Minus1)? / 2;
            let raw = said.narrow(D::Minus1, 0, width)?;
            Affine::soft_clamped(&said.narrow(D::Minus1, width, width)?, &raw, bound)
        })
    }

    fn apply(
        &self,
        names: [&'static str; 2],
        inverse: bool,
        x: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let RealNvpConfig { stored, bound, .. } = self.config;
        let mode = Mode {
            inverse,
            stored,
            map: Map::Affine { bound },
        };
        let couplings = |context| self.couplings(context);
        self.layers.apply(names, x, mode, couplings)
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

//! NICE: additive couplings and a scale.

use super::layers::{DenseCoupling, Layers, Plan};
use crate::bijector::{Affine, Bijector, Shift, Split};
use crate::error::Result;
use crate::kernels::network::activation::Activation;
use crate::kernels::network::coupling::{Map, Mode};
use candle_core::Tensor;
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
    /// What follows each hidden layer.
    pub activation: Activation,
    /// The width of the context, 0 for a flow without one.
    pub context: usize,
    /// Keep the networks' activations for the backward pass. If not, each layer's argument is computed again from its
    /// result: the memory does not depend on the number of layers, for a third more arithmetic.
    pub stored: bool,
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
            stored: true,
        }
    }
}

/// A flow of additive couplings with dense conditioners, which keep volumes, and a scale of each feature, which does not.
///
/// Formula: from data to latent, a coupling leaves one half `a` of the features and takes the other to `b - net_i(a,
/// context)`; after the last, `z = h e^log_scale`, so that the log-det is the sum of `log_scale`: the same for all data.
///
/// Shapes: arguments are [.., features], log-dets [..]; the context is [.., context] with the argument's leading dims.
///
/// Gradients: to argument, context, scales and all weights. On the CPU in f32 all couplings are one node of the graph; the
/// couplings one by one, as [`couplings`](Nice::couplings) gives them, agree with it.
///
/// Errors: an argument of another width, dtype or device; a context where none is expected, none where one is, or one of
/// another shape.
///
/// Both directions cost the same. A fresh flow is the identity, because scales and the last layer of every network start at
/// zero. The source takes a logistic base for its images.
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
#[derive(Debug, Clone)]
pub struct Nice {
    config: NiceConfig,
    layers: Layers<DenseCoupling>,
    log_scale: Tensor,
}

/// A NICE flow; the variables of coupling i are under `i`, the scales in `log_scale`.
///
/// Errors: fewer than two features, no layer, and what `vb` refuses.
pub fn nice(config: &NiceConfig, vb: VarBuilder) -> Result<Nice> {
    let plan = Plan {
        features: config.features,
        layers: config.layers,
        hidden: &config.hidden,
        activation: config.activation,
        context: config.context,
        split: Split::alternating,
        parameters: 1,
    };
    Ok(Nice {
        config: config.clone(),
        layers: Layers::couplings("flow::nice", plan, vb.clone())?,
        log_scale: vb.get_with_hints(config.features, "log_scale", Init::Const(0.))?,
    })
}

impl Nice {
    /// The flow under this context, [.., context].
    ///
    /// Errors: a flow without context, a context of another width.
    pub fn given(&self, context: &Tensor) -> Result<Self> {
        Ok(Nice {
            layers: self.layers.given("Nice::given", context)?,
            ..self.clone()
        })
    }

    /// The config it was built from.
    pub fn config(&self) -> &NiceConfig {
        &self.config
    }

    /// The couplings one by one, first to last; `context` in the shape of the arguments.
    pub fn couplings(&self, context: Option<Tensor>) -> Vec<impl Bijector + use<>> {
        let shift = |said: &Tensor| Ok(Shift::new(said));
        self.layers.one_by_one(context, shift)
    }

    fn apply(
        &self,
        names: [&'static str; 2],
        inverse: bool,
        x: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let batch = super::batch_of(names, x, self.config.features, &self.log_scale)?;
        let log_det = self.log_scale.sum_all()?.broadcast_as(batch)?;
        let zero = self.log_scale.detach().zeros_like()?;
        let scale = Affine::soft_clamped(&zero, &self.log_scale, f64::INFINITY)?;
        let mode = Mode {
            inverse,
            stored: self.config.stored,
            map: Map::Shift,
        };
        let couple = |x: &Tensor| -> Result<Tensor> {
            let couplings = |context| self.couplings(context);
            Ok(self.layers.apply(names, x, mode, couplings)?.0)
        };
        match inverse {
            true => Ok((scale.transform(&couple(x)?)?, log_det)),
            false => Ok((couple(&scale.inverse(x)?)?, log_det.neg()?)),
        }
    }
}

impl Bijector for Nice {
    fn event_rank(&self) -> usize {
        1
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        self.apply(["Nice::transform", "x"], false, x)
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        self.apply(["Nice::inverse", "y"], true, y)
    }
}

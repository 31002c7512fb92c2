//! NICE: additive couplings and a scale.

use super::real_nvp::{beside, conditioner};
use crate::bijector::{Bijector, Coupling, Shift, Split};
use crate::error::{Error, Result};
use crate::kernels::activation::Activation;
use crate::net::Mlp;
use candle_core::{D, Module, Tensor};
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
/// Gradients: to argument, context, scales and all weights.
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
    layers: Vec<(Split, Mlp)>,
    log_scale: Tensor,
    context: Option<Tensor>,
}

/// A NICE flow; the variables of coupling i are under `i`, the scales in `log_scale`.
///
/// Errors: fewer than two features, no layer, and what `vb` refuses.
pub fn nice(config: &NiceConfig, vb: VarBuilder) -> Result<Nice> {
    let features = config.features;
    if config.layers == 0 {
        return Err(Error::value("flow::nice", "layers", "at least 1", 0));
    }
    let layer = |i: usize| {
        let flip = i % 2 == 1;
        let split = Split::alternating(features, flip)?;
        let changing = match flip {
            true => features.div_ceil(2),
            false => features / 2,
        };
        let mut widths = vec![features - changing + config.context];
        widths.extend(&config.hidden);
        let net = conditioner(&widths, changing, config.activation, vb.pp(i))?;
        Ok((split, net))
    };
    Ok(Nice {
        config: config.clone(),
        layers: (0..config.layers).map(layer).collect::<Result<_>>()?,
        log_scale: vb.get_with_hints(features, "log_scale", Init::Const(0.))?,
        context: None,
    })
}

impl Nice {
    /// The flow under this context, [.., context].
    ///
    /// Errors: a flow without context, a context of another width.
    pub fn given(&self, context: &Tensor) -> Result<Self> {
        let width = self.config.context;
        super::check_context("Nice::given", context, width, &self.log_scale)?;
        Ok(Nice {
            context: Some(context.clone()),
            ..self.clone()
        })
    }

    /// The config it was built from.
    pub fn config(&self) -> &NiceConfig {
        &self.config
    }

    /// The couplings one by one, first to last; `context` in the shape of the arguments.
    pub fn couplings(&self, context: Option<Tensor>) -> Vec<impl Bijector + use<>> {
        let coupling = |(split, net): &(Split, Mlp)| {
            let (net, context) = (net.clone(), context.clone());
            Coupling::new(split.clone(), move |passing: &Tensor| {
                let shift = net.forward(&beside(passing, context.as_ref())?)?;
                Ok(Shift::new(&shift))
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
        let batch = super::batch_of(names, x, self.config.features, &self.log_scale)?;
        let (context, width) = (self.context.as_ref(), self.config.context);
        let context = super::context_for(names[0], context, width, batch)?;
        let couplings = self.couplings(context);
        let log_scale = self.log_scale.broadcast_as(x.shape())?;
        let log_det = log_scale.sum(D::Minus1)?;
        if inverse {
            let (h, _) = super::through(&couplings, true, x)?;
            return Ok(((h * log_scale.exp()?)?, log_det));
        }
        let h = (x * log_scale.neg()?.exp()?)?;
        let (y, _) = super::through(&couplings, false, &h)?;
        Ok((y, log_det.neg()?))
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

//! Masked multilayer perceptrons.

use super::dense::Dense;
use super::{initializer, mlp::Mlp};
use crate::check;
use crate::detach::Detach;
use crate::error::{Error, Result};
use crate::kernels::network::activation::Activation;
use crate::shape;
use candle_core::{D, Module, Tensor};
use candle_nn::{Init, VarBuilder};

/// What [`masked_mlp`] builds.
#[derive(Debug, Clone, PartialEq)]
pub struct MaskedMlpConfig {
    /// The number of features.
    pub features: usize,
    /// The number of outputs for each feature.
    pub parameters: usize,
    /// The widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// The activation of the hidden layers.
    pub activation: Activation,
    /// The width of the context, 0 for none. All outputs may depend on all of it.
    pub context: usize,
    /// The features, first to last: the outputs of each depend on those before it. `None` is 0, 1, 2, ...
    pub order: Option<Vec<usize>>,
}

impl Default for MaskedMlpConfig {
    /// Two parameters of each of two features, from two hidden layers of 64 with ReLU.
    fn default() -> Self {
        MaskedMlpConfig {
            features: 2,
            parameters: 2,
            hidden: vec![64, 64],
            activation: Activation::Relu,
            context: 0,
            order: None,
        }
    }
}

/// A multilayer perceptron whose outputs for each feature depend on the features before it alone.
///
/// Formula: every feature has a degree, its place in the order from 1; the context's is 0. Hidden unit k has degree `1 + k
/// mod (features - 1)`, or `k mod features` where there is a context, so that it reaches the first feature too. A weight is
/// used where the degree does not fall, in the last layer where it rises, and counts as zero elsewhere: the Jacobian of
/// outputs to features is strictly triangular, exactly.
///
/// Shapes: `x` is [.., features] and the context [.., context] with the same leading dims; the result is [.., features,
/// parameters].
///
/// Gradients: to `x`, the context and the weights in use; the others' are zero.
///
/// Errors: `x` or context of another width, dtype or device; a context where none is expected or none where one is.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::VarMap;
/// use candle_prob::net::{MaskedMlpConfig, masked_mlp};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = candle_prob::init::seeded(&vars, 1, DType::F32, &Device::Cpu);
/// let net = masked_mlp(&MaskedMlpConfig { features: 3, ..Default::default() }, vb)?;
/// let x = Tensor::ones((7, 3), DType::F32, &Device::Cpu)?;
/// assert_eq!(net.forward(&x, None)?.dims(), &[7, 3, 2]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Germain, Gregor, Murray and Larochelle (2015), MADE, equations 8 to 13.
#[derive(Debug, Clone)]
pub struct MaskedMlp {
    config: MaskedMlpConfig,
    layers: Vec<(Dense, Tensor)>,
}

/// A masked multilayer perceptron; the layers' variables are under `0`, `1`, .. The last layer is initialized to zero,
/// so that all outputs are zero at first; the others have the initializers of [`dense`](super::dense). The masks follow
/// from the config and are no variables.
///
/// Errors: no features or parameters, a hidden width of 0, an order that does not name each feature once; what `vb` refuses.
pub fn masked_mlp(config: &MaskedMlpConfig, vb: VarBuilder) -> Result<MaskedMlp> {
    let op = "net::masked_mlp";
    let MaskedMlpConfig {
        features,
        parameters,
        ..
    } = *config;
    let least = config.hidden.iter().copied().min().unwrap_or(1);
    let sizes = [
        ("features", features),
        ("parameters", parameters),
        ("hidden", least),
    ];
    check::at_least_one(op, &sizes)?;
    let own = degrees(op, config)?;
    let mut before: Vec<usize> = [own.clone(), vec![0; config.context]].concat();
    let mut layers = vec![];
    for (i, width) in config.hidden.iter().enumerate() {
        // Without context a unit of degree 0 would see nothing.
        let unit = |k: usize| match config.context {
            0 => 1 + k % features.saturating_sub(1).max(1),
            _ => k % features,
        };
        let after: Vec<usize> = (0..*width).map(unit).collect();
        let weight = initializer::weight(config.activation);
        let bias = initializer::bias(before.len() as f64);
        let used = |to: usize, from: usize| to >= from;
        layers.push(layer(
            [&before, &after],
            used,
            [weight, bias],
            config.activation,
            vb.pp(i),
        )?);
        before = after;
    }
    let after: Vec<usize> = own.iter().flat_map(|d| vec![*d; parameters]).collect();
    let (used, zero) = (|to: usize, from: usize| to > from, Init::Const(0.));
    let last = vb.pp(layers.len());
    layers.push(layer(
        [&before, &after],
        used,
        [zero; 2],
        Activation::Identity,
        last,
    )?);
    Ok(MaskedMlp {
        config: config.clone(),
        layers,
    })
}

/// The features' places in the order, from 1.
fn degrees(op: &'static str, config: &MaskedMlpConfig) -> Result<Vec<usize>> {
    let Some(order) = &config.order else {
        return Ok((1..=config.features).collect());
    };
    let mut degrees = vec![0; config.features];
    for (place, feature) in order.iter().enumerate() {
        if let Some(degree) = degrees.get_mut(*feature) {
            *degree = place + 1;
        }
    }
    if order.len() != config.features || degrees.contains(&0) {
        let expected = format!("each of 0..{} once", config.features);
        return Err(Error::value(op, "order", expected, format!("{order:?}")));
    }
    Ok(degrees)
}

fn layer(
    [from, to]: [&[usize]; 2],
    used: impl Fn(usize, usize) -> bool,
    [weight, bias]: [Init; 2],
    activation: Activation,
    vb: VarBuilder,
) -> Result<(Dense, Tensor)> {
    let weight = vb.get_with_hints((to.len(), from.len()), "weight", weight)?;
    let bias = vb.get_with_hints(to.len(), "bias", bias)?;
    let used = &used;
    let mask = to
        .iter()
        .flat_map(|to| from.iter().map(move |from| u8::from(used(*to, *from))));
    let mask = Tensor::from_vec(mask.collect(), weight.shape(), weight.device())?;
    let mask = mask.to_dtype(weight.dtype())?;
    Ok((Dense::new(weight, Some(bias), activation)?, mask))
}

impl MaskedMlp {
    /// The config it was built from.
    pub fn config(&self) -> &MaskedMlpConfig {
        &self.config
    }

    /// The layers, first to last, each with its mask: `[out, in]`, one for the weights in use and zero for the others.
    pub fn layers(&self) -> &[(Dense, Tensor)] {
        &self.layers
    }

    /// The outputs for each feature.
    pub fn forward(&self, x: &Tensor, context: Option<&Tensor>) -> Result<Tensor> {
        let op = "MaskedMlp::forward";
        self.check(op, "x", x, self.config.features)?;
        let inputs = match (context, self.config.context) {
            (None, 0) => x.clone(),
            (Some(context), width) if width > 0 => {
                self.check(op, "context", context, width)?;
                Tensor::cat(&[x, context], D::Minus1)?
            }
            (context, width) => {
                let found = context.map(|c| format!("{:?}", c.dims()));
                let expected = match width {
                    0 => "none".into(),
                    width => format!("one of width {width}"),
                };
                let found = found.unwrap_or_else(|| "none".into());
                return Err(Error::value(op, "context", expected, found));
            }
        };
        let net = Mlp::new(self.masked()?)?;
        let shape = [x.dims(), &[self.config.parameters]].concat();
        Ok(net.forward(&inputs)?.reshape(shape)?)
    }

    /// The layers with the weights in use alone, for rows of features and then the context.
    pub(crate) fn masked(&self) -> Result<Vec<Dense>> {
        let masked = |(layer, mask): &(Dense, Tensor)| {
            let weight = (layer.weight() * mask)?;
            Dense::new(weight, layer.bias().cloned(), layer.activation())
        };
        self.layers.iter().map(masked).collect()
    }

    fn check(&self, op: &'static str, arg: &'static str, x: &Tensor, width: usize) -> Result<()> {
        shape::same_kind(op, arg, x, self.layers[0].0.weight())?;
        shape::last_dim(op, arg, x.dims(), width).map(|_| ())
    }
}

impl Detach for MaskedMlp {
    fn detach(&self) -> Self {
        MaskedMlp {
            layers: self
                .layers
                .iter()
                .map(|(layer, mask)| (layer.detach(), mask.detach()))
                .collect(),
            ..self.clone()
        }
    }
}

//! Chains of dense layers.

use super::dense::{Dense, dense};
use crate::check;
use crate::detach::Detach;
use crate::dual::{Dual, DualModule};
use crate::error::{Error, Result};
use crate::kernels;
use crate::kernels::network::activation::Activation;
use crate::shape;
use candle_core::{Module, Tensor};
use candle_nn::VarBuilder;

/// A multilayer perceptron: dense layers, one after the other, as one node of the graph.
///
/// Formula: `x -> layer_n(.. layer_2(layer_1(x)))`.
///
/// Shapes: `x` is [.., in] of any rank from 1, the result [.., out].
///
/// Gradients: to `x` and to every layer; what lies between the layers is kept, but never enters the graph.
///
/// Errors: `x` of another width, dtype or device than the first weight.
///
/// ```
/// use candle_core::{DType, Device, Module, Tensor};
/// use candle_nn::VarMap;
/// use candle_prob::{Activation, net::mlp};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = candle_prob::init::seeded(&vars, 1, DType::F32, &Device::Cpu);
/// let encoder = mlp(&[784, 400, 40], Activation::Relu, vb.pp("encoder"))?;
/// let y = encoder.forward(&Tensor::ones((16, 784), DType::F32, &Device::Cpu)?)?;
/// assert_eq!(y.dims(), &[16, 40]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: many rows go through small layers in chunks of fixed size, and the order of all sums depends on the shapes
/// only, not on the number of threads.
#[derive(Debug, Clone)]
pub struct Mlp {
    layers: Vec<Dense>,
}

/// A multilayer perceptron with the widths `dims`, inputs first: `activation` after each layer but the last.
///
/// The layers' variables are under `0`, `1`, .., with the initializers of [`dense`](super::dense).
///
/// Errors: fewer than two widths, a width of zero, and what `vb` refuses.
pub fn mlp(dims: &[usize], activation: Activation, vb: VarBuilder) -> Result<Mlp> {
    let last = dims.len().saturating_sub(2);
    let layers = dims.windows(2).enumerate().map(|(i, pair)| {
        let activation = if i == last {
            Activation::Identity
        } else {
            activation
        };
        dense(pair[0], pair[1], activation, vb.pp(i))
    });
    if dims.len() < 2 {
        let expected = "at least two widths: inputs and outputs";
        return Err(Error::value(
            "net::mlp",
            "dims",
            expected,
            format!("{dims:?}"),
        ));
    }
    Mlp::new(layers.collect::<Result<_>>()?)
}

impl Mlp {
    /// A chain of given layers.
    ///
    /// Errors: no layer, a layer that does not take what the one before it gives, different dtypes or devices.
    pub fn new(layers: Vec<Dense>) -> Result<Self> {
        check::at_least_one("Mlp::new", &[("layers", layers.len())])?;
        for pair in layers.windows(2) {
            shape::same_kind("Mlp::new", "layers", pair[1].weight(), pair[0].weight())?;
            if pair[0].outputs() != pair[1].inputs() {
                return Err(Error::shape(
                    "Mlp::new",
                    "layers",
                    format!("a weight [out, {}] after the one before", pair[0].outputs()),
                    pair[1].weight().dims(),
                ));
            }
        }
        Ok(Mlp { layers })
    }

    /// The layers, first to last.
    pub fn layers(&self) -> &[Dense] {
        &self.layers
    }
}

impl Module for Mlp {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.layers[0].check(x)?;
        let layers: Vec<_> = self.layers.iter().map(Dense::parts).collect();
        Ok(kernels::network::dense::mlp(x, &layers)?)
    }
}

impl DualModule for Mlp {
    fn forward_dual(&self, x: &Dual) -> Result<Dual> {
        let mut layers = self.layers.iter();
        layers.try_fold(x.clone(), |x, layer| layer.forward_dual(&x))
    }
}

impl Detach for Mlp {
    fn detach(&self) -> Self {
        Mlp {
            layers: self.layers.detach(),
        }
    }
}

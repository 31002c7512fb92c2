//! The dense layer.

use super::initializer;
use crate::check;
use crate::detach::Detach;
use crate::dual::{Dual, DualModule};
use crate::error::Result;
use crate::kernels;
use crate::kernels::network::activation::Activation;
use crate::shape;
use candle_core::{Module, Tensor};
use candle_nn::VarBuilder;
use std::slice;

/// A dense layer: an affine map and an activation, as one node of the graph.
///
/// Formula: `y = activation(x W^T + b)`.
///
/// Shapes: `W` is `[out, in]` and `b` `[out]`, as in candle's and torch's linear layers; `x` is `[.., in]` of any rank from 1
/// and `y` `[.., out]`.
///
/// Gradients: to `x`, `W` and `b`; the activation's slope follows from the kept output, so nothing else is stored (`Silu`
/// and `Gelu` keep their argument as well).
///
/// Errors: `x` of another width, dtype or device than the weight.
///
/// ```
/// use candle_core::{DType, Device, Module, Tensor};
/// use candle_nn::VarMap;
/// use candle_prob::{Activation, net::dense};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = candle_prob::init::seeded(&vars, 1, DType::F32, &Device::Cpu);
/// let layer = dense(3, 2, Activation::Relu, vb.pp("layer"))?;
/// let y = layer.forward(&Tensor::ones((5, 3), DType::F32, &Device::Cpu)?)?;
/// assert_eq!(y.dims(), &[5, 2]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: bias and activation are applied to each tile of the product while it is in the cache. The order of all sums
/// depends on the shapes only, not on the number of threads.
#[derive(Debug, Clone)]
pub struct Dense {
    weight: Tensor,
    bias: Option<Tensor>,
    activation: Activation,
}

/// A dense layer with the variables `weight` and `bias`.
///
/// Initializers: weights normal with standard deviation `gain / sqrt(inputs)`, the gain that of the activation (sqrt 2
/// for ReLU), biases uniform in `+- 1 / sqrt(inputs)`: candle's defaults.
///
/// Errors: no inputs or no outputs, and what `vb` refuses.
pub fn dense(
    inputs: usize,
    outputs: usize,
    activation: Activation,
    vb: VarBuilder,
) -> Result<Dense> {
    check::at_least_one("net::dense", &[("inputs", inputs), ("outputs", outputs)])?;
    let weight = vb.get_with_hints((outputs, inputs), "weight", initializer::weight(activation))?;
    let bias = vb.get_with_hints(outputs, "bias", initializer::bias(inputs as f64))?;
    Dense::new(weight, Some(bias), activation)
}

impl Dense {
    /// A layer with given tensors: `weight` `[out, in]` and, if any, `bias` `[out]`.
    ///
    /// Errors: other shapes, an empty weight, different dtypes or devices.
    pub fn new(weight: Tensor, bias: Option<Tensor>, activation: Activation) -> Result<Self> {
        let op = "Dense::new";
        shape::parameter(op, "weight", &weight)?;
        let [outputs, _] = shape::dims(op, "weight", weight.dims(), "[out, in]")?;
        if let Some(bias) = &bias {
            shape::same_kind(op, "bias", bias, &weight)?;
            shape::exactly(op, "bias", bias.dims(), &[outputs])?;
        }
        Ok(Dense {
            weight,
            bias,
            activation,
        })
    }

    /// The weight, `[out, in]`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The bias, `[out]`.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// The activation after the affine map.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// The width of the inputs.
    pub fn inputs(&self) -> usize {
        self.weight.dims()[1]
    }

    /// The width of the outputs.
    pub fn outputs(&self) -> usize {
        self.weight.dims()[0]
    }

    pub(crate) fn apply(&self, x: &Tensor) -> Result<Tensor> {
        self.check(x)?;
        kernels::network::dense::mlp(x, &[self.parts()])
    }

    /// Whether the layer takes `x`.
    pub(super) fn check(&self, x: &Tensor) -> Result<()> {
        let op = "Dense::forward";
        shape::same_kind(op, "x", x, &self.weight)?;
        shape::last_dim(op, "x", x.dims(), self.inputs()).map(|_| ())
    }

    pub(crate) fn parts(&self) -> kernels::network::dense::Layer<'_> {
        kernels::network::dense::Layer {
            weight: &self.weight,
            bias: self.bias.as_ref(),
            activation: self.activation,
        }
    }
}

impl Module for Dense {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        Ok(self.apply(x)?)
    }
}

impl DualModule for Dense {
    fn forward_dual(&self, x: &Dual) -> Result<Dual> {
        self.check(x.value())?;
        let layer = |x: &Tensor, activation| {
            let parts = self.parts();
            kernels::network::dense::mlp(
                x,
                &[kernels::network::dense::Layer {
                    activation,
                    ..parts
                }],
            )
        };
        let linear = kernels::network::dense::Layer {
            bias: None,
            activation: Activation::Identity,
            ..self.parts()
        };
        let linear = |t: &Tensor| kernels::network::dense::mlp(t, slice::from_ref(&linear));
        x.layer(self.activation, layer, linear)
    }
}

impl Detach for Dense {
    fn detach(&self) -> Self {
        Dense {
            weight: self.weight.detach(),
            bias: self.bias.detach(),
            ..self.clone()
        }
    }
}

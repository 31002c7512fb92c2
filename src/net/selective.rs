//! A first layer that selects features.

use super::dense::{Dense, dense};
use crate::detach::Detach;
use crate::error::{Error, Result};
use crate::kernels::network::activation::Activation;
use crate::select::Regularizer;
use candle_core::{D, DType, Module, Tensor, Var};
use candle_nn::VarBuilder;

/// A dense layer whose weights a penalty by features makes sparse: what a feature has no weights left for is not selected,
/// whatever network follows.
///
/// Formula: `y = activation(x W^T + b)`. After a step of an optimizer of rate r on the loss,
/// [`shrink`](SelectiveInput::shrink) with step r completes the step of proximal gradient descent on loss and penalty; zeros
/// are exact.
///
/// Shapes, gradients and errors: those of a [`Dense`] layer. A feature's row in the penalty is the column of its weights.
///
/// ```
/// use candle_core::{DType, Device, Module, Tensor};
/// use candle_nn::VarMap;
/// use candle_prob::select::TopRows;
/// use candle_prob::{Activation, net::selective_input};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = candle_prob::init::seeded(&vars, 1, DType::F32, &Device::Cpu);
/// let layer = selective_input(10, 4, Activation::Relu, vb)?;
/// layer.shrink(&TopRows::new(3), 0.1)?;
/// assert_eq!(layer.support()?.len(), 3);
/// let y = layer.forward(&Tensor::ones((5, 10), DType::F32, &Device::Cpu)?)?;
/// assert_eq!(y.dims(), [5, 4]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Parikh and Boyd (2014), Proximal Algorithms, section 4.2.
#[derive(Debug, Clone)]
pub struct SelectiveInput {
    dense: Dense,
}

/// A [`SelectiveInput`] with the variables of [`dense`].
///
/// Errors: those of [`dense`].
pub fn selective_input(
    inputs: usize,
    outputs: usize,
    activation: Activation,
    vb: VarBuilder,
) -> Result<SelectiveInput> {
    let dense = dense(inputs, outputs, activation, vb)?;
    Ok(SelectiveInput { dense })
}

impl SelectiveInput {
    /// The layer underneath.
    pub fn dense(&self) -> &Dense {
        &self.dense
    }

    /// Replaces the weights by the penalty's proximal operator of them, for a step of this length.
    ///
    /// Errors: a layer built on constants; those of the penalty.
    pub fn shrink(&self, penalty: &dyn Regularizer, step: f64) -> Result<()> {
        let weight = self.dense.weight();
        if !weight.is_variable() {
            let (op, expected) = ("SelectiveInput::shrink", "a layer built on variables");
            return Err(Error::value(op, "weight", expected, "a constant"));
        }
        let rows = penalty.prox(&weight.detach().t()?.contiguous()?, step)?;
        Ok(Var::from_tensor(weight)?.set(&rows.t()?.contiguous()?)?)
    }

    /// The features with a weight that is not zero, in order.
    pub fn support(&self) -> Result<Vec<usize>> {
        let weight = self.dense.weight().detach().to_dtype(DType::F64)?;
        let lengths = weight.t()?.sqr()?.sum(D::Minus1)?.to_vec1::<f64>()?;
        let all = lengths.iter().enumerate();
        Ok(all.filter(|(_, l)| **l != 0.).map(|(i, _)| i).collect())
    }
}

impl Module for SelectiveInput {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.dense.forward(x)
    }
}

impl Detach for SelectiveInput {
    fn detach(&self) -> Self {
        SelectiveInput {
            dense: self.dense.detach(),
        }
    }
}

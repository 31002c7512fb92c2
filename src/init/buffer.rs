//! State that layers write while they run in training.

use crate::error::{Error, Result};
use crate::shape;
use candle_core::{Shape, Tensor, Var};
use candle_nn::{Init, VarBuilder};

/// State of a layer that its training passes write and no optimizer moves: running statistics, the vectors of a spectral norm,
/// a codebook.
///
/// It is a variable under its name, so that checkpoints hold it, and it is read as a constant, so that it has no gradient and
/// optimizers leave it alone (they and `check_grads` list it among the variables without a gradient). A layer that has some implements candle's `ModuleT` and not `Module`, and writes where `train`
/// is true, once in a call.
///
/// Threads: each read and each write is whole. Of two training passes at once the later write counts, so train from one
/// thread; evaluation beside it reads the state before or after.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::{Init, ModuleT, VarMap};
/// use candle_prob::init::{self, Buffer};
///
/// /// Subtracts a running mean over rows.
/// struct Centred {
///     mean: Buffer,
/// }
///
/// impl ModuleT for Centred {
///     fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
///         let mut mean = self.mean.value()?;
///         if train {
///             mean = ((mean * 0.9)? + (x.detach().mean(0)? * 0.1)?)?;
///             self.mean.set(&mean)?;
///         }
///         x.broadcast_sub(&mean)
///     }
/// }
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = init::seeded(&vars, 1, DType::F64, &Device::Cpu);
/// let layer = Centred { mean: Buffer::new(1, "mean", Init::Const(0.), vb)? };
/// let x = Tensor::new(&[[1f64], [3.]], &Device::Cpu)?;
/// layer.forward_t(&x, true)?;
/// let y = layer.forward_t(&x, false)?;
/// assert!((y.to_vec2::<f64>()?[0][0] - 0.8).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Buffer(Tensor);

impl Buffer {
    /// The buffer of that name and shape, as `init` makes it or as `vb` has it.
    ///
    /// Errors: what `vb` refuses.
    pub fn new(shape: impl Into<Shape>, name: &str, init: Init, vb: VarBuilder) -> Result<Self> {
        Ok(Buffer(vb.get_with_hints(shape.into(), name, init)?))
    }

    /// What is in it now: a copy, which later writes leave as it is, without gradient.
    pub fn value(&self) -> Result<Tensor> {
        Ok(self.0.detach().copy()?)
    }

    /// Writes a value; its gradient is not kept.
    ///
    /// Errors: a buffer of a layer that was built on constants, as one for evaluation from a file, where the write would be
    /// lost; another shape or dtype.
    pub fn set(&self, value: &Tensor) -> Result<()> {
        write("Buffer::set", &self.0, value)
    }

    pub(crate) fn variable(&self) -> &Tensor {
        &self.0
    }
}

/// Writes to the variable that a tensor is.
pub(crate) fn write(op: &'static str, variable: &Tensor, value: &Tensor) -> Result<()> {
    check_variable(op, variable)?;
    shape::same_kind(op, "value", value, variable)?;
    shape::exactly(op, "value", value.dims(), variable.dims())?;
    Ok(Var::from_tensor(variable)?.set(&value.detach())?)
}

/// Refuses a tensor that is no variable: what is written to it would be lost.
pub(crate) fn check_variable(op: &'static str, tensor: &Tensor) -> Result<()> {
    if tensor.is_variable() {
        return Ok(());
    }
    let expected = "one built on variables, as those of a VarMap";
    Err(Error::value(
        op,
        "layer",
        expected,
        "one built on constants",
    ))
}

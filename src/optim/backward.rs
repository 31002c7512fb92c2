//! The gradients of a loss.

use crate::error::Result;
use crate::kernels::graph::node;
use candle_core::Tensor;
use candle_core::backprop::GradStore;

/// The gradients of `loss` to every variable: what `loss.backward()` returns, with fewer passes over memory.
///
/// Candle adds each gradient to a buffer that it fills with zeros first. Where a variable goes straight into one of this
/// crate's operations, its gradient is stored as that operation made it.
///
/// Shapes: `loss` of any shape; its elements are summed.
///
/// Errors: what the backward pass of an operation refuses.
///
/// ```
/// use candle_core::{DType, Device, Var};
/// use candle_prob::{distribution::{Distribution, Normal}, optim};
/// # fn main() -> candle_prob::Result<()> {
/// let loc = Var::zeros(3, DType::F32, &Device::Cpu)?;
/// let p = Normal::new(&loc, &loc.ones_like()?)?;
/// let gradients = optim::backward(&p.log_prob(&loc.ones_like()?)?)?;
/// let gradient = gradients.get(&loc).map(|g| g.to_vec1::<f32>()).transpose()?;
/// assert_eq!(gradient, Some(vec![1., 1., 1.]));
/// # Ok(())
/// # }
/// ```
pub fn backward(loss: &Tensor) -> Result<GradStore> {
    Ok(node::backward(loss)?)
}

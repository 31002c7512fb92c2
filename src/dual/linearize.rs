//! Models whose derivative along directions of their parameters is known.

use crate::error::Result;
use candle_core::{Module, Tensor, Var};

/// A model with parameters whose values move along a direction: what Gauss-Newton methods ask of a network.
///
/// Formula: for the model's values F(x, theta) and a direction v of the parameters, [`tangent`](Linearize::tangent) is
/// `J v = d/dt F(x, theta + t v)` at t = 0, with x fixed. The transposed product `J^T u` is candle's backward pass of
/// `sum(F(x, theta) u)`, so that it needs no method.
///
/// Source: Griewank and Walther (2008), Evaluating Derivatives, chapter 3; Schraudolph (2002), Fast Curvature Matrix-Vector
/// Products for Second-Order Gradient Descent.
///
/// ```
/// use candle_core::{Device, Module, Tensor, Var};
/// use candle_prob::Result;
/// use candle_prob::dual::{Dual, Linearize};
///
/// /// tanh(x w), element by element.
/// struct Layer {
///     weight: Var,
/// }
///
/// impl Module for Layer {
///     fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
///         x.broadcast_mul(&self.weight)?.tanh()
///     }
/// }
///
/// impl Linearize for Layer {
///     fn parameters(&self) -> Vec<Var> {
///         vec![self.weight.clone()]
///     }
///
///     fn tangent(&self, x: &Tensor, direction: &[Tensor]) -> Result<Tensor> {
///         let inside = Dual::new(&x.broadcast_mul(&self.weight)?, &x.broadcast_mul(&direction[0])?)?;
///         let slope = |y: &Tensor| -> Result<Tensor> { Ok((1. - y.sqr()?)?) };
///         let y = inside.value().tanh()?;
///         let out = inside.chain(y.clone(), || slope(&y))?;
///         Ok(out.tangent().cloned().unwrap_or(y.zeros_like()?))
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let layer = Layer { weight: Var::new(&[0.5f64], &Device::Cpu)? };
/// let (x, v) = (Tensor::new(&[2f64], &Device::Cpu)?, Tensor::new(&[1f64], &Device::Cpu)?);
/// let along = layer.tangent(&x, &[v])?.to_vec1::<f64>()?[0];
/// assert!((along - 2. * (1. - 1f64.tanh().powi(2))).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
pub trait Linearize: Module {
    /// The parameters, each once, always in the same order.
    fn parameters(&self) -> Vec<Var>;

    /// `J v`: how the values at x move along a direction of the parameters, one tensor for each of
    /// [`parameters`](Linearize::parameters), of its shape, in the same order. It has the shape of the values.
    ///
    /// Gradients: not asked for; an implementation may detach what it reads.
    ///
    /// Errors: those of `forward`; another number of tensors, or shapes that are not the parameters'.
    fn tangent(&self, x: &Tensor, direction: &[Tensor]) -> Result<Tensor>;
}

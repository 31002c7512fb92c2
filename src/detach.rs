//! The same value with constants in the place of parameters.

use candle_core::Tensor;
use std::sync::Arc;

/// What can be had without gradients to its parameters: the same value, of detached tensors.
///
/// Distributions, bijectors, networks and flows implement it, and pass it on to their parts. A detached distribution scores
/// values with the same bits, and the gradient goes to the value alone: what gradient estimators of importance-weighted bounds
/// ask for, `objective::ImportanceGradient`. Its draws have no gradient.
///
/// Closures hold what they hold: they do not implement it, and so neither does a
/// [`Coupling`](crate::bijector::Coupling) with a closure, or a [`Sequence`](crate::bijector::Sequence) of boxed bijectors. A
/// [`Chain`](crate::bijector::Chain) and the flows of [`flow`](crate::flow) do.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use candle_prob::Detach;
/// use candle_prob::distribution::{Distribution, Normal};
/// # fn main() -> candle_prob::Result<()> {
/// let loc = Var::new(0.5, &Device::Cpu)?;
/// let normal = Normal::new(&loc, &Tensor::new(2., &Device::Cpu)?)?;
/// let x = Var::new(1.5, &Device::Cpu)?;
/// let gradients = normal.detach().log_prob(&x)?.backward()?;
/// assert!(gradients.get(&loc).is_none());
/// // (loc - x) / scale^2
/// let slope = gradients.get(&x).expect("x is a variable").to_scalar::<f64>()?;
/// assert_eq!(slope, -0.25);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: no tensor is copied. A detached network shares its numbers with its variables, so that an optimizer's later
/// step shows in it: detach anew in every step.
///
/// Source: `detach` of tensors, of PyTorch; Roeder, Wu and Duvenaud (2017), Sticking the landing, algorithm 1, for its use.
pub trait Detach {
    /// The same value, of detached tensors.
    fn detach(&self) -> Self;
}

impl Detach for Tensor {
    fn detach(&self) -> Self {
        Tensor::detach(self)
    }
}

impl<T: Detach> Detach for Option<T> {
    fn detach(&self) -> Self {
        self.as_ref().map(T::detach)
    }
}

impl<T: Detach> Detach for Vec<T> {
    fn detach(&self) -> Self {
        self.iter().map(T::detach).collect()
    }
}

impl<T: Detach, const N: usize> Detach for [T; N] {
    fn detach(&self) -> Self {
        self.each_ref().map(T::detach)
    }
}

impl<T: Detach> Detach for Box<T> {
    fn detach(&self) -> Self {
        Box::new((**self).detach())
    }
}

impl<T: Detach> Detach for Arc<T> {
    fn detach(&self) -> Self {
        Arc::new((**self).detach())
    }
}

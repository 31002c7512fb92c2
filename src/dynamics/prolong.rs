//! From N layers to 2 N.

use super::Weights;
use crate::check;
use crate::error::Result;
use candle_core::Tensor;

/// How the weights of N layers over a time become those of 2 N layers over the same time, with half the step.
///
/// The weights of layer j are those at the time `j h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prolongation {
    /// Piecewise linear in time: a new layer has the mean of its neighbours; the last one, beyond the last time, repeats it.
    #[default]
    Linear,
    /// Piecewise constant: each layer twice.
    Constant,
}

/// The weights of twice as many layers, for half the step: an approximation of the same differential equation.
///
/// Formula: layer `2 j` is `K_j`; layer `2 j + 1` is `(K_j + K_{j+1}) / 2` ([`Prolongation::Linear`], the last `K_{N-1}`) or
/// `K_j` ([`Prolongation::Constant`]). Biases as kernels.
///
/// Gradients: to the coarse weights. As the start of a finer network detach them; [`Network::prolong`](super::Network::prolong)
/// does.
///
/// Errors: no layer.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::dynamics::{Prolongation, Weights, prolong};
/// # fn main() -> candle_prob::Result<()> {
/// let coarse = Weights::new(&Tensor::new(&[[[1f64]], [[3.]]], &Device::Cpu)?);
/// let fine = prolong(&coarse, Prolongation::Linear)?;
/// assert_eq!(fine.kernel.flatten_all()?.to_vec1::<f64>()?, [1., 2., 3., 3.]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Haber and Ruthotto (2017), Stable architectures for deep neural networks, section 5.3.
pub fn prolong(weights: &Weights, how: Prolongation) -> Result<Weights> {
    weights.each(|arg, coarse| {
        let layers = coarse.dims().first().copied().unwrap_or(0);
        check::at_least_one("dynamics::prolong", &[(arg, layers)])?;
        let between = match how {
            Prolongation::Constant => coarse.clone(),
            Prolongation::Linear => {
                let last = coarse.narrow(0, layers - 1, 1)?;
                let next = Tensor::cat(&[&coarse.narrow(0, 1, layers - 1)?, &last], 0)?;
                ((coarse + next)? * 0.5)?
            }
        };
        Ok(Tensor::stack(&[coarse, &between], 1)?.flatten(0, 1)?)
    })
}

//! What a propagation does to the features that it leads: stability, energies, sensitivity.
//!
//! - [`jacobians`]: of each layer's force at the state before it. [`propagation_jacobian`]: of the last features with respect to
//!   the first.
//! - [`energies`]: what Verlet's method and leapfrog conserve.
//! - [`lyapunov`]: how fast neighbouring features drift apart.
//! - With the feature `eigen`: `eigenvalues` and `condition_numbers` of any matrices, and `stability`, the test of Lemma 1, layer
//!   by layer.
//!
//! All results are constants, without gradients.

#[cfg(feature = "eigen")]
mod eigenvalues;
mod energy;
mod jacobian;
mod lyapunov;
#[cfg(feature = "eigen")]
mod stability;

#[cfg(feature = "eigen")]
pub use eigenvalues::{Eigenvalues, condition_numbers, eigenvalues};
pub use energy::energies;
pub use jacobian::{jacobians, propagation_jacobian};
pub use lyapunov::{Lyapunov, lyapunov};
#[cfg(feature = "eigen")]
pub use stability::{Stability, stability};

use super::layers::Stacks;
use super::step::{Law, Layer, Place};
use super::{Propagation, State, Weights};
use crate::detach::Detach;
use crate::error::Result;
use candle_core::Tensor;

/// The way through the layers.
struct Walk {
    law: Law,
    place: Place,
    stacks: Stacks,
}

impl Walk {
    fn new(op: &'static str, law: &Propagation, state: &State, weights: &Weights) -> Result<Self> {
        let (law, place, stacks) = law.constants(op, &state.detach(), &weights.detach())?;
        Ok(Walk { law, place, stacks })
    }

    /// How many of the last dims are one example's features.
    fn event(&self) -> usize {
        match self.stacks.kernel.value().rank() {
            3 => 1,
            _ => 3,
        }
    }

    /// What `f` makes of the places before and after each layer, and of the layer, in one tensor with the layers first.
    fn stacked(
        self,
        mut f: impl FnMut(&Law, &Place, &Place, &Layer) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let mut all = vec![];
        let mut before = self.place;
        for j in 0..self.stacks.count() {
            let layer = self.stacks.layer(j)?;
            let after = self.law.forward(&before, &layer)?;
            all.push(f(&self.law, &before, &after, &layer)?);
            before = after;
        }
        Ok(Tensor::stack(&all, 0)?)
    }

    /// The dims of y before the features.
    fn batch(&self) -> &[usize] {
        let dims = self.place.y.value().dims();
        &dims[..dims.len() - self.event()]
    }
}

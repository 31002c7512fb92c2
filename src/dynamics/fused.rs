//! Layers in single precision: the kernel that takes all of them, and what it is told.

use super::layers::Stacks;
use super::step::Place;
use super::{Force, Propagation, Scheme, State};
use crate::dual::Dual;
use crate::error::Result;
use crate::kernels::network::propagation as kernel;
use candle_core::Tensor;

/// The law as the kernel knows it; of the kernels that the layers multiply with, which [`Force::Antisymmetric`] and
/// [`Force::Definite`] have made.
fn law(propagation: &Propagation, stacks: &Stacks) -> Option<kernel::Law> {
    // Of convolutions there is no `-C^T C`: their zeros at the border come between.
    if stacks.kernel.value().rank() == 5 && propagation.scheme.force() == Some(Force::Definite) {
        return None;
    }
    let of = |force: Force| match force {
        Force::Double => kernel::Force::Double,
        Force::Single | Force::Antisymmetric { .. } | Force::Definite => kernel::Force::Single,
    };
    let scheme = match propagation.scheme {
        Scheme::Euler(force) => kernel::Scheme::Euler(of(force)),
        Scheme::Leapfrog(force, _) => kernel::Scheme::Leapfrog(of(force)),
        Scheme::Verlet => kernel::Scheme::Verlet,
        Scheme::Rk4(_) => return None,
    };
    Some(kernel::Law {
        scheme,
        activation: propagation.activation,
        step: propagation.step,
        states: propagation
            .memory
            .states(propagation.scheme, stacks.count()),
    })
}

fn weights(stacks: &Stacks) -> kernel::Weights<'_> {
    kernel::Weights {
        kernel: stacks.kernel.value(),
        bias: stacks.bias.as_ref().map(Dual::value),
        second_bias: stacks.second_bias.as_ref().map(Dual::value),
    }
}

fn state(parts: Option<Vec<Tensor>>) -> Option<State> {
    let mut parts = parts?.into_iter();
    let y = parts.next()?;
    Some(State { y, z: parts.next() })
}

/// The state after the last layer; none where there is no fused form.
pub(super) fn forward(
    op: &'static str,
    propagation: &Propagation,
    start: &State,
    stacks: &Stacks,
) -> Result<Option<State>> {
    let Some(law) = law(propagation, stacks) else {
        return Ok(None);
    };
    let end = kernel::forward(op, law, &start.y, start.z.as_ref(), weights(stacks))?;
    Ok(state(end))
}

/// The derivative of [`forward`] along the tangents; none where there is no fused form.
pub(super) fn tangent(
    propagation: &Propagation,
    start: &Place,
    stacks: &Stacks,
) -> Result<Option<State>> {
    let Some(law) = law(propagation, stacks) else {
        return Ok(None);
    };
    let along = kernel::Along {
        y: start.y.tangent(),
        z: start.z.as_ref().and_then(Dual::tangent),
        kernel: stacks.kernel.tangent(),
        bias: stacks.bias.as_ref().and_then(Dual::tangent),
        second_bias: stacks.second_bias.as_ref().and_then(Dual::tangent),
    };
    let z = start.z.as_ref().map(Dual::value);
    let moved = kernel::tangent(law, start.y.value(), z, weights(stacks), along)?;
    Ok(state(moved))
}

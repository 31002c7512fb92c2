//! Jacobians of layers and of a propagation.

use super::super::step::{Law, Layer, Place};
use super::super::{Propagation, Scheme, State, Weights};
use super::Walk;
use crate::dual::Dual;
use crate::error::Result;
use candle_core::{DType, Tensor};

/// The Jacobian of each layer's force at the state before the layer.
///
/// Formula: for Euler's method and Runge-Kutta `J = df/dy` of `y' = f(y)`, as `diag(sigma'(K y + b)) K` for the single force; for
/// leapfrog that of `y'' = f(y)`; for Verlet that of `y'' = -B A y`, where `A = diag(sigma'(K y + b_z)) K` drives z and
/// `B = diag(sigma'(K^T z + b)) K^T` drives y: its eigenvalues are the squares of those of the system of y and z.
///
/// Shapes: `[N, .., n, n]` for features of `[.., s]`, n = s, or of `[B, s, H, W]`, n = s H W.
///
/// Errors: those of [`Propagation::forward`].
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::Activation;
/// use candle_prob::dynamics::{Force, Memory, Propagation, Scheme, State, Weights, analysis};
/// # fn main() -> candle_prob::Result<()> {
/// let (scheme, activation) = (Scheme::Euler(Force::Single), Activation::Tanh);
/// let law = Propagation { scheme, activation, step: 0.1, memory: Memory::Constant };
/// let weights = Weights::new(&Tensor::new(&[[[2f64, -2.], [0., 2.]]], &Device::Cpu)?);
/// let state = State::new(&Tensor::new(&[[0f64, 0.]], &Device::Cpu)?);
/// let jacobians = analysis::jacobians(&law, &state, &weights)?; // one layer, one example
/// assert_eq!(jacobians.flatten_all()?.to_vec1::<f64>()?, [2., -2., 0., 2.]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Haber and Ruthotto (2017), Stable architectures for deep neural networks, eq. 3.9 (with the transpose in the convention of
/// rows) and 4.15.
pub fn jacobians(law: &Propagation, state: &State, weights: &Weights) -> Result<Tensor> {
    let walk = Walk::new("dynamics::analysis::jacobians", law, state, weights)?;
    let event = walk.event();
    walk.stacked(|law, before, after, layer| {
        let moved = force(law, before, after, layer, event)?;
        matrices(&moved, before.y.value(), event)
    })
}

/// The derivative of the features after the last layer with respect to those before the first.
///
/// Shapes: `[.., n, n]`, as [`jacobians`]. What goes with the features of leapfrog and Verlet (`z`) is held where the state has it;
/// where it follows from them it moves with them.
///
/// Errors: those of [`Propagation::forward`].
pub fn propagation_jacobian(law: &Propagation, state: &State, weights: &Weights) -> Result<Tensor> {
    let op = "dynamics::analysis::propagation_jacobian";
    let walk = Walk::new(op, law, state, weights)?;
    let event = walk.event();
    let start = walk.place.y.value().clone();
    let moving = units(&start, event)?;
    let mut place = match (&state.z, law.scheme) {
        // The first difference is y itself.
        (None, Scheme::Leapfrog(_, super::super::Start::Zero)) => Place {
            y: moving.clone(),
            z: Some(moving),
        },
        _ => Place {
            y: moving,
            z: walk.place.z.clone(),
        },
    };
    for j in 0..walk.stacks.count() {
        place = walk.law.forward(&place, &walk.stacks.layer(j)?)?;
    }
    matrices(&place.y, &start, event)
}

/// The force on y, along each feature.
fn force(law: &Law, at: &Place, next: &Place, layer: &Layer, event: usize) -> Result<Dual> {
    let y = units(at.y.value(), event)?;
    let force = match law.scheme {
        Scheme::Euler(force) | Scheme::Rk4(force) | Scheme::Leapfrog(force, _) => force,
        Scheme::Verlet => {
            let driven = law.drives_z(&y, layer)?.scale(-1.)?;
            let z = next.z.as_ref().unwrap_or(&at.y);
            let moved = match driven.tangent() {
                Some(tangent) => Dual::new(z.value(), tangent)?,
                None => z.clone(),
            };
            return law.drives_y(&moved, layer);
        }
    };
    law.force(force, &y, layer)
}

/// Features that move along each of them.
fn units(y: &Tensor, event: usize) -> Result<Dual> {
    let (batch, features) = y.dims().split_at(y.rank() - event);
    let count = features.iter().product::<usize>();
    let one = Tensor::eye(count, DType::F32, y.device())?.to_dtype(y.dtype())?;
    let dims = [&[count], vec![1; batch.len()].as_slice(), features].concat();
    let one = one.reshape(dims)?;
    let full = [&[count], y.dims()].concat();
    Dual::new(y, &one.broadcast_as(full)?.contiguous()?)
}

/// The tangents along each feature as matrices `[.., n, n]`, results down and features across.
fn matrices(moved: &Dual, y: &Tensor, event: usize) -> Result<Tensor> {
    let (batch, features) = y.dims().split_at(y.rank() - event);
    let [count, rows] = [features, batch].map(|dims| dims.iter().product::<usize>());
    let dims = [batch, &[count, count]].concat();
    let Some(tangent) = moved.tangent() else {
        return Ok(Tensor::zeros(dims, y.dtype(), y.device())?);
    };
    let columns = tangent.reshape((count, rows, count))?;
    Ok(columns.permute((1, 2, 0))?.contiguous()?.reshape(dims)?)
}

//! N layers of a propagation (Haber and Ruthotto 2017) as one graph node that keeps little of the way: Euler's method,
//! leapfrog in differences, Verlet; here with dense operators.
//!
//! A chunk of rows goes through all layers on one thread. On the way back leapfrog and Verlet rebuild the states by the inverse
//! step, and what was rebuilt is compared with a few states that were kept; Euler's method recomputes them from about sqrt(N);
//! or all are kept.
//! The layers go back in groups, so that the partial sums of the weights' gradients are those of a group alone.
//!
//! - `arguments`: what a propagation is given. `panels`: rows as the kernels want them. `product`: the loops. `layer`: one
//!   layer, there and back. `run`: chunks through all layers.
//! - `images`: the same where K is a convolution.

mod arguments;
mod images;
mod layer;
mod panels;
mod product;
mod run;
#[cfg(test)]
mod tests;

use crate::error::Result;
use crate::kernels::graph::node::{Fresh, Op, Reached};
use crate::kernels::machine::buffer::views;
use crate::kernels::network::activation::Activation;
use crate::kernels::network::inputs::Inputs;
use arguments::{Places, fits};
use candle_core::Tensor;
use run::{Kept, Run};

/// The right-hand side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Force {
    /// `sigma(K y + b)`.
    Single,
    /// `-K^T sigma(K y + b)`.
    Double,
}

/// How a layer changes the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// `y += h f(y)`.
    Euler(Force),
    /// `z += h^2 f(y)`, then `y += z`.
    Leapfrog(Force),
    /// `z -= h sigma(K y + b_z)`, then `y += h sigma(K^T z + b)`.
    Verlet,
}

/// The law of all layers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Law {
    pub(crate) scheme: Scheme,
    pub(crate) activation: Activation,
    /// h.
    pub(crate) step: f64,
    /// Whether the state before each layer is kept for the way back. Of images none is.
    pub(crate) states: bool,
}

/// The weights of all layers, the layer first.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    /// `[N, m, s]`.
    pub(crate) kernel: &'a Tensor,
    /// `[N, s]`, `[N, m]` of the double force.
    pub(crate) bias: Option<&'a Tensor>,
    /// Verlet's `b_z`, `[N, m]`.
    pub(crate) second_bias: Option<&'a Tensor>,
}

/// Directions of state and weights; what is none stands still.
#[derive(Clone, Copy, Default)]
pub(crate) struct Along<'a> {
    pub(crate) y: Option<&'a Tensor>,
    pub(crate) z: Option<&'a Tensor>,
    pub(crate) kernel: Option<&'a Tensor>,
    pub(crate) bias: Option<&'a Tensor>,
    pub(crate) second_bias: Option<&'a Tensor>,
}

/// The state after the last layer, `y` [.., s] or [B, s, H, W] and, of all but Euler's method, `z`; without `z` that begins at 0. `op` is what
/// errors call it. `None` where there is no fused form.
pub(crate) fn forward(
    op: &'static str,
    law: Law,
    y: &Tensor,
    z: Option<&Tensor>,
    weights: Weights,
) -> Result<Option<Vec<Tensor>>> {
    let mut inputs = Inputs::new(y);
    let places = Places::new(&mut inputs, z, weights);
    if !fits(law, y, z, weights) || !inputs.fused() {
        return Ok(None);
    }
    let outputs = match of_images(weights) {
        true => inputs.apply(images::Propagation { op, law, places }),
        false => inputs.apply(Propagation {
            op,
            law,
            places,
            kept: vec![],
        }),
    };
    outputs.map(Some)
}

/// Whether the operators are convolutions.
fn of_images(weights: Weights) -> bool {
    weights.kernel.rank() == 5
}

/// The derivative of [`forward`]'s results along a direction, beside a forward pass that keeps nothing. Constants. `None` where
/// there is no fused form.
pub(crate) fn tangent(
    law: Law,
    y: &Tensor,
    z: Option<&Tensor>,
    weights: Weights,
    along: Along,
) -> Result<Option<Vec<Tensor>>> {
    let mut inputs = Inputs::new(y);
    let places = Places::new(&mut inputs, z, weights);
    let directions = along.push(&mut inputs);
    let fit = fits(law, y, z, weights) && along.fits(y, z, weights);
    if !fit || !inputs.fused() {
        return Ok(None);
    }
    let all = inputs.contiguous()?;
    let views = views(&all)?;
    let mut slices = [None; 5];
    for (slice, at) in slices.iter_mut().zip(directions) {
        *slice = at.map(|at| views[at].f32()).transpose()?;
    }
    let parts = match of_images(weights) {
        true => images::tangent(law, &places, &all, &views, slices)?,
        false => Run::new(law, &places, &all, &views)?.tangent(slices)?,
    };
    let tensors = parts.into_iter().map(|(storage, shape)| {
        Tensor::from_storage(
            candle_core::Storage::Cpu(storage),
            shape,
            candle_core::op::BackpropOp::none(),
            false,
        )
    });
    Ok(Some(tensors.collect()))
}

struct Propagation {
    op: &'static str,
    law: Law,
    places: Places,
    /// By chunk.
    kept: Vec<Kept>,
}

impl Op for Propagation {
    const NAME: &'static str = "propagation";

    fn name(&self) -> &'static str {
        self.op
    }

    fn forward(&mut self, inputs: &[Tensor], keep: bool) -> candle_core::Result<Vec<Fresh>> {
        let views = views(inputs)?;
        let run = Run::new(self.law, &self.places, inputs, &views)?;
        let (outputs, kept) = run.forward(keep)?;
        self.kept = kept;
        Ok(outputs)
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        needs: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let views = views(inputs)?;
        let run = Run::new(self.law, &self.places, inputs, &views)?;
        run.backward(self.op, &self.kept, inputs, outputs, needs)
    }
}

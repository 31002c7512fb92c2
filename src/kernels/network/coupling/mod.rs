//! Couplings and autoregressive maps with dense conditioners, one after the other, as one graph node.
//!
//! A chunk of rows goes through all layers on one thread and stays in the cache. For the way back either the networks'
//! activations are kept, or nothing but the result: each layer's argument then follows from its result, as the layers are
//! invertible, and the memory does not depend on their number.
//!
//! An autoregressive layer `y_i = f_i(x_i; y before i)` is, from y to x, a coupling to whose network all columns pass and
//! that changes all of them. From x to y one column after the other becomes known; the way back solves the triangular system
//! of the direction from y to x, again column by column.

mod autoregressive;
mod element;
mod run;

use crate::error::Result;
use crate::kernels::graph::node::{Fresh, Op, Reached};
use crate::kernels::machine::buffer::views;
use crate::kernels::network::dense::chain::{self, steps};
use crate::kernels::network::dense::{self, Kept};
use crate::kernels::network::inputs::Inputs;
use candle_core::Tensor;
use run::Run;

/// One layer: which columns pass, which change, and the network that turns the passing ones (and the context) into the
/// parameters of the changing ones' [`Map`].
pub(crate) struct Layer<'a> {
    pub(crate) columns: [Vec<u32>; 2],
    /// Of an autoregressive layer the columns, first to last: what the network says of each depends on those before it in
    /// the layer's result. All of them are among both kinds of `columns`, and the network says what it says of one after the
    /// other.
    pub(crate) order: Option<Vec<u32>>,
    pub(crate) net: Vec<dense::Layer<'a>>,
}

/// What changing columns go through.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Map {
    /// `b e^s + t` with `s = bound tanh(raw / bound)`: a network gives all raw log-scales, then all shifts.
    Affine { bound: f64 },
    /// `b + t`: a network gives the shifts.
    Shift,
    /// A spline for each column: a network gives the raw numbers of one after the other.
    Spline { bins: usize, bound: f64 },
}

/// How a flow runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mode {
    /// From the last layer to the first, each inverted.
    pub(crate) inverse: bool,
    /// Whether activations are kept for the backward pass; if not they are computed again. Autoregressive layers keep them
    /// in the inverse direction, and in no other.
    pub(crate) stored: bool,
    pub(crate) map: Map,
}

/// `x` [.., D] through the layers, and the log-det [..]; `context` [.., C] goes into every network beside the passing
/// columns. `None` where there is no fused form: other devices and dtypes, and second derivatives.
pub(crate) fn couplings<'a>(
    x: &'a Tensor,
    context: Option<&'a Tensor>,
    layers: Vec<Layer<'a>>,
    mode: Mode,
) -> Result<Option<(Tensor, Tensor)>> {
    let mut inputs = Inputs::new(x);
    let context = context.map(|context| inputs.push(context));
    let spec = |layer: Layer<'a>| {
        let [passing, changing] = layer.columns;
        Spec {
            passing,
            changing,
            order: layer.order,
            steps: steps(&layer.net, &mut inputs),
        }
    };
    let op = Flow {
        specs: layers.into_iter().map(spec).collect(),
        mode,
        context,
        kept: vec![],
        end: vec![],
    };
    if !inputs.fused() {
        return Ok(None);
    }
    let mut outputs = inputs.apply(op)?.into_iter();
    Ok(outputs.next().zip(outputs.next()))
}

struct Spec {
    passing: Vec<u32>,
    changing: Vec<u32>,
    order: Option<Vec<u32>>,
    /// Of the network.
    steps: Vec<chain::Step>,
}

/// Inputs: x, perhaps the context, then each layer's weights and biases. Outputs: y and the log-det.
struct Flow {
    specs: Vec<Spec>,
    mode: Mode,
    /// Its place among the inputs.
    context: Option<usize>,
    /// By chunk and layer, in the order in which they ran.
    kept: Vec<Vec<Step>>,
    /// The result, from which the way back begins.
    end: Vec<f32>,
}

/// What a layer leaves behind for a chunk of rows.
struct Step {
    /// What went into the network.
    argument: Vec<f32>,
    net: Vec<Kept>,
    /// What the network said of the changing columns.
    said: Vec<f32>,
    /// The changing columns' arguments.
    changing: Vec<f32>,
    /// The log-slopes from an autoregressive layer's result back to its argument.
    logs: Vec<f32>,
}

impl Op for Flow {
    const NAME: &'static str = "couplings";

    fn forward(&mut self, inputs: &[Tensor], keep: bool) -> candle_core::Result<Vec<Fresh>> {
        let views = views(inputs)?;
        let run = Run::new(self, inputs, &views)?;
        let stored = keep && self.mode.stored;
        let (outputs, kept) = run.batch.forward(1, |state| run.forward(state, stored))?;
        drop(run);
        if stored {
            self.kept = kept;
        } else if keep {
            self.end = outputs[0].0.as_slice()?.to_vec();
        }
        Ok(outputs)
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        needs: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let views = views(inputs)?;
        let run = Run::new(self, inputs, &views)?;
        let weights = inputs[1..].iter().map(Tensor::elem_count).sum();
        let mut gradients = run.batch.gradients(outputs, needs)?;
        let sums = gradients.back(run.parts(weights), inputs.len(), |chunk, sums| {
            run.backward(chunk, sums)
        })?;
        gradients.tensors(sums, inputs)
    }
}

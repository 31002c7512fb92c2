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
use crate::kernels::graph::node::{self, Fresh, Op, Reached, fresh};
use crate::kernels::machine::buffer::{View, filled, views};
use crate::kernels::network::activation::Activation;
use crate::kernels::network::dense::Kept;
use crate::kernels::network::dense::chain::{Sums, tensors, total};
use candle_core::Tensor;
use rayon::prelude::*;
use run::{Back, Run, State};

/// One layer: which columns pass, which change, and the network that turns the passing ones (and the context) into the
/// parameters of the changing ones' [`Map`].
pub(crate) struct Layer<'a> {
    pub(crate) columns: [Vec<u32>; 2],
    /// Of an autoregressive layer the columns, first to last: what the network says of each depends on those before it in
    /// the layer's result. All of them are among both kinds of `columns`, and the network says what it says of one after the
    /// other.
    pub(crate) order: Option<Vec<u32>>,
    pub(crate) net: Vec<crate::kernels::network::dense::Layer<'a>>,
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
pub(crate) fn couplings(
    x: &Tensor,
    context: Option<&Tensor>,
    layers: Vec<Layer>,
    mode: Mode,
) -> Result<Option<(Tensor, Tensor)>> {
    let mut inputs = vec![x];
    inputs.extend(context);
    let mut specs = vec![];
    for layer in layers {
        let first = inputs.len();
        for dense in &layer.net {
            inputs.push(dense.weight);
            inputs.extend(dense.bias);
        }
        let steps = layer.net.iter().map(|l| (l.activation, l.bias.is_some()));
        let [passing, changing] = layer.columns;
        specs.push(Spec {
            passing,
            changing,
            order: layer.order,
            first,
            steps: steps.collect(),
        });
    }
    if !crate::kernels::graph::fused(&inputs) {
        return Ok(None);
    }
    let op = Flow {
        specs,
        mode,
        context: context.is_some(),
        kept: vec![],
        end: vec![],
    };
    let mut outputs = node::apply(op, &inputs)?.into_iter();
    Ok(outputs.next().zip(outputs.next()))
}

struct Spec {
    passing: Vec<u32>,
    changing: Vec<u32>,
    order: Option<Vec<u32>>,
    /// Where the network's tensors begin among the inputs.
    first: usize,
    steps: Vec<(Activation, bool)>,
}

/// Inputs: x, perhaps the context, then each layer's weights and biases. Outputs: y and the log-det.
struct Flow {
    specs: Vec<Spec>,
    mode: Mode,
    context: bool,
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
        let (stored, step, width) = (keep && self.mode.stored, run.step, run.width);
        let mut z = views[0].f32()?.to_vec();
        let mut kept = vec![];
        let log_det = filled(run.rows, |log_det| {
            let states = z
                .chunks_mut((step * width).max(1))
                .zip(log_det.chunks_mut(step));
            let states: Vec<(usize, State)> = states
                .map(|(z, log_det)| State { z, log_det })
                .enumerate()
                .collect();
            let states = states.into_par_iter().with_max_len(1);
            kept = states
                .map(|(i, state)| run.forward(i, state, stored))
                .collect::<candle_core::Result<_>>()?;
            Ok(())
        })?;
        drop(run);
        if stored {
            self.kept = kept;
        } else if keep {
            self.end = z.clone();
        }
        let shape = inputs[0].dims();
        let batch = &shape[..shape.len().saturating_sub(1)];
        Ok(vec![fresh(z, shape), fresh(log_det, batch)])
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        needs: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let views = views(inputs)?;
        let run = Run::new(self, inputs, &views)?;
        let gradient = |reached: &Option<Reached>, len: usize| -> candle_core::Result<Vec<f32>> {
            match reached {
                Some(reached) => Ok(View::new(&reached.gradient)?.f32()?.to_vec()),
                None => Ok(vec![0.; len]),
            }
        };
        let mut g = gradient(&outputs[0], inputs[0].elem_count())?;
        let g_log_det = gradient(&outputs[1], run.rows)?;
        let mut z = self.end.clone();
        let mut g_context = vec![
            0.;
            if self.context && needs[1] {
                inputs[1].elem_count()
            } else {
                0
            }
        ];
        let weights: usize = inputs[1..].iter().map(Tensor::elem_count).sum();
        let part = run.part(weights);
        let mut zs = z.chunks_mut((run.step * run.width).max(1));
        let mut contexts = g_context.chunks_mut((run.step * run.context_width).max(1));
        let gs = g
            .chunks_mut((run.step * run.width).max(1))
            .zip(g_log_det.chunks(run.step));
        let mut chunks: Vec<_> = gs
            .enumerate()
            .map(|(i, (g, g_log_det))| {
                (
                    i,
                    zs.next().unwrap_or_default(),
                    g,
                    g_log_det,
                    contexts.next(),
                )
            })
            .collect();
        let parts = chunks.par_chunks_mut(part).with_max_len(1).map(|chunks| {
            let mut sums = vec![None; inputs.len()];
            for (i, z, g, g_log_det, context) in chunks {
                let back = Back {
                    z,
                    g,
                    g_log_det,
                    g_context: context.as_deref_mut(),
                    needs,
                    sums: &mut sums,
                };
                run.backward(*i, back)?;
            }
            Ok(sums)
        });
        let parts: Vec<Sums> = parts.collect::<candle_core::Result<_>>()?;
        let mut sums = total(parts, inputs.len());
        sums[0] = needs[0].then_some(g);
        if self.context {
            sums[1] = needs[1].then_some(g_context);
        }
        tensors(sums, inputs, needs)
    }
}

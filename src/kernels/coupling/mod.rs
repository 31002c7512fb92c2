//! Couplings with dense conditioners, one after the other, as one graph node.
//!
//! A chunk of rows goes through all layers on one thread and stays in the cache. For the way back either the networks'
//! activations are kept, or nothing but the result: each layer's argument then follows from its result, as the layers are
//! invertible, and the memory does not depend on their number.

mod element;

use super::activation::Activation;
use super::buffer::{View, filled, views};
use super::dense::Kept;
use super::dense::chain::{Chain, Sums, tensors, total};
use super::gemm::Mat;
use super::node::{self, Fresh, Op, Reached, fresh};
use crate::error::Result;
use candle_core::Tensor;
use element::Element;
use rayon::prelude::*;
use std::ops::Range;

/// The most rows of a chunk: enough to amortise the packing of a weight, few enough to stay in L2.
const ROWS: usize = 128;

/// Elements of all partial sums of the weights' gradients, as far as there is a choice.
const SUMS: usize = 4 * 1024 * 1024;

/// One layer: which columns pass, which change, and the network that turns the passing ones (and the context) into the
/// parameters of the changing ones' [`Map`].
pub(crate) struct Layer<'a> {
    pub(crate) columns: [&'a [u32]; 2],
    pub(crate) net: Vec<super::dense::Layer<'a>>,
}

/// What changing columns go through.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Map {
    /// `b e^s + t` with `s = bound tanh(raw / bound)`: a network gives all raw log-scales, then all shifts.
    Affine { bound: f64 },
    /// A spline for each column: a network gives the raw numbers of one after the other.
    Spline { bins: usize, bound: f64 },
}

/// How a flow runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mode {
    /// From the last layer to the first, each inverted.
    pub(crate) inverse: bool,
    /// Whether activations are kept for the backward pass; if not they are computed again.
    pub(crate) stored: bool,
    pub(crate) map: Map,
}

/// `x` [.., D] through the layers, and the log-det [..]; `context` [.., C] goes into every network beside the passing
/// columns. `None` where there is no fused form: other devices and dtypes, and second derivatives.
pub(crate) fn couplings(
    x: &Tensor,
    context: Option<&Tensor>,
    layers: &[Layer],
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
        specs.push(Spec {
            passing: layer.columns[0].to_vec(),
            changing: layer.columns[1].to_vec(),
            first,
            steps: steps.collect(),
        });
    }
    if !super::fused(&inputs) {
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
}

/// The arguments as slices.
struct Run<'a> {
    flow: &'a Flow,
    rows: usize,
    step: usize,
    width: usize,
    context: &'a [f32],
    context_width: usize,
    chains: Vec<Chain<'a>>,
}

/// Rows as they go through, and one log-det for each.
struct State<'a> {
    z: &'a mut [f32],
    log_det: &'a mut [f32],
}

impl<'a> Run<'a> {
    fn new(flow: &'a Flow, inputs: &[Tensor], views: &'a [View]) -> candle_core::Result<Self> {
        let width = inputs[0].dims().last().copied().unwrap_or(1);
        let rows = inputs[0].elem_count() / width.max(1);
        let context = if flow.context { views[1].f32()? } else { &[] };
        // By the shapes alone, so that the number of threads changes no bit.
        let step = rows.div_ceil(4).next_multiple_of(16).clamp(16, ROWS);
        let chain =
            |spec: &Spec| Chain::new(&spec.steps, spec.first, inputs, views, [rows > step, false]);
        Ok(Run {
            flow,
            rows,
            step,
            width,
            context,
            context_width: context.len() / rows.max(1),
            chains: flow
                .specs
                .iter()
                .map(chain)
                .collect::<candle_core::Result<_>>()?,
        })
    }

    /// The layers in the order in which they run.
    fn order(&self) -> Vec<usize> {
        let all = 0..self.flow.specs.len();
        match self.flow.mode.inverse {
            false => all.collect(),
            true => all.rev().collect(),
        }
    }

    fn chunk(&self, i: usize) -> Range<usize> {
        i * self.step..((i + 1) * self.step).min(self.rows)
    }

    /// What goes into the network of layer `l`: the passing columns, and the context.
    fn argument(&self, l: usize, rows: &Range<usize>, z: &[f32]) -> Vec<f32> {
        let (passing, extra) = (&self.flow.specs[l].passing, self.context_width);
        let mut out = Vec::with_capacity(rows.len() * (passing.len() + extra));
        for (i, row) in z.chunks_exact(self.width).enumerate() {
            gather(row, passing, &mut out);
            let at = (rows.start + i) * extra;
            out.extend_from_slice(&self.context[at..at + extra]);
        }
        out
    }

    /// The network of layer `l`.
    fn network(
        &self,
        l: usize,
        argument: &[f32],
        rows: usize,
        keep: bool,
    ) -> candle_core::Result<(Vec<Kept>, Vec<f32>)> {
        let chain = &self.chains[l];
        let x = Mat::new(argument, rows, chain.inputs())?;
        let mut kept = vec![];
        let said = filled(rows * chain.outputs(), |y| {
            kept = chain.forward(x, y, keep)?;
            Ok(())
        })?;
        Ok((kept, said))
    }

    /// The map of layer `l`, as the flow runs or back.
    fn element(&self, l: usize, back: bool) -> Element {
        Element {
            map: self.flow.mode.map,
            inverse: self.flow.mode.inverse != back,
            width: self.flow.specs[l].changing.len(),
        }
    }

    /// The changing columns of layer `l`.
    fn changing(&self, l: usize, z: &[f32]) -> Vec<f32> {
        let columns = &self.flow.specs[l].changing;
        let mut out = Vec::with_capacity(z.len() / self.width.max(1) * columns.len());
        for row in z.chunks_exact(self.width) {
            gather(row, columns, &mut out);
        }
        out
    }

    /// A chunk through one layer.
    fn layer(
        &self,
        l: usize,
        rows: &Range<usize>,
        state: &mut State,
        keep: bool,
    ) -> candle_core::Result<Option<Step>> {
        let argument = self.argument(l, rows, state.z);
        let (net, mut said) = self.network(l, &argument, rows.len(), keep)?;
        let mut changed = self.changing(l, state.z);
        let changing = if keep { changed.clone() } else { vec![] };
        self.element(l, false)
            .forward(&mut said, &mut changed, state.log_det);
        scatter(&changed, &self.flow.specs[l].changing, state.z, self.width);
        Ok(keep.then_some(Step {
            argument,
            net,
            said,
            changing,
        }))
    }

    fn forward(&self, i: usize, mut state: State, keep: bool) -> candle_core::Result<Vec<Step>> {
        let rows = self.chunk(i);
        state.log_det.fill(0.);
        let mut kept = vec![];
        for l in self.order() {
            kept.extend(self.layer(l, &rows, &mut state, keep)?);
        }
        Ok(kept)
    }

    /// A chunk back through all layers: `z` is the result and becomes the argument, if it is followed back; `g` is the
    /// gradient of the result and becomes that of the argument.
    fn backward(
        &self,
        i: usize,
        [z, g]: [&mut [f32]; 2],
        g_log_det: &[f32],
        mut g_context: Option<&mut [f32]>,
        needs: &[bool],
        sums: &mut Sums,
    ) -> candle_core::Result<()> {
        let (rows, kept) = (self.chunk(i), self.flow.kept.get(i));
        for (at, l) in self.order().into_iter().enumerate().rev() {
            let spec = &self.flow.specs[l];
            let again;
            let step = match kept {
                Some(kept) => &kept[at],
                None => {
                    again = self.again(l, &rows, z)?;
                    &again
                }
            };
            let mut gb = self.changing(l, g);
            let mut g_said = vec![0.; step.said.len()];
            let element = self.element(l, false);
            element.backward(&step.said, &step.changing, &mut gb, g_log_det, &mut g_said);
            if kept.is_none() {
                scatter(&step.changing, &spec.changing, z, self.width);
            }
            scatter(&gb, &spec.changing, g, self.width);
            let chain = &self.chains[l];
            let x = Mat::new(&step.argument, rows.len(), chain.inputs())?;
            let mut ga = vec![0.; step.argument.len()];
            // The last activation is the identity: its slope asks for no output.
            let yg = [&step.said[..], &g_said[..]];
            chain.backward(x, &step.net, yg, Some(&mut ga), needs, sums)?;
            let (passing, inputs) = (spec.passing.len(), chain.inputs());
            let context = g_context
                .as_deref_mut()
                .map(|g| g.chunks_exact_mut(self.context_width.max(1)));
            let mut context = context.into_iter().flatten();
            for (row, ga) in g.chunks_exact_mut(self.width).zip(ga.chunks_exact(inputs)) {
                for (column, ga) in spec.passing.iter().zip(ga) {
                    row[*column as usize] += ga;
                }
                if let Some(row) = context.next() {
                    row.iter_mut()
                        .zip(&ga[passing..])
                        .for_each(|(c, g)| *c += g);
                }
            }
        }
        Ok(())
    }

    /// What layer `l` would have kept, from its result.
    fn again(&self, l: usize, rows: &Range<usize>, z: &[f32]) -> candle_core::Result<Step> {
        // The passing columns of the result are those of the argument.
        let argument = self.argument(l, rows, z);
        let (net, mut said) = self.network(l, &argument, rows.len(), true)?;
        let mut changing = self.changing(l, z);
        let mut log_det = vec![0.; rows.len()];
        self.element(l, true)
            .forward(&mut said, &mut changing, &mut log_det);
        Ok(Step {
            argument,
            net,
            said,
            changing,
        })
    }

    /// Parts of the chunks, each with sums of its own.
    fn part(&self, weights: usize) -> usize {
        // Where memory counts, the sums stay below the batch itself.
        let room = match self.flow.mode.stored {
            true => SUMS,
            false => SUMS.min(self.rows * self.width),
        };
        let parts = (room / weights.max(1)).clamp(2, 16);
        self.rows.div_ceil(self.step).div_ceil(parts).max(1)
    }
}

#[inline(always)]
fn run_of(columns: &[u32]) -> Option<Range<usize>> {
    let first = *columns.first()?;
    let run = columns.iter().zip(first..).all(|(column, i)| *column == i);
    run.then(|| first as usize..first as usize + columns.len())
}

fn gather(row: &[f32], columns: &[u32], out: &mut Vec<f32>) {
    match run_of(columns) {
        Some(run) => out.extend_from_slice(&row[run]),
        None => out.extend(columns.iter().map(|c| row[*c as usize])),
    }
}

fn scatter(values: &[f32], columns: &[u32], rows: &mut [f32], width: usize) {
    for (row, values) in rows
        .chunks_exact_mut(width)
        .zip(values.chunks_exact(columns.len()))
    {
        for (column, value) in columns.iter().zip(values) {
            row[*column as usize] = *value;
        }
    }
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
                run.backward(
                    *i,
                    [z, g],
                    g_log_det,
                    context.as_deref_mut(),
                    needs,
                    &mut sums,
                )?;
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

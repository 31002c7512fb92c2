//! Couplings and autoregressive maps with dense conditioners, one after the other, as one graph node.
//!
//! A chunk of rows goes through all layers on one thread and stays in the cache. For the way back either the networks'
//! activations are kept, or nothing but the result: each layer's argument then follows from its result, as the layers are
//! invertible, and the memory does not depend on their number.
//!
//! An autoregressive layer `y_i = f_i(x_i; y before i)` is, from y to x, a coupling to whose network all columns pass and
//! that changes all of them. From x to y one column after the other becomes known; the way back solves the triangular system
//! of the direction from y to x, again column by column.

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
use std::borrow::Cow;
use std::iter::repeat_n;
use std::ops::Range;

/// The most rows of a chunk: enough to amortise the packing of a weight, few enough to stay in L2.
const ROWS: usize = 128;

/// Elements of all partial sums of the weights' gradients, as far as there is a choice.
const SUMS: usize = 4 * 1024 * 1024;

/// One layer: which columns pass, which change, and the network that turns the passing ones (and the context) into the
/// parameters of the changing ones' [`Map`].
pub(crate) struct Layer<'a> {
    pub(crate) columns: [Vec<u32>; 2],
    /// Of an autoregressive layer the columns, first to last: what the network says of each depends on those before it in
    /// the layer's result. All of them are among both kinds of `columns`, and the network says what it says of one after the
    /// other.
    pub(crate) order: Option<Vec<u32>>,
    pub(crate) net: Vec<super::dense::Layer<'a>>,
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

/// A chunk on its way back: `z` is the result and becomes the argument, if it is followed back; `g` is the gradient of the
/// result and becomes that of the argument.
struct Back<'a> {
    z: &'a mut [f32],
    g: &'a mut [f32],
    g_log_det: &'a [f32],
    g_context: Option<&'a mut [f32]>,
    needs: &'a [bool],
    sums: &'a mut Sums,
}

impl Back<'_> {
    /// Adds the gradient of what went into a network, rows of `passing` columns and then the context.
    fn add_argument(&mut self, ga: &[f32], passing: &[u32], [width, context]: [usize; 2]) {
        let rows = ga.chunks_exact((passing.len() + context).max(1));
        for (row, ga) in self.g.chunks_exact_mut(width).zip(rows.clone()) {
            for (column, ga) in passing.iter().zip(ga) {
                row[*column as usize] += ga;
            }
        }
        if let Some(g_context) = &mut self.g_context {
            for (row, ga) in g_context.chunks_exact_mut(context.max(1)).zip(rows) {
                let ga = &ga[passing.len()..];
                row.iter_mut().zip(ga).for_each(|(c, g)| *c += g);
            }
        }
    }
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
        let spec = &self.flow.specs[l];
        Element {
            map: self.flow.mode.map,
            inverse: self.flow.mode.inverse != back,
            width: spec.order.as_ref().map_or(spec.changing.len(), |_| 1),
        }
    }

    /// Elements in place through the map of layer `l`, the sums of their log-slopes added to the rows' log-dets.
    fn through(&self, l: usize, said: &mut [f32], b: &mut [f32], log_det: &mut [f32]) {
        let element = self.element(l, false);
        if self.flow.specs[l].order.is_none() {
            return element.forward(said, b, log_det);
        }
        let mut logs = vec![0.; b.len()];
        element.forward(said, b, &mut logs);
        for (log_det, logs) in log_det.iter_mut().zip(logs.chunks_exact(self.width)) {
            *log_det += element::sum(logs);
        }
    }

    /// The log-dets' gradients as the map of layer `l` takes them.
    fn spread<'g>(&self, l: usize, g_log_det: &'g [f32]) -> Cow<'g, [f32]> {
        match self.flow.specs[l].order {
            None => Cow::Borrowed(g_log_det),
            Some(_) => {
                let each = g_log_det.iter().flat_map(|g| repeat_n(*g, self.width));
                Cow::Owned(each.collect())
            }
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
        if let (Some(order), false) = (&self.flow.specs[l].order, self.flow.mode.inverse) {
            return self.grow(l, order, rows, state).map(|_| None);
        }
        let argument = self.argument(l, rows, state.z);
        let (net, mut said) = self.network(l, &argument, rows.len(), keep)?;
        let mut changed = self.changing(l, state.z);
        let changing = if keep { changed.clone() } else { vec![] };
        self.through(l, &mut said, &mut changed, state.log_det);
        scatter(&changed, &self.flow.specs[l].changing, state.z, self.width);
        Ok(keep.then_some(Step {
            argument,
            net,
            said,
            changing,
            logs: vec![],
        }))
    }

    /// A chunk through an autoregressive layer, one column after the other.
    fn grow(
        &self,
        l: usize,
        order: &[u32],
        rows: &Range<usize>,
        state: &mut State,
    ) -> candle_core::Result<()> {
        let (chain, width) = (&self.chains[l], self.width);
        let each = chain.outputs() / width.max(1);
        let x = state.z.to_vec();
        state.z.fill(0.);
        let (mut said, mut column) = (vec![0.; rows.len() * each], vec![0.; rows.len()]);
        for i in order.iter().map(|i| *i as usize) {
            let argument = self.argument(l, rows, state.z);
            let argument = Mat::new(&argument, rows.len(), chain.inputs())?;
            chain.columns(argument, i * each..(i + 1) * each, &mut said)?;
            let given = x[i..].iter().step_by(width);
            column.iter_mut().zip(given).for_each(|(c, x)| *c = *x);
            self.element(l, false)
                .forward(&mut said, &mut column, state.log_det);
            let known = state.z[i..].iter_mut().step_by(width);
            known.zip(&column).for_each(|(z, c)| *z = *c);
        }
        Ok(())
    }

    /// A chunk back through an autoregressive layer that went column by column.
    ///
    /// With x = S(y) and its log-det L, the gradient u of x solves `S_y^T u = g - g_log_det L_y`, and the weights' is that of
    /// `-u S - g_log_det L`, which has the gradient -g of y. S_y is triangular, so that u follows from the last column to the
    /// first.
    fn solve(
        &self,
        l: usize,
        order: &[u32],
        rows: usize,
        step: &Step,
        back: &mut Back,
    ) -> candle_core::Result<()> {
        let (chain, width, element) = (&self.chains[l], self.width, self.element(l, true));
        let argument = Mat::new(&step.argument, rows, chain.inputs())?;
        let g_logs: Vec<f32> = self.spread(l, back.g_log_det).iter().map(|g| -g).collect();
        // From the gradient of S to that of y, directly and through the network.
        let through = |gx: &[f32], needs: &[bool], sums: &mut Sums| -> candle_core::Result<_> {
            let (mut gy, mut g_said) = (gx.to_vec(), vec![0.; step.said.len()]);
            element.backward(&step.said, back.z, &mut gy, &g_logs, &mut g_said);
            let mut ga = vec![0.; step.argument.len()];
            let yg = [&step.said[..], &g_said[..]];
            chain.backward(argument, &step.net, yg, Some(&mut ga), needs, sums)?;
            Ok((gy, ga))
        };
        let mut gx = vec![0.; back.z.len()];
        let (nobody, mut none) = (vec![false; back.needs.len()], vec![None; back.needs.len()]);
        for i in order.iter().rev().map(|i| *i as usize) {
            let (gy, ga) = through(&gx, &nobody, &mut none)?;
            for row in 0..rows {
                let at = row * width + i;
                let missing = -back.g[at] - gy[at] - ga[row * chain.inputs() + i];
                gx[at] = missing * (-step.logs[at]).exp();
            }
        }
        let (_, ga) = through(&gx, back.needs, back.sums)?;
        back.add_argument(
            &ga,
            &self.flow.specs[l].passing,
            [width, self.context_width],
        );
        back.g.iter_mut().zip(&gx).for_each(|(g, gx)| *g = -gx);
        Ok(())
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

    /// A chunk back through all layers.
    fn backward(&self, i: usize, mut back: Back) -> candle_core::Result<()> {
        let (rows, kept) = (self.chunk(i), self.flow.kept.get(i));
        for (at, l) in self.order().into_iter().enumerate().rev() {
            let spec = &self.flow.specs[l];
            let again;
            let step = match kept {
                Some(kept) => &kept[at],
                None => {
                    again = self.again(l, &rows, back.z)?;
                    &again
                }
            };
            match &spec.order {
                Some(order) if !self.flow.mode.inverse => {
                    self.solve(l, order, rows.len(), step, &mut back)?
                }
                _ => self.couple(l, rows.len(), step, &mut back)?,
            }
            if kept.is_none() {
                scatter(&step.changing, &spec.changing, back.z, self.width);
            }
        }
        Ok(())
    }

    /// A chunk back through a coupling.
    fn couple(
        &self,
        l: usize,
        rows: usize,
        step: &Step,
        back: &mut Back,
    ) -> candle_core::Result<()> {
        let spec = &self.flow.specs[l];
        let mut gb = self.changing(l, back.g);
        let mut g_said = vec![0.; step.said.len()];
        let g_logs = self.spread(l, back.g_log_det);
        let element = self.element(l, false);
        element.backward(&step.said, &step.changing, &mut gb, &g_logs, &mut g_said);
        scatter(&gb, &spec.changing, back.g, self.width);
        let chain = &self.chains[l];
        let x = Mat::new(&step.argument, rows, chain.inputs())?;
        let mut ga = vec![0.; step.argument.len()];
        // The last activation is the identity: its slope asks for no output.
        let yg = [&step.said[..], &g_said[..]];
        chain.backward(x, &step.net, yg, Some(&mut ga), back.needs, back.sums)?;
        back.add_argument(&ga, &spec.passing, [self.width, self.context_width]);
        Ok(())
    }

    /// What layer `l` would have kept, from its result.
    fn again(&self, l: usize, rows: &Range<usize>, z: &[f32]) -> candle_core::Result<Step> {
        // The passing columns of the result are those of the argument.
        let argument = self.argument(l, rows, z);
        let (net, mut said) = self.network(l, &argument, rows.len(), true)?;
        let mut changing = self.changing(l, z);
        let element = self.element(l, true);
        let mut logs = vec![0.; changing.len() / element.width.max(1)];
        element.forward(&mut said, &mut changing, &mut logs);
        Ok(Step {
            argument,
            net,
            said,
            changing,
            logs,
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

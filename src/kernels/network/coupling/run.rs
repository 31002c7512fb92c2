//! Chunks of rows on their way through all layers, and back.

use super::element::{self, Element};
use super::{Flow, Spec, Step};
use crate::kernels::machine::buffer::View;
use crate::kernels::machine::buffer::filled;
use crate::kernels::machine::gemm::Mat;
use crate::kernels::network::dense::Kept;
use crate::kernels::network::dense::chain::{Chain, Sums};
use candle_core::Tensor;
use std::borrow::Cow;
use std::iter::repeat_n;
use std::ops::Range;

/// The most rows of a chunk: enough to amortise the packing of a weight, few enough to stay in L2.
const ROWS: usize = 128;

/// Elements of all partial sums of the weights' gradients, as far as there is a choice.
const SUMS: usize = 4 * 1024 * 1024;

/// The arguments as slices.
pub(super) struct Run<'a> {
    pub(super) flow: &'a Flow,
    pub(super) rows: usize,
    pub(super) step: usize,
    pub(super) width: usize,
    pub(super) context: &'a [f32],
    pub(super) context_width: usize,
    pub(super) chains: Vec<Chain<'a>>,
}

/// Rows as they go through, and one log-det for each.
pub(super) struct State<'a> {
    pub(super) z: &'a mut [f32],
    pub(super) log_det: &'a mut [f32],
}

/// A chunk on its way back: `z` is the result and becomes the argument, if it is followed back; `g` is the gradient of the
/// result and becomes that of the argument.
pub(super) struct Back<'a> {
    pub(super) z: &'a mut [f32],
    pub(super) g: &'a mut [f32],
    pub(super) g_log_det: &'a [f32],
    pub(super) g_context: Option<&'a mut [f32]>,
    pub(super) needs: &'a [bool],
    pub(super) sums: &'a mut Sums,
}

impl Back<'_> {
    /// Adds the gradient of what went into a network, rows of `passing` columns and then the context.
    pub(super) fn add_argument(
        &mut self,
        ga: &[f32],
        passing: &[u32],
        [width, context]: [usize; 2],
    ) {
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
    pub(super) fn new(
        flow: &'a Flow,
        inputs: &[Tensor],
        views: &'a [View],
    ) -> candle_core::Result<Self> {
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
    pub(super) fn order(&self) -> Vec<usize> {
        let all = 0..self.flow.specs.len();
        match self.flow.mode.inverse {
            false => all.collect(),
            true => all.rev().collect(),
        }
    }

    pub(super) fn chunk(&self, i: usize) -> Range<usize> {
        i * self.step..((i + 1) * self.step).min(self.rows)
    }

    /// What goes into the network of layer `l`: the passing columns, and the context.
    pub(super) fn argument(&self, l: usize, rows: &Range<usize>, z: &[f32]) -> Vec<f32> {
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
    pub(super) fn network(
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
    pub(super) fn element(&self, l: usize, back: bool) -> Element {
        let spec = &self.flow.specs[l];
        Element {
            map: self.flow.mode.map,
            inverse: self.flow.mode.inverse != back,
            width: spec.order.as_ref().map_or(spec.changing.len(), |_| 1),
        }
    }

    /// Elements in place through the map of layer `l`, the sums of their log-slopes added to the rows' log-dets.
    pub(super) fn through(&self, l: usize, said: &mut [f32], b: &mut [f32], log_det: &mut [f32]) {
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
    pub(super) fn spread<'g>(&self, l: usize, g_log_det: &'g [f32]) -> Cow<'g, [f32]> {
        match self.flow.specs[l].order {
            None => Cow::Borrowed(g_log_det),
            Some(_) => {
                let each = g_log_det.iter().flat_map(|g| repeat_n(*g, self.width));
                Cow::Owned(each.collect())
            }
        }
    }

    /// The changing columns of layer `l`.
    pub(super) fn changing(&self, l: usize, z: &[f32]) -> Vec<f32> {
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

    pub(super) fn forward(
        &self,
        i: usize,
        mut state: State,
        keep: bool,
    ) -> candle_core::Result<Vec<Step>> {
        let rows = self.chunk(i);
        state.log_det.fill(0.);
        let mut kept = vec![];
        for l in self.order() {
            kept.extend(self.layer(l, &rows, &mut state, keep)?);
        }
        Ok(kept)
    }

    /// A chunk back through all layers.
    pub(super) fn backward(&self, i: usize, mut back: Back) -> candle_core::Result<()> {
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
    pub(super) fn part(&self, weights: usize) -> usize {
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

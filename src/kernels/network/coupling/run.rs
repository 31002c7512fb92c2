//! Chunks of rows on their way through all layers, and back.

use super::element::{self, Element};
use super::{Flow, Step};
use crate::kernels::machine::buffer::{View, filled};
use crate::kernels::machine::gemm::Mat;
use crate::kernels::network::dense::Kept;
use crate::kernels::network::dense::chain::Chain;
use crate::kernels::network::flow::{Batch, Chunk, State};
use crate::kernels::network::sums::Sums;
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
    pub(super) batch: Batch<'a>,
    pub(super) width: usize,
    pub(super) chains: Vec<Chain<'a>>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        flow: &'a Flow,
        inputs: &'a [Tensor],
        views: &'a [View],
    ) -> candle_core::Result<Self> {
        let batch = Batch::new(inputs, views, flow.context, ROWS)?;
        let how = [batch.rows.chunked(), false];
        let chains = flow
            .specs
            .iter()
            .map(|s| Chain::new(&s.steps, inputs, views, how));
        Ok(Run {
            flow,
            width: batch.width,
            chains: chains.collect::<candle_core::Result<_>>()?,
            batch,
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

    /// What goes into the network of layer `l`: the passing columns, and the context.
    pub(super) fn argument(&self, l: usize, rows: &Range<usize>, z: &[f32]) -> Vec<f32> {
        let passing = &self.flow.specs[l].passing;
        let mut out = Vec::with_capacity(rows.len() * (passing.len() + self.batch.extra));
        for (row, z) in rows.clone().zip(z.chunks_exact(self.width)) {
            gather(z, passing, &mut out);
            out.extend_from_slice(self.batch.context(row));
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
        [z, log_det]: [&mut [f32]; 2],
        keep: bool,
    ) -> candle_core::Result<Option<Step>> {
        if let (Some(order), false) = (&self.flow.specs[l].order, self.flow.mode.inverse) {
            return self.grow(l, order, rows, [z, log_det]).map(|_| None);
        }
        let argument = self.argument(l, rows, z);
        let (net, mut said) = self.network(l, &argument, rows.len(), keep)?;
        let mut changed = self.changing(l, z);
        let changing = if keep { changed.clone() } else { vec![] };
        self.through(l, &mut said, &mut changed, log_det);
        scatter(&changed, &self.flow.specs[l].changing, z, self.width);
        Ok(keep.then_some(Step {
            argument,
            net,
            said,
            changing,
            logs: vec![],
        }))
    }

    pub(super) fn forward(&self, state: State, keep: bool) -> candle_core::Result<Vec<Step>> {
        let State { rows, x, mut along } = state;
        let log_det = along.pop().unwrap_or_default();
        let mut kept = vec![];
        for l in self.order() {
            kept.extend(self.layer(l, &rows, [&mut *x, &mut *log_det], keep)?);
        }
        Ok(kept)
    }

    /// A chunk back through all layers.
    pub(super) fn backward(&self, chunk: &mut Chunk, sums: &mut Sums) -> candle_core::Result<()> {
        let (rows, kept) = (chunk.rows.clone(), self.flow.kept.get(chunk.i));
        // The result becomes the argument, if it is followed back.
        let mut z = match kept {
            Some(_) => vec![],
            None => self.flow.end[rows.start * self.width..rows.end * self.width].to_vec(),
        };
        for (at, l) in self.order().into_iter().enumerate().rev() {
            let spec = &self.flow.specs[l];
            let again;
            let step = match kept {
                Some(kept) => &kept[at],
                None => {
                    again = self.again(l, &rows, &z)?;
                    &again
                }
            };
            match &spec.order {
                Some(order) if !self.flow.mode.inverse => {
                    self.solve(l, order, &z, step, chunk, sums)?
                }
                _ => self.couple(l, step, chunk, sums)?,
            }
            if kept.is_none() {
                scatter(&step.changing, &spec.changing, &mut z, self.width);
            }
        }
        Ok(())
    }

    /// A chunk back through a coupling.
    fn couple(
        &self,
        l: usize,
        step: &Step,
        chunk: &mut Chunk,
        sums: &mut Sums,
    ) -> candle_core::Result<()> {
        let spec = &self.flow.specs[l];
        let mut gb = self.changing(l, chunk.g);
        let mut g_said = vec![0.; step.said.len()];
        let g_logs = self.spread(l, chunk.along[0]);
        let element = self.element(l, false);
        element.backward(&step.said, &step.changing, &mut gb, &g_logs, &mut g_said);
        scatter(&gb, &spec.changing, chunk.g, self.width);
        let chain = &self.chains[l];
        let x = Mat::new(&step.argument, chunk.rows.len(), chain.inputs())?;
        let mut ga = vec![0.; step.argument.len()];
        // The last activation is the identity: its slope asks for no output.
        let yg = [&step.said[..], &g_said[..]];
        chain.backward(x, &step.net, yg, Some(&mut ga), chunk.needs, sums)?;
        let rows = chunk.g.chunks_exact_mut(self.width);
        for (row, ga) in rows.zip(ga.chunks_exact(chain.inputs().max(1))) {
            for (column, ga) in spec.passing.iter().zip(ga) {
                row[*column as usize] += ga;
            }
        }
        chunk.add_context(&ga, chain.inputs());
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

    /// How many parts of the chunks have sums of their own.
    pub(super) fn parts(&self, weights: usize) -> usize {
        // Where memory counts, the sums stay below the batch itself.
        let room = match self.flow.mode.stored {
            true => SUMS,
            false => SUMS.min(self.batch.rows.count * self.width),
        };
        (room / weights.max(1)).clamp(2, 16)
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

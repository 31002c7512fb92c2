//! What the nodes of flows share: rows change in place, log-dets or other integrals grow along the way, a context goes beside;
//! on the way back gradients stand in the same places.

use super::rows::Rows;
use super::sums::{Sums, tensors};
use crate::kernels::graph::node::{Fresh, Reached, fresh};
use crate::kernels::machine::buffer::View;
use candle_core::{Result, Tensor};
use std::ops::Range;

/// The argument `x` [.., D], the first input, and perhaps a context [.., C].
pub(crate) struct Batch<'a> {
    pub(crate) rows: Rows,
    pub(crate) width: usize,
    /// Columns of the context.
    pub(crate) extra: usize,
    x: &'a [f32],
    dims: &'a [usize],
    context: Option<(usize, &'a [f32])>,
}

/// A chunk of rows on its way, with what grows along it.
pub(crate) struct State<'a> {
    pub(crate) rows: Range<usize>,
    pub(crate) x: &'a mut [f32],
    pub(crate) along: Vec<&'a mut [f32]>,
}

/// A chunk on its way back: `g` is the gradient of its result and becomes that of its argument; those of what grew along the
/// way stay; that of the context, if somebody reads it, is added to.
pub(crate) struct Chunk<'a> {
    pub(crate) i: usize,
    pub(crate) rows: Range<usize>,
    pub(crate) g: &'a mut [f32],
    pub(crate) along: Vec<&'a [f32]>,
    /// Which inputs' gradients are read.
    pub(crate) needs: &'a [bool],
    context: Option<&'a mut [f32]>,
    extra: usize,
}

impl Chunk<'_> {
    /// Adds to the context's gradient the last columns of the rows of `g`, each of `width` numbers.
    pub(crate) fn add_context(&mut self, g: &[f32], width: usize) {
        let Some(context) = &mut self.context else {
            return;
        };
        let sums = context.chunks_exact_mut(self.extra.max(1));
        for (sums, g) in sums.zip(g.chunks_exact(width.max(1))) {
            let g = &g[width - self.extra..];
            sums.iter_mut().zip(g).for_each(|(sum, g)| *sum += g);
        }
    }
}

impl<'a> Batch<'a> {
    /// From a node's inputs, the context at `context`; in chunks of at most `most` rows.
    pub(crate) fn new(
        inputs: &'a [Tensor],
        views: &'a [View],
        context: Option<usize>,
        most: usize,
    ) -> Result<Self> {
        let dims = inputs[0].dims();
        let width = dims.last().copied().unwrap_or(1);
        let count = inputs[0].elem_count() / width.max(1);
        let slice = |at: usize| views[at].f32().map(|context| (at, context));
        let context = context.map(slice).transpose()?;
        Ok(Batch {
            rows: Rows::new(count, most),
            width,
            extra: context.map_or(0, |(_, context)| context.len() / count.max(1)),
            x: views[0].f32()?,
            dims,
            context,
        })
    }

    /// The context of a row.
    pub(crate) fn context(&self, row: usize) -> &'a [f32] {
        let all = self.context.map_or(&[][..], |(_, context)| context);
        &all[row * self.extra..(row + 1) * self.extra]
    }

    /// All chunks through `f`, `along` numbers of each row growing from 0: the outputs of the node, the end [.., D] and what
    /// grew [..], and what the chunks leave behind.
    pub(crate) fn forward<K: Send>(
        &self,
        along: usize,
        f: impl Fn(State) -> Result<K> + Send + Sync,
    ) -> Result<(Vec<Fresh>, Vec<K>)> {
        let mut x = self.x.to_vec();
        let mut along = vec![vec![0.; self.rows.count]; along];
        let mut parts: Vec<_> = along.iter_mut().map(|a| self.rows.split(a, 1)).collect();
        let chunks = self.rows.split(&mut x, self.width).enumerate();
        let states = chunks.map(|(i, x)| State {
            rows: self.rows.chunk(i),
            x,
            along: parts.iter_mut().filter_map(Iterator::next).collect(),
        });
        let kept = self.rows.each(states, f)?;
        let batch = &self.dims[..self.dims.len().saturating_sub(1)];
        let mut outputs = vec![fresh(x, self.dims)];
        outputs.extend(along.into_iter().map(|along| fresh(along, batch)));
        Ok((outputs, kept))
    }

    /// The outputs' gradients, 0 where one did not reach the loss.
    pub(crate) fn gradients<'b>(
        &'b self,
        outputs: &[Option<Reached>],
        needs: &'b [bool],
    ) -> Result<Gradients<'b>> {
        let gradient = |output: &Option<Reached>, len| match output {
            Some(reached) => Ok(View::new(&reached.gradient)?.f32()?.to_vec()),
            None => Ok(vec![0.; len]),
        };
        let along = outputs.iter().skip(1);
        let wanted = self.context.filter(|(at, _)| needs[*at]);
        Ok(Gradients {
            batch: self,
            needs,
            x: gradient(outputs.first().unwrap_or(&None), self.x.len())?,
            along: along
                .map(|output| gradient(output, self.rows.count))
                .collect::<Result<_>>()?,
            context: wanted.map(|(_, context)| vec![0.; context.len()]),
        })
    }
}

/// Gradients of the outputs on their way to the inputs.
pub(crate) struct Gradients<'a> {
    batch: &'a Batch<'a>,
    needs: &'a [bool],
    x: Vec<f32>,
    along: Vec<Vec<f32>>,
    context: Option<Vec<f32>>,
}

impl Gradients<'_> {
    /// All chunks back by `f`, which adds to the gradients of the parameters, in at most `parts` partial sums of `inputs`
    /// numbers of inputs.
    pub(crate) fn back(
        &mut self,
        parts: usize,
        inputs: usize,
        f: impl Fn(&mut Chunk, &mut Sums) -> Result<()> + Send + Sync,
    ) -> Result<Sums> {
        let (rows, width, extra) = (self.batch.rows, self.batch.width, self.batch.extra);
        let (along, needs) = (&self.along, self.needs);
        let mut contexts = self.context.as_mut().map(|c| rows.split(c, extra));
        let chunks = rows
            .split(&mut self.x, width)
            .enumerate()
            .map(|(i, g)| Chunk {
                i,
                rows: rows.chunk(i),
                g,
                along: along.iter().map(|g| &g[rows.chunk(i)]).collect(),
                needs,
                context: contexts.as_mut().and_then(Iterator::next),
                extra,
            });
        rows.back(chunks, parts, inputs, f)
    }

    /// The gradients of the inputs, those of the parameters from `sums`.
    pub(crate) fn tensors(self, mut sums: Sums, inputs: &[Tensor]) -> Result<Vec<Option<Tensor>>> {
        sums[0] = self.needs[0].then_some(self.x);
        if let Some((at, _)) = self.batch.context {
            sums[at] = self.context;
        }
        tensors(sums, inputs, self.needs)
    }
}

//! The rows of a batch in chunks, there and back: each chunk goes through a whole network on one thread.

use super::sums::{Sums, total};
use candle_core::Result;
use rayon::prelude::*;
use std::ops::Range;
use std::slice::ChunksMut;

/// The rows of a batch and how they are cut; by the shapes alone, so that the number of threads changes no bit.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    pub(crate) count: usize,
    /// Rows of a chunk.
    pub(crate) step: usize,
    /// Whether the chunks are shared between threads.
    pub(crate) parallel: bool,
}

impl Rows {
    /// Chunks for some four threads, of at most `most` rows.
    pub(crate) fn new(count: usize, most: usize) -> Self {
        Rows {
            count,
            step: count.div_ceil(4).next_multiple_of(16).clamp(16, most),
            parallel: true,
        }
    }

    /// Whether there are several chunks.
    pub(crate) fn chunked(&self) -> bool {
        self.step < self.count
    }

    /// The rows of chunk `i`.
    pub(crate) fn chunk(&self, i: usize) -> Range<usize> {
        i * self.step..((i + 1) * self.step).min(self.count)
    }

    /// Rows of `width` numbers, chunk by chunk.
    pub(crate) fn split<'a, T>(&self, data: &'a mut [T], width: usize) -> ChunksMut<'a, T> {
        data.chunks_mut((self.step * width).max(1))
    }

    /// The results of `f` on every item, in their order: an item for each thread at a time if the rows are in chunks.
    pub(crate) fn each<T: Send, R: Send>(
        &self,
        items: impl Iterator<Item = T>,
        f: impl Fn(T) -> Result<R> + Send + Sync,
    ) -> Result<Vec<R>> {
        if self.parallel && self.chunked() {
            let items: Vec<T> = items.collect();
            items.into_par_iter().with_max_len(1).map(f).collect()
        } else {
            items.map(f).collect()
        }
    }

    /// The way back of all chunks: what `f` adds to the gradients of `inputs` inputs, in at most `parts` partial sums.
    pub(crate) fn back<T: Send>(
        &self,
        chunks: impl Iterator<Item = T>,
        parts: usize,
        inputs: usize,
        f: impl Fn(&mut T, &mut Sums) -> Result<()> + Send + Sync,
    ) -> Result<Sums> {
        let mut chunks: Vec<T> = chunks.collect();
        let part = chunks.len().div_ceil(parts).max(1);
        let sums = self.each(chunks.chunks_mut(part), |chunks| {
            let mut sums = vec![None; inputs];
            chunks
                .iter_mut()
                .try_for_each(|chunk| f(chunk, &mut sums))?;
            Ok(sums)
        })?;
        Ok(total(sums, inputs))
    }
}

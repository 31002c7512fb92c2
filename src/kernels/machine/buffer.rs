//! Views of tensors as slices, and parallel filling of fresh buffers.

use candle_core::{Result, Storage, StorageRef, Tensor, WithDType};
use rayon::prelude::*;
use std::ops::{Deref, DerefMut};

/// Below this many elements a parallel region costs more than it saves (a cold rayon join is about 20 us).
pub(crate) const SERIAL: usize = 32 * 1024;

/// Elements per parallel task of elementwise work: 16 KiB of f32, so that a few streams stay in L1.
/// Fixed, so that results do not depend on the number of threads.
pub(crate) const CHUNK: usize = 4096;

/// A contiguous CPU tensor as a slice, for as long as the view lives.
pub(crate) struct View<'a> {
    storage: StorageRef<'a>,
    start: usize,
    end: usize,
}

impl<'a> View<'a> {
    /// The tensor must be contiguous and on the CPU; callers go through `Tensor::contiguous` first.
    pub(crate) fn new(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("kernel argument is not contiguous")
        };
        // A part of a tensor without elements begins beyond the end of its storage.
        let (start, end) = if start == end { (0, 0) } else { (start, end) };
        Ok(View {
            storage,
            start,
            end,
        })
    }

    pub(crate) fn as_slice<T: WithDType>(&self) -> Result<&[T]> {
        match &*self.storage {
            Storage::Cpu(cpu) => Ok(&cpu.as_slice::<T>()?[self.start..self.end]),
            _ => candle_core::bail!("kernel argument is not on the cpu"),
        }
    }

    pub(crate) fn f32(&self) -> Result<&[f32]> {
        self.as_slice()
    }
}

/// The views of a node's inputs.
pub(crate) fn views(inputs: &[Tensor]) -> Result<Vec<View<'_>>> {
    inputs.iter().map(View::new).collect()
}

/// A new vector of `len` elements, each chunk written by `f(offset, chunk)`; in parallel from [`SERIAL`] elements on.
///
/// Writing fresh memory once is the dominant cost of cheap operations, so the buffer is not zeroed first:
/// `f` must write every element of its chunk and read none before.
pub(crate) fn build<T: Copy + Send + Sync>(
    len: usize,
    chunk: usize,
    f: impl Fn(usize, &mut [T]) + Sync,
) -> Vec<T> {
    let mut out: Vec<T> = Vec::with_capacity(len);
    // SAFETY: only used with plain number types, whose every bit pattern is valid, and every element is written below
    // before the vector is handed on.
    #[allow(clippy::uninit_vec)]
    unsafe {
        out.set_len(len)
    };
    chunks(&mut out, chunk, f);
    out
}

/// A new vector of `len` elements written by `f`, which must write every element and read none before.
pub(crate) fn filled<T: Copy + Send + Sync>(
    len: usize,
    f: impl FnOnce(&mut [T]) -> Result<()>,
) -> Result<Vec<T>> {
    let mut out: Vec<T> = Vec::with_capacity(len);
    // SAFETY: as in `build`.
    #[allow(clippy::uninit_vec)]
    unsafe {
        out.set_len(len)
    };
    f(&mut out)?;
    Ok(out)
}

/// Numbers that begin with a line of the cache, whatever the allocator does: wide loads across two lines take twice as long.
#[derive(Debug, Default)]
pub(crate) struct Aligned<T> {
    all: Vec<T>,
    start: usize,
}

/// Bytes of a line.
const LINE: usize = 64;

impl<T: Copy + Default + Send> Aligned<T> {
    /// As [`build`], which see for what `f` must do.
    pub(crate) fn build(len: usize, chunk: usize, f: impl Fn(usize, &mut [T]) + Sync) -> Self {
        let room = LINE / size_of::<T>();
        let mut all: Vec<T> = Vec::with_capacity(len + room);
        let start = all.as_ptr().align_offset(LINE).min(room);
        all.resize(start, T::default());
        // SAFETY: as in `build`; the capacity is `room` more than `len`.
        #[allow(clippy::uninit_vec)]
        unsafe {
            all.set_len(start + len)
        };
        chunks(&mut all[start..], chunk, f);
        Aligned { all, start }
    }

    pub(crate) fn copy(x: &[T]) -> Self
    where
        T: Sync,
    {
        Self::build(x.len(), CHUNK, |from, out| {
            out.copy_from_slice(&x[from..][..out.len()]);
        })
    }

    pub(crate) fn zeros(len: usize) -> Self {
        Self::build(len, CHUNK, |_, out| out.fill(T::default()))
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.all[self.start..]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.all[self.start..]
    }
}

/// Calls `f(offset, chunk)` on every chunk of `out`, in parallel from [`SERIAL`] elements on.
pub(crate) fn chunks<T: Send>(out: &mut [T], chunk: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    if out.len() < SERIAL {
        for (i, c) in out.chunks_mut(chunk).enumerate() {
            f(i * chunk, c);
        }
    } else {
        parallel(out, chunk, f);
    }
}

/// Calls `f(offset, chunk)` on every chunk of `out` in parallel: for few outputs that take much work each.
pub(crate) fn parallel<T: Send>(out: &mut [T], chunk: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    out.par_chunks_mut(chunk)
        .enumerate()
        .for_each(|(i, c)| f(i * chunk, c));
}

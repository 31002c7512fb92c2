//! The multiply-add core: a matrix product whose left rows are read through a table of offsets, so that a convolution and
//! both of its gradients are products over the image itself and no matrix of patches is ever written.
//!
//! Every output is one chain of multiply-adds in the order of the runs. Its bits depend neither on the tile it falls in
//! nor on the number of threads, nor on the images beside it.

use super::vector::{Level, Vector, level};
use std::mem::MaybeUninit;

/// Columns come in multiples of this.
pub(super) const LANES: usize = 16;

/// A stretch of the summation index: `a` advances by `a_step` and `b` by one row for each of `len` terms.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) a: usize,
    /// In rows of the right side.
    pub(super) b: usize,
    pub(super) len: usize,
}

/// What a tile starts from.
#[derive(Clone, Copy)]
pub(super) enum Start<'a> {
    Zero,
    /// One value for each column.
    Row(&'a [f32]),
    /// What the output holds.
    Output,
}

/// What products multiply, and what they start from.
#[derive(Clone, Copy)]
pub(super) struct Packed<'a> {
    pub(super) laid: &'a [f32],
    pub(super) weight: &'a [f32],
    pub(super) start: Start<'a>,
}

/// `out[m][j] = start + sum over runs, t < len of a[rows[m] + run.a + t a_step] b[run.b + t][j]`.
pub(super) struct Product<'a> {
    pub(super) a: &'a [f32],
    pub(super) a_step: usize,
    pub(super) rows: &'a [usize],
    pub(super) runs: &'a [Run],
    pub(super) b: &'a [f32],
    /// Rows of `b`.
    pub(super) depth: usize,
    /// Columns of `b`, a multiple of [`LANES`].
    pub(super) columns: usize,
    /// Whether `b` is laid out in panels of [`panel`] columns, one after the other; row by row otherwise.
    pub(super) panels: bool,
    pub(super) start: Start<'a>,
}

/// Columns of one panel on this machine.
pub(super) fn panel() -> usize {
    match level() {
        Level::Avx512 => 64,
        _ => LANES,
    }
}

impl Product<'_> {
    /// Writes the first `width` columns of row `m` at `out_rows[m]`.
    pub(super) fn run(
        &self,
        out: &mut [f32],
        out_rows: &[usize],
        width: usize,
    ) -> candle_core::Result<()> {
        let reach = self
            .runs
            .iter()
            .filter(|r| r.len > 0)
            .map(|r| r.a + (r.len - 1) * self.a_step + 1)
            .max()
            .unwrap_or(0);
        let deep = self.runs.iter().map(|r| r.b + r.len).max().unwrap_or(0);
        let last = |rows: &[usize]| rows.iter().copied().max().unwrap_or(0);
        let inside = (reach == 0 || last(self.rows) + reach <= self.a.len())
            && deep <= self.depth
            && self.columns.is_multiple_of(LANES)
            && self.depth * self.columns <= self.b.len()
            && width <= self.columns
            && match self.start {
                Start::Row(row) => row.len() >= self.columns,
                _ => true,
            }
            && out_rows.len() == self.rows.len()
            && (self.rows.is_empty() || last(out_rows) + width <= out.len());
        if !inside {
            candle_core::bail!("conv2d: a product reaches outside its buffers");
        }
        // SAFETY: every read of `a` is below last(rows) + reach, every read of `b` below depth * columns, every write below
        // last(out_rows) + width: checked above. The instruction set was detected by `level`.
        unsafe {
            match level() {
                #[cfg(target_arch = "x86_64")]
                Level::Avx512 => x86::avx512(self, out, out_rows, width),
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => x86::avx2(self, out, out_rows, width),
                _ => self.strips::<[f32; 4], 4>(out, out_rows, width, LANES),
            }
        }
        Ok(())
    }

    /// All columns, in strips of up to `wide`. `W` is the number of vectors in [`LANES`] columns.
    #[inline(always)]
    unsafe fn strips<V: Vector, const W: usize>(
        &self,
        out: &mut [f32],
        out_rows: &[usize],
        width: usize,
        wide: usize,
    ) {
        let mut first = 0;
        while first < width {
            let columns = wide.min(self.columns - first);
            // SAFETY: as in `run`. The tiles are as tall as the registers of each instruction set allow.
            unsafe {
                match (W, columns / LANES) {
                    (1, 4) => self.strip::<V, 6, 4>(out, out_rows, width, first),
                    (1, 3) => self.strip::<V, 8, 3>(out, out_rows, width, first),
                    (1, 2) => self.strip::<V, 12, 2>(out, out_rows, width, first),
                    (1, _) => self.strip::<V, 14, 1>(out, out_rows, width, first),
                    (2, _) => self.strip::<V, 6, 2>(out, out_rows, width, first),
                    _ => self.strip::<V, 6, 4>(out, out_rows, width, first),
                }
            }
            first += columns;
        }
    }

    #[inline(always)]
    unsafe fn strip<V: Vector, const M: usize, const N: usize>(
        &self,
        out: &mut [f32],
        out_rows: &[usize],
        width: usize,
        first: usize,
    ) {
        let (b, step) = if self.panels {
            (self.depth * first, N * V::LANES)
        } else {
            (first, self.columns)
        };
        let mut m = 0;
        // SAFETY: as in `run`.
        unsafe {
            while self.rows.len() - m >= M {
                self.tile::<V, M, N>(b, step, m, out, out_rows, width, first);
                m += M;
            }
            while m < self.rows.len() {
                self.tile::<V, 4, N>(b, step, m, out, out_rows, width, first);
                m += 4;
            }
        }
    }

    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    unsafe fn tile<V: Vector, const M: usize, const N: usize>(
        &self,
        b: usize,
        b_step: usize,
        m: usize,
        out: &mut [f32],
        out_rows: &[usize],
        width: usize,
        first: usize,
    ) {
        let live = M.min(self.rows.len() - m);
        let store = (N * V::LANES).min(width - first);
        let full = store == N * V::LANES;
        // SAFETY: as in `run`; rows beyond the last repeat the last and are not stored. Partial rows pass through `edge`.
        unsafe {
            let mut sums = [[V::splat(0.); N]; M];
            // Cleared where it is used alone: that takes as long as dozens of terms.
            let mut edge = MaybeUninit::<[[f32; 64]; M]>::uninit();
            if !full {
                edge.write([[0.; 64]; M]);
            }
            let edge = edge.as_mut_ptr().cast::<f32>();
            let edge = |i: usize| edge.add(64 * i);
            match self.start {
                Start::Zero => {}
                Start::Row(row) => {
                    for sums in &mut sums {
                        for (v, sum) in sums.iter_mut().enumerate() {
                            *sum = V::load(row.as_ptr().add(first + v * V::LANES));
                        }
                    }
                }
                Start::Output => {
                    for i in 0..live {
                        let from = out.as_ptr().add(out_rows[m + i] + first);
                        if !full {
                            std::ptr::copy_nonoverlapping(from, edge(i), store);
                        }
                        let from = if full { from } else { edge(i) };
                        for (v, sum) in sums[i].iter_mut().enumerate() {
                            *sum = V::load(from.add(v * V::LANES));
                        }
                    }
                }
            }
            let rows: [*const f32; M] = std::array::from_fn(|i| {
                self.a.as_ptr().wrapping_add(self.rows[m + i.min(live - 1)])
            });
            let base = self.b.as_ptr().add(b);
            for run in self.runs {
                let mut at = run.a;
                let mut b = base.wrapping_add(run.b * b_step);
                for _ in 0..run.len {
                    let right: [V; N] = std::array::from_fn(|v| V::load(b.add(v * V::LANES)));
                    for i in 0..M {
                        let left = V::splat(*rows[i].add(at));
                        for v in 0..N {
                            sums[i][v] = left.mul_add(right[v], sums[i][v]);
                        }
                    }
                    at += self.a_step;
                    b = b.wrapping_add(b_step);
                }
            }
            for i in 0..live {
                let to = out.as_mut_ptr().add(out_rows[m + i] + first);
                let dense = if full { to } else { edge(i) };
                for (v, sum) in sums[i].iter().enumerate() {
                    sum.store(dense.add(v * V::LANES));
                }
                if !full {
                    std::ptr::copy_nonoverlapping(edge(i), to, store);
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{LANES, Product};
    use std::arch::x86_64::{__m256, __m512};

    #[target_feature(enable = "avx512f,avx2,fma")]
    pub(super) unsafe fn avx512(p: &Product, out: &mut [f32], out_rows: &[usize], width: usize) {
        // SAFETY: the caller's.
        unsafe { p.strips::<__m512, 1>(out, out_rows, width, 4 * LANES) }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn avx2(p: &Product, out: &mut [f32], out_rows: &[usize], width: usize) {
        // SAFETY: the caller's.
        unsafe { p.strips::<__m256, 2>(out, out_rows, width, LANES) }
    }
}

//! How work on broadcast arguments is cut: a full array of `n` elements beside arguments that repeat with a period.
//!
//! The cuts depend on sizes only, never on the number of threads, so sums over them are the same everywhere.

use crate::kernels::machine::buffer::SERIAL;
use candle_core::WithDType;
use rayon::prelude::*;
use std::marker::PhantomData;
use std::ops::Range;

/// Elements per step: 16 KiB of f32, so that a few streams stay in L1.
const STEP: usize = 4096;

/// Elements per task where every task has its own partial sums.
const GROUP: usize = 64 * 1024;

/// `n` elements cut into repeats of a tile. A tile is a whole number of periods and of events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tiles {
    pub(crate) n: usize,
    pub(crate) period: usize,
    pub(crate) tile: usize,
    pub(crate) event: usize,
    step: usize,
    block: usize,
    /// Repeats per task where tasks own repeats; `None` where each task owns a block of the tile in all repeats.
    group: Option<usize>,
}

/// A task: these repeats of this part of the tile.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) index: usize,
    repeats: Range<usize>,
    pub(crate) span: Range<usize>,
}

/// A run of elements: `at..at + len` of the whole array, at `phase..phase + len` in the tile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) at: usize,
    pub(crate) phase: usize,
    pub(crate) len: usize,
}

impl Tiles {
    /// `period` divides `n`, `event` divides `period`; all positive. Blocks of the tile are multiples of `steps` steps.
    pub(crate) fn new(n: usize, period: usize, event: usize, steps: usize) -> Self {
        let step = event * (STEP / event).max(1);
        let tile = period * (STEP / period).clamp(1, n / period);
        let group = (tile < SERIAL).then(|| (GROUP.max(n / 32) / tile).max(1));
        Tiles {
            n,
            period,
            tile,
            event,
            step,
            block: step * steps,
            group,
        }
    }

    /// Whether each task sees all repeats of its part of the tile, so that its sums are final.
    pub(crate) fn owns_sums(&self) -> bool {
        self.group.is_none()
    }

    pub(crate) fn tasks(&self) -> Vec<Task> {
        let repeats = self.n.div_ceil(self.tile);
        match self.group {
            Some(group) => (0..repeats.div_ceil(group))
                .map(|i| Task {
                    index: i,
                    repeats: i * group..repeats.min((i + 1) * group),
                    span: 0..self.tile,
                })
                .collect(),
            None => (0..self.tile.div_ceil(self.block))
                .map(|i| Task {
                    index: i,
                    repeats: 0..repeats,
                    span: i * self.block..self.tile.min((i + 1) * self.block),
                })
                .collect(),
        }
    }

    /// Runs all tasks, in parallel where it pays.
    pub(crate) fn run(&self, f: impl Fn(&Task) + Sync) {
        let tasks = self.tasks();
        if self.n < SERIAL {
            tasks.iter().for_each(&f);
        } else {
            tasks.par_iter().for_each(&f);
        }
    }

    /// The steps of a task, repeat by repeat.
    #[inline(always)]
    pub(crate) fn steps(&self, task: &Task) -> impl Iterator<Item = Step> {
        let (tile, n, step, span) = (self.tile, self.n, self.step, task.span.clone());
        task.repeats.clone().flat_map(move |repeat| {
            let end = span.end.min(n - repeat * tile);
            (span.start..end).step_by(step).map(move |phase| Step {
                at: repeat * tile + phase,
                phase,
                len: step.min(end - phase),
            })
        })
    }

    /// The most elements in a step.
    pub(crate) fn longest(&self) -> usize {
        self.step.min(self.tile)
    }

    /// One period's values, repeated to fill the tile; `None` when the tile is one period.
    pub(crate) fn table<T: WithDType>(&self, values: &[T]) -> Option<Vec<T>> {
        (self.tile != self.period && values.len() == self.period)
            .then(|| values.repeat(self.tile / self.period))
    }

    /// Room for the sums over the repeats. Each task zeroes its own place, which brings it into the cache.
    pub(crate) fn sums<T: WithDType>(&self) -> Vec<T> {
        unwritten(match self.group {
            None => self.tile,
            Some(_) => self.tile * self.tasks().len(),
        })
    }

    /// Where a task adds: its own part of [`Tiles::sums`].
    pub(crate) fn place(&self, task: &Task) -> Range<usize> {
        match self.group {
            None => task.span.clone(),
            Some(_) => task.index * self.tile..(task.index + 1) * self.tile,
        }
    }

    /// The sums of all tasks, folded to one period.
    pub(crate) fn fold<T: WithDType>(&self, mut sums: Vec<T>) -> Vec<T> {
        if self.group.is_none() {
            return sums;
        }
        let (total, others) = sums.split_at_mut(self.tile);
        for other in others.chunks_exact(self.tile) {
            add(total, other);
        }
        let (total, others) = total.split_at_mut(self.period);
        for other in others.chunks_exact(self.period) {
            add(total, other);
        }
        sums.truncate(self.period);
        sums
    }
}

#[inline(always)]
pub(crate) fn add<T: WithDType>(total: &mut [T], more: &[T]) {
    for (t, m) in total.iter_mut().zip(more) {
        *t += *m;
    }
}

/// Elements that are added in their own precision: a lane of f32 adds 32 of them, which costs a digit at most.
pub(crate) const SUM: usize = 512;

/// The sum of a row in a fixed order: blocks of [`SUM`] elements, whose sums are added in f64.
#[inline(always)]
pub(crate) fn sum<T: WithDType>(row: &[T]) -> T {
    if row.len() <= SUM {
        return sum_block(row);
    }
    let blocks = row.chunks(SUM).map(|block| sum_block(block).to_f64());
    T::from_f64(blocks.fold(0., |sum, block| sum + block))
}

/// 16 partial sums.
#[inline(always)]
fn sum_block<T: WithDType>(block: &[T]) -> T {
    let mut lanes = [T::zero(); 16];
    let groups = block.chunks_exact(16);
    let rest = groups.remainder();
    for group in groups {
        for l in 0..16 {
            lanes[l] += group[l];
        }
    }
    rest.iter().fold(by_halves(lanes), |sum, x| sum + *x)
}

/// The sum of 16 lanes, the upper half added to the lower one until one is left.
#[inline(always)]
pub(crate) fn by_halves<T: WithDType>(mut lanes: [T; 16]) -> T {
    for half in [8, 4, 2, 1] {
        for l in 0..half {
            let other = lanes[l + half];
            lanes[l] += other;
        }
    }
    lanes[0]
}

/// The [`sum`] of each row of `event` elements.
#[inline(always)]
pub(crate) fn sum_rows<T: WithDType>(values: &[T], event: usize, out: &mut [T]) {
    for (row, out) in values.chunks_exact(event).zip(out) {
        *out = sum(row);
    }
}

/// Rows' values handed to each of their `event` elements.
#[inline(always)]
pub(crate) fn spread_rows<T: WithDType>(rows: &[T], event: usize, out: &mut [T]) {
    for (row, out) in rows.iter().zip(out.chunks_exact_mut(event)) {
        out.fill(*row);
    }
}

/// A buffer that tasks write in disjoint parts.
pub(crate) struct Parts<'a, T> {
    start: *mut T,
    len: usize,
    buffer: PhantomData<&'a mut [T]>,
}

// SAFETY: `part` is the only access, and its contract keeps threads apart.
unsafe impl<T: Send> Sync for Parts<'_, T> {}

impl<'a, T> Parts<'a, T> {
    pub(crate) fn new(buffer: &'a mut [T]) -> Self {
        Parts {
            start: buffer.as_mut_ptr(),
            len: buffer.len(),
            buffer: PhantomData,
        }
    }

    /// SAFETY: no two parts that live at the same time may overlap.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: in bounds by the assertion, disjoint by the contract.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

/// A buffer whose every element is written before it is read: zeroing it first would touch fresh memory twice.
pub(crate) fn unwritten<T: WithDType>(len: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(len);
    // SAFETY: every bit pattern is a number, and the tasks write all elements before the buffer is handed on.
    #[allow(clippy::uninit_vec)]
    unsafe {
        out.set_len(len)
    };
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_cover_every_element_once_at_its_phase() {
        for (n, period, event) in [
            (1, 1, 1),
            (24, 6, 3),
            (100_000, 10, 5),
            (9001, 1, 1),
            (3 * 40_000, 40_000, 8),
            (70_000, 7000, 7000),
            (5 * 12_345, 12_345, 5),
        ] {
            for steps in [1, 4] {
                let tiles = Tiles::new(n, period, event, steps);
                let mut seen = vec![0; n];
                for task in tiles.tasks() {
                    for Step { at, phase, len } in tiles.steps(&task) {
                        assert!(len <= tiles.longest() && at % event == 0 && len % event == 0);
                        assert!(task.span.start <= phase && phase + len <= task.span.end);
                        assert_eq!(at % tiles.period, phase % tiles.period);
                        seen[at..at + len].iter_mut().for_each(|s| *s += 1);
                    }
                }
                assert!(seen.iter().all(|s| *s == 1), "{n} {period} {event}");
                assert_eq!(tiles.fold(tiles.sums::<f32>()).len(), period);
            }
        }
    }
}

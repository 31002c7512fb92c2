//! Parameters that repeat over samples, sums over samples, and rows.

use crate::kernels::machine::buffer;
use candle_core::WithDType;
use rayon::prelude::*;
use std::borrow::Cow;

/// `len` elements of `values` repeated without end, from `offset` on; without a copy where they lie together.
pub(super) fn cycle<T: Copy>(values: &[T], offset: usize, len: usize) -> Cow<'_, [T]> {
    let n = values.len();
    let start = offset % n.max(1);
    if start + len <= n {
        return Cow::Borrowed(&values[start..start + len]);
    }
    if n == 1 {
        return Cow::Owned(vec![values[0]; len]);
    }
    let mut out = Vec::with_capacity(len);
    out.extend_from_slice(&values[start..]);
    while out.len() < len {
        let more = n.min(len - out.len());
        out.extend_from_slice(&values[..more]);
    }
    Cow::Owned(out)
}

/// Sums over samples: element `i` of the result is the sum of the elements `i`, `i + n`, ... of a sequence of `len`.
///
/// `f(offset, out)` writes a part of the sequence; offsets are multiples of `chunk` from a multiple of `n`. Sums are in
/// double precision, in an order that depends on `len`, `n` and `chunk` only.
pub(super) fn reduce<T: WithDType>(
    len: usize,
    n: usize,
    chunk: usize,
    f: impl Fn(usize, &mut [T]) + Sync,
) -> Vec<T> {
    const PARTS: usize = 16;
    let samples = len / n.max(1);
    if samples == 1 {
        return buffer::build(len, chunk, f);
    }
    // Enough samples in a part to make it worth a task.
    let per_part = samples
        .div_ceil(PARTS)
        .max(buffer::SERIAL.div_ceil(4 * n.max(1)));
    let parts = samples.div_ceil(per_part.max(1));
    let mut sums: Vec<Vec<f64>> = vec![vec![]; parts];
    let work = |part: usize, sums: &mut Vec<f64>| {
        *sums = vec![0.; n];
        let end = ((part + 1) * per_part).min(samples) * n;
        let mut scratch = vec![T::zero(); chunk];
        let mut offset = part * per_part * n;
        while offset < end {
            let scratch = &mut scratch[..chunk.min(end - offset)];
            f(offset, scratch);
            let mut values = &scratch[..];
            let mut column = offset % n;
            while !values.is_empty() {
                let (now, later) = values.split_at(values.len().min(n - column));
                for (sum, value) in sums[column..].iter_mut().zip(now) {
                    *sum += value.to_f64();
                }
                values = later;
                column = 0;
            }
            offset += scratch.len();
        }
    };
    if len < buffer::SERIAL {
        for (part, sums) in sums.iter_mut().enumerate() {
            work(part, sums);
        }
    } else {
        sums.par_iter_mut()
            .enumerate()
            .for_each(|(part, sums)| work(part, sums));
    }
    (0..n)
        .map(|i| T::from_f64(sums.iter().map(|part| part[i]).sum()))
        .collect()
}

/// `count` rows of `k` elements and one number for each row, `group` rows at a time by `f(first row, rows, numbers)`.
pub(super) fn build_rows<T: WithDType>(
    count: usize,
    k: usize,
    group: usize,
    f: impl Fn(usize, &mut [T], &mut [T]) + Sync,
) -> (Vec<T>, Vec<T>) {
    let mut out = vec![T::zero(); count * k];
    let mut numbers = vec![T::zero(); count];
    if out.len() < buffer::SERIAL {
        let groups = out.chunks_mut(group * k).zip(numbers.chunks_mut(group));
        for (i, (rows, numbers)) in groups.enumerate() {
            f(i * group, rows, numbers);
        }
    } else {
        out.par_chunks_mut(group * k)
            .zip(numbers.par_chunks_mut(group))
            .enumerate()
            .for_each(|(i, (rows, numbers))| f(i * group, rows, numbers));
    }
    (out, numbers)
}

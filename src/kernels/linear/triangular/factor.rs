//! Factors, and solves with many right-hand sides in tasks.

use crate::kernels::machine::gemm::{Mat, Write, tiles};
use candle_core::{Tensor, WithDType};
use rayon::prelude::*;

/// Right-hand sides in one task.
const ROWS: usize = 256;

/// Multiply-adds below which threads cost more than they save.
pub(super) const PARALLEL: usize = 64 * 1024;

/// One factor, ready for solves.
pub(super) struct Factor<'a, T> {
    pub(super) d: usize,
    pub(super) lower: &'a [T],
    /// Row-major, where it pays.
    pub(super) inverse: Option<Vec<T>>,
}

impl<'a, T: WithDType> Factor<'a, T> {
    fn new(lower: &'a [T], d: usize, rows: usize) -> Self {
        let inverse = (rows > d).then(|| {
            let mut inverse = vec![T::zero(); d * d];
            let mut column = vec![0.; d];
            for j in 0..d {
                column.fill(0.);
                column[j] = 1.;
                substitute(lower, &mut column);
                for i in j..d {
                    inverse[i * d + j] = T::from_f64(column[i]);
                }
            }
            inverse
        });
        Factor { d, lower, inverse }
    }

    /// `L^-1` of every row, into `out`.
    pub(super) fn solve(&self, rows: &[T], out: &mut [T]) -> candle_core::Result<()> {
        self.apply(rows, out, false)
    }

    /// `L^-T` of every row, into `out`.
    pub(super) fn solve_transposed(&self, rows: &[T], out: &mut [T]) -> candle_core::Result<()> {
        self.apply(rows, out, true)
    }

    fn apply(&self, rows: &[T], out: &mut [T], transposed: bool) -> candle_core::Result<()> {
        let d = self.d;
        let n = rows.len() / d;
        if let Some(inverse) = &self.inverse {
            let inverse = Mat::new(inverse, d, d)?;
            let inverse = if transposed { inverse } else { inverse.t() };
            return tiles(out, [n, d], [n, d], false, |mut tile| {
                tile.gemm(Write::Set, Mat::new(rows, n, d)?, inverse)
            });
        }
        let mut wide = vec![0.; d];
        for (row, out) in rows.chunks_exact(d).zip(out.chunks_exact_mut(d)) {
            for (wide, x) in wide.iter_mut().zip(row) {
                *wide = x.to_f64();
            }
            if transposed {
                substitute_transposed(self.lower, &mut wide);
            } else {
                substitute(self.lower, &mut wide);
            }
            for (out, x) in out.iter_mut().zip(&wide) {
                *out = T::from_f64(*x);
            }
        }
        Ok(())
    }
}

/// `x <- L^-1 x`.
pub(super) fn substitute<T: WithDType>(lower: &[T], x: &mut [f64]) {
    let d = x.len();
    for i in 0..d {
        let row = &lower[i * d..=i * d + i];
        let sum: f64 = row.iter().zip(&x[..i]).map(|(l, x)| l.to_f64() * x).sum();
        x[i] = (x[i] - sum) / row[i].to_f64();
    }
}

/// `x <- L^-T x`.
pub(super) fn substitute_transposed<T: WithDType>(lower: &[T], x: &mut [f64]) {
    let d = x.len();
    for i in (0..d).rev() {
        let row = &lower[i * d..=i * d + i];
        let (before, rest) = x.split_at_mut(i);
        rest[0] /= row[i].to_f64();
        for (x, l) in before.iter_mut().zip(row) {
            *x -= l.to_f64() * rest[0];
        }
    }
}

/// `sum_r u_r^T z_r` over rows, lower triangle only, times `sign`; added to `out`.
pub(super) fn outer<T: WithDType>(
    u: &[T],
    z: &[T],
    d: usize,
    sign: f64,
    out: &mut [T],
) -> candle_core::Result<()> {
    let n = u.len() / d;
    let mut product = vec![T::zero(); d * d];
    tiles(&mut product, [d, d], [d, d], false, |mut tile| {
        tile.gemm(Write::Set, Mat::new(u, n, d)?.t(), Mat::new(z, n, d)?)
    })?;
    for i in 0..d {
        for j in 0..=i {
            out[i * d + j] += T::from_f64(sign) * product[i * d + j];
        }
    }
    Ok(())
}

/// Right-hand sides `from..to` of factor number `factor`.
#[derive(Clone, Copy)]
pub(super) struct Task {
    pub(super) factor: usize,
    pub(super) from: usize,
    pub(super) to: usize,
}

/// Calls `f` on every task with the parts of `out` that belong to it, `width` numbers for each right-hand side, and
/// returns the results in order. The tasks do not depend on the number of threads.
pub(super) fn run<T: WithDType, R: Send>(
    [factors, rows, d]: [usize; 3],
    width: usize,
    out: &mut [T],
    f: impl Fn(Task, &mut [T]) -> candle_core::Result<R> + Sync,
) -> candle_core::Result<Vec<(Task, R)>> {
    let mut parts = vec![];
    let mut rest = out;
    for factor in 0..factors {
        for from in (0..rows).step_by(ROWS) {
            let to = (from + ROWS).min(rows);
            let (part, after) = rest.split_at_mut((to - from) * width);
            parts.push((Task { factor, from, to }, part));
            rest = after;
        }
    }
    let one = |(task, part): (Task, &mut [T])| Ok((task, f(task, part)?));
    if factors * rows * d * d < PARALLEL {
        parts.into_iter().map(one).collect()
    } else {
        parts.into_par_iter().map(one).collect()
    }
}

/// Factors, right-hand sides for each, dims. Inputs: factor [n, d, d], rows [.., d].
pub(super) fn sizes(inputs: &[Tensor]) -> candle_core::Result<[usize; 3]> {
    let (count, d, _) = inputs[0].dims3()?;
    Ok([count, inputs[1].elem_count() / (count * d).max(1), d])
}

pub(super) fn factors<T: WithDType>(
    lower: &[T],
    [count, rows, d]: [usize; 3],
) -> Vec<Factor<'_, T>> {
    let new = |f| Factor::new(&lower[f * d * d..(f + 1) * d * d], d, rows);
    if rows > d && count > 1 {
        (0..count).into_par_iter().map(new).collect()
    } else {
        (0..count).map(new).collect()
    }
}

/// Sums of what the tasks found for each factor, in the order of tasks.
pub(super) fn sum<T: WithDType>(parts: Vec<(Task, Vec<T>)>, count: usize, len: usize) -> Vec<T> {
    let mut out = vec![T::zero(); count * len];
    for (task, part) in parts {
        let out = &mut out[task.factor * len..(task.factor + 1) * len];
        out.iter_mut().zip(part).for_each(|(out, x)| *out += x);
    }
    out
}

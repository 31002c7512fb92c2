//! Rows of states: what is said of each.

use crate::kernels::graph::drift::{Drift, Near, Worst};
use candle_core::{DType, Result, Tensor};

/// As many rows have these tensors, whose first `batch` dims number them; one where they have no such dims in common.
pub(super) fn count(state: &[Tensor], batch: usize) -> usize {
    let dims = |x: &Tensor| x.dims().get(..batch).map(<[usize]>::to_vec);
    match state.first().and_then(dims) {
        Some(first) if state.iter().all(|x| dims(x).as_ref() == Some(&first)) => {
            first.iter().product()
        }
        _ => 1,
    }
}

/// The numbers of a tensor, in double precision, and how many of them a row has.
fn numbers(x: &Tensor, rows: usize) -> Result<(Vec<f64>, usize)> {
    let x: Vec<f64> = x.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?;
    let width = (x.len() / rows.max(1)).max(1);
    Ok((x, width))
}

/// What is near, in rows that are not left out.
pub(super) fn near(mut near: Near, state: &[Tensor]) -> Result<Near> {
    for x in state {
        let (x, width) = numbers(x, near.rows())?;
        for (i, x) in x.into_iter().enumerate() {
            near.see(i / width, x);
        }
    }
    Ok(near)
}

/// No row but those with a gradient that is not 0.
pub(super) fn asked(rows: usize, gradients: &[Option<Tensor>]) -> Result<Near> {
    let mut asked = vec![false; rows];
    for g in gradients.iter().flatten() {
        let (g, width) = numbers(g, rows)?;
        for (asked, g) in asked.iter_mut().zip(g.chunks(width)) {
            *asked |= g.iter().any(|g| *g != 0.);
        }
    }
    let mut near = Near::new(rows);
    for row in (0..rows).filter(|row| !asked[*row]) {
        near.leave_out(row);
    }
    Ok(near)
}

/// How far rows have drifted.
pub(super) fn worst(near: &Near, rebuilt: &[Tensor], kept: &[Tensor]) -> Result<Worst> {
    let mut drift = Drift::new(near);
    for (rebuilt, kept) in rebuilt.iter().zip(kept) {
        let (rebuilt, (kept, width)) = (
            numbers(rebuilt, near.rows())?.0,
            numbers(kept, near.rows())?,
        );
        for (i, (rebuilt, kept)) in rebuilt.into_iter().zip(kept).enumerate() {
            drift.see(i / width, rebuilt, kept);
        }
    }
    Ok(drift.worst())
}

/// The gradients of rows that are asked for and that cannot be rebuilt, since their end is not finite, are NaN.
pub(super) fn spoil(asked: &Near, near: &Near, gradients: &mut [Option<Tensor>]) -> Result<()> {
    let lost = |row: usize| near.left_out(row) && !asked.left_out(row);
    if !(0..near.rows()).any(lost) {
        return Ok(());
    }
    for g in gradients.iter_mut().flatten() {
        let (mut all, width) = numbers(g, near.rows())?;
        for (row, g) in all.chunks_mut(width).enumerate() {
            if lost(row) {
                g.fill(f64::NAN);
            }
        }
        *g = Tensor::from_vec(all, g.shape(), g.device())?.to_dtype(g.dtype())?;
    }
    Ok(())
}

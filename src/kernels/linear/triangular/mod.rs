//! Lower-triangular matrices: solves, squared lengths after a solve, and Cholesky factors, each as one node.
//!
//! A factor is read in its lower triangle only; what lies above gets gradient 0. Where a factor has many right-hand
//! sides it is inverted once, in f64, and the solve is a matrix product: the error bound is that of substitution,
//! and the product runs at the speed of the machine. Where it has few, substitution runs in f64.
//! `observed` holds what follows from some elements of a vector for the others.
//! There is no composed form: candle has no solve. Other devices and dtypes than f32 and f64 go over the CPU in f32.

mod cholesky;
mod distance;
mod factor;
mod observed;
mod solve;
#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::kernels::graph::node;
use crate::shape;
use candle_core::{DType, Device, Tensor};
use cholesky::Cholesky;
use distance::Distance;
pub(crate) use observed::Observed;
use solve::Solve;
use std::marker::PhantomData;

/// `|L^-1 (x - loc)|^2`: `x` [.., d], `loc` [.., d], `factor` [.., d, d], whose leading dims broadcast together, to [..].
pub(crate) fn squared_distance(x: &Tensor, loc: &Tensor, factor: &Tensor) -> Result<Tensor> {
    let rank = factor.rank();
    let d = factor.dims()[rank - 1];
    let own = without_ones(&factor.dims()[..rank - 2]);
    if own.is_empty() && loc.elem_count() == d {
        let out = lead(x);
        let inputs = [factor.reshape((1, d, d))?, x.clone(), loc.reshape(d)?];
        return Ok(on_cpu(&inputs, |inputs, wide| match wide {
            true => node::apply1(Distance::<f64>::default(), inputs),
            false => node::apply1(Distance::<f32>::default(), inputs),
        })?
        .reshape(out)?);
    }
    let x = x.broadcast_sub(loc)?;
    let Some(full) = shape::broadcast(&lead(&x), &own) else {
        let (op, expected) = ("squared-distance", format!("leading dims {own:?}"));
        return Err(Error::shape(op, "x", expected, x.dims()));
    };
    if full.contains(&0) {
        return Ok(Tensor::zeros(full, x.dtype(), x.device())?);
    }
    // The rows of a factor side by side: [factors, rows, d].
    let factor = spread(factor, &full)?;
    let count = factor.dim(0)?;
    let rows = full.iter().product::<usize>() / count;
    let x = x
        .broadcast_as([&full[..], &[d]].concat())?
        .reshape((rows, count, d))?
        .transpose(0, 1)?;
    let out = on_cpu(&[factor, x], |inputs, wide| match wide {
        true => node::apply1(Distance::<f64>::default(), inputs),
        false => node::apply1(Distance::<f32>::default(), inputs),
    })?;
    Ok(out.reshape((count, rows))?.t()?.reshape(full)?)
}

/// `L^-1 b` for every row `b`: `factor` [n, d, d], `rows` [n, m, d] to [n, m, d].
pub(crate) fn solve(factor: &Tensor, rows: &Tensor) -> Result<Tensor> {
    on_cpu(&[factor.clone(), rows.clone()], |inputs, wide| match wide {
        true => node::apply1(Solve::<f64>(PhantomData), inputs),
        false => node::apply1(Solve::<f32>(PhantomData), inputs),
    })
}

/// The lower-triangular L with `L L^T = a`, read from the lower triangle of `a` [n, d, d]. NaN where `a` is not positive
/// definite. The gradient is that of symmetric changes.
pub(crate) fn cholesky(a: &Tensor) -> Result<Tensor> {
    on_cpu(std::slice::from_ref(a), |inputs, wide| match wide {
        true => node::apply1(Cholesky::<f64>(PhantomData), inputs),
        false => node::apply1(Cholesky::<f32>(PhantomData), inputs),
    })
}

/// Factors `[.., d, d]` for rows of leading dims `full` as `[n, d, d]`: row r has number `r % n`.
fn spread(factor: &Tensor, full: &[usize]) -> Result<Tensor> {
    let rank = factor.rank();
    let matrix = &factor.dims()[rank - 2..];
    let own = without_ones(&factor.dims()[..rank - 2]);
    let factor = factor.reshape([&own[..], matrix].concat())?;
    if full.ends_with(&own) {
        return Ok(factor.reshape(((), matrix[0], matrix[1]))?);
    }
    let factor = factor.broadcast_as([full, matrix].concat())?;
    Ok(factor.reshape(((), matrix[0], matrix[1]))?)
}

/// All dims but the last.
fn lead(x: &Tensor) -> Vec<usize> {
    x.dims()[..x.rank() - 1].to_vec()
}

fn without_ones(dims: &[usize]) -> Vec<usize> {
    dims.iter().copied().skip_while(|d| *d == 1).collect()
}

/// Calls `f` with the tensors as f64 (`true`) or f32 on the CPU and brings the result back.
fn on_cpu(
    inputs: &[Tensor],
    f: impl FnOnce(&[&Tensor], bool) -> candle_core::Result<Tensor>,
) -> Result<Tensor> {
    let (dtype, device) = (inputs[0].dtype(), inputs[0].device());
    let wide = dtype == DType::F64;
    let native = if wide { DType::F64 } else { DType::F32 };
    let local = inputs
        .iter()
        .map(|t| t.to_device(&Device::Cpu)?.to_dtype(native))
        .collect::<candle_core::Result<Vec<_>>>()?;
    let local: Vec<&Tensor> = local.iter().collect();
    Ok(f(&local, wide)?.to_dtype(dtype)?.to_device(device)?)
}

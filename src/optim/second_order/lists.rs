//! Lists of tensors as vectors: what iterations on parameters need. Numbers are added in f64 whatever the dtype.

use crate::error::{Error, Result};
use crate::kernels::reduce::{dot, norm};
use crate::shape;
use candle_core::{DType, Tensor, Var};

/// `<a, b>`.
pub(super) fn inner(a: &[Tensor], b: &[Tensor]) -> Result<f64> {
    let parts = a.iter().zip(b).map(|(a, b)| dot::dot(a, b));
    Ok(parts.sum::<candle_core::Result<f64>>()?)
}

/// `|a|`.
pub(super) fn length(a: &[Tensor]) -> Result<f64> {
    let squares = a.iter().map(norm::sum_of_squares);
    Ok(squares.sum::<candle_core::Result<f64>>()?.sqrt())
}

/// `a + factor b`.
pub(super) fn along(a: &[Tensor], factor: f64, b: &[Tensor]) -> Result<Vec<Tensor>> {
    let pairs = a.iter().zip(b);
    pairs.map(|(a, b)| Ok((a + (b * factor)?)?)).collect()
}

/// `-a`.
pub(super) fn negated(a: &[Tensor]) -> Result<Vec<Tensor>> {
    a.iter().map(|a| Ok(a.neg()?)).collect()
}

pub(super) fn zeros(a: &[Tensor]) -> Result<Vec<Tensor>> {
    a.iter().map(|a| Ok(a.zeros_like()?)).collect()
}

/// Copies of the values of variables.
pub(super) fn values(variables: &[Var]) -> Result<Vec<Tensor>> {
    let copies = variables.iter().map(|v| v.as_detached_tensor().copy());
    Ok(copies.collect::<candle_core::Result<_>>()?)
}

pub(super) fn set(variables: &[Var], values: &[Tensor]) -> Result<()> {
    for (variable, value) in variables.iter().zip(values) {
        variable.set(value)?;
    }
    Ok(())
}

/// A list of tensors of the shapes and kinds of another.
pub(super) fn check_like(
    op: &'static str,
    arg: &'static str,
    list: &[Tensor],
    like: &[Tensor],
) -> Result<()> {
    if list.len() != like.len() {
        let expected = format!("{} tensors", like.len());
        return Err(Error::value(op, arg, expected, list.len()));
    }
    for (found, like) in list.iter().zip(like) {
        shape::exactly(op, arg, found.dims(), like.dims())?;
        shape::same_kind(op, arg, found, like)?;
    }
    Ok(())
}

/// The one number of a tensor.
pub(super) fn number(tensor: &Tensor) -> Result<f64> {
    Ok(tensor.to_dtype(DType::F64)?.to_scalar()?)
}

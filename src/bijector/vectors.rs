//! What maps of vectors share: their arguments' checks and products with matrices.

use crate::error::{Error, Result};
use crate::shape;
use candle_core::{D, DType, Tensor};

/// Refuses an argument that is no vector of `full`'s last dim for every element of the batch before it.
pub(super) fn check(op: &'static str, x: &Tensor, like: &Tensor, full: &[usize]) -> Result<()> {
    shape::same_kind(op, "argument", x, like)?;
    let fits = x.dims().last() == full.last()
        && shape::broadcast(x.dims(), full).as_deref() == Some(x.dims());
    if fits {
        return Ok(());
    }
    let expected = format!("a shape to which {full:?} broadcasts, its last dim the same");
    Err(Error::shape(op, "argument", expected, x.dims()))
}

/// A square matrix that is floating point and not empty: its size.
pub(super) fn square(op: &'static str, arg: &'static str, matrix: &Tensor) -> Result<usize> {
    shape::parameter(op, arg, matrix)?;
    match matrix.dims() {
        [d, columns] if d == columns => Ok(*d),
        dims => Err(Error::shape(op, arg, "[d, d]", dims)),
    }
}

/// `matrix` [d, d] times every vector of `x`, [.., d].
pub(super) fn product(matrix: &Tensor, x: &Tensor) -> Result<Tensor> {
    let d = matrix.dim(0)?;
    let n = x.elem_count() / d;
    let y = x.reshape((n, d))?.matmul(&matrix.t()?)?;
    Ok(y.reshape(x.shape())?)
}

/// The diagonal of every matrix in `m`, `.. ++ [d, d]` to `.. ++ [d]`.
pub(super) fn diagonal(m: &Tensor) -> Result<Tensor> {
    let d = m.dim(D::Minus1)?;
    let places: Vec<u32> = (0..d).map(|i| (i * (d + 1)) as u32).collect();
    let places = Tensor::new(places, m.device())?;
    let flat = m.flatten_from(m.rank() - 2)?.contiguous()?;
    Ok(flat.index_select(&places, D::Minus1)?)
}

/// A mask of [d, d], 1 where `holds` does of row and column.
pub(super) fn mask(
    d: usize,
    like: &Tensor,
    holds: impl Fn(usize, usize) -> bool,
) -> Result<Tensor> {
    let mask = (0..d * d).map(|at| u8::from(holds(at / d, at % d)));
    Ok(Tensor::from_iter(mask, like.device())?.reshape((d, d))?)
}

/// The smallest absolute value.
pub(super) fn least(x: &Tensor) -> Result<f64> {
    let least = x.detach().abs()?.min_all()?;
    Ok(least.to_dtype(DType::F64)?.to_scalar()?)
}

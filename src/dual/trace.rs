//! Traces of Jacobians.

use super::Dual;
use crate::error::{Error, Result};
use crate::shape;
use candle_core::{D, DType, Tensor};

/// A function's value with numbers about its Jacobian over the last dim.
#[derive(Debug, Clone)]
pub struct Trace {
    /// f(x), [.., D].
    pub value: Tensor,
    /// The trace of the Jacobian, [..].
    pub trace: Tensor,
    /// The squared Frobenius norm of the Jacobian, [..].
    pub frobenius: Tensor,
}

/// The exact trace of the Jacobian of f over the last dim: x is [.., D], and so is f(x).
///
/// It costs D tangents. Errors: an f that changes the shape.
pub fn trace(f: impl Fn(&Dual) -> Result<Dual>, x: &Tensor) -> Result<Trace> {
    let op = "dual::trace";
    shape::float(op, "x", x)?;
    let Some((width, batch)) = x.dims().split_last() else {
        return Err(Error::shape(op, "x", "[.., D]", x.dims()));
    };
    let mut dims = vec![*width];
    dims.extend(batch.iter().map(|_| 1));
    dims.push(*width);
    let one = Tensor::eye(*width, DType::F32, x.device())?.to_dtype(x.dtype())?;
    let one = one
        .reshape(dims)?
        .broadcast_as([&[*width], x.dims()].concat())?
        .contiguous()?;
    let y = f(&Dual::new(x, &one)?)?;
    let products = products(op, &y, x, &one)?;
    let sum = |t: Tensor| -> Result<Tensor> { Ok(t.sum(D::Minus1)?.sum(0)?) };
    Ok(Trace {
        value: y.value,
        trace: sum((&products * one)?)?,
        frobenius: sum(products.sqr()?)?,
    })
}

/// As [`trace`], estimated as `v^T J v` (Hutchinson 1990) and `|J v|^2` for `noise` v of the shape of x, with mean zero and
/// unit covariance: unbiased, for the cost of one tangent.
///
/// Errors: an f that changes the shape, noise of another shape.
pub fn trace_estimate(
    f: impl Fn(&Dual) -> Result<Dual>,
    x: &Tensor,
    noise: &Tensor,
) -> Result<Trace> {
    let op = "dual::trace_estimate";
    if x.rank() == 0 {
        return Err(Error::shape(op, "x", "[.., D]", x.dims()));
    }
    shape::exactly(op, "noise", noise.dims(), x.dims())?;
    let y = f(&Dual::new(x, noise)?)?;
    let product = products(op, &y, x, noise)?;
    Ok(Trace {
        value: y.value,
        trace: (&product * noise)?.sum(D::Minus1)?,
        frobenius: product.sqr()?.sum(D::Minus1)?,
    })
}

/// The tangents of a function that keeps the shape.
fn products(op: &'static str, y: &Dual, x: &Tensor, directions: &Tensor) -> Result<Tensor> {
    if y.value.dims() != x.dims() {
        let expected = format!("a function to {:?}", x.dims());
        return Err(Error::shape(op, "f", expected, y.value.dims()));
    }
    match y.tangent() {
        Some(tangent) => Ok(tangent.clone()),
        None => Ok(directions.zeros_like()?),
    }
}

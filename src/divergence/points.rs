//! Samples as points: checks, and their coordinates.

use crate::error::{Error, Result};
use crate::shape;
use candle_core::{DType, Device, Tensor};

/// The sizes of points `[N, d]`, N at least `least`.
pub(super) fn sizes(
    op: &'static str,
    arg: &'static str,
    points: &Tensor,
    least: usize,
) -> Result<[usize; 2]> {
    shape::float(op, arg, points)?;
    match *points.dims() {
        [n, d] if n >= least && d > 0 => Ok([n, d]),
        _ => {
            let expected = format!("[N, d], N at least {least}, d at least 1");
            Err(Error::shape(op, arg, expected, points.dims()))
        }
    }
}

/// The sizes of points of both samples, whose coordinates are as many.
pub(super) fn both(
    op: &'static str,
    [(of_x, x), (of_y, y)]: [(&'static str, &Tensor); 2],
    least: usize,
) -> Result<[usize; 3]> {
    let [n, d] = sizes(op, of_x, x, least)?;
    let [m, _] = sizes(op, of_y, y, least)?;
    shape::exactly(op, of_y, &y.dims()[1..], &[d])?;
    Ok([n, m, d])
}

/// All coordinates, which are finite.
pub(super) fn numbers(op: &'static str, arg: &'static str, points: &Tensor) -> Result<Vec<f64>> {
    let points = points.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
    let numbers: Vec<f64> = points.flatten_all()?.to_vec1()?;
    match numbers.iter().find(|x| !x.is_finite()) {
        Some(bad) => Err(Error::value(op, arg, "finite numbers", bad)),
        None => Ok(numbers),
    }
}

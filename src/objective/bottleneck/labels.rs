//! Labels as numbers.

use crate::error::{Error, Result};
use crate::shape;
use candle_core::{DType, Tensor};

/// Labels `[batch]` as numbers below `classes`.
pub(super) fn numbers(
    op: &'static str,
    labels: &Tensor,
    batch: usize,
    classes: usize,
) -> Result<Vec<usize>> {
    shape::exactly(op, "labels", labels.dims(), &[batch])?;
    if !labels.dtype().is_int() {
        return Err(Error::DType {
            op,
            arg: "labels",
            expected: "whole numbers".into(),
            found: labels.dtype(),
        });
    }
    let labels = labels.to_dtype(DType::I64)?.to_vec1::<i64>()?;
    let number = |label: i64| {
        let number = usize::try_from(label).ok().filter(|n| *n < classes);
        let expected = || format!("labels below the {classes} classes");
        number.ok_or_else(|| Error::value(op, "labels", expected(), label))
    };
    labels.into_iter().map(number).collect()
}

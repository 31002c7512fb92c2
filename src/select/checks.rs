//! Data that a selection refuses: labels, weights, and entries that are not finite.

use crate::error::{Error, Result};
use crate::shape;
use candle_core::{DType, Tensor};

/// Labels of any integer dtype as numbers.
pub(super) fn numbers(op: &'static str, labels: &Tensor) -> Result<Vec<u32>> {
    let wide = labels.to_dtype(DType::I64)?.to_vec1::<i64>()?;
    let number = |(row, label): (usize, i64)| {
        u32::try_from(label).map_err(|_| {
            let found = format!("{label} in row {row}");
            Error::value(op, "labels", "0 to C - 1", found)
        })
    };
    wide.into_iter().enumerate().map(number).collect()
}

/// Labels as numbers, and the number of classes.
pub(super) fn check_labels(
    op: &'static str,
    labels: &Tensor,
    samples: usize,
) -> Result<(Vec<u32>, usize)> {
    if !labels.dtype().is_int() || labels.dims() != [samples] {
        let expected = format!("labels [{samples}] of an integer dtype");
        let found = format!("{:?} {:?}", labels.dtype(), labels.dims());
        return Err(Error::value(op, "labels", expected, found));
    }
    let labels = numbers(op, labels)?;
    if let Some(row) = labels.iter().position(|label| *label as usize >= samples) {
        let expected = format!("0 to C - 1 with no more classes C than the {samples} samples");
        let found = format!("{} in row {row}", labels[row]);
        return Err(Error::value(op, "labels", expected, found));
    }
    let classes = labels.iter().max().map_or(0, |most| *most as usize + 1);
    if labels.iter().all(|label| *label == labels[0]) {
        let expected = "two classes or more";
        return Err(Error::value(op, "labels", expected, "one"));
    }
    Ok((labels, classes))
}

/// Refuses an entry that is not finite; rows are counted from `first`.
pub(super) fn check_finite(
    op: &'static str,
    arg: &'static str,
    rows: impl Iterator<Item = impl Iterator<Item = f64>>,
    first: usize,
) -> Result<()> {
    for (n, row) in rows.enumerate() {
        for (i, value) in row.enumerate() {
            if !value.is_finite() {
                return Err(not_finite(op, arg, value, [first + n, i]));
            }
        }
    }
    Ok(())
}

/// What is said of an entry that is not finite.
pub(super) fn not_finite(
    op: &'static str,
    arg: &'static str,
    value: f64,
    [row, column]: [usize; 2],
) -> Error {
    let found = format!("{value} in row {row}, column {column}");
    Error::value(op, arg, "finite numbers", found)
}

/// What is said of data whose products are not finite.
pub(super) fn beyond_range(op: &'static str) -> Error {
    let expected = "numbers whose squares have finite sums in their dtype";
    Error::value(op, "x", expected, "larger ones")
}

/// The weights as numbers, one each where there are none.
pub(super) fn check_weights(
    op: &'static str,
    weights: Option<&Tensor>,
    samples: usize,
) -> Result<Vec<f64>> {
    let Some(weights) = weights else {
        return Ok(vec![1.; samples]);
    };
    shape::float(op, "weights", weights)?;
    shape::exactly(op, "weights", weights.dims(), &[samples])?;
    let weights = weights.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    let expected = "finite numbers of at least 0, not all of them 0";
    if let Some((n, w)) = weights
        .iter()
        .enumerate()
        .find(|(_, w)| !(**w >= 0. && w.is_finite()))
    {
        let found = format!("{w} at sample {n}");
        return Err(Error::value(op, "weights", expected, found));
    }
    let total = weights.iter().sum::<f64>();
    if total == 0. {
        return Err(Error::value(op, "weights", expected, "zeros"));
    }
    if !total.is_finite() {
        let expected = "numbers whose sum is finite";
        return Err(Error::value(op, "weights", expected, "larger ones"));
    }
    Ok(weights)
}

//! Shape algebra and checks of tensors and shapes, which build the errors: `sample ++ batch ++ event`, parameters broadcast
//! once. Those of plain numbers are in [`check`](crate::check).

use crate::error::{Error, Result};
use candle_core::{DType, Tensor};

/// A parameter tensor: floating point and not empty.
pub(crate) fn parameter(op: &'static str, arg: &'static str, tensor: &Tensor) -> Result<()> {
    float(op, arg, tensor)?;
    if tensor.elem_count() == 0 {
        return Err(Error::shape(op, arg, "at least one element", tensor.dims()));
    }
    Ok(())
}

/// A tensor of vectors, floating point: the last dim is theirs and is not empty, what is before it may be.
pub(crate) fn vectors(op: &'static str, arg: &'static str, tensor: &Tensor) -> Result<usize> {
    float(op, arg, tensor)?;
    match tensor.dims().last() {
        Some(dim) if *dim > 0 => Ok(*dim),
        _ => Err(Error::shape(
            op,
            arg,
            "batch ++ [K], K at least 1",
            tensor.dims(),
        )),
    }
}

/// A floating-point tensor.
pub(crate) fn float(op: &'static str, arg: &'static str, tensor: &Tensor) -> Result<()> {
    if !tensor.dtype().is_float() {
        return Err(Error::DType {
            op,
            arg,
            expected: "a floating-point dtype".into(),
            found: tensor.dtype(),
        });
    }
    Ok(())
}

/// `tensor` has the dtype and the device of `like`.
pub(crate) fn same_kind(
    op: &'static str,
    arg: &'static str,
    tensor: &Tensor,
    like: &Tensor,
) -> Result<()> {
    dtype(op, arg, tensor, like.dtype())?;
    same_device(op, arg, tensor, like)
}

/// `tensor` is where `like` is.
pub(crate) fn same_device(
    op: &'static str,
    arg: &'static str,
    tensor: &Tensor,
    like: &Tensor,
) -> Result<()> {
    let (expected, found) = (like.device().location(), tensor.device().location());
    if expected != found {
        return Err(Error::Device {
            op,
            arg,
            expected,
            found,
        });
    }
    Ok(())
}

/// `tensor` has exactly this dtype.
pub(crate) fn dtype(
    op: &'static str,
    arg: &'static str,
    tensor: &Tensor,
    expected: DType,
) -> Result<()> {
    if tensor.dtype() != expected {
        return Err(Error::DType {
            op,
            arg,
            expected: format!("{expected:?}"),
            found: tensor.dtype(),
        });
    }
    Ok(())
}

/// The shape two shapes broadcast to, aligned at the right; `None` when they do not.
pub(crate) fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let dim = |s: &[usize], i: usize| (i + s.len()).checked_sub(rank).map_or(1, |j| s[j]);
    (0..rank)
        .map(|i| match (dim(a, i), dim(b, i)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

/// Exactly the dims `expected`.
pub(crate) fn exactly(
    op: &'static str,
    arg: &'static str,
    found: &[usize],
    expected: &[usize],
) -> Result<()> {
    match found == expected {
        true => Ok(()),
        false => Err(Error::shape(op, arg, format!("{expected:?}"), found)),
    }
}

/// As many dims as `expected` names, `"[out, in]"`: their sizes.
pub(crate) fn dims<const N: usize>(
    op: &'static str,
    arg: &'static str,
    found: &[usize],
    expected: &str,
) -> Result<[usize; N]> {
    <[usize; N]>::try_from(found).map_err(|_| Error::shape(op, arg, expected, found))
}

/// A last dim of `size`: the dims before it.
pub(crate) fn last_dim<'a>(
    op: &'static str,
    arg: &'static str,
    found: &'a [usize],
    size: usize,
) -> Result<&'a [usize]> {
    match found {
        [batch @ .., last] if *last == size => Ok(batch),
        _ => Err(Error::shape(op, arg, format!("[.., {size}]"), found)),
    }
}

/// Last dims that are `event`: the dims before them.
pub(crate) fn last_dims<'a>(
    op: &'static str,
    arg: &'static str,
    found: &'a [usize],
    event: &[usize],
) -> Result<&'a [usize]> {
    let wrong = || Error::shape(op, arg, format!("[..] ++ {event:?}"), found);
    found.strip_suffix(event).ok_or_else(wrong)
}

/// Dims that broadcast with those of another argument: what they broadcast to.
pub(crate) fn broadcast_with(
    op: &'static str,
    arg: &'static str,
    found: &[usize],
    other: &[usize],
) -> Result<Vec<usize>> {
    let expected = || format!("a shape that broadcasts with {other:?}");
    broadcast(other, found).ok_or_else(|| Error::shape(op, arg, expected(), found))
}

/// Dims that broadcast to `full`.
pub(crate) fn broadcast_to(
    op: &'static str,
    arg: &'static str,
    found: &[usize],
    full: &[usize],
) -> Result<()> {
    if broadcast(found, full).as_deref() == Some(full) {
        return Ok(());
    }
    let expected = format!("a shape that broadcasts to {full:?}");
    Err(Error::shape(op, arg, expected, found))
}

/// Dims to which those of a parameter broadcast.
pub(crate) fn broadcast_from(
    op: &'static str,
    arg: &'static str,
    found: &[usize],
    parameter: &[usize],
) -> Result<()> {
    if broadcast(found, parameter).as_deref() == Some(found) {
        return Ok(());
    }
    let expected = format!("a shape to which {parameter:?} broadcasts");
    Err(Error::shape(op, arg, expected, found))
}

/// The shape that floating-point tensors of one dtype and device broadcast to.
pub(crate) fn broadcast_shape<const N: usize>(
    op: &'static str,
    arguments: [(&'static str, &Tensor); N],
) -> Result<Vec<usize>> {
    let mut shape: Vec<usize> = vec![];
    for (arg, tensor) in arguments {
        float(op, arg, tensor)?;
        same_kind(op, arg, tensor, arguments[0].1)?;
        shape = broadcast_with(op, arg, tensor.dims(), &shape)?;
    }
    Ok(shape)
}

/// Checks a family's parameters (floating, one dtype, one device) and broadcasts them to one shape.
///
/// The results are views: nothing is copied.
pub(crate) fn broadcast_parameters<const N: usize>(
    op: &'static str,
    parameters: [(&'static str, &Tensor); N],
) -> Result<[Tensor; N]> {
    let shape = broadcast_shape(op, parameters)?;
    let mut out = parameters.map(|(_, tensor)| tensor.clone());
    for tensor in &mut out {
        if tensor.dims() != shape {
            *tensor = tensor.broadcast_as(shape.as_slice())?;
        }
    }
    Ok(out)
}

/// As [`broadcast_parameters`], and none is empty.
pub(crate) fn broadcast_filled<const N: usize>(
    op: &'static str,
    parameters: [(&'static str, &Tensor); N],
) -> Result<[Tensor; N]> {
    for (arg, tensor) in parameters {
        parameter(op, arg, tensor)?;
    }
    broadcast_parameters(op, parameters)
}

/// The shape `sample ++ batch` of a value for a distribution: its trailing dims must be `event` exactly,
/// the others broadcast with `batch`. Event dims are never broadcast.
pub(crate) fn value_shape(
    op: &'static str,
    value: &Tensor,
    batch: &[usize],
    event: &[usize],
) -> Result<Vec<usize>> {
    argument_shape(op, "value", value, batch, event)
}

/// As [`value_shape`], of an argument with another name.
pub(crate) fn argument_shape(
    op: &'static str,
    arg: &'static str,
    value: &Tensor,
    batch: &[usize],
    event: &[usize],
) -> Result<Vec<usize>> {
    let dims = value.dims();
    let wrong = || {
        Error::shape(
            op,
            arg,
            format!("sample ++ batch {batch:?} ++ event {event:?}"),
            dims,
        )
    };
    let split = dims.len().checked_sub(event.len()).ok_or_else(wrong)?;
    if dims[split..] != *event {
        return Err(wrong());
    }
    broadcast(&dims[..split], batch).ok_or_else(wrong)
}

/// The shape of draws, `sample` and what follows it. More elements than memory could hold are refused before anything
/// multiplies dims, 64 bytes for each so that an intermediate result fits too.
pub(crate) fn draws(op: &'static str, sample: &[usize], rest: &[usize]) -> Result<Vec<usize>> {
    let dims = [sample, rest].concat();
    // Where one dim is 0 the others are multiplied all the same.
    let count = dims
        .iter()
        .try_fold(1, |n: usize, dim| n.checked_mul(*dim.max(&1)));
    if count.is_none_or(|count| count > isize::MAX as usize / 64) {
        let expected = "fewer elements than memory could hold";
        return Err(Error::shape(op, "shape", expected, &dims));
    }
    Ok(dims)
}

/// Concatenation of shapes.
pub(crate) fn concat(parts: &[&[usize]]) -> Vec<usize> {
    parts.concat()
}

/// The distance between 1 and the next number.
pub(crate) fn epsilon(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::EPSILON,
        DType::F16 => 2f64.powi(-10),
        DType::BF16 => 2f64.powi(-7),
        _ => f64::from(f32::EPSILON),
    }
}

/// How far the sum of n probabilities of a dtype may be from 1.
pub(crate) fn sum_tolerance(dtype: DType, n: usize) -> f64 {
    let rounding = match dtype {
        DType::F64 => 1e-10,
        DType::F32 => 2e-6,
        DType::F16 => 1e-3,
        _ => 1e-2,
    };
    rounding * (n as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_broadcast_from_the_right() {
        assert_eq!(broadcast(&[3, 1], &[4]), Some(vec![3, 4]));
        assert_eq!(broadcast(&[], &[2, 0]), Some(vec![2, 0]));
        assert_eq!(broadcast(&[3], &[4]), None);
    }

    #[test]
    fn what_is_refused_is_said() {
        fn said<T>(result: Result<T>) -> String {
            result.err().map_or("nothing".into(), |e| e.to_string())
        }
        let (op, arg) = ("f", "x");
        let cases = [
            (said(exactly(op, arg, &[2], &[2])), "nothing"),
            (said(exactly(op, arg, &[2], &[3])), "[3], found shape [2]"),
            (said(dims::<2>(op, arg, &[2, 3], "[N, d]")), "nothing"),
            (
                said(dims::<2>(op, arg, &[2], "[N, d]")),
                "[N, d], found shape [2]",
            ),
            (said(last_dim(op, arg, &[5, 2], 2)), "nothing"),
            (said(last_dim(op, arg, &[], 2)), "[.., 2], found shape []"),
            (said(last_dims(op, arg, &[5, 2, 3], &[2, 3])), "nothing"),
            (
                said(last_dims(op, arg, &[3], &[2, 3])),
                "[..] ++ [2, 3], found shape [3]",
            ),
            (said(broadcast_with(op, arg, &[3, 1], &[4])), "nothing"),
            (
                said(broadcast_with(op, arg, &[3], &[4])),
                "a shape that broadcasts with [4], found shape [3]",
            ),
            (said(broadcast_to(op, arg, &[1], &[2, 4])), "nothing"),
            (
                said(broadcast_to(op, arg, &[2, 4], &[4])),
                "a shape that broadcasts to [4], found shape [2, 4]",
            ),
            (said(broadcast_from(op, arg, &[2, 4], &[4])), "nothing"),
            (
                said(broadcast_from(op, arg, &[1], &[4])),
                "a shape to which [4] broadcasts, found shape [1]",
            ),
        ];
        for (said, expected) in cases {
            let said = said.strip_prefix("f: x: expected ").unwrap_or(&said);
            assert_eq!(said, expected);
        }
    }
}

//! What tables of probabilities have to be.

use crate::error::{Error, Result};
use crate::kernels::elementwise::composed::double;
use crate::kernels::reduce;
use crate::kernels::reduce::range::{End, first_outside};
use crate::shape;
use candle_core::{DType, Tensor};

/// Probabilities of which each row (all but the first `batch` dims) adds up to 1, in double precision.
pub(super) fn probabilities(
    op: &'static str,
    arg: &'static str,
    p: &Tensor,
    batch: usize,
) -> Result<Tensor> {
    shape::float(op, arg, p)?;
    if p.rank() <= batch || p.elem_count() == 0 {
        let expected = format!("at least {} dims, none of them 0", batch + 1);
        return Err(Error::shape(op, arg, expected, p.dims()));
    }
    not_negative(op, arg, p)?;
    let cells: usize = p.dims()[batch..].iter().product();
    let wide = double(p)?.contiguous()?;
    let sums = reduce::sum_last(&wide.detach(), p.rank() - batch)?;
    let slack = shape::sum_tolerance(p.dtype(), cells);
    match first_outside(&sums, End::Closed(1. - slack), End::Closed(1. + slack))? {
        None => Ok(wide),
        Some(sum) => {
            let expected = match batch {
                0 => "probabilities that add up to 1",
                _ => "rows of probabilities that add up to 1",
            };
            Err(Error::value(op, arg, expected, format!("a sum of {sum}")))
        }
    }
}

/// Finite numbers of 0 or more.
pub(super) fn not_negative(op: &'static str, arg: &'static str, x: &Tensor) -> Result<()> {
    match first_outside(x, End::Closed(0.), End::Open(f64::INFINITY))? {
        None => Ok(()),
        Some(found) => Err(Error::value(op, arg, "finite numbers of 0 or more", found)),
    }
}

/// Counts or weights divided by their sum, in double precision; the dtype that belongs to them.
pub(super) fn normalized(
    op: &'static str,
    arg: &'static str,
    n: &Tensor,
) -> Result<(Tensor, DType)> {
    let dtype = match n.dtype() {
        dtype if dtype.is_float() => dtype,
        _ => DType::F64,
    };
    let n = match n.dtype().is_float() {
        true => n.clone(),
        false => n.to_dtype(DType::F64)?,
    };
    not_negative(op, arg, &n)?;
    let n = double(&n)?;
    let sum = reduce::sum(&n.flatten_all()?)?;
    let total = sum.detach().to_dtype(DType::F64)?.to_scalar::<f64>()?;
    if !(total > 0. && total.is_finite()) {
        let expected = "numbers with a positive finite sum";
        return Err(Error::value(op, arg, expected, format!("a sum of {total}")));
    }
    Ok((n.broadcast_div(&sum)?, dtype))
}

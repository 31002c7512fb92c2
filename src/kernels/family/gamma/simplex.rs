//! Points on the simplex: their coordinates, and what a density is where they do not add up to 1.

use crate::error::Result;
use crate::kernels::number::double::ln;
use crate::shape;
use candle_core::{D, DType, Tensor};

/// How far from 1 the sum of a point may be.
pub(super) fn tolerance(dtype: DType, categories: usize) -> f64 {
    1e-6 + categories as f64 * shape::epsilon(dtype)
}

/// A coordinate: whether it is zero or outside, and its logarithm, 0 there.
#[inline(always)]
pub(super) fn coordinate<const FMA: bool>(x: f64, log: bool) -> (bool, bool, f64) {
    let zero = x == if log { f64::NEG_INFINITY } else { 0. };
    let outside = (x < 0. && !log) || x == f64::INFINITY;
    let y = if log { x } else { ln::<FMA>(x) };
    (zero, outside, if zero | outside { 0. } else { y })
}

/// -inf where the coordinates do not add up to 1, or one of them repels.
pub(super) fn on_simplex(
    total: Tensor,
    powers: &Tensor,
    value: &Tensor,
    tolerance: f64,
) -> Result<Tensor> {
    if total.elem_count() == 0 {
        // A minimum over no rows is an error in candle.
        return Ok(total);
    }
    let miss = (value.sum(D::Minus1)? - 1.)?.abs()?;
    let outside = miss.gt(tolerance)?;
    // One coordinate at zero may attract where another repels: there is no limit, and -inf wins.
    let repelled = powers.detach().min(D::Minus1)?.le(f64::NEG_INFINITY)?;
    let outside = repelled.broadcast_add(&outside)?;
    let minus = Tensor::new(f64::NEG_INFINITY, value.device())?.to_dtype(value.dtype())?;
    let total = outside.where_cond(&minus.broadcast_as(total.shape())?, &total)?;
    // NaN stays.
    let miss = miss.ne(&miss)?.where_cond(&miss, &miss.zeros_like()?)?;
    Ok(total.broadcast_add(&miss)?)
}

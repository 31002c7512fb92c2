//! Rows without a density, kept out of expressions of candle operations, whose gradients they would spoil: 0 times an infinite
//! slope is NaN, and parameters that rows share add up what all of them say.

use super::*;
use crate::kernels::elementwise::{Formula, named};
use crate::kernels::number::Real;
use crate::kernels::reduce::range::{End, first_outside};

/// `density` of the rows of `value`, whose last `event_rank` dims are the event. Where it is -inf it has no gradient; where it is
/// NaN its gradient is NaN for those who ask, and 0 for those who do not. `inside` are points with a density, one for each
/// element of the batch, which take the place of rows without: the density is computed twice if there are any.
pub(super) fn shielded(
    op: &'static str,
    value: &Tensor,
    event_rank: usize,
    inside: impl FnOnce() -> Result<Tensor>,
    density: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let found = density(value)?;
    let (low, high) = (End::Open(f64::NEG_INFINITY), End::Closed(f64::INFINITY));
    if !found.track_op() || first_outside(&found, low, high)?.is_none() {
        return Ok(found);
    }
    let fixed = found.detach();
    let good = fixed.gt(f64::NEG_INFINITY)?;
    let event = &value.dims()[value.rank() - event_rank..];
    let full = [found.dims(), event].concat();
    let ones = vec![1; event_rank];
    let mask = good.reshape([good.dims(), &ones].concat())?;
    let mask = mask.broadcast_as(full.as_slice())?;
    let inside = inside()?.detach().broadcast_as(full.as_slice())?;
    let safe = mask.where_cond(&value.broadcast_as(full)?, &inside)?;
    named(op, Restore, [&density(&safe)?, &fixed])
}

/// A density, or what was found where there is none.
#[derive(Clone, Copy)]
struct Restore;

impl Formula<2> for Restore {
    #[inline(always)]
    fn at<R: Real>(self, [density, found]: [R; 2]) -> R {
        let at = found.value();
        if at.is_nan() {
            R::chain([density], at, [at])
        } else if at == f64::NEG_INFINITY {
            R::constant(at)
        } else {
            density
        }
    }
}

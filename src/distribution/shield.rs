//! Rows without a density, kept out of expressions of candle operations, whose gradients they would spoil: 0 times an infinite
//! slope is NaN, and parameters that rows share add up what all of them say.

use super::*;
use crate::kernels::pointwise::{Formula, Real, formula};
use crate::kernels::range::{End, first_outside};

/// `density` of the rows of `value`, whose last `event_rank` dims are the event. Where it is -inf it has no gradient; where it is
/// NaN its gradient is NaN for those who ask, and 0 for those who do not.
pub(super) fn shielded(
    value: &Tensor,
    event_rank: usize,
    density: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let found = density(value)?;
    let (low, high) = (End::Open(f64::NEG_INFINITY), End::Closed(f64::INFINITY));
    if !found.track_op() || first_outside(&found, low, high)?.is_none() {
        return Ok(found);
    }
    let fixed = found.detach();
    let good = fixed.gt(f64::NEG_INFINITY)?;
    let list = good.flatten_all()?.to_vec1::<u8>()?;
    let event = &value.dims()[value.rank() - event_rank..];
    let full = [found.dims(), event].concat();
    let rows = value.broadcast_as(full.as_slice())?;
    // Any row with a density takes the place of those without.
    let flat = rows.detach().reshape([&[list.len()], event].concat())?;
    let other = match list.iter().position(|good| *good != 0) {
        Some(row) => flat.get(row)?,
        None => flat.get(0)?.zeros_like()?,
    };
    let ones = vec![1; event_rank];
    let mask = good.reshape([good.dims(), &ones].concat())?;
    let mask = mask.broadcast_as(full.as_slice())?;
    let other = other.broadcast_as(full.as_slice())?;
    formula(
        Restore,
        [&density(&mask.where_cond(&rows, &other)?)?, &fixed],
    )
}

/// A density, or what was found where there is none.
#[derive(Clone, Copy)]
struct Restore;

impl Formula<2> for Restore {
    const NAME: &'static str = "restore";

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

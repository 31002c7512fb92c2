//! How far states that were rebuilt have drifted from those that were there.

use crate::error::{Error, Result};
use crate::kernels::machine::buffer::View;
use candle_core::{DType, Tensor, WithDType};

/// The largest drift relative to the largest value of the state.
fn limit(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 1e-8,
        _ => 1e-3,
    }
}

/// Values below this part of the largest one near by are rounding there.
const SMALL: f64 = 1e-2;

/// Refuses a state that has drifted from what it was, `kept`, at the argument of step `i`. What it became later, `near`, says what
/// is rounding where all of it is small, or 0.
pub(super) fn check(
    op: &'static str,
    i: usize,
    rebuilt: &[Tensor],
    kept: &[Tensor],
    near: &[Tensor],
) -> Result<()> {
    let (mut drift, mut size) = (0f64, 0f64);
    for (a, b) in rebuilt.iter().zip(kept) {
        let (gap, largest) = both(a, b)?;
        drift = drift.max(gap);
        size = size.max(largest);
    }
    for x in near {
        size = size.max(SMALL * both(x, x)?.1);
    }
    let dtype = kept.first().map_or(DType::F32, Tensor::dtype);
    if drift <= limit(dtype) * size {
        return Ok(());
    }
    let expected = format!(
        "states before step {i} that are rebuilt to {:e} of their largest value: Memory::States keeps them",
        limit(dtype)
    );
    let found = format!("a drift of {drift:.1e} beside values up to {size:.1e}");
    Err(Error::value(op, "memory", expected, found))
}

/// The largest difference, and the largest value of `kept`, over what is finite there.
fn both(rebuilt: &Tensor, kept: &Tensor) -> Result<(f64, f64)> {
    fn of<T: WithDType>(a: &Tensor, b: &Tensor) -> candle_core::Result<(f64, f64)> {
        let (a, b) = (View::new(a)?, View::new(b)?);
        let pairs = a.as_slice::<T>()?.iter().zip(b.as_slice::<T>()?);
        Ok(pairs.fold((0., 0.), |(gap, size): (f64, f64), (a, b)| {
            let (a, b) = (a.to_f64(), b.to_f64());
            // What was not finite says nothing. What no longer is has drifted without end.
            match (b.is_finite(), (a - b).abs()) {
                (false, _) => (gap, size),
                (true, more) if more.is_nan() => (f64::INFINITY, size.max(b.abs())),
                (true, more) => (gap.max(more), size.max(b.abs())),
            }
        }))
    }
    let (a, b) = (rebuilt.contiguous()?, kept.contiguous()?);
    if a.dims() != b.dims() {
        return Err(Error::shape(
            "chain",
            "state before",
            format!("{:?}", b.dims()),
            a.dims(),
        ));
    }
    Ok(match kept.dtype() {
        DType::F64 => of::<f64>(&a, &b)?,
        _ => of::<f32>(&a, &b)?,
    })
}

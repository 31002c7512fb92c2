//! Whether all elements of a tensor lie in an interval.

use super::buffer::{CHUNK, SERIAL, View};
use super::simd::{Loop, dispatch};
use crate::error::Result;
use candle_core::{DType, Device, Tensor, WithDType};
use rayon::prelude::*;

/// The first element that is not within `low..=high`, if any; NaN is outside. Both ends belong to the interval, an open
/// end is the next number of the tensor's dtype.
pub(crate) fn first_outside(x: &Tensor, low: End, high: End) -> Result<Option<f64>> {
    let x = x.detach().to_device(&Device::Cpu)?.contiguous()?;
    match x.dtype() {
        DType::F64 => {
            let low = low.place(|x| x, f64::next_up);
            let high = high.place(|x| x, f64::next_down);
            find(&x, low, high)
        }
        _ => {
            let x = x.to_dtype(DType::F32)?;
            let low = low.place(|x| x as f32, f32::next_up);
            let high = high.place(|x| x as f32, f32::next_down);
            find(&x, low, high)
        }
    }
}

/// An end of an interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum End {
    Open(f64),
    Closed(f64),
}

impl End {
    fn place<T>(self, cast: impl Fn(f64) -> T, next: impl Fn(T) -> T) -> T {
        match self {
            End::Open(x) => next(cast(x)),
            End::Closed(x) => cast(x),
        }
    }
}

fn find<T: WithDType>(x: &Tensor, low: T, high: T) -> Result<Option<f64>> {
    let view = View::new(x)?;
    let x = view.as_slice::<T>()?;
    let inside = |x: &[T]| dispatch(Inside { x, low, high });
    let all = if x.len() < SERIAL {
        inside(x)
    } else {
        x.par_chunks(4 * CHUNK).all(inside)
    };
    if all {
        return Ok(None);
    }
    let outside = x.iter().find(|x| !(low <= **x && **x <= high));
    Ok(outside.map(|x| x.to_f64()))
}

struct Inside<'a, T> {
    x: &'a [T],
    low: T,
    high: T,
}

impl<T: WithDType> Loop for Inside<'_, T> {
    type Output = bool;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> bool {
        let Inside { x, low, high } = self;
        x.iter()
            .fold(true, |all, x| all & (low <= *x) & (*x <= high))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_nan() -> Result<()> {
        let of = |x: &[f64], dtype: DType, low, high| {
            let x = Tensor::new(x, &Device::Cpu)?.to_dtype(dtype)?;
            first_outside(&x, low, high)
        };
        for dtype in [DType::F32, DType::F64] {
            let (zero, one) = (End::Closed(0.), End::Closed(1.));
            assert_eq!(of(&[0., 0.5, 1.], dtype, zero, one)?, None);
            assert_eq!(of(&[0.5, 0., 1.], dtype, End::Open(0.), one)?, Some(0.));
            assert_eq!(of(&[0.5, 0., 1.], dtype, zero, End::Open(1.))?, Some(1.));
            let real = [End::Open(f64::NEG_INFINITY), End::Open(f64::INFINITY)];
            assert_eq!(of(&[1e30, -1e30], dtype, real[0], real[1])?, None);
            assert!(of(&[0., f64::NAN], dtype, real[0], real[1])?.is_some_and(f64::is_nan));
            assert_eq!(
                of(&[f64::INFINITY], dtype, real[0], real[1])?,
                Some(f64::INFINITY)
            );
            // far enough in to be found by another thread
            let mut many = vec![0.5; 200_000];
            many[190_000] = 2.;
            assert_eq!(of(&many, dtype, zero, one)?, Some(2.));
        }
        Ok(())
    }
}

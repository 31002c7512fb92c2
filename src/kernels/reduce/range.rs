//! Whether all elements of tensors lie in their intervals.

use crate::error::Result;
use crate::kernels::machine::buffer::{CHUNK, SERIAL, View};
use crate::kernels::machine::simd::{Loop, dispatch};
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

/// Whether every tensor lies in its interval: all in one parallel region, as starting one costs a tenth of reading a
/// million numbers. `false` may also be said of tensors that are not contiguous, in f32 and on the CPU.
pub(crate) fn all_inside<const N: usize>(tensors: [(&Tensor, End, End); N]) -> bool {
    let views: Option<Vec<_>> = tensors.iter().map(|(x, ..)| View::new(x).ok()).collect();
    let Some(views) = views else { return false };
    let mut parts = vec![];
    for (view, (_, low, high)) in views.iter().zip(&tensors) {
        let Ok(x) = view.f32() else { return false };
        let low = low.place(|x| x as f32, f32::next_up);
        let high = high.place(|x| x as f32, f32::next_down);
        parts.extend(x.chunks(PART).map(|x| Inside { x, low, high }));
    }
    every(parts.iter().map(|part| part.x.len()).sum(), parts)
}

/// Elements per task: they are read only.
const PART: usize = 8 * CHUNK;

fn every<T: WithDType>(len: usize, parts: Vec<Inside<T>>) -> bool {
    if len < SERIAL {
        parts.into_iter().all(dispatch)
    } else {
        parts.into_par_iter().all(dispatch)
    }
}

fn find<T: WithDType>(x: &Tensor, low: T, high: T) -> Result<Option<f64>> {
    let view = View::new(x)?;
    let x = view.as_slice::<T>()?;
    let parts = x.chunks(PART).map(|x| Inside { x, low, high }).collect();
    if every(x.len(), parts) {
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

    /// An element outside is seen in each of several tensors, in the first part and in the last.
    #[test]
    fn all_tensors_are_looked_at() -> Result<()> {
        let n = 5 * PART / 2;
        let inside = Tensor::full(0.5f32, n, &Device::Cpu)?;
        fn interval(x: &Tensor) -> (&Tensor, End, End) {
            (x, End::Open(0.), End::Closed(1.))
        }
        assert!(all_inside([interval(&inside), interval(&inside)]));
        for (at, value) in [(0, 0.), (n - 1, 1.5), (n / 2, f32::NAN)] {
            let mut bad = inside.to_vec1::<f32>()?;
            bad[at] = value;
            let bad = Tensor::from_vec(bad, n, &Device::Cpu)?;
            assert!(!all_inside([interval(&inside), interval(&bad)]));
            assert!(!all_inside([interval(&bad), interval(&inside)]));
        }
        Ok(())
    }

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

//! Reductions of one tensor to one number, in double precision and in a fixed order whatever the number of threads.

use crate::kernels::machine::buffer::{CHUNK, SERIAL, View};
use crate::kernels::machine::simd::{Loop, dispatch};
use candle_core::{DType, Device, Result, Tensor, WithDType};
use rayon::prelude::*;

const LANES: usize = 16;

/// The sum of the squares of all elements, accumulated in f64 (in f32 on Metal, which has no f64).
pub(crate) fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
    reduce::<Squares>(tensor)
}

/// The largest absolute value: 0 for an empty tensor, NaN when some element is NaN.
pub(crate) fn largest(tensor: &Tensor) -> Result<f64> {
    reduce::<Largest>(tensor)
}

trait Reduction: Sync {
    /// Associative up to rounding, NaN in = NaN out.
    fn join(a: f64, b: f64) -> f64;
    fn lift(x: f64) -> f64;
    fn composed(tensor: &Tensor) -> Result<f64>;
}

struct Squares;
impl Reduction for Squares {
    #[inline(always)]
    fn join(a: f64, b: f64) -> f64 {
        a + b
    }
    #[inline(always)]
    fn lift(x: f64) -> f64 {
        x * x
    }
    fn composed(tensor: &Tensor) -> Result<f64> {
        scalar(&tensor.sqr()?.sum_all()?)
    }
}

struct Largest;
impl Reduction for Largest {
    #[inline(always)]
    fn join(a: f64, b: f64) -> f64 {
        // On the bits of non-negative numbers: they are ordered as the numbers are, with NaN above infinity.
        f64::from_bits(a.to_bits().max(b.to_bits()))
    }
    #[inline(always)]
    fn lift(x: f64) -> f64 {
        x.abs()
    }
    fn composed(tensor: &Tensor) -> Result<f64> {
        // 0 x is 0, or NaN where x is not finite; maxima of tensors lose NaN.
        let poison = scalar(&tensor.affine(0., 0.)?.sum_all()?)?;
        let largest = scalar(&tensor.abs()?.flatten_all()?.max(0)?)?;
        Ok(if poison.is_nan() && largest.is_finite() {
            f64::NAN
        } else {
            largest
        })
    }
}

fn scalar(tensor: &Tensor) -> Result<f64> {
    tensor
        .to_device(&Device::Cpu)?
        .to_dtype(DType::F64)?
        .to_scalar()
}

fn reduce<R: Reduction>(tensor: &Tensor) -> Result<f64> {
    let tensor = tensor.detach();
    if tensor.elem_count() == 0 {
        return Ok(0.);
    }
    match (tensor.device(), tensor.dtype()) {
        (Device::Cpu, DType::F64) => fused::<R, f64>(&tensor),
        (Device::Cpu, DType::F32) => fused::<R, f32>(&tensor),
        (Device::Cpu, _) => fused::<R, f32>(&tensor.to_dtype(DType::F32)?),
        (Device::Metal(_), _) => R::composed(&tensor.to_dtype(DType::F32)?),
        _ => R::composed(&tensor.to_dtype(DType::F64)?),
    }
}

fn fused<R: Reduction, T: WithDType + Into<f64>>(tensor: &Tensor) -> Result<f64> {
    let tensor = tensor.contiguous()?;
    let view = View::new(&tensor)?;
    let data: &[T] = view.as_slice()?;
    let part = |chunk| dispatch(Part::<R, T>(chunk, std::marker::PhantomData));
    let parts: Vec<f64> = if data.len() < SERIAL {
        data.chunks(CHUNK).map(part).collect()
    } else {
        data.par_chunks(CHUNK).map(part).collect()
    };
    Ok(parts.into_iter().fold(0., R::join))
}

struct Part<'a, R, T>(&'a [T], std::marker::PhantomData<R>);

impl<R: Reduction, T: Copy + Into<f64>> Loop for Part<'_, R, T> {
    type Output = f64;
    #[inline(always)]
    fn run<const FMA: bool>(self) -> f64 {
        let mut lanes = [0f64; LANES];
        let groups = self.0.chunks_exact(LANES);
        let rest = groups.remainder();
        for group in groups {
            for (lane, &x) in lanes.iter_mut().zip(group) {
                *lane = R::join(*lane, R::lift(x.into()));
            }
        }
        for (lane, &x) in lanes.iter_mut().zip(rest) {
            *lane = R::join(*lane, R::lift(x.into()));
        }
        lanes.into_iter().fold(0., R::join)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fused_is_composed() -> Result<()> {
        let device = &Device::Cpu;
        for n in [1usize, 15, 16, 4097, 40_000] {
            let wave: Vec<f64> = (0..n).map(|i| (i as f64 * 0.7).sin() * 3.).collect();
            let x = Tensor::from_vec(wave, n, device)?;
            for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16] {
                let x = x.to_dtype(dtype)?;
                let wide = x.to_dtype(DType::F64)?;
                for x in [
                    x.clone(),
                    x.unsqueeze(1)?.broadcast_as((n, 2))?.narrow(1, 0, 1)?,
                ] {
                    let (a, b) = (sum_of_squares(&x)?, Squares::composed(&wide)?);
                    assert!((a - b).abs() <= 1e-13 * b, "{n} {dtype:?}: {a} {b}");
                    assert_eq!(largest(&x)?, Largest::composed(&wide)?);
                }
            }
        }
        for shape in [vec![0], vec![3, 0]] {
            let x = Tensor::zeros(shape, DType::F32, device)?;
            assert_eq!((sum_of_squares(&x)?, largest(&x)?), (0., 0.));
        }
        let x = Tensor::new(-2f32, device)?;
        assert_eq!((sum_of_squares(&x)?, largest(&x)?), (4., 2.));
        Ok(())
    }

    #[test]
    fn what_is_not_finite_stays_so() -> Result<()> {
        for at in [0usize, 3000, 39_999] {
            for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut data = vec![1f32; 40_000];
                data[at] = bad;
                let x = Tensor::from_vec(data, 40_000, &Device::Cpu)?;
                for found in [largest(&x)?, Largest::composed(&x)?] {
                    assert_eq!(found.is_nan(), bad.is_nan(), "{bad} gave {found}");
                    assert!(!found.is_finite());
                }
                assert!(!sum_of_squares(&x)?.is_finite());
            }
        }
        // The largest f32 squared is far from the largest f64.
        let x = Tensor::full(f32::MAX, 100, &Device::Cpu)?;
        assert!(sum_of_squares(&x)?.is_finite());
        Ok(())
    }
}

//! Inner products, in double precision and in a fixed order whatever the number of threads.

use crate::kernels::machine::buffer::{CHUNK, SERIAL, View};
use crate::kernels::machine::simd::{Loop, dispatch};
use candle_core::{DType, Device, Result, Tensor, WithDType};
use rayon::prelude::*;

const LANES: usize = 16;

/// The sum of the products of all elements of two tensors of one shape, dtype and device, accumulated in f64 (in f32 on
/// Metal, which has no f64).
pub(crate) fn dot(a: &Tensor, b: &Tensor) -> Result<f64> {
    let (a, b) = (a.detach(), b.detach());
    if a.elem_count() == 0 {
        return Ok(0.);
    }
    let narrow = |x: &Tensor| x.to_dtype(DType::F32);
    match (a.device(), a.dtype()) {
        (Device::Cpu, DType::F64) => fused::<f64>(&a, &b),
        (Device::Cpu, DType::F32) => fused::<f32>(&a, &b),
        (Device::Cpu, _) => fused::<f32>(&narrow(&a)?, &narrow(&b)?),
        (Device::Metal(_), _) => composed(&narrow(&a)?, &narrow(&b)?),
        _ => composed(&a.to_dtype(DType::F64)?, &b.to_dtype(DType::F64)?),
    }
}

fn composed(a: &Tensor, b: &Tensor) -> Result<f64> {
    let sum = (a * b)?.sum_all()?.to_device(&Device::Cpu)?;
    sum.to_dtype(DType::F64)?.to_scalar()
}

fn fused<T: WithDType + Into<f64>>(a: &Tensor, b: &Tensor) -> Result<f64> {
    let (a, b) = (a.contiguous()?, b.contiguous()?);
    let (a, b) = (View::new(&a)?, View::new(&b)?);
    let (a, b): (&[T], &[T]) = (a.as_slice()?, b.as_slice()?);
    let part = |(a, b)| dispatch(Part(a, b));
    let parts: Vec<f64> = if a.len() < SERIAL {
        a.chunks(CHUNK).zip(b.chunks(CHUNK)).map(part).collect()
    } else {
        let pairs = a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK));
        pairs.map(part).collect()
    };
    Ok(parts.into_iter().sum())
}

struct Part<'a, T>(&'a [T], &'a [T]);

impl<T: Copy + Into<f64>> Loop for Part<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<const FMA: bool>(self) -> f64 {
        let mut lanes = [0f64; LANES];
        let (a, b) = (self.0.chunks_exact(LANES), self.1.chunks_exact(LANES));
        let rest = a.remainder().iter().zip(b.remainder());
        for (a, b) in a.zip(b) {
            for ((lane, &a), &b) in lanes.iter_mut().zip(a).zip(b) {
                *lane += a.into() * b.into();
            }
        }
        for (lane, (&a, &b)) in lanes.iter_mut().zip(rest) {
            *lane += a.into() * b.into();
        }
        lanes.into_iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fused_is_composed() -> Result<()> {
        let device = &Device::Cpu;
        for n in [0usize, 1, 15, 16, 4097, 40_000] {
            let wave = |f: f64| -> Vec<f64> { (0..n).map(|i| (i as f64 * f).sin() * 3.).collect() };
            let a = Tensor::from_vec(wave(0.7), n, device)?;
            let b = Tensor::from_vec(wave(1.3), n, device)?;
            let size = composed(&a.abs()?, &b.abs()?)?;
            for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16] {
                let (a, b) = (a.to_dtype(dtype)?, b.to_dtype(dtype)?);
                let want = composed(&a.to_dtype(DType::F64)?, &b.to_dtype(DType::F64)?)?;
                let strided = a.unsqueeze(1)?.broadcast_as((n, 2))?.narrow(1, 0, 1)?;
                for a in [a.reshape((n, 1))?, strided] {
                    let got = dot(&a, &b.reshape((n, 1))?)?;
                    assert!((got - want).abs() <= 1e-13 * size, "{n} {dtype:?}");
                }
            }
        }
        Ok(())
    }
}

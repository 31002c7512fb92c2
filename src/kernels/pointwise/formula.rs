//! Formulas: functions of several numbers, written once, with exact derivatives.

use super::real::Dual;
use super::{Pointwise, Real, apply};
use crate::error::Result;
use candle_core::{DType, Device, Tensor};

/// A function of K numbers, computed in f64 whatever the dtype of the tensors, so that closed forms whose terms cancel
/// keep the digits of f32. Its derivatives come from [`Real`]'s chain rule, branches included: first derivatives only.
pub(crate) trait Formula<const K: usize>: Copy + Send + Sync + 'static {
    const NAME: &'static str;

    fn at<R: Real>(self, x: [R; K]) -> R;
}

/// `f` of the arguments broadcast together, as one node. Other devices and dtypes than f32 and f64 on the CPU take the
/// way over them.
pub(crate) fn formula<F: Formula<K>, const K: usize>(
    f: F,
    arguments: [&Tensor; K],
) -> Result<Tensor> {
    let (dtype, device) = (arguments[0].dtype(), arguments[0].device());
    let native = match dtype {
        DType::F64 => DType::F64,
        _ => DType::F32,
    };
    let mut local = arguments.map(Tensor::clone);
    for tensor in &mut local {
        *tensor = tensor.to_device(&Device::Cpu)?.to_dtype(native)?;
    }
    let local = local.each_ref();
    let out = match native {
        DType::F64 => apply::<f64, _, K>(Exact(f), local, false)?,
        _ => apply::<f32, _, K>(Exact(f), local, false)?,
    };
    Ok(out.to_dtype(dtype)?.to_device(device)?)
}

#[derive(Clone, Copy)]
struct Exact<F>(F);

impl<F> Exact<F> {
    fn derivatives<const K: usize>(self, x: [f64; K]) -> [f64; K]
    where
        F: Formula<K>,
    {
        let mut k = 0;
        let x = x.map(|x| {
            k += 1;
            Dual::argument(k - 1, x)
        });
        self.0.at(x).slopes()
    }
}

impl<F: Formula<K>, const K: usize> Pointwise<f64, K> for Exact<F> {
    const NAME: &'static str = F::NAME;

    #[inline(always)]
    fn value<const FMA: bool>(self, x: [f64; K]) -> f64 {
        self.0.at(x)
    }

    #[inline(always)]
    fn partials<const FMA: bool>(self, x: [f64; K]) -> [f64; K] {
        self.derivatives(x)
    }
}

impl<F: Formula<K>, const K: usize> Pointwise<f32, K> for Exact<F> {
    const NAME: &'static str = F::NAME;

    #[inline(always)]
    fn value<const FMA: bool>(self, x: [f32; K]) -> f32 {
        self.0.at(x.map(f64::from)) as f32
    }

    #[inline(always)]
    fn partials<const FMA: bool>(self, x: [f32; K]) -> [f32; K] {
        self.derivatives(x.map(f64::from)).map(|d| d as f32)
    }
}

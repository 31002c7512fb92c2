//! Formulas: functions of several numbers, written once, with exact derivatives.

use super::real::Dual;
use super::{Elementwise, Real, TURN, elementwise};
use crate::error::Result;
use candle_core::{DType, Device, Tensor, WithDType};
use std::sync::Arc;

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
    let (f, local): (Erased<K>, _) = (Erased(Arc::new(f)), local.each_ref());
    let out = match native {
        DType::F64 => elementwise::<f64, _, K>(F::NAME, f, local, false)?,
        _ => elementwise::<f32, _, K>(F::NAME, f, local, false)?,
    };
    Ok(out.to_dtype(dtype)?.to_device(device)?)
}

/// A turn's worth of numbers.
type Turn = [f64; TURN];

/// A formula as the nodes see it. They are compiled once for all formulas of K numbers, which are many; a formula itself
/// is compiled into these two loops alone.
trait Evaluate<const K: usize>: Send + Sync + 'static {
    fn values(&self, x: &[Turn; K], out: &mut [f64]);

    fn partials(&self, x: &[Turn; K], len: usize, out: &mut [Turn; K]);
}

impl<F: Formula<K>, const K: usize> Evaluate<K> for F {
    fn values(&self, x: &[Turn; K], out: &mut [f64]) {
        for (i, out) in out.iter_mut().enumerate() {
            *out = self.at(x.each_ref().map(|x| x[i]));
        }
    }

    fn partials(&self, x: &[Turn; K], len: usize, out: &mut [Turn; K]) {
        for i in 0..len {
            let mut k = 0;
            let arguments: [Dual<K>; K] = x.each_ref().map(|x| {
                k += 1;
                Dual::argument(k - 1, x[i])
            });
            let slopes = self.at(arguments).slopes();
            for (out, slope) in out.iter_mut().zip(slopes) {
                out[i] = slope;
            }
        }
    }
}

#[derive(Clone)]
struct Erased<const K: usize>(Arc<dyn Evaluate<K>>);

/// The arguments in f64; what is beyond their length is not read.
#[inline(always)]
fn wide<T: WithDType, const K: usize>(x: [&[T]; K]) -> [Turn; K] {
    x.map(|x| {
        let mut turn = [0.; TURN];
        turn.iter_mut().zip(x).for_each(|(t, x)| *t = x.to_f64());
        turn
    })
}

impl<T: WithDType, const K: usize> Elementwise<T, K> for Erased<K> {
    #[inline(always)]
    fn values<const FMA: bool>(&self, x: [&[T]; K], out: &mut [T]) {
        let mut turn = [0.; TURN];
        let turn = &mut turn[..out.len()];
        self.0.values(&wide(x), turn);
        out.iter_mut()
            .zip(turn)
            .for_each(|(out, y)| *out = T::from_f64(*y));
    }

    #[inline(always)]
    fn partials<const FMA: bool>(&self, x: [&[T]; K], out: &mut [[T; TURN]; K]) {
        let mut turns = [[0.; TURN]; K];
        let len = x[0].len();
        self.0.partials(&wide(x), len, &mut turns);
        for (out, turn) in out.iter_mut().zip(turns) {
            let turn = &turn[..len];
            out.iter_mut()
                .zip(turn)
                .for_each(|(out, y)| *out = T::from_f64(*y));
        }
    }
}

//! Formulas: functions of several numbers, written once, with exact derivatives.

use super::elementary::{Elementary, Exact, Quick};
use super::real::Dual;
use super::{Elementwise, Real, TURN, elementwise};
use crate::error::Result;
use crate::kernels::simd::{Loop, dispatch};
use candle_core::{DType, Device, Tensor, WithDType};
use std::sync::Arc;

/// A function of K numbers, computed in f64 whatever the dtype of the tensors, so that closed forms whose terms cancel
/// keep the digits of f32. Its derivatives come from [`Real`]'s chain rule, branches included: first derivatives only.
pub(crate) trait Formula<const K: usize>: Copy + Send + Sync + 'static {
    const NAME: &'static str;

    /// Whether f32 tensors take the vectorized elementary functions. It pays where the formula calls no other functions; its
    /// branches are then computed on both sides, and gamma functions must have positive arguments.
    const QUICK: bool = false;

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
/// is compiled into these loops alone. `exact` asks for all digits of f64.
trait Evaluate<const K: usize>: Send + Sync + 'static {
    fn values(&self, exact: bool, x: &[Turn; K], out: &mut [f64]);

    fn partials(&self, exact: bool, x: &[Turn; K], len: usize, out: &mut [Turn; K]);
}

impl<F: Formula<K>, const K: usize> Evaluate<K> for F {
    fn values(&self, exact: bool, x: &[Turn; K], out: &mut [f64]) {
        let values = Values(*self, x, out);
        if F::QUICK && !exact {
            dispatch(values)
        } else {
            values.by::<Exact>()
        }
    }

    fn partials(&self, exact: bool, x: &[Turn; K], len: usize, out: &mut [Turn; K]) {
        let partials = Partials(*self, x, len, out);
        if F::QUICK && !exact {
            dispatch(partials)
        } else {
            partials.by::<Exact>()
        }
    }
}

struct Values<'a, F, const K: usize>(F, &'a [Turn; K], &'a mut [f64]);

impl<F: Formula<K>, const K: usize> Values<'_, F, K> {
    #[inline(always)]
    fn by<E: Elementary>(self) {
        let Values(f, x, out) = self;
        // At most TURN, so that no index needs a check.
        let len = out.len().min(TURN);
        let out = &mut out[..len];
        for i in 0..len {
            let mut arguments = [Dual::<E, 0>::constant(0.); K];
            for k in 0..K {
                arguments[k] = Dual::constant(x[k][i]);
            }
            out[i] = f.at(arguments).value();
        }
    }
}

impl<F: Formula<K>, const K: usize> Loop for Values<'_, F, K> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        self.by::<Quick<FMA>>()
    }
}

struct Partials<'a, F, const K: usize>(F, &'a [Turn; K], usize, &'a mut [Turn; K]);

impl<F: Formula<K>, const K: usize> Partials<'_, F, K> {
    #[inline(always)]
    fn by<E: Elementary>(self) {
        let Partials(f, x, len, out) = self;
        for i in 0..len.min(TURN) {
            let mut arguments = [Dual::<E, K>::constant(0.); K];
            for k in 0..K {
                arguments[k] = Dual::argument(k, x[k][i]);
            }
            let slopes = f.at(arguments).slopes();
            for k in 0..K {
                out[k][i] = slopes[k];
            }
        }
    }
}

impl<F: Formula<K>, const K: usize> Loop for Partials<'_, F, K> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        self.by::<Quick<FMA>>()
    }
}

#[derive(Clone)]
struct Erased<const K: usize>(Arc<dyn Evaluate<K>>);

/// The arguments in f64; what is beyond their length is not read.
#[inline(always)]
fn widen<T: WithDType, const K: usize>(x: [&[T]; K], out: &mut [Turn; K]) {
    for k in 0..K {
        let turn = out[k].iter_mut().zip(x[k]);
        turn.for_each(|(t, x)| *t = x.to_f64());
    }
}

impl<T: WithDType, const K: usize> Elementwise<T, K> for Erased<K> {
    #[inline(always)]
    fn values<const FMA: bool>(&self, x: [&[T]; K], out: &mut [T]) {
        let (mut arguments, mut turn) = ([[0.; TURN]; K], [0.; TURN]);
        widen(x, &mut arguments);
        let turn = &mut turn[..out.len()];
        self.0.values(T::DTYPE == DType::F64, &arguments, turn);
        out.iter_mut()
            .zip(turn)
            .for_each(|(out, y)| *out = T::from_f64(*y));
    }

    #[inline(always)]
    fn partials<const FMA: bool>(&self, x: [&[T]; K], out: &mut [[T; TURN]; K]) {
        let (mut arguments, mut turns) = ([[0.; TURN]; K], [[0.; TURN]; K]);
        widen(x, &mut arguments);
        let (len, exact) = (x[0].len(), T::DTYPE == DType::F64);
        self.0.partials(exact, &arguments, len, &mut turns);
        for (out, turn) in out.iter_mut().zip(&turns) {
            let turn = &turn[..len];
            out.iter_mut()
                .zip(turn)
                .for_each(|(out, y)| *out = T::from_f64(*y));
        }
    }
}

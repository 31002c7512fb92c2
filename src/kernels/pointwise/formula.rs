//! Formulas: functions of several numbers, written once, with exact derivatives.

use super::elementary::{Elementary, Exact, Quick};
use super::real::Dual;
use super::{Elementwise, Real, TURN, elementwise, shared};
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
/// is compiled into these loops alone.
trait Evaluate<const K: usize>: Send + Sync + 'static {
    fn quick(&self) -> bool;

    fn values(&self, how: How, x: &[Turn; K], out: &mut [f64]);

    fn partials(&self, how: How, x: &[Turn; K], len: usize, out: &mut [Turn; K]);
}

#[derive(Clone, Copy)]
struct How {
    /// All digits of f64 are asked for.
    exact: bool,
    /// The arguments are [`shared`], and the formula makes use of it.
    shared: bool,
}

impl<F: Formula<K>, const K: usize> Evaluate<K> for F {
    fn quick(&self) -> bool {
        F::QUICK
    }

    fn values(&self, how: How, x: &[Turn; K], out: &mut [f64]) {
        if !F::QUICK || how.exact {
            Values::<F, K, false>(*self, x, out).by::<Exact>()
        } else if how.shared {
            dispatch(Values::<F, K, true>(*self, x, out))
        } else {
            dispatch(Values::<F, K, false>(*self, x, out))
        }
    }

    fn partials(&self, how: How, x: &[Turn; K], len: usize, out: &mut [Turn; K]) {
        if !F::QUICK || how.exact {
            Partials::<F, K, false>(*self, x, len, out).by::<Exact>()
        } else if how.shared {
            dispatch(Partials::<F, K, true>(*self, x, len, out))
        } else {
            dispatch(Partials::<F, K, false>(*self, x, len, out))
        }
    }
}

struct Values<'a, F, const K: usize, const SHARED: bool>(F, &'a [Turn; K], &'a mut [f64]);

impl<F: Formula<K>, const K: usize, const SHARED: bool> Values<'_, F, K, SHARED> {
    #[inline(always)]
    fn by<E: Elementary>(self) {
        let Values(f, x, out) = self;
        // At most TURN, so that no index needs a check.
        let len = out.len().min(TURN);
        let out = &mut out[..len];
        let first = x.each_ref().map(|x| x[0]);
        for i in 0..len {
            let mut arguments = [Dual::<E, 0>::constant(0.); K];
            for k in 0..K {
                let alone = SHARED && k > 0;
                arguments[k] = Dual::constant(if alone { first[k] } else { x[k][i] });
            }
            out[i] = f.at(arguments).value();
        }
    }
}

impl<F: Formula<K>, const K: usize, const SHARED: bool> Loop for Values<'_, F, K, SHARED> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        self.by::<Quick<FMA>>()
    }
}

struct Partials<'a, F, const K: usize, const SHARED: bool>(
    F,
    &'a [Turn; K],
    usize,
    &'a mut [Turn; K],
);

impl<F: Formula<K>, const K: usize, const SHARED: bool> Partials<'_, F, K, SHARED> {
    #[inline(always)]
    fn by<E: Elementary>(self) {
        let Partials(f, x, len, out) = self;
        let first = x.each_ref().map(|x| x[0]);
        for i in 0..len.min(TURN) {
            let mut arguments = [Dual::<E, K>::constant(0.); K];
            for k in 0..K {
                let alone = SHARED && k > 0;
                arguments[k] = Dual::argument(k, if alone { first[k] } else { x[k][i] });
            }
            let slopes = f.at(arguments).slopes();
            for k in 0..K {
                out[k][i] = slopes[k];
            }
        }
    }
}

impl<F: Formula<K>, const K: usize, const SHARED: bool> Loop for Partials<'_, F, K, SHARED> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        self.by::<Quick<FMA>>()
    }
}

#[derive(Clone)]
struct Erased<const K: usize>(Arc<dyn Evaluate<K>>);

/// The arguments in f64, of those that are one number the first alone; what is beyond their length is not read.
#[inline(always)]
fn widen<T: WithDType, const K: usize>(how: How, x: [&[T]; K], out: &mut [Turn; K]) {
    for k in 0..K {
        let one = how.shared && k > 0;
        let turn = out[k].iter_mut().zip(if one { &x[k][..1] } else { x[k] });
        turn.for_each(|(t, x)| *t = x.to_f64());
    }
}

impl<const K: usize> Erased<K> {
    #[inline(always)]
    fn how<T: WithDType>(&self, x: [&[T]; K]) -> How {
        let exact = T::DTYPE == DType::F64;
        How {
            exact,
            shared: !exact && self.0.quick() && shared(x),
        }
    }
}

impl<T: WithDType, const K: usize> Elementwise<T, K> for Erased<K> {
    #[inline(always)]
    fn values<const FMA: bool>(&self, x: [&[T]; K], out: &mut [T]) {
        let (mut arguments, mut turn) = ([[0.; TURN]; K], [0.; TURN]);
        let how = self.how(x);
        widen(how, x, &mut arguments);
        let turn = &mut turn[..out.len()];
        self.0.values(how, &arguments, turn);
        out.iter_mut()
            .zip(turn)
            .for_each(|(out, y)| *out = T::from_f64(*y));
    }

    #[inline(always)]
    fn partials<const FMA: bool>(&self, x: [&[T]; K], out: &mut [[T; TURN]; K]) {
        let (mut arguments, mut turns) = ([[0.; TURN]; K], [[0.; TURN]; K]);
        let (how, len) = (self.how(x), x[0].len());
        widen(how, x, &mut arguments);
        self.0.partials(how, &arguments, len, &mut turns);
        for (out, turn) in out.iter_mut().zip(&turns) {
            let turn = &turn[..len];
            out.iter_mut()
                .zip(turn)
                .for_each(|(out, y)| *out = T::from_f64(*y));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Var;

    #[derive(Clone, Copy)]
    struct Curve;

    impl Formula<3> for Curve {
        const NAME: &'static str = "curve";
        const QUICK: bool = true;

        fn at<R: Real>(self, [x, a, b]: [R; 3]) -> R {
            if x.value() < 0. {
                return (x * a).exp() - b.lgamma();
            }
            (x + b).ln().over(a) + b.ln()
        }
    }

    /// The same bits whether what depends on the parameters alone is computed once or for each number.
    #[test]
    fn shared_arguments_change_nothing() -> Result<()> {
        let n = 3 * TURN + 7;
        let run = |parameters: [Vec<f32>; 2]| -> Result<[Vec<f32>; 2]> {
            let x = (0..n).map(|i| i as f32 * 0.01 - 3.).collect();
            let x = Var::from_vec(x, n, &Device::Cpu)?;
            let [a, b] = parameters.map(|p| {
                let len = p.len();
                Tensor::from_vec(p, len, &Device::Cpu)
            });
            let y = formula(Curve, [&x, &a?, &b?])?;
            let slopes = y.backward()?;
            let slopes = slopes.get(&x).map(|g| g.to_vec1()).transpose()?;
            Ok([y.to_vec1()?, slopes.unwrap_or_default()])
        };
        let one = run([vec![0.7], vec![1.9]])?;
        let mut a = vec![0.7; n];
        // One that differs in each turn, so that none is shared.
        (0..n).step_by(TURN).for_each(|i| a[i + 3] = 0.8);
        let each = run([a, vec![1.9; n]])?;
        for (one, each) in one.iter().zip(&each) {
            let same = |i: &usize| one[*i].to_bits() == each[*i].to_bits();
            assert_eq!(each.len(), n);
            assert!((0..n).filter(|i| i % TURN != 3).all(|i| same(&i)));
            assert!((0..n).filter(|i| i % TURN == 3).all(|i| !same(&i)));
        }
        Ok(())
    }
}

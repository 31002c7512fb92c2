//! Formulas: functions of several numbers, written once, with exact derivatives.

use super::{Elementwise, TURN, elementwise};
use crate::error::Result;
use crate::kernels::graph::second_derivatives;
use crate::kernels::machine::simd::{Loop, dispatch};
use crate::kernels::number::Real;
use crate::kernels::number::dual::Dual;
use crate::kernels::number::elementary::{Exact, Quick};
use candle_core::{DType, Device, Tensor, WithDType};
use std::sync::Arc;

/// A function of K numbers, computed in f64 whatever the dtype of the tensors, so that closed forms whose terms cancel
/// keep the digits of f32; with [`SINGLE`](Formula::SINGLE) the loops over f32 scores compute in f32. Its derivatives come
/// from [`Real`]'s chain rule, branches included: first derivatives only.
pub(crate) trait Formula<const K: usize>: Copy + Send + Sync + 'static {
    /// Whether f32 tensors take the vectorized elementary functions. It pays where the formula calls no other functions; its
    /// branches are then computed on both sides, and gamma functions must have positive arguments.
    const QUICK: bool = false;

    /// Whether [`mean`](super::mean), of f32 tensors, may compute value and slope in f32, at half the time: where nothing
    /// cancels in either, which a test compares with f64, slopes relatively. Other nodes compute in f64 all the same.
    const SINGLE: bool = false;

    fn at<R: Real>(self, x: [R; K]) -> R;
}

/// `f` of the arguments broadcast together, as one node. Tensors on other devices are computed on the CPU, those of half
/// precision in f32.
pub(crate) fn formula<F: Formula<K>, const K: usize>(
    f: F,
    arguments: [&Tensor; K],
) -> Result<Tensor> {
    evaluate(own_name::<F>(), f, arguments, false)
}

/// [`formula`], called `name` where it is refused.
pub(crate) fn named<F: Formula<K>, const K: usize>(
    name: &'static str,
    f: F,
    arguments: [&Tensor; K],
) -> Result<Tensor> {
    evaluate(name, f, arguments, false)
}

/// [`formula`], summed over the last dim.
pub(crate) fn formula_sum<F: Formula<K>, const K: usize>(
    f: F,
    arguments: [&Tensor; K],
) -> Result<Tensor> {
    evaluate(own_name::<F>(), f, arguments, true)
}

/// [`named`], summed over the last dim.
pub(crate) fn named_sum<F: Formula<K>, const K: usize>(
    name: &'static str,
    f: F,
    arguments: [&Tensor; K],
) -> Result<Tensor> {
    evaluate(name, f, arguments, true)
}

/// A formula's type and its module.
fn own_name<F>() -> &'static str {
    let path = std::any::type_name::<F>();
    let path = path.split('<').next().unwrap_or(path);
    let last = path.rmatch_indices("::").nth(1);
    last.map_or(path, |(at, separator)| &path[at + separator.len()..])
}

/// Whether formulas take a tensor where it is: what has an expression of candle operations takes that elsewhere.
pub(crate) fn on_cpu(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype().is_float() && !second_derivatives()
}

fn evaluate<F: Formula<K>, const K: usize>(
    name: &'static str,
    f: F,
    arguments: [&Tensor; K],
    event: bool,
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
        DType::F64 => elementwise::<f64, _, K>(name, f, local, event)?,
        _ => elementwise::<f32, _, K>(name, f, local, event)?,
    };
    Ok(out.to_dtype(dtype)?.to_device(device)?)
}

/// A turn's worth of numbers.
type Turn<T> = [T; TURN];

/// A formula as the nodes see it. They are compiled once for all formulas of K numbers, which are many; a formula itself
/// is compiled into these loops alone.
trait Evaluate<const K: usize>: Send + Sync + 'static {
    fn quick(&self) -> bool;

    /// With all digits of f64.
    fn values(&self, x: &[Turn<f64>; K], out: &mut [f64]);

    fn partials(&self, x: &[Turn<f64>; K], len: usize, out: &mut [Turn<f64>; K]);

    /// With the digits of f32; `shared` as [`Elementwise`] says.
    fn quick_values(&self, shared: bool, x: [&Turn<f32>; K], out: &mut [f32]);

    fn quick_partials(
        &self,
        shared: bool,
        x: [&Turn<f32>; K],
        len: usize,
        out: &mut [Turn<f32>; K],
    );
}

impl<F: Formula<K>, const K: usize> Evaluate<K> for F {
    fn quick(&self) -> bool {
        F::QUICK
    }

    fn values(&self, x: &[Turn<f64>; K], out: &mut [f64]) {
        for (i, out) in out.iter_mut().enumerate() {
            let mut arguments = [Dual::<Exact, 0>::constant(0.); K];
            for k in 0..K {
                arguments[k] = Dual::constant(x[k][i]);
            }
            *out = self.at(arguments).value();
        }
    }

    fn partials(&self, x: &[Turn<f64>; K], len: usize, out: &mut [Turn<f64>; K]) {
        for i in 0..len {
            let mut arguments = [Dual::<Exact, K>::constant(0.); K];
            for k in 0..K {
                arguments[k] = Dual::argument(k, x[k][i]);
            }
            let slopes = self.at(arguments).slopes();
            for k in 0..K {
                out[k][i] = slopes[k];
            }
        }
    }

    fn quick_values(&self, shared: bool, x: [&Turn<f32>; K], out: &mut [f32]) {
        if !F::QUICK {
        } else if shared {
            dispatch(Values::<F, K, true>(*self, x, out))
        } else {
            dispatch(Values::<F, K, false>(*self, x, out))
        }
    }

    fn quick_partials(
        &self,
        shared: bool,
        x: [&Turn<f32>; K],
        len: usize,
        out: &mut [Turn<f32>; K],
    ) {
        if !F::QUICK {
        } else if shared {
            dispatch(Partials::<F, K, true>(*self, x, len, out))
        } else {
            dispatch(Partials::<F, K, false>(*self, x, len, out))
        }
    }
}

struct Values<'a, F, const K: usize, const SHARED: bool>(F, [&'a Turn<f32>; K], &'a mut [f32]);

impl<F: Formula<K>, const K: usize, const SHARED: bool> Loop for Values<'_, F, K, SHARED> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Values(f, x, out) = self;
        // At most TURN, so that no index needs a check: with one the last vector is computed number by number.
        let len = out.len().min(TURN);
        let out = &mut out[..len];
        let first = x.map(|x| x[0]);
        for i in 0..len {
            let mut arguments = [Dual::<Quick<FMA>, 0>::constant(0.); K];
            for k in 0..K {
                let x = if SHARED && k > 0 { first[k] } else { x[k][i] };
                arguments[k] = Dual::constant(x.into());
            }
            out[i] = f.at(arguments).value() as f32;
        }
    }
}

struct Partials<'a, F, const K: usize, const SHARED: bool>(
    F,
    [&'a Turn<f32>; K],
    usize,
    &'a mut [Turn<f32>; K],
);

impl<F: Formula<K>, const K: usize, const SHARED: bool> Loop for Partials<'_, F, K, SHARED> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Partials(f, x, len, out) = self;
        let first = x.map(|x| x[0]);
        for i in 0..len.min(TURN) {
            let mut arguments = [Dual::<Quick<FMA>, K>::constant(0.); K];
            for k in 0..K {
                let x = if SHARED && k > 0 { first[k] } else { x[k][i] };
                arguments[k] = Dual::argument(k, x.into());
            }
            let slopes = f.at(arguments).slopes();
            for k in 0..K {
                out[k][i] = slopes[k] as f32;
            }
        }
    }
}

#[derive(Clone)]
struct Erased<const K: usize>(Arc<dyn Evaluate<K>>);

impl<const K: usize> Erased<K> {
    fn exact_values<T: WithDType>(&self, x: [&[T]; K], out: &mut [T]) {
        let mut turn = [0.; TURN];
        let turn = &mut turn[..out.len()];
        self.0.values(&widen(x), turn);
        narrow(turn, out);
    }

    fn exact_partials<T: WithDType>(&self, x: [&[T]; K], out: &mut [Turn<T>; K]) {
        let (mut turns, len) = ([[0.; TURN]; K], x[0].len());
        self.0.partials(&widen(x), len, &mut turns);
        for (turn, out) in turns.iter().zip(out) {
            narrow(&turn[..len], out);
        }
    }
}

/// The arguments as whole turns; a shorter one is copied into `room`.
fn whole<'a, const K: usize>(
    x: [&'a [f32]; K],
    room: &'a mut Option<[Turn<f32>; K]>,
) -> [&'a Turn<f32>; K] {
    let mut out = [&[0.; TURN]; K];
    if x.iter().all(|x| x.len() == TURN) {
        for (out, x) in out.iter_mut().zip(x) {
            *out = x.first_chunk().unwrap_or(out);
        }
        return out;
    }
    let room = room.insert([[0.; TURN]; K]);
    for ((out, room), x) in out.iter_mut().zip(room).zip(x) {
        room.iter_mut().zip(x).for_each(|(r, x)| *r = *x);
        *out = room;
    }
    out
}

/// The arguments in f64; what is beyond their length is not read.
fn widen<T: WithDType, const K: usize>(x: [&[T]; K]) -> [Turn<f64>; K] {
    let mut out = [[0.; TURN]; K];
    for (turn, x) in out.iter_mut().zip(x) {
        turn.iter_mut().zip(x).for_each(|(t, x)| *t = x.to_f64());
    }
    out
}

fn narrow<T: WithDType>(turn: &[f64], out: &mut [T]) {
    let pairs = out.iter_mut().zip(turn);
    pairs.for_each(|(out, y)| *out = T::from_f64(*y));
}

impl<const K: usize> Elementwise<f64, K> for Erased<K> {
    #[inline(always)]
    fn values<const FMA: bool>(&self, _: bool, x: [&[f64]; K], out: &mut [f64]) {
        self.exact_values(x, out)
    }

    #[inline(always)]
    fn partials<const FMA: bool>(&self, _: bool, x: [&[f64]; K], out: &mut [Turn<f64>; K]) {
        self.exact_partials(x, out)
    }
}

impl<const K: usize> Elementwise<f32, K> for Erased<K> {
    #[inline(always)]
    fn values<const FMA: bool>(&self, shared: bool, x: [&[f32]; K], out: &mut [f32]) {
        if self.0.quick() {
            self.0.quick_values(shared, whole(x, &mut None), out)
        } else {
            self.exact_values(x, out)
        }
    }

    #[inline(always)]
    fn partials<const FMA: bool>(&self, shared: bool, x: [&[f32]; K], out: &mut [Turn<f32>; K]) {
        if self.0.quick() {
            let len = x[0].len();
            self.0.quick_partials(shared, whole(x, &mut None), len, out)
        } else {
            self.exact_partials(x, out)
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
        const QUICK: bool = true;

        fn at<R: Real>(self, [x, a, b]: [R; 3]) -> R {
            if x.value() < 0. {
                return (x * a).exp() - b.lgamma();
            }
            (x + b).ln().over(a) + b.ln()
        }
    }

    #[test]
    fn names_are_a_module_and_a_type() {
        assert_eq!(own_name::<Curve>(), "tests::Curve");
        assert_eq!(own_name::<Erased<3>>(), "formula::Erased");
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

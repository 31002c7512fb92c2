//! Elementwise operations of one tensor as one node: value and slope in one pass each.

use crate::error::Result;
use crate::kernels::elementwise::composed;
use crate::kernels::graph::node::{self, Fresh, Op, Reached, weigh};
use crate::kernels::machine::buffer::{self, CHUNK, View};
use crate::kernels::machine::simd::{Loop, dispatch};
use crate::kernels::number::single;
use candle_core::{CpuStorage, DType, Tensor, WithDType};

/// An elementwise function. The f32 forms are branch-free, so that loops over them vectorize.
pub(crate) trait Map: Copy + Send + Sync + 'static {
    const NAME: &'static str;

    /// Whether `value` and `slope` hold for positive arguments only; others then go to the functions `_elsewhere`,
    /// one at a time.
    const POSITIVE: bool = false;

    fn value<const FMA: bool>(self, x: f32) -> f32;

    /// The derivative, from argument and value; what is not used is not read.
    fn slope<const FMA: bool>(self, x: f32, y: f32) -> f32;

    fn value_elsewhere(self, x: f32) -> f32 {
        x
    }

    fn slope_elsewhere(self, _: f32) -> f32 {
        f32::NAN
    }
}

/// An elementwise function with an f64 form, called one element at a time.
pub(crate) trait Wide: Map {
    fn value_f64(self, x: f64) -> f64;

    fn slope_f64(self, x: f64, y: f64) -> f64;
}

/// `f(x)` as one node, for f32 tensors on the CPU.
pub(crate) fn map<M: Map>(f: M, x: &Tensor) -> Result<Tensor> {
    Ok(node::apply1(Single(f), &[x])?)
}

/// `f(x)` as one node on the CPU, half precision in f32; the expression `composed` elsewhere.
pub(crate) fn wide<M: Wide>(
    f: M,
    x: &Tensor,
    composed: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    if !crate::kernels::elementwise::on_cpu(x) {
        return composed(x);
    }
    match x.dtype() {
        DType::F32 => map(f, x),
        DType::F64 => Ok(node::apply1(Double(f), &[x])?),
        half => Ok(map(f, &x.to_dtype(DType::F32)?)?.to_dtype(half)?),
    }
}

struct Single<M>(M);

impl<M: Map> Op for Single<M> {
    const NAME: &'static str = M::NAME;

    fn forward(&mut self, inputs: &[Tensor], _: bool) -> candle_core::Result<Vec<Fresh>> {
        let (view, f) = (View::new(&inputs[0])?, self.0);
        let x = view.f32()?;
        let y = buffer::build(x.len(), CHUNK, |at, out| {
            dispatch(Value(f, &x[at..at + out.len()], out))
        });
        Ok(vec![node::fresh(y, inputs[0].shape())])
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        _: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        gradient(inputs, outputs, |x: &[f32], y, g, out| {
            dispatch(Slope(self.0, x, y, g, out))
        })
    }
}

struct Double<M>(M);

impl<M: Wide> Op for Double<M> {
    const NAME: &'static str = M::NAME;

    fn forward(&mut self, inputs: &[Tensor], _: bool) -> candle_core::Result<Vec<Fresh>> {
        let (view, f) = (View::new(&inputs[0])?, self.0);
        let x = view.as_slice::<f64>()?;
        let y = buffer::build(x.len(), CHUNK, |at, out| {
            for (o, x) in out.iter_mut().zip(&x[at..]) {
                *o = f.value_f64(*x);
            }
        });
        Ok(vec![(CpuStorage::F64(y), inputs[0].shape().clone())])
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        _: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        gradient(inputs, outputs, |x: &[f64], y, g, out| {
            for (i, o) in out.iter_mut().enumerate() {
                *o = weigh(g[i], self.0.slope_f64(x[i], y[i]));
            }
        })
    }
}

/// The gradient of an elementwise node by `f(x, y, g, out)` on chunks.
fn gradient<T: WithDType + Copy + Send + Sync>(
    inputs: &[Tensor],
    outputs: &[Option<Reached>],
    f: impl Fn(&[T], &[T], &[T], &mut [T]) + Sync,
) -> candle_core::Result<Vec<Option<Tensor>>> {
    let Some(out) = &outputs[0] else {
        return Ok(vec![None]);
    };
    let (x, y, g) = (
        View::new(&inputs[0])?,
        View::new(&out.value)?,
        View::new(&out.gradient)?,
    );
    let (x, y, g) = (x.as_slice::<T>()?, y.as_slice::<T>()?, g.as_slice::<T>()?);
    let d = buffer::build(x.len(), CHUNK, |at, out| {
        let to = at + out.len();
        f(&x[at..to], &y[at..to], &g[at..to], out)
    });
    Tensor::from_vec(d, inputs[0].shape(), inputs[0].device()).map(|d| vec![Some(d)])
}

/// False for NaN.
#[inline(always)]
fn positive(x: f32) -> bool {
    x > 0.
}

#[inline(always)]
fn all_positive(x: &[f32]) -> bool {
    x.iter().fold(true, |all, x| all & positive(*x))
}

struct Value<'a, M>(M, &'a [f32], &'a mut [f32]);

impl<M: Map> Loop for Value<'_, M> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (o, x) in self.2.iter_mut().zip(self.1) {
            *o = self.0.value::<FMA>(*x);
        }
        if M::POSITIVE && !all_positive(self.1) {
            for (o, x) in self.2.iter_mut().zip(self.1) {
                if !positive(*x) {
                    *o = self.0.value_elsewhere(*x);
                }
            }
        }
    }
}

struct Slope<'a, M>(M, &'a [f32], &'a [f32], &'a [f32], &'a mut [f32]);

impl<M: Map> Loop for Slope<'_, M> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Slope(f, x, y, g, out) = self;
        for (((o, x), y), g) in out.iter_mut().zip(x).zip(y).zip(g) {
            *o = weigh(*g, f.slope::<FMA>(*x, *y));
        }
        if M::POSITIVE && !all_positive(x) {
            for ((o, x), g) in out.iter_mut().zip(x).zip(g) {
                if !positive(*x) {
                    *o = weigh(*g, f.slope_elsewhere(*x));
                }
            }
        }
    }
}

/// The hyperbolic tangent.
#[derive(Clone, Copy)]
pub(crate) struct Tanh;

impl Map for Tanh {
    const NAME: &'static str = "tanh";
    #[inline(always)]
    fn value<const FMA: bool>(self, x: f32) -> f32 {
        single::tanh::<FMA>(x)
    }
    #[inline(always)]
    fn slope<const FMA: bool>(self, _: f32, y: f32) -> f32 {
        (1. - y) * (1. + y)
    }
}

/// `1 / (1 + e^-x)`.
#[derive(Clone, Copy)]
pub(crate) struct Sigmoid;

impl Map for Sigmoid {
    const NAME: &'static str = "sigmoid";
    #[inline(always)]
    fn value<const FMA: bool>(self, x: f32) -> f32 {
        single::sigmoid::<FMA>(x)
    }
    #[inline(always)]
    fn slope<const FMA: bool>(self, _: f32, y: f32) -> f32 {
        y * (1. - y)
    }
}

/// `ln(1 + e^x)`.
#[derive(Clone, Copy)]
pub(crate) struct Softplus;

impl Map for Softplus {
    const NAME: &'static str = "softplus";
    #[inline(always)]
    fn value<const FMA: bool>(self, x: f32) -> f32 {
        single::softplus::<FMA>(x)
    }
    /// sigmoid(x) = 1 - e^-y
    #[inline(always)]
    fn slope<const FMA: bool>(self, _: f32, y: f32) -> f32 {
        -single::expm1::<FMA>(-y)
    }
}

impl Wide for Softplus {
    fn value_f64(self, x: f64) -> f64 {
        // max(x, 0) would turn NaN into 0; the other term keeps it.
        x.max(0.) + (-x.abs()).exp().ln_1p()
    }
    fn slope_f64(self, x: f64, _: f64) -> f64 {
        sigmoid_f64(x)
    }
}

/// `-ln(1 + e^-x)`
#[derive(Clone, Copy)]
struct LogSigmoid;

impl Map for LogSigmoid {
    const NAME: &'static str = "log-sigmoid";
    #[inline(always)]
    fn value<const FMA: bool>(self, x: f32) -> f32 {
        -single::softplus::<FMA>(-x)
    }
    /// sigmoid(-x) = 1 - e^y
    #[inline(always)]
    fn slope<const FMA: bool>(self, _: f32, y: f32) -> f32 {
        -single::expm1::<FMA>(y)
    }
}

impl Wide for LogSigmoid {
    fn value_f64(self, x: f64) -> f64 {
        -Softplus.value_f64(-x)
    }
    fn slope_f64(self, x: f64, _: f64) -> f64 {
        sigmoid_f64(-x)
    }
}

#[derive(Clone, Copy)]
struct Log1p;

impl Map for Log1p {
    const NAME: &'static str = "log1p";
    #[inline(always)]
    fn value<const FMA: bool>(self, x: f32) -> f32 {
        single::log1p::<FMA>(x)
    }
    #[inline(always)]
    fn slope<const FMA: bool>(self, x: f32, _: f32) -> f32 {
        1. / (1. + x)
    }
}

impl Wide for Log1p {
    fn value_f64(self, x: f64) -> f64 {
        x.ln_1p()
    }
    fn slope_f64(self, x: f64, _: f64) -> f64 {
        1. / (1. + x)
    }
}

#[derive(Clone, Copy)]
struct Expm1;

impl Map for Expm1 {
    const NAME: &'static str = "expm1";
    #[inline(always)]
    fn value<const FMA: bool>(self, x: f32) -> f32 {
        single::expm1::<FMA>(x)
    }
    #[inline(always)]
    fn slope<const FMA: bool>(self, x: f32, _: f32) -> f32 {
        single::exp::<FMA>(x)
    }
}

impl Wide for Expm1 {
    fn value_f64(self, x: f64) -> f64 {
        x.exp_m1()
    }
    fn slope_f64(self, x: f64, _: f64) -> f64 {
        x.exp()
    }
}

/// `ln(1 - e^-x)` for positive x
#[derive(Clone, Copy)]
struct Log1mexp;

impl Map for Log1mexp {
    const NAME: &'static str = "log1mexp";
    #[inline(always)]
    fn value<const FMA: bool>(self, x: f32) -> f32 {
        single::log1mexp::<FMA>(x)
    }
    #[inline(always)]
    fn slope<const FMA: bool>(self, x: f32, _: f32) -> f32 {
        // As e^-x / (1 - e^-x): the denominator of 1 / (e^x - 1) overflows where the slope does not underflow.
        single::exp::<FMA>(-x) / -single::expm1::<FMA>(-x)
    }
}

impl Wide for Log1mexp {
    fn value_f64(self, x: f64) -> f64 {
        if x < std::f64::consts::LN_2 {
            (-(-x).exp_m1()).ln()
        } else {
            (-(-x).exp()).ln_1p()
        }
    }
    fn slope_f64(self, x: f64, _: f64) -> f64 {
        (-x).exp() / -(-x).exp_m1()
    }
}

fn sigmoid_f64(x: f64) -> f64 {
    let e = (-x.abs()).exp();
    (if x < 0. { e } else { 1. }) / (1. + e)
}

/// `ln(1 + e^x)`; the slope is the logistic function.
pub(crate) fn softplus(x: &Tensor) -> Result<Tensor> {
    wide(Softplus, x, composed::softplus)
}

/// `-ln(1 + e^-x)`
pub(crate) fn log_sigmoid(x: &Tensor) -> Result<Tensor> {
    wide(LogSigmoid, x, |x| Ok(composed::softplus(&x.neg()?)?.neg()?))
}

/// `ln(1 + x)`
pub(crate) fn log1p(x: &Tensor) -> Result<Tensor> {
    wide(Log1p, x, composed::log1p)
}

/// `e^x - 1`
pub(crate) fn expm1(x: &Tensor) -> Result<Tensor> {
    wide(Expm1, x, composed::expm1)
}

/// `ln(1 - e^-x)` for positive x
pub(crate) fn log1mexp(x: &Tensor) -> Result<Tensor> {
    wide(Log1mexp, x, composed::log1mexp)
}

//! f-divergences as functions of one number, with what they share.

use super::FDivergence;
use crate::error::Result;
use crate::kernels::elementwise::mean::{Scaled, with_mean};
use crate::kernels::elementwise::{Formula, named};
use crate::kernels::number::Real;
use crate::shape;
use candle_core::{DType, Tensor};

/// What [`FDivergence`] says, in numbers. `ceiling` is where [`grow`] leaves the exponential.
pub(super) trait Curve: Copy + Send + Sync + 'static {
    /// Whether activation and conjugate, and their slopes, keep their digits in f32.
    const SINGLE: bool = false;

    fn generator<R: Real>(self, r: R) -> R;

    fn reversed<R: Real>(self, r: R) -> R;

    fn activation<R: Real>(self, v: R, ceiling: f64) -> R;

    fn conjugate<R: Real>(self, v: R, ceiling: f64) -> R;
}

/// e^x, from `ceiling` on along its tangent: finite where e^x is not.
#[inline(always)]
pub(super) fn grow<R: Real>(x: R, ceiling: f64) -> R {
    if x.value() > ceiling {
        (x - (ceiling - 1.)) * ceiling.exp()
    } else {
        x.exp()
    }
}

/// [`grow`] - 1.
#[inline(always)]
pub(super) fn grow_m1<R: Real>(x: R, ceiling: f64) -> R {
    if x.value() > ceiling {
        grow(x, ceiling)
    } else {
        x.exp_m1()
    }
}

/// A score of 1e4 times e^ceiling is within the range of the dtype.
fn ceiling(dtype: DType) -> f64 {
    if dtype == DType::F64 { 650. } else { 75. }
}

#[derive(Clone, Copy)]
struct Generator<C> {
    curve: C,
    reversed: bool,
}

impl<C: Curve> Formula<1> for Generator<C> {
    fn at<R: Real>(self, [r]: [R; 1]) -> R {
        if self.reversed {
            self.curve.reversed(r)
        } else {
            self.curve.generator(r)
        }
    }
}

#[derive(Clone, Copy)]
struct Activation<C> {
    curve: C,
    ceiling: f64,
}

impl<C: Curve> Formula<1> for Activation<C> {
    const QUICK: bool = true;
    const SINGLE: bool = C::SINGLE;

    #[inline(always)]
    fn at<R: Real>(self, [v]: [R; 1]) -> R {
        self.curve.activation(v, self.ceiling)
    }
}

#[derive(Clone, Copy)]
struct Conjugate<C> {
    curve: C,
    ceiling: f64,
}

impl<C: Curve> Formula<1> for Conjugate<C> {
    const QUICK: bool = true;
    const SINGLE: bool = C::SINGLE;

    #[inline(always)]
    fn at<R: Real>(self, [v]: [R; 1]) -> R {
        self.curve.conjugate(v, self.ceiling)
    }
}

impl<C: Curve> FDivergence for C {
    fn generator(&self, log_ratio: &Tensor) -> Result<Tensor> {
        let op = "FDivergence::generator";
        shape::float(op, "log_ratio", log_ratio)?;
        let (curve, reversed) = (*self, false);
        named(op, Generator { curve, reversed }, [log_ratio])
    }

    fn reversed(&self, log_ratio: &Tensor) -> Result<Tensor> {
        let op = "FDivergence::reversed";
        shape::float(op, "log_ratio", log_ratio)?;
        let (curve, reversed) = (*self, true);
        named(op, Generator { curve, reversed }, [log_ratio])
    }

    fn activation(&self, score: &Tensor) -> Result<Tensor> {
        let op = "FDivergence::activation";
        shape::float(op, "score", score)?;
        let (curve, ceiling) = (*self, ceiling(score.dtype()));
        named(op, Activation { curve, ceiling }, [score])
    }

    fn conjugate(&self, score: &Tensor) -> Result<Tensor> {
        let op = "FDivergence::conjugate";
        shape::float(op, "score", score)?;
        let (curve, ceiling) = (*self, ceiling(score.dtype()));
        named(op, Conjugate { curve, ceiling }, [score])
    }

    fn activation_with_mean(&self, score: &Tensor, factor: f64) -> Result<[Tensor; 2]> {
        let op = "FDivergence::activation_with_mean";
        shape::parameter(op, "score", score)?;
        let (curve, ceiling) = (*self, ceiling(score.dtype()));
        let f = Activation { curve, ceiling };
        with_mean(op, Scaled { f, factor }, score)
    }

    fn conjugate_with_mean(&self, score: &Tensor, factor: f64) -> Result<[Tensor; 2]> {
        let op = "FDivergence::conjugate_with_mean";
        shape::parameter(op, "score", score)?;
        let (curve, ceiling) = (*self, ceiling(score.dtype()));
        let f = Conjugate { curve, ceiling };
        with_mean(op, Scaled { f, factor }, score)
    }
}

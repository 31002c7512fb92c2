//! The log-density of Dirichlet distributions in its saddle-point form: exact at any concentrations.

use super::simplex::{coordinate, on_simplex, tolerance};
use super::{huge, wide};
use crate::error::Result;
use crate::kernels::elementwise::{Formula, formula};
use crate::kernels::number::Real;
use crate::kernels::number::saddle;
use candle_core::{D, DType, Tensor};

/// Whether formulas of f64 numbers take the place of other ways: for f64, and for f32 where concentrations are huge.
pub(super) fn serve(concentration: &Tensor, value: &Tensor) -> Result<bool> {
    let native = [concentration, value].iter().all(|t| t.device().is_cpu());
    if !native || crate::kernels::graph::second_derivatives() {
        return Ok(false);
    }
    match value.dtype() {
        DType::F64 => Ok(true),
        DType::F32 => huge(concentration),
        _ => Ok(false),
    }
}

/// One coordinate's part of the log-density in its saddle-point form, from the point, its concentration, and the sum of
/// all: `(a - 1) ln(n x / a) - r(a)` with r of [`stirling_rest`](Real::stirling_rest).
#[derive(Clone, Copy)]
struct Part {
    log: bool,
}

impl Part {
    /// Value and derivatives to the point and the concentration, of [`Total`] as well: those to the sum cancel, but for its.
    fn of(self, x: f64, a: f64, n: f64) -> (f64, [f64; 2]) {
        let (zero, outside, y) = coordinate::<false>(x, self.log);
        if zero || outside {
            let power = a - 1.;
            let limit = if power == 0. {
                0.
            } else {
                -f64::INFINITY * power
            };
            let value = if outside { f64::NEG_INFINITY } else { limit };
            return (value - saddle::rest(a), [0., saddle::log_gap(a)]);
        }
        let log = if self.log {
            // Close to the mean a difference of logarithms has no digits to lose.
            y - saddle::log_ratio(a, n, a - n)
        } else {
            let mean = n * x;
            if mean.is_normal() {
                saddle::log_ratio(mean, a, mean - a)
            } else {
                n.ln() + x.ln() - a.ln()
            }
        };
        let slope = if self.log { a - 1. } else { (a - 1.) / x };
        let value = (a - 1.) * log - saddle::rest(a);
        (value, [slope, log + saddle::log_gap(a)])
    }
}

impl Formula<3> for Part {
    #[inline(always)]
    fn at<R: Real>(self, [x, a, n]: [R; 3]) -> R {
        let (value, slopes) = self.of(x.value(), a.value(), n.value());
        R::chain([x, a], value, slopes)
    }
}

/// The part of the sum: `(K - 1) ln n + r(n)`.
#[derive(Clone, Copy)]
struct Total {
    categories: f64,
}

impl Total {
    fn of(self, n: f64) -> (f64, f64) {
        let value = (self.categories - 1.) * n.ln() + saddle::rest(n);
        (value, -saddle::log_gap(n))
    }
}

impl Formula<1> for Total {
    #[inline(always)]
    fn at<R: Real>(self, [n]: [R; 1]) -> R {
        let (value, slope) = self.of(n.value());
        n.map(value, slope)
    }
}

/// In double precision, without terms of the size of the concentrations.
pub(super) fn log_prob(concentration: &Tensor, value: &Tensor, log: bool) -> Result<Tensor> {
    let (a, x) = (wide(concentration)?, value.to_dtype(DType::F64)?);
    let n = a.sum_keepdim(D::Minus1)?;
    let parts = formula(Part { log }, [&x, &a, &n])?;
    let categories = a.dim(D::Minus1)?;
    let total = Total {
        categories: categories as f64,
    };
    let total = formula(total, [&n.squeeze(D::Minus1)?])?;
    let total = parts.sum(D::Minus1)?.broadcast_add(&total)?;
    let point = match log {
        true => x.detach().exp()?,
        false => x.detach(),
    };
    let tolerance = tolerance(value.dtype(), categories);
    Ok(on_simplex(total, &parts, &point, tolerance)?.to_dtype(value.dtype())?)
}

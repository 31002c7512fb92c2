//! The log-density of Dirichlet distributions in its saddle-point form: exact at any concentrations.

use super::density::{coordinate, on_simplex};
use super::wide;
use crate::error::Result;
use crate::kernels::pointwise::{Formula, Real, formula};
use crate::kernels::special::saddle;
use candle_core::{D, DType, Tensor};

/// Whether formulas of f64 numbers may take the place of composed operations.
pub(super) fn serve(tensors: &[&Tensor]) -> bool {
    let native = |t: &&Tensor| t.device().is_cpu() && t.dtype() == DType::F64;
    tensors.iter().all(native) && !crate::kernels::second_derivatives()
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
    const NAME: &'static str = "dirichlet-log-prob-part";

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
    const NAME: &'static str = "dirichlet-log-prob-total";

    #[inline(always)]
    fn at<R: Real>(self, [n]: [R; 1]) -> R {
        let (value, slope) = self.of(n.value());
        n.map(value, slope)
    }
}

/// In double precision, without terms of the size of the concentrations.
pub(super) fn log_prob(concentration: &Tensor, value: &Tensor, log: bool) -> Result<Tensor> {
    let a = wide(concentration)?;
    let n = a.sum_keepdim(D::Minus1)?;
    let parts = formula(Part { log }, [value, &a, &n])?;
    let categories = a.dim(D::Minus1)? as f64;
    let total = formula(Total { categories }, [&n.squeeze(D::Minus1)?])?;
    let point = match log {
        true => value.detach().exp()?,
        false => value.detach(),
    };
    on_simplex(parts.sum(D::Minus1)?.broadcast_add(&total)?, &parts, &point)
}

/// From this sum of concentrations on the terms of a row are so large that their difference loses digits of f32: such
/// rows, which are few, are computed one by one.
pub(super) const HUGE: f64 = 1e6;

pub(super) fn is_huge(a: &[f32]) -> bool {
    a.iter().fold(0., |sum, a| sum + f64::from(*a)) > HUGE
}

/// The log-density of one row in its saddle-point form, at a point on the simplex where it is finite.
pub(super) fn row(a: &[f32], x: &[f32], log: bool) -> f64 {
    let a = a.iter().map(|a| f64::from(*a));
    let n = a.clone().fold(0., |sum, a| sum + a);
    let categories = a.len() as f64;
    let parts = a
        .zip(x)
        .map(|(a, x)| Part { log }.of(f64::from(*x), a, n).0);
    Total { categories }.of(n).0 + parts.sum::<f64>()
}

/// The slopes of one row to its concentrations, as [`row`]; others than such rows keep theirs.
pub(super) fn row_slopes(a: &[f32], x: &[f32], log: bool, weight: f64, out: &mut [f32]) {
    if !is_huge(a) {
        return;
    }
    let n = a.iter().fold(0., |sum, a| sum + f64::from(*a));
    let total = Total { categories: 0. }.of(n).1;
    for ((out, a), x) in out.iter_mut().zip(a).zip(x) {
        let (_, [_, slope]) = Part { log }.of(f64::from(*x), f64::from(*a), n);
        *out = if weight == 0. {
            0.
        } else {
            (weight * (slope + total)) as f32
        };
    }
}

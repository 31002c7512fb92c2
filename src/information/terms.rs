//! The terms that entropies and informations are sums of. A cell without mass has none, nor has it a gradient: `p ln p` goes
//! to 0 with p, and so does what a softmax makes of its slope.

use crate::error::Result;
use crate::kernels::elementwise::{Formula, LogMass, named, named_sum};
use crate::kernels::number::Real;
use crate::kernels::reduce;
use candle_core::Tensor;

/// `-p ln p`.
#[derive(Clone, Copy)]
struct Surprise;

impl Formula<1> for Surprise {
    #[inline(always)]
    fn at<R: Real>(self, [p]: [R; 1]) -> R {
        if p.value() == 0. {
            return R::constant(0.);
        }
        // Not by the slope 1 / p of the logarithm, which overflows where p is subnormal.
        let (x, log) = (p.value(), p.value().ln());
        R::chain([p], -x * log, [-log - 1.])
    }
}

/// `p ln(whole / p)`, of a part of a whole.
#[derive(Clone, Copy)]
struct Uncertainty;

impl Formula<2> for Uncertainty {
    #[inline(always)]
    fn at<R: Real>(self, [p, whole]: [R; 2]) -> R {
        if p.value() == 0. {
            return R::constant(0.);
        }
        let (x, y) = (p.value(), whole.value());
        let log = y.log_over(x);
        R::chain([p, whole], x * log, [log - 1., x / y])
    }
}

/// `p ln(p / q) - p + q`, not negative: what adds up to a divergence where p and q add up to the same.
#[derive(Clone, Copy)]
struct Divergence;

impl Formula<2> for Divergence {
    #[inline(always)]
    fn at<R: Real>(self, [p, q]: [R; 2]) -> R {
        if p.value() == 0. {
            return q;
        }
        // A product of marginals that underflows, with a mass that is as small.
        if q.value() == 0. {
            return R::constant(0.);
        }
        p.deviance(q)
    }
}

/// `-p log_q`.
#[derive(Clone, Copy)]
struct Cost;

impl Formula<2> for Cost {
    #[inline(always)]
    fn at<R: Real>(self, [p, log_q]: [R; 2]) -> R {
        if p.value() == 0. {
            return R::constant(0.);
        }
        -(p * log_q)
    }
}

fn sum(terms: &Tensor) -> Result<Tensor> {
    reduce::sum(&terms.flatten_all()?)
}

/// `-sum p ln p`.
pub(super) fn entropy(op: &'static str, p: &Tensor) -> Result<Tensor> {
    sum(&named(op, Surprise, [p])?)
}

/// `-sum p ln(p / whole)`, of parts of wholes that broadcast.
pub(super) fn uncertainty(op: &'static str, p: &Tensor, whole: &Tensor) -> Result<Tensor> {
    sum(&named(op, Uncertainty, [p, whole])?)
}

/// `sum p ln(p / q)`, of masses p and q with equal sums.
pub(super) fn divergence(op: &'static str, p: &Tensor, q: &Tensor) -> Result<Tensor> {
    sum(&named(op, Divergence, [p, q])?)
}

/// [`entropy`] of each row.
pub(super) fn entropies(op: &'static str, p: &Tensor) -> Result<Tensor> {
    named_sum(op, Surprise, [p])
}

/// [`divergence`] of each row.
pub(super) fn divergences(op: &'static str, p: &Tensor, q: &Tensor) -> Result<Tensor> {
    named_sum(op, Divergence, [p, q])
}

/// `-sum p ln q`, from ln q, which may be -inf where p is 0.
pub(super) fn cross_entropy(op: &'static str, p: &Tensor, log_q: &Tensor) -> Result<Tensor> {
    sum(&named(op, Cost, [p, log_q])?)
}

/// ln p; -inf, and no slope, at 0.
pub(super) fn log(op: &'static str, p: &Tensor) -> Result<Tensor> {
    named(op, LogMass, [p])
}

/// `p / whole`, and 0 where there is nothing of the whole.
pub(super) fn share(p: &Tensor, whole: &Tensor) -> Result<Tensor> {
    let nothing = whole.detach().eq(0.)?.to_dtype(whole.dtype())?;
    Ok(p.broadcast_div(&(whole + nothing)?)?)
}

//! `KL(p || q) = -H(p) - E_p[ln q]` from moments: the expectation of q's log-density takes the mean, the variance and logarithmic
//! means of p. Infinite where q does not cover the support of p.

use super::facts::{LINE, POSITIVE, UNIT};
use super::*;
use crate::distribution::continuous_bernoulli as bernoulli;
use crate::kernels::number::HALF_LN_TAU;

/// A family on the right.
pub(super) trait Right<const M: usize>: Scalar<M> {
    /// The ends of the support.
    fn support<R: Real>(parameters: [R; M]) -> (f64, f64);

    /// `E_p[ln q]`.
    fn mean_log_density<R: Real>(parameters: [R; M], p: Facts<R>) -> R;
}

/// By the left family's facts.
#[derive(Clone, Copy)]
pub(super) struct Moments;

impl<P: Left<N>, Q: Right<M>, const N: usize, const M: usize> Way<P, Q, N, M> for Moments {
    #[inline(always)]
    fn kl<R: Real>(self, p: [R; N], q: [R; M]) -> R {
        if any_nan(p, q) {
            return R::constant(f64::NAN);
        }
        let (p, covered) = (P::facts(p), Q::support(q));
        if p.support.0 < covered.0 || p.support.1 > covered.1 {
            return R::constant(f64::INFINITY);
        }
        let negative_entropy = p.negative_entropy;
        let expected = Q::mean_log_density(q, p);
        if expected.value() == f64::NEG_INFINITY {
            return R::constant(f64::INFINITY);
        }
        negative_entropy - expected
    }
}

impl Right<2> for Beta {
    fn support<R: Real>(_: [R; 2]) -> (f64, f64) {
        UNIT
    }

    fn mean_log_density<R: Real>([a, b]: [R; 2], p: Facts<R>) -> R {
        let n = a + b;
        let rests = a.stirling_rest() + b.stirling_rest() - n.stirling_rest();
        let logs = p.log + p.log_rest - a.ln() - b.ln() + n.ln();
        let means = a.deviance(n * p.mean) + b.deviance(n * p.rest);
        -means - a * p.log_below - b * p.log_rest_below - logs - rests
    }
}

impl Right<1> for ContinuousBernoulli {
    fn support<R: Real>(_: [R; 1]) -> (f64, f64) {
        UNIT
    }

    fn mean_log_density<R: Real>([logit]: [R; 1], p: Facts<R>) -> R {
        logit * p.mean - bernoulli::log_norm(logit)
    }
}

impl Right<1> for Exponential {
    fn support<R: Real>(_: [R; 1]) -> (f64, f64) {
        POSITIVE
    }

    fn mean_log_density<R: Real>([rate]: [R; 1], p: Facts<R>) -> R {
        rate.ln() - rate * p.mean
    }
}

impl Right<2> for Gamma {
    fn support<R: Real>(_: [R; 2]) -> (f64, f64) {
        POSITIVE
    }

    fn mean_log_density<R: Real>([a, rate]: [R; 2], p: Facts<R>) -> R {
        if p.mean.value() == f64::INFINITY {
            return R::constant(f64::NEG_INFINITY);
        }
        let far = a.deviance(rate * p.mean) + a * p.log_below;
        a.ln() - a.stirling_rest() - far - p.log
    }
}

impl Right<2> for Normal {
    fn support<R: Real>(_: [R; 2]) -> (f64, f64) {
        LINE
    }

    fn mean_log_density<R: Real>([loc, scale]: [R; 2], p: Facts<R>) -> R {
        if p.variance.value() == f64::INFINITY {
            return R::constant(f64::NEG_INFINITY);
        }
        let squares = p.variance + (p.mean - loc).square();
        -(squares / scale.square() * 0.5) - scale.ln() - HALF_LN_TAU
    }
}

impl Right<2> for Pareto {
    fn support<R: Real>([scale, _]: [R; 2]) -> (f64, f64) {
        (scale.value(), f64::INFINITY)
    }

    fn mean_log_density<R: Real>([scale, alpha]: [R; 2], p: Facts<R>) -> R {
        alpha.ln() + alpha * scale.ln() - (alpha + 1.) * p.log
    }
}

impl Right<2> for Uniform {
    fn support<R: Real>([low, high]: [R; 2]) -> (f64, f64) {
        (low.value(), high.value())
    }

    fn mean_log_density<R: Real>([low, high]: [R; 2], _: Facts<R>) -> R {
        -(high - low).ln()
    }
}

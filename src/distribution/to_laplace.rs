//! KL divergences to a Laplace distribution: `-H(p) + ln(2 scale) + E|x - loc| / scale`, with `E|x - loc| = E[x] - loc + 2 E[(loc
//! - x)+]`, whose last part is a partial expectation.

use super::cross::Left;
use super::*;
use crate::kernels::elementwise::{Formula, formula};
use crate::kernels::number::Real;
use std::f64::consts::LN_2;
use std::marker::PhantomData;

/// A family whose mean distance below a point has a closed form.
trait Shortfall: Left {
    /// `E[max(at - x, 0)]`, for an `at` above the lower end of the support.
    fn shortfall<R: Real>(parameters: [R; 2], mean: R, at: R) -> R;
}

impl Shortfall for Beta {
    fn shortfall<R: Real>([a, b]: [R; 2], mean: R, at: R) -> R {
        at * a.beta_tail(b, at, false) - mean * (a + 1.).beta_tail(b, at, false)
    }
}

impl Shortfall for ContinuousBernoulli {
    fn shortfall<R: Real>([logit, _]: [R; 2], _: R, at: R) -> R {
        if logit.value() > 30. {
            // Multiplied by e^-logit, so that nothing overflows.
            let none = (-logit).exp();
            let grown = ((logit * (at - 1.)).exp() - none) / logit;
            return (grown - at * none) / (-none + 1.);
        }
        at.square() * curvature(logit * at) / bernoulli_slope(logit)
    }
}

/// `(e^u - 1 - u) / u^2`.
fn curvature<R: Real>(u: R) -> R {
    if u.value().abs() > 0.5 {
        return (u.exp_m1() - u) / u.square();
    }
    // 1/2! + u/3! + .. + u^13/15!, by Horner's scheme with common factors.
    let mut sum = R::constant(1.);
    for k in (3..=15).rev() {
        sum = sum * u / f64::from(k) + 1.;
    }
    sum * 0.5
}

/// `(e^u - 1) / u`.
fn bernoulli_slope<R: Real>(u: R) -> R {
    u * curvature(u) + 1.
}

impl Shortfall for Gamma {
    fn shortfall<R: Real>([a, rate]: [R; 2], mean: R, at: R) -> R {
        let scaled = rate * at;
        at * a.gamma_tail(scaled, false) - mean * (a + 1.).gamma_tail(scaled, false)
    }
}

impl Shortfall for Pareto {
    fn shortfall<R: Real>([scale, alpha]: [R; 2], mean: R, at: R) -> R {
        let above = alpha - 1.;
        at - mean + scale * ((scale / at).ln() * above).exp() / above
    }
}

struct Divergence<P>(PhantomData<fn(P)>);

impl<P> Clone for Divergence<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Divergence<P> {}

impl<P: Shortfall + 'static> Formula<4> for Divergence<P> {
    const NAME: &'static str = "kl-to-laplace";

    #[inline(always)]
    fn at<R: Real>(self, [a, b, loc, scale]: [R; 4]) -> R {
        let facts = P::facts([a, b]);
        let (low, high) = facts.support;
        if facts.mean.value() == f64::INFINITY {
            return R::constant(f64::INFINITY);
        }
        let distance = if loc.value() <= low {
            facts.mean - loc
        } else if loc.value() >= high {
            loc - facts.mean
        } else {
            facts.mean - loc + P::shortfall([a, b], facts.mean, loc) * 2.
        };
        facts.information + scale.ln() + distance / scale + LN_2
    }
}

fn divergence<P: Shortfall + 'static>(op: &'static str, p: &P, q: &Laplace) -> Result<Tensor> {
    let pair = p.pair()?;
    pair.check_other(op, &q.parameters)?;
    let ([a, b], [loc, scale]) = (pair.given(), q.parameters.given());
    formula(Divergence::<P>(PhantomData), [a, b, loc, scale])
}

impl Kl<Laplace> for Beta {
    fn kl(&self, other: &Laplace) -> Result<Tensor> {
        divergence("Beta::kl", self, other)
    }
}

impl Kl<Laplace> for ContinuousBernoulli {
    fn kl(&self, other: &Laplace) -> Result<Tensor> {
        divergence("ContinuousBernoulli::kl", self, other)
    }
}

impl Kl<Laplace> for Gamma {
    fn kl(&self, other: &Laplace) -> Result<Tensor> {
        divergence("Gamma::kl", self, other)
    }
}

impl Kl<Laplace> for Pareto {
    /// Infinite for alpha up to 1: the mean is.
    fn kl(&self, other: &Laplace) -> Result<Tensor> {
        divergence("Pareto::kl", self, other)
    }
}

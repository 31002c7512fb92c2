//! KL divergences to a Laplace distribution: `-H(p) + ln(2 scale) + E|x - loc| / scale`, with `E|x - loc| = E[x] - loc + 2 E[(loc
//! - x)+]`, whose last part is a partial expectation.

use super::*;
use std::f64::consts::LN_2;

/// A family whose mean distance below a point has a closed form.
trait Shortfall<const N: usize>: Left<N> {
    /// `E[max(at - x, 0)]`, for an `at` above the lower end of the support.
    fn shortfall<R: Real>(parameters: [R; N], mean: R, at: R) -> R;
}

impl Shortfall<2> for Beta {
    fn shortfall<R: Real>([a, b]: [R; 2], mean: R, at: R) -> R {
        at * a.beta_tail(b, at, false) - mean * (a + 1.).beta_tail(b, at, false)
    }
}

impl Shortfall<1> for ContinuousBernoulli {
    fn shortfall<R: Real>([logit]: [R; 1], _: R, at: R) -> R {
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

impl Shortfall<2> for Gamma {
    fn shortfall<R: Real>([a, rate]: [R; 2], mean: R, at: R) -> R {
        let scaled = rate * at;
        at * a.gamma_tail(scaled, false) - mean * (a + 1.).gamma_tail(scaled, false)
    }
}

impl Shortfall<2> for Pareto {
    fn shortfall<R: Real>([scale, alpha]: [R; 2], mean: R, at: R) -> R {
        let above = alpha - 1.;
        at - mean + scale * ((scale / at).ln() * above).exp() / above
    }
}

/// By the expected distance from the location.
#[derive(Clone, Copy)]
pub(super) struct Distance;

impl<P: Shortfall<N>, const N: usize> Way<P, Laplace, N, 2> for Distance {
    #[inline(always)]
    fn kl<R: Real>(self, p: [R; N], [loc, scale]: [R; 2]) -> R {
        let facts = P::facts(p);
        let (low, high) = facts.support;
        if facts.mean.value() == f64::INFINITY {
            return R::constant(f64::INFINITY);
        }
        let distance = if loc.value() <= low {
            facts.mean - loc
        } else if loc.value() >= high {
            loc - facts.mean
        } else {
            facts.mean - loc + P::shortfall(p, facts.mean, loc) * 2.
        };
        facts.negative_entropy + scale.ln() + distance / scale + LN_2
    }
}

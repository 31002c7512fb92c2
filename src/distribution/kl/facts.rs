//! What is known of the families on the left: entropies and means.

use super::*;
use crate::distribution::family::{EntropyFormula, MomentFormulas};
use crate::distribution::{beta, continuous_bernoulli as bernoulli, gamma};

/// What `E_p[ln q]` is made of. Entries that no pair asks for are NaN.
pub(super) struct Facts<R> {
    /// `E[ln p(x)]`.
    pub(super) negative_entropy: R,
    pub(super) mean: R,
    pub(super) variance: R,
    /// `E[ln x]`, for supports of positive numbers, and how far it is below the logarithm of the mean: of the latter large
    /// multiples are taken.
    pub(super) log: R,
    pub(super) log_below: R,
    /// The mean of 1 - x and the same of its logarithm, for supports in the unit interval.
    pub(super) rest: R,
    pub(super) log_rest: R,
    pub(super) log_rest_below: R,
    /// The ends of the support.
    pub(super) support: (f64, f64),
}

impl<R: Real> Facts<R> {
    fn on(support: (f64, f64)) -> Self {
        let unknown = R::constant(f64::NAN);
        Facts {
            negative_entropy: unknown,
            mean: unknown,
            variance: unknown,
            log: unknown,
            log_below: unknown,
            rest: unknown,
            log_rest: unknown,
            log_rest_below: unknown,
            support,
        }
    }
}

/// A family on the left.
pub(super) trait Left<const N: usize>: Scalar<N> {
    fn facts<R: Real>(parameters: [R; N]) -> Facts<R>;
}

impl Left<2> for Beta {
    fn facts<R: Real>([a, b]: [R; 2]) -> Facts<R> {
        let (total, mean, rest) = (a + b, a / (a + b), b / (a + b));
        let gap = total.log_gap();
        Facts {
            negative_entropy: -beta::Law.entropy([a, b]),
            mean,
            variance: mean * rest / (total + 1.),
            log: -a.digamma_gap(b),
            log_below: a.log_gap() - gap,
            rest,
            log_rest: -b.digamma_gap(a),
            log_rest_below: b.log_gap() - gap,
            support: UNIT,
        }
    }
}

impl Left<1> for ContinuousBernoulli {
    fn facts<R: Real>([logit]: [R; 1]) -> Facts<R> {
        let mean = bernoulli::Law.mean([logit]);
        Facts {
            negative_entropy: logit * mean - bernoulli::log_norm(logit),
            mean,
            variance: bernoulli::Law.variance([logit]),
            ..Facts::on(UNIT)
        }
    }
}

impl Left<2> for Gamma {
    fn facts<R: Real>([a, rate]: [R; 2]) -> Facts<R> {
        Facts {
            negative_entropy: -gamma::Law.entropy([a, rate]),
            mean: a / rate,
            variance: a / rate / rate,
            log: a.digamma() - rate.ln(),
            log_below: a.log_gap(),
            ..Facts::on(POSITIVE)
        }
    }
}

impl Left<2> for Pareto {
    /// The mean is infinite for alpha up to 1, the variance up to 2.
    fn facts<R: Real>([scale, alpha]: [R; 2]) -> Facts<R> {
        let infinite = R::constant(f64::INFINITY);
        let above = alpha - 1.;
        let mean = if above.value() > 0. {
            scale * alpha / above
        } else {
            infinite
        };
        let variance = if alpha.value() > 2. {
            scale.square() * alpha / (above.square() * (alpha - 2.))
        } else {
            infinite
        };
        Facts {
            negative_entropy: alpha.ln() - scale.ln() - 1. - alpha.recip(),
            mean,
            variance,
            log: scale.ln() + alpha.recip(),
            log_below: -(-alpha.recip()).log_minus_line(),
            ..Facts::on((scale.value(), f64::INFINITY))
        }
    }
}

impl Left<2> for Uniform {
    fn facts<R: Real>([low, high]: [R; 2]) -> Facts<R> {
        let width = high - low;
        // 1 - high and 1 - low
        let (left, rest) = (-high + 1., -low + 1.);
        let (mean, middle) = ((low + high) * 0.5, (left + rest) * 0.5);
        Facts {
            negative_entropy: -width.ln(),
            mean,
            log_below: log_below(width / mean * 0.5),
            rest: middle,
            log_rest_below: log_below(width / middle * 0.5),
            variance: width.square() / 12.,
            log: (x_ln_x(high) - x_ln_x(low)) / width - 1.,
            log_rest: (x_ln_x(rest) - x_ln_x(left)) / width - 1.,
            support: (low.value(), high.value()),
        }
    }
}

/// The mean of `-ln(1 + u t)` for t uniform from -1 to 1.
fn log_below<R: Real>(u: R) -> R {
    if u.value() > 0.5 {
        let sides = x_ln_x(u + 1.) - x_ln_x(-u + 1.);
        return -(sides / u * 0.5) + 1.;
    }
    // The sum of u^2k / (2 k (2 k + 1)).
    let square = u.square();
    let sum = (1..28).rev().fold(R::constant(0.), |sum, k| {
        let k = f64::from(2 * k);
        sum * square + 1. / (k * (k + 1.))
    });
    sum * square
}

/// `x ln x`, 0 at 0.
fn x_ln_x<R: Real>(x: R) -> R {
    let at = x.value();
    x.map(if at == 0. { 0. } else { at * at.ln() }, at.ln() + 1.)
}

pub(super) const LINE: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);
pub(super) const POSITIVE: (f64, f64) = (0., f64::INFINITY);
pub(super) const UNIT: (f64, f64) = (0., 1.);

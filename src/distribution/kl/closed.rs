//! Divergences with a formula of the pair's own.

use super::*;
use crate::distribution::counts::{self, Odds, deviance};
use crate::distribution::family::{EntropyFormula, KlFormula, MomentFormulas};
use crate::distribution::{gamma, weibull};
use crate::kernels::number::{EULER, HALF_LN_TAU};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI, LN_2, PI};

/// The pair's own formula.
#[derive(Clone, Copy)]
pub(super) struct Closed;

impl Way<Bernoulli, Poisson, 1, 1> for Closed {
    #[inline(always)]
    fn kl<R: Real>(self, [logit]: [R; 1], [rate]: [R; 1]) -> R {
        let [p, q] = Odds::Logits.probs(logit);
        let events = match p.value() == 0. {
            true => rate,
            false => deviance(p, rate.value(), rate.ln()),
        };
        events + deviance(q, 1., R::constant(0.))
    }
}

/// To Bernoulli or binomial trials, infinite but for a rate of 0.
#[derive(Clone, Copy)]
pub(super) struct Trials(pub(super) Odds);

impl Way<Poisson, Bernoulli, 1, 1> for Trials {
    #[inline(always)]
    fn kl<R: Real>(self, rate: [R; 1], [odds]: [R; 1]) -> R {
        self.kl(rate, [R::constant(1.), odds])
    }
}

impl Way<Poisson, Binomial, 1, 2> for Trials {
    #[inline(always)]
    fn kl<R: Real>(self, [rate]: [R; 1], [count, odds]: [R; 2]) -> R {
        let [_, q] = self.0.logs(odds);
        if rate.value() > 0. {
            return R::constant(f64::INFINITY);
        }
        -counts::times(count, q) + rate
    }
}

impl Way<Exponential, Gamma, 1, 2> for Closed {
    #[inline(always)]
    fn kl<R: Real>(self, [rate]: [R; 1], [a, to]: [R; 2]) -> R {
        gamma::Law.kl([R::constant(1.), rate, a, to])
    }
}

impl Way<Exponential, Gumbel, 1, 2> for Closed {
    #[inline(always)]
    fn kl<R: Real>(self, [rate]: [R; 1], [loc, scale]: [R; 2]) -> R {
        // E[e^(-(x - loc) / scale)] = e^(loc / scale) rate / (rate + 1 / scale)
        let shift = loc / scale;
        let tilt = shift.exp() / ((rate * scale).recip() + 1.);
        (scale * rate).ln() + (rate * scale).recip() - shift + tilt - 1.
    }
}

impl Way<Exponential, Laplace, 1, 2> for Closed {
    #[inline(always)]
    fn kl<R: Real>(self, [rate]: [R; 1], [loc, scale]: [R; 2]) -> R {
        // E|x - loc|: for a positive loc with the mirrored part below it.
        let gap = rate.recip() - loc;
        let distance = if loc.value() <= 0. {
            gap
        } else {
            gap + (loc + (-(rate * loc)).exp_m1() / rate) * 2.
        };
        distance / scale + (scale * rate).ln() + (LN_2 - 1.)
    }
}

impl Way<Exponential, Normal, 1, 2> for Closed {
    #[inline(always)]
    fn kl<R: Real>(self, [rate]: [R; 1], [loc, scale]: [R; 2]) -> R {
        let (mean, variance) = (rate.recip(), rate.square().recip());
        let squares = variance + (mean - loc).square();
        squares / scale.square() * 0.5 + (scale * rate).ln() + (HALF_LN_TAU - 1.)
    }
}

impl Way<Gamma, Exponential, 2, 1> for Closed {
    #[inline(always)]
    fn kl<R: Real>(self, [a, rate]: [R; 2], [to]: [R; 1]) -> R {
        gamma::Law.kl([a, rate, R::constant(1.), to])
    }
}

impl Way<Gamma, Gumbel, 2, 2> for Closed {
    #[inline(always)]
    fn kl<R: Real>(self, [a, rate]: [R; 2], [loc, scale]: [R; 2]) -> R {
        let p = Gamma::facts([a, rate]);
        // E[e^(-(x - loc) / scale)]
        let tilt = (loc / scale - a * (rate * scale).recip().ln_1p()).exp();
        p.negative_entropy + scale.ln() + (p.mean - loc) / scale + tilt
    }
}

impl Way<Gumbel, Laplace, 2, 2> for Closed {
    #[inline(always)]
    fn kl<R: Real>(self, [loc, scale]: [R; 2], [other, to]: [R; 2]) -> R {
        // E|t - a| of a standard Gumbel variable is gamma - a plus twice the integral of its cdf up to a.
        let a = (other - loc) / scale;
        let distance = -a + EULER + (-a).exp().exponential_integral() * 2.;
        distance * scale / to - (scale / to).ln() + (LN_2 - 1. - EULER)
    }
}

impl Way<Gumbel, Normal, 2, 2> for Closed {
    #[inline(always)]
    fn kl<R: Real>(self, [loc, scale]: [R; 2], [other, to]: [R; 2]) -> R {
        let gap = loc - other + scale * EULER;
        let squares = scale.square() * (PI * PI / 6.) + gap.square();
        squares / to.square() * 0.5 - (scale / to).ln() + (HALF_LN_TAU - 1. - EULER)
    }
}

impl Way<Laplace, Normal, 2, 2> for Closed {
    #[inline(always)]
    fn kl<R: Real>(self, [loc, scale]: [R; 2], [other, to]: [R; 2]) -> R {
        let squares = scale.square() * 2. + (loc - other).square();
        squares / to.square() * 0.5 - (scale / to).ln() + (HALF_LN_TAU - 1. - LN_2)
    }
}

impl Way<Normal, Gumbel, 2, 2> for Closed {
    #[inline(always)]
    fn kl<R: Real>(self, [loc, scale]: [R; 2], [other, to]: [R; 2]) -> R {
        // E[e^(-(x - loc_q) / scale_q)] = e^(-gap + ratio^2 / 2)
        let (gap, ratio) = ((loc - other) / to, scale / to);
        let tilt = (ratio.square() * 0.5 - gap).exp();
        gap + tilt - ratio.ln() - (HALF_LN_TAU + 0.5)
    }
}

impl Way<Normal, Laplace, 2, 2> for Closed {
    #[inline(always)]
    fn kl<R: Real>(self, [loc, scale]: [R; 2], [other, to]: [R; 2]) -> R {
        // E|x - loc_q|, in units of the normal's scale.
        let gap = (loc - other) / scale;
        let near = (gap.square() * -0.5).exp() * FRAC_2_PI.sqrt();
        let distance = near + gap * (gap * FRAC_1_SQRT_2).erf();
        distance * scale / to - (scale / to).ln() + (LN_2 - HALF_LN_TAU - 0.5)
    }
}

impl Way<Uniform, Exponential, 2, 1> for Closed {
    #[inline(always)]
    fn kl<R: Real>(self, [low, high]: [R; 2], [rate]: [R; 1]) -> R {
        if low.value() < 0. {
            return R::constant(f64::INFINITY);
        }
        rate * (low + high) * 0.5 - (rate * (high - low)).ln()
    }
}

impl Way<Uniform, Gumbel, 2, 2> for Closed {
    #[inline(always)]
    fn kl<R: Real>(self, [low, high]: [R; 2], [loc, scale]: [R; 2]) -> R {
        // E[e^(-(x - loc) / scale)] = e^(-(low - loc) / scale) (1 - e^-w) / w, w the width in units of the scale.
        let width = (high - low) / scale;
        let tilt = (-(low - loc) / scale).exp() * -(-width).exp_m1() / width;
        ((low + high) * 0.5 - loc) / scale + tilt - width.ln()
    }
}

impl Way<Uniform, Laplace, 2, 2> for Closed {
    #[inline(always)]
    fn kl<R: Real>(self, [low, high]: [R; 2], [loc, scale]: [R; 2]) -> R {
        let (below, above) = ((loc - low) / scale, (high - loc) / scale);
        let width = (high - low) / scale;
        let distance = if below.value() <= 0. || above.value() <= 0. {
            ((above - below) * 0.5).abs()
        } else {
            (below.square() + above.square()) / width * 0.5
        };
        distance - width.ln() + LN_2
    }
}

impl Way<Uniform, Normal, 2, 2> for Closed {
    #[inline(always)]
    fn kl<R: Real>(self, [low, high]: [R; 2], [loc, scale]: [R; 2]) -> R {
        let width = (high - low) / scale;
        let gap = ((low + high) * 0.5 - loc) / scale;
        (width.square() / 12. + gap.square()) * 0.5 - width.ln() + HALF_LN_TAU
    }
}

impl Way<Weibull, Gamma, 2, 2> for Closed {
    #[inline(always)]
    fn kl<R: Real>(self, [s, k]: [R; 2], [a, b]: [R; 2]) -> R {
        let mean_log = s.ln() - k.recip() * EULER;
        let mean = weibull::Law.mean([s, k]);
        let cross = a * b.ln() - a.lgamma() + (a - 1.) * mean_log - b * mean;
        -weibull::Law.entropy([s, k]) - cross
    }
}

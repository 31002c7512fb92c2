//! The pairs of scalar families that have a divergence, by the family on the left.

use super::*;
use crate::distribution::counts::Odds;

impl Kl<Poisson> for Bernoulli {
    /// `p ln(p / rate) + rate - p` and `(1 - p) ln(1 - p) + p`: neither is negative.
    fn kl(&self, other: &Poisson) -> Result<Tensor> {
        kl(Closed, self, other)
    }
}

impl Kl<ContinuousBernoulli> for Beta {
    /// `-H(p) - l m + ln C(l)` with the mean m, the other's logit l and its norm C.
    fn kl(&self, other: &ContinuousBernoulli) -> Result<Tensor> {
        kl(Moments, self, other)
    }
}

impl Kl<Exponential> for Beta {
    /// `-H(p) - ln rate + rate m` with the mean m.
    fn kl(&self, other: &Exponential) -> Result<Tensor> {
        kl(Moments, self, other)
    }
}

impl Kl<Gamma> for Beta {
    /// `-H(p) - a ln b + ln Gamma(a) - (a - 1) E ln x + b E x`, the other's concentration a and rate b.
    fn kl(&self, other: &Gamma) -> Result<Tensor> {
        kl(Moments, self, other)
    }
}

impl Kl<Laplace> for Beta {
    /// `-H(p) + ln(2 scale) + E|x - loc| / scale`, by incomplete beta functions.
    fn kl(&self, other: &Laplace) -> Result<Tensor> {
        kl(Distance, self, other)
    }
}

impl Kl<Normal> for Beta {
    /// `-H(p) + ln(2 pi s^2) / 2 + (Var x + (E x - loc)^2) / (2 s^2)` with the other's scale s.
    fn kl(&self, other: &Normal) -> Result<Tensor> {
        kl(Moments, self, other)
    }
}

impl Kl<Pareto> for Beta {
    /// Infinite: the support is not covered.
    fn kl(&self, other: &Pareto) -> Result<Tensor> {
        kl(Infinite, self, other)
    }
}

impl Kl<Uniform> for Beta {
    /// `-H(p) + ln(high - low)`; infinite where the interval does not contain that from 0 to 1.
    fn kl(&self, other: &Uniform) -> Result<Tensor> {
        kl(Moments, self, other)
    }
}

impl Kl<Exponential> for ContinuousBernoulli {
    /// `-H(p) - ln rate + rate m` with the mean m.
    fn kl(&self, other: &Exponential) -> Result<Tensor> {
        kl(Moments, self, other)
    }
}

impl Kl<Laplace> for ContinuousBernoulli {
    /// `-H(p) + ln(2 scale) + E|x - loc| / scale`.
    fn kl(&self, other: &Laplace) -> Result<Tensor> {
        kl(Distance, self, other)
    }
}

impl Kl<Normal> for ContinuousBernoulli {
    /// `-H(p) + ln(2 pi s^2) / 2 + (Var x + (E x - loc)^2) / (2 s^2)` with the other's scale s.
    fn kl(&self, other: &Normal) -> Result<Tensor> {
        kl(Moments, self, other)
    }
}

impl Kl<Pareto> for ContinuousBernoulli {
    /// Infinite: the support is not covered.
    fn kl(&self, other: &Pareto) -> Result<Tensor> {
        kl(Infinite, self, other)
    }
}

impl Kl<Uniform> for ContinuousBernoulli {
    /// `-H(p) + ln(high - low)`; infinite where the interval does not contain that from 0 to 1.
    fn kl(&self, other: &Uniform) -> Result<Tensor> {
        kl(Moments, self, other)
    }
}

impl Kl<Beta> for Exponential {
    /// Infinite: the support is not covered.
    fn kl(&self, other: &Beta) -> Result<Tensor> {
        kl(Infinite, self, other)
    }
}

impl Kl<ContinuousBernoulli> for Exponential {
    /// Infinite: the support is not covered.
    fn kl(&self, other: &ContinuousBernoulli) -> Result<Tensor> {
        kl(Infinite, self, other)
    }
}

impl Kl<Gamma> for Exponential {
    /// That of gamma distributions, this one's of concentration 1.
    fn kl(&self, other: &Gamma) -> Result<Tensor> {
        kl(Closed, self, other)
    }
}

impl Kl<Gumbel> for Exponential {
    /// With the other's scale s, `r = rate s` and `c = loc / s`: `ln r + 1 / r - c + e^c / (1 + 1 / r) - 1`.
    fn kl(&self, other: &Gumbel) -> Result<Tensor> {
        kl(Closed, self, other)
    }
}

impl Kl<Laplace> for Exponential {
    /// `ln(2 scale rate) - 1 + E|x - loc| / scale`, where `E|x - loc| = 1 / rate - loc`, for a positive loc plus
    /// `2 (loc + (e^(-rate loc) - 1) / rate)`.
    fn kl(&self, other: &Laplace) -> Result<Tensor> {
        kl(Closed, self, other)
    }
}

impl Kl<Normal> for Exponential {
    /// With the other's scale s: `ln(s rate) + ln(2 pi) / 2 - 1 + (1 / rate^2 + (1 / rate - loc)^2) / (2 s^2)`.
    fn kl(&self, other: &Normal) -> Result<Tensor> {
        kl(Closed, self, other)
    }
}

impl Kl<Pareto> for Exponential {
    /// Infinite: the support is not covered.
    fn kl(&self, other: &Pareto) -> Result<Tensor> {
        kl(Infinite, self, other)
    }
}

impl Kl<Uniform> for Exponential {
    /// Infinite: the support is not covered.
    fn kl(&self, other: &Uniform) -> Result<Tensor> {
        kl(Infinite, self, other)
    }
}

impl Kl<Beta> for Gamma {
    /// Infinite: the support is not covered.
    fn kl(&self, other: &Beta) -> Result<Tensor> {
        kl(Infinite, self, other)
    }
}

impl Kl<ContinuousBernoulli> for Gamma {
    /// Infinite: the support is not covered.
    fn kl(&self, other: &ContinuousBernoulli) -> Result<Tensor> {
        kl(Infinite, self, other)
    }
}

impl Kl<Exponential> for Gamma {
    /// That of gamma distributions, the other's of concentration 1.
    fn kl(&self, other: &Exponential) -> Result<Tensor> {
        kl(Closed, self, other)
    }
}

impl Kl<Gumbel> for Gamma {
    /// `-H(p) + ln s + (a / b - loc) / s + e^(loc / s) (1 + 1 / (b s))^-a`, with concentration a, rate b and the other's scale
    /// s.
    fn kl(&self, other: &Gumbel) -> Result<Tensor> {
        kl(Closed, self, other)
    }
}

impl Kl<Laplace> for Gamma {
    /// `-H(p) + ln(2 scale) + E|x - loc| / scale`, by incomplete gamma functions.
    fn kl(&self, other: &Laplace) -> Result<Tensor> {
        kl(Distance, self, other)
    }
}

impl Kl<Normal> for Gamma {
    /// `-H(p) + ln(2 pi s^2) / 2 + (Var x + (E x - loc)^2) / (2 s^2)` with the other's scale s.
    fn kl(&self, other: &Normal) -> Result<Tensor> {
        kl(Moments, self, other)
    }
}

impl Kl<Pareto> for Gamma {
    /// Infinite: the support is not covered.
    fn kl(&self, other: &Pareto) -> Result<Tensor> {
        kl(Infinite, self, other)
    }
}

impl Kl<Uniform> for Gamma {
    /// Infinite: the support is not covered.
    fn kl(&self, other: &Uniform) -> Result<Tensor> {
        kl(Infinite, self, other)
    }
}

impl Kl<Beta> for Gumbel {
    /// Infinite: the support is not covered.
    fn kl(&self, other: &Beta) -> Result<Tensor> {
        kl(Infinite, self, other)
    }
}

impl Kl<ContinuousBernoulli> for Gumbel {
    /// Infinite: the support is not covered.
    fn kl(&self, other: &ContinuousBernoulli) -> Result<Tensor> {
        kl(Infinite, self, other)
    }
}

impl Kl<Exponential> for Gumbel {
    /// Infinite: the support is not covered.
    fn kl(&self, other: &Exponential) -> Result<Tensor> {
        kl(Infinite, self, other)
    }
}

impl Kl<Gamma> for Gumbel {
    /// Infinite: the support is not covered.
    fn kl(&self, other: &Gamma) -> Result<Tensor> {
        kl(Infinite, self, other)
    }
}

impl Kl<Laplace> for Gumbel {
    /// With the exponential integral E1, Euler's constant c, `r = scale_p / scale_q` and `t = (loc_q - loc_p) / scale_p`:
    /// `r (c - t + 2 E1(e^-t)) - ln r + ln 2 - 1 - c`.
    fn kl(&self, other: &Laplace) -> Result<Tensor> {
        kl(Closed, self, other)
    }
}

impl Kl<Normal> for Gumbel {
    /// With Euler's constant c, `r = scale_p / scale_q` and the distance d of the means in units of scale_q:
    /// `(pi^2 r^2 / 6 + d^2) / 2 - ln r + ln(2 pi) / 2 - 1 - c`.
    fn kl(&self, other: &Normal) -> Result<Tensor> {
        kl(Closed, self, other)
    }
}

impl Kl<Pareto> for Gumbel {
    /// Infinite: the support is not covered.
    fn kl(&self, other: &Pareto) -> Result<Tensor> {
        kl(Infinite, self, other)
    }
}

impl Kl<Uniform> for Gumbel {
    /// Infinite: the support is not covered.
    fn kl(&self, other: &Uniform) -> Result<Tensor> {
        kl(Infinite, self, other)
    }
}

impl Kl<Beta> for Laplace {
    /// Infinite: the support is not covered.
    fn kl(&self, other: &Beta) -> Result<Tensor> {
        kl(Infinite, self, other)
    }
}

impl Kl<ContinuousBernoulli> for Laplace {
    /// Infinite: the support is not covered.
    fn kl(&self, other: &ContinuousBernoulli) -> Result<Tensor> {
        kl(Infinite, self, other)
    }
}

impl Kl<Exponential> for Laplace {
    /// Infinite: the support is not covered.
    fn kl(&self, other: &Exponential) -> Result<Tensor> {
        kl(Infinite, self, other)
    }
}

impl Kl<Gamma> for Laplace {
    /// Infinite: the support is not covered.
    fn kl(&self, other: &Gamma) -> Result<Tensor> {
        kl(Infinite, self, other)
    }
}

impl Kl<Normal> for Laplace {
    /// `(2 scale_p^2 + (loc_p - loc_q)^2) / (2 scale_q^2) - ln(scale_p / scale_q) + ln(2 pi) / 2 - 1 - ln 2`.
    fn kl(&self, other: &Normal) -> Result<Tensor> {
        kl(Closed, self, other)
    }
}

impl Kl<Pareto> for Laplace {
    /// Infinite: the support is not covered.
    fn kl(&self, other: &Pareto) -> Result<Tensor> {
        kl(Infinite, self, other)
    }
}

impl Kl<Uniform> for Laplace {
    /// Infinite: the support is not covered.
    fn kl(&self, other: &Uniform) -> Result<Tensor> {
        kl(Infinite, self, other)
    }
}

impl Kl<Beta> for Normal {
    /// Infinite: the support is not covered.
    fn kl(&self, other: &Beta) -> Result<Tensor> {
        kl(Infinite, self, other)
    }
}

impl Kl<ContinuousBernoulli> for Normal {
    /// Infinite: the support is not covered.
    fn kl(&self, other: &ContinuousBernoulli) -> Result<Tensor> {
        kl(Infinite, self, other)
    }
}

impl Kl<Exponential> for Normal {
    /// Infinite: the support is not covered.
    fn kl(&self, other: &Exponential) -> Result<Tensor> {
        kl(Infinite, self, other)
    }
}

impl Kl<Gamma> for Normal {
    /// Infinite: the support is not covered.
    fn kl(&self, other: &Gamma) -> Result<Tensor> {
        kl(Infinite, self, other)
    }
}

impl Kl<Gumbel> for Normal {
    /// With `g = (loc_p - loc_q) / scale_q` and `r = scale_p / scale_q`: `g + e^(r^2 / 2 - g) - ln r - (1 + ln(2 pi)) / 2`.
    fn kl(&self, other: &Gumbel) -> Result<Tensor> {
        kl(Closed, self, other)
    }
}

impl Kl<Laplace> for Normal {
    /// With `t = (loc_p - loc_q) / scale_p` and `r = scale_p / scale_q`:
    /// `r (sqrt(2 / pi) e^(-t^2 / 2) + t erf(t / sqrt(2))) - ln r + ln 2 - (1 + ln(2 pi)) / 2`.
    fn kl(&self, other: &Laplace) -> Result<Tensor> {
        kl(Closed, self, other)
    }
}

impl Kl<Pareto> for Normal {
    /// Infinite: the support is not covered.
    fn kl(&self, other: &Pareto) -> Result<Tensor> {
        kl(Infinite, self, other)
    }
}

impl Kl<Uniform> for Normal {
    /// Infinite: the support is not covered.
    fn kl(&self, other: &Uniform) -> Result<Tensor> {
        kl(Infinite, self, other)
    }
}

impl Kl<Beta> for Pareto {
    /// Infinite: the support is not covered.
    fn kl(&self, other: &Beta) -> Result<Tensor> {
        kl(Infinite, self, other)
    }
}

impl Kl<ContinuousBernoulli> for Pareto {
    /// Infinite: the support is not covered.
    fn kl(&self, other: &ContinuousBernoulli) -> Result<Tensor> {
        kl(Infinite, self, other)
    }
}

impl Kl<Exponential> for Pareto {
    /// `-H(p) - ln rate + rate m` with the mean m, infinite for alpha up to 1.
    fn kl(&self, other: &Exponential) -> Result<Tensor> {
        kl(Moments, self, other)
    }
}

impl Kl<Gamma> for Pareto {
    /// `-H(p) - a ln b + ln Gamma(a) - (a - 1) E ln x + b E x`, the other's concentration a and rate b; infinite for alpha up
    /// to 1.
    fn kl(&self, other: &Gamma) -> Result<Tensor> {
        kl(Moments, self, other)
    }
}

impl Kl<Laplace> for Pareto {
    /// `-H(p) + ln(2 scale) + E|x - loc| / scale`; infinite for alpha up to 1.
    fn kl(&self, other: &Laplace) -> Result<Tensor> {
        kl(Distance, self, other)
    }
}

impl Kl<Normal> for Pareto {
    /// `-H(p) + ln(2 pi s^2) / 2 + (Var x + (E x - loc)^2) / (2 s^2)` with the other's scale s; infinite for alpha up to 2.
    fn kl(&self, other: &Normal) -> Result<Tensor> {
        kl(Moments, self, other)
    }
}

impl Kl<Uniform> for Pareto {
    /// Infinite: the support is not covered.
    fn kl(&self, other: &Uniform) -> Result<Tensor> {
        kl(Infinite, self, other)
    }
}

impl Kl<Bernoulli> for Poisson {
    /// Infinite, but where the rate is 0: there it is minus the log-mass of 0.
    fn kl(&self, other: &Bernoulli) -> Result<Tensor> {
        kl(Trials(Odds::Logits), self, other)
    }
}

impl Kl<Binomial> for Poisson {
    /// Infinite, but where the rate is 0: there it is minus the log-mass of 0.
    fn kl(&self, other: &Binomial) -> Result<Tensor> {
        kl(Trials(other.1.0), self, other)
    }
}

impl Kl<Beta> for Uniform {
    /// `-ln(high - low) + ln B(a, b) - (a - 1) E ln x - (b - 1) E ln(1 - x)`; infinite for an interval beyond 0 or 1.
    fn kl(&self, other: &Beta) -> Result<Tensor> {
        kl(Moments, self, other)
    }
}

impl Kl<ContinuousBernoulli> for Uniform {
    /// `-ln(high - low) - l m + ln C(l)` with the mean m, the other's logit l and its norm C; infinite for an interval beyond 0
    /// or 1.
    fn kl(&self, other: &ContinuousBernoulli) -> Result<Tensor> {
        kl(Moments, self, other)
    }
}

impl Kl<Exponential> for Uniform {
    /// `rate (low + high) / 2 - ln(rate (high - low))`; infinite where `low` is negative.
    fn kl(&self, other: &Exponential) -> Result<Tensor> {
        kl(Closed, self, other)
    }
}

impl Kl<Gamma> for Uniform {
    /// `-ln(high - low) - a ln b + ln Gamma(a) - (a - 1) E ln x + b E x`, the other's concentration a and rate b; infinite where
    /// `low` is negative.
    fn kl(&self, other: &Gamma) -> Result<Tensor> {
        kl(Moments, self, other)
    }
}

impl Kl<Gumbel> for Uniform {
    /// With the width w, the mean m and the lower end l, less the other's loc and in units of its scale:
    /// `m + e^-l (1 - e^-w) / w - ln w`.
    fn kl(&self, other: &Gumbel) -> Result<Tensor> {
        kl(Closed, self, other)
    }
}

impl Kl<Laplace> for Uniform {
    /// With the width w in units of the other's scale: `ln(2 / w) + E|x - loc| / scale`.
    fn kl(&self, other: &Laplace) -> Result<Tensor> {
        kl(Closed, self, other)
    }
}

impl Kl<Normal> for Uniform {
    /// With the width w and the distance d of the means in units of the other's scale:
    /// `(w^2 / 12 + d^2) / 2 - ln w + ln(2 pi) / 2`.
    fn kl(&self, other: &Normal) -> Result<Tensor> {
        kl(Closed, self, other)
    }
}

impl Kl<Pareto> for Uniform {
    /// `-ln(high - low) - ln alpha - alpha ln scale + (alpha + 1) E ln x`; infinite where `low` is below the scale.
    fn kl(&self, other: &Pareto) -> Result<Tensor> {
        kl(Moments, self, other)
    }
}

impl Kl<Gamma> for Weibull {
    /// With `m = E ln x = ln s - c / k` and Euler's constant c: `-H(p) - a ln b + ln Gamma(a) - (a - 1) m + b E x`.
    fn kl(&self, other: &Gamma) -> Result<Tensor> {
        kl(Closed, self, other)
    }
}

impl Kl<Gamma> for Chi2 {
    /// That of gamma distributions.
    fn kl(&self, other: &Gamma) -> Result<Tensor> {
        self.as_gamma().kl(other).map_err(|e| e.of("Chi2::kl"))
    }
}

impl Kl<Chi2> for Gamma {
    /// That of gamma distributions.
    fn kl(&self, other: &Chi2) -> Result<Tensor> {
        Kl::<Gamma>::kl(self, other.as_gamma())
    }
}

impl Kl<Categorical> for OneHotCategorical {
    /// Between the distributions of the class.
    fn kl(&self, other: &Categorical) -> Result<Tensor> {
        self.classes.kl(other)
    }
}

impl Kl<OneHotCategorical> for Categorical {
    /// Between the distributions of the class.
    fn kl(&self, other: &OneHotCategorical) -> Result<Tensor> {
        self.kl(&other.classes)
    }
}

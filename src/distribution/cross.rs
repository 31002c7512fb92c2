//! KL divergences across families, from moments: `KL(p || q) = -H(p) - E_p[ln q]`, and the expectation of q's log-density
//! takes the mean, the variance and logarithmic means of p. Infinite where q does not cover the support of p.

use super::continuous_bernoulli as bernoulli;
use super::parameters::Parameters;
use super::*;
use crate::kernels::pointwise::{Formula, Real, formula};
use crate::kernels::special::{EULER, HALF_LN_TAU};

/// What `E_p[ln q]` is made of. Entries that no pair asks for are NaN.
pub(super) struct Facts<R> {
    /// `E[ln p(x)]`.
    pub(super) information: R,
    pub(super) mean: R,
    variance: R,
    /// `E[ln x]`, for supports of positive numbers.
    log: R,
    /// `E[ln(1 - x)]`, for supports in the unit interval.
    log_rest: R,
    /// The ends of the support.
    pub(super) support: (f64, f64),
}

impl<R: Real> Facts<R> {
    fn on(support: (f64, f64)) -> Self {
        let unknown = R::constant(f64::NAN);
        Facts {
            information: unknown,
            mean: unknown,
            variance: unknown,
            log: unknown,
            log_rest: unknown,
            support,
        }
    }
}

/// A family on the left, of two parameters; one of a single parameter has it twice.
pub(super) trait Left: Distribution {
    fn pair(&self) -> Result<Parameters<2>>;

    fn facts<R: Real>(parameters: [R; 2]) -> Facts<R>;
}

/// A family on the right.
trait Right: Distribution {
    fn pair(&self) -> Result<Parameters<2>>;

    /// The ends of the support.
    fn support<R: Real>(parameters: [R; 2]) -> (f64, f64);

    /// `E_p[ln q]`.
    fn mean_log_density<R: Real>(parameters: [R; 2], p: Facts<R>) -> R;
}

struct Divergence<P, Q>(std::marker::PhantomData<fn(P, Q)>);

impl<P, Q> Clone for Divergence<P, Q> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P, Q> Copy for Divergence<P, Q> {}

impl<P: Left + 'static, Q: Right + 'static> Formula<4> for Divergence<P, Q> {
    const NAME: &'static str = "kl-by-moments";

    #[inline(always)]
    fn at<R: Real>(self, [a, b, c, d]: [R; 4]) -> R {
        let sum = a.value() + b.value() + c.value() + d.value();
        if sum.is_nan() {
            return R::constant(f64::NAN);
        }
        let (p, q) = (P::facts([a, b]), Q::support([c, d]));
        if p.support.0 < q.0 || p.support.1 > q.1 {
            return R::constant(f64::INFINITY);
        }
        let information = p.information;
        let expected = Q::mean_log_density([c, d], p);
        if expected.value() == f64::NEG_INFINITY {
            return R::constant(f64::INFINITY);
        }
        information - expected
    }
}

fn divergence<P: Left + 'static, Q: Right + 'static>(
    op: &'static str,
    p: &P,
    q: &Q,
) -> Result<Tensor> {
    let (p, q) = (p.pair()?, q.pair()?);
    p.check_other(op, &q)?;
    let ([a, b], [c, d]) = (p.given(), q.given());
    formula(Divergence::<P, Q>(std::marker::PhantomData), [a, b, c, d])
}

/// A single parameter, twice.
fn twice(parameters: &Parameters<1>) -> Result<Parameters<2>> {
    let [only] = parameters.given();
    Parameters::unchecked("kl", [("first", only), ("second", only)])
}

/// `x ln x`, 0 at 0.
fn x_ln_x<R: Real>(x: R) -> R {
    let at = x.value();
    x.map(if at == 0. { 0. } else { at * at.ln() }, at.ln() + 1.)
}

const LINE: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);
const POSITIVE: (f64, f64) = (0., f64::INFINITY);
const UNIT: (f64, f64) = (0., 1.);

impl Left for Beta {
    fn pair(&self) -> Result<Parameters<2>> {
        Ok(self.parameters.clone())
    }

    fn facts<R: Real>([a, b]: [R; 2]) -> Facts<R> {
        let (total, mean) = (a + b, a / (a + b));
        let (log, log_rest) = (a.digamma() - total.digamma(), b.digamma() - total.digamma());
        Facts {
            information: (a - 1.) * log + (b - 1.) * log_rest - a.lbeta(b),
            mean,
            variance: mean * (b / total) / (total + 1.),
            log,
            log_rest,
            support: UNIT,
        }
    }
}

impl Left for ContinuousBernoulli {
    fn pair(&self) -> Result<Parameters<2>> {
        twice(&self.parameters)
    }

    fn facts<R: Real>([logit, _]: [R; 2]) -> Facts<R> {
        let mean = bernoulli::mean(logit);
        Facts {
            information: logit * mean - bernoulli::log_norm(logit),
            mean,
            variance: bernoulli::variance(logit),
            ..Facts::on(UNIT)
        }
    }
}

impl Left for Exponential {
    fn pair(&self) -> Result<Parameters<2>> {
        twice(&self.parameters)
    }

    fn facts<R: Real>([rate, _]: [R; 2]) -> Facts<R> {
        Facts {
            information: rate.ln() - 1.,
            mean: rate.recip(),
            variance: rate.square().recip(),
            log: -rate.ln() - EULER,
            ..Facts::on(POSITIVE)
        }
    }
}

impl Left for Gamma {
    fn pair(&self) -> Result<Parameters<2>> {
        Ok(self.parameters.clone())
    }

    fn facts<R: Real>([a, rate]: [R; 2]) -> Facts<R> {
        let log = a.digamma() - rate.ln();
        Facts {
            information: a * rate.ln() - a.lgamma() + (a - 1.) * log - a,
            mean: a / rate,
            variance: a / rate / rate,
            log,
            ..Facts::on(POSITIVE)
        }
    }
}

impl Left for Gumbel {
    fn pair(&self) -> Result<Parameters<2>> {
        Ok(self.parameters.clone())
    }

    fn facts<R: Real>(_: [R; 2]) -> Facts<R> {
        Facts::on(LINE)
    }
}

impl Left for Laplace {
    fn pair(&self) -> Result<Parameters<2>> {
        Ok(self.parameters.clone())
    }

    fn facts<R: Real>(_: [R; 2]) -> Facts<R> {
        Facts::on(LINE)
    }
}

impl Left for Normal {
    fn pair(&self) -> Result<Parameters<2>> {
        self.parameters()
    }

    fn facts<R: Real>(_: [R; 2]) -> Facts<R> {
        Facts::on(LINE)
    }
}

impl Left for Pareto {
    fn pair(&self) -> Result<Parameters<2>> {
        Ok(self.parameters.clone())
    }

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
            information: alpha.ln() - scale.ln() - 1. - alpha.recip(),
            mean,
            variance,
            log: scale.ln() + alpha.recip(),
            ..Facts::on((scale.value(), f64::INFINITY))
        }
    }
}

impl Left for Uniform {
    fn pair(&self) -> Result<Parameters<2>> {
        Ok(self.parameters.clone())
    }

    fn facts<R: Real>([low, high]: [R; 2]) -> Facts<R> {
        let width = high - low;
        // 1 - high and 1 - low
        let (left, rest) = (-high + 1., -low + 1.);
        Facts {
            information: -width.ln(),
            mean: (low + high) * 0.5,
            variance: width.square() / 12.,
            log: (x_ln_x(high) - x_ln_x(low)) / width - 1.,
            log_rest: (x_ln_x(rest) - x_ln_x(left)) / width - 1.,
            support: (low.value(), high.value()),
        }
    }
}

impl Right for Beta {
    fn pair(&self) -> Result<Parameters<2>> {
        Ok(self.parameters.clone())
    }

    fn support<R: Real>(_: [R; 2]) -> (f64, f64) {
        UNIT
    }

    fn mean_log_density<R: Real>([a, b]: [R; 2], p: Facts<R>) -> R {
        (a - 1.) * p.log + (b - 1.) * p.log_rest - a.lbeta(b)
    }
}

impl Right for ContinuousBernoulli {
    fn pair(&self) -> Result<Parameters<2>> {
        twice(&self.parameters)
    }

    fn support<R: Real>(_: [R; 2]) -> (f64, f64) {
        UNIT
    }

    fn mean_log_density<R: Real>([logit, _]: [R; 2], p: Facts<R>) -> R {
        logit * p.mean - bernoulli::log_norm(logit)
    }
}

impl Right for Exponential {
    fn pair(&self) -> Result<Parameters<2>> {
        twice(&self.parameters)
    }

    fn support<R: Real>(_: [R; 2]) -> (f64, f64) {
        POSITIVE
    }

    fn mean_log_density<R: Real>([rate, _]: [R; 2], p: Facts<R>) -> R {
        rate.ln() - rate * p.mean
    }
}

impl Right for Gamma {
    fn pair(&self) -> Result<Parameters<2>> {
        Ok(self.parameters.clone())
    }

    fn support<R: Real>(_: [R; 2]) -> (f64, f64) {
        POSITIVE
    }

    fn mean_log_density<R: Real>([a, rate]: [R; 2], p: Facts<R>) -> R {
        a * rate.ln() - a.lgamma() + (a - 1.) * p.log - rate * p.mean
    }
}

impl Right for Normal {
    fn pair(&self) -> Result<Parameters<2>> {
        self.parameters()
    }

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

impl Right for Pareto {
    fn pair(&self) -> Result<Parameters<2>> {
        Ok(self.parameters.clone())
    }

    fn support<R: Real>([scale, _]: [R; 2]) -> (f64, f64) {
        (scale.value(), f64::INFINITY)
    }

    fn mean_log_density<R: Real>([scale, alpha]: [R; 2], p: Facts<R>) -> R {
        alpha.ln() + alpha * scale.ln() - (alpha + 1.) * p.log
    }
}

impl Right for Uniform {
    fn pair(&self) -> Result<Parameters<2>> {
        Ok(self.parameters.clone())
    }

    fn support<R: Real>([low, high]: [R; 2]) -> (f64, f64) {
        (low.value(), high.value())
    }

    fn mean_log_density<R: Real>([low, high]: [R; 2], _: Facts<R>) -> R {
        -(high - low).ln()
    }
}

#[derive(Clone, Copy)]
struct GammaToGumbel;

impl Formula<4> for GammaToGumbel {
    const NAME: &'static str = "gamma-gumbel-kl";

    #[inline(always)]
    fn at<R: Real>(self, [a, rate, loc, scale]: [R; 4]) -> R {
        let p = Gamma::facts([a, rate]);
        // E[e^(-(x - loc) / scale)]
        let tilt = (loc / scale - a * (rate * scale).recip().ln_1p()).exp();
        p.information + scale.ln() + (p.mean - loc) / scale + tilt
    }
}

impl Kl<Gumbel> for Gamma {
    fn kl(&self, other: &Gumbel) -> Result<Tensor> {
        let (p, q) = (&self.parameters, &other.parameters);
        p.check_other("Gamma::kl", q)?;
        let ([a, rate], [loc, scale]) = (p.given(), q.given());
        formula(GammaToGumbel, [a, rate, loc, scale])
    }
}

impl Kl<ContinuousBernoulli> for Beta {
    fn kl(&self, other: &ContinuousBernoulli) -> Result<Tensor> {
        divergence("Beta::kl", self, other)
    }
}

impl Kl<Exponential> for Beta {
    fn kl(&self, other: &Exponential) -> Result<Tensor> {
        divergence("Beta::kl", self, other)
    }
}

impl Kl<Gamma> for Beta {
    fn kl(&self, other: &Gamma) -> Result<Tensor> {
        divergence("Beta::kl", self, other)
    }
}

impl Kl<Normal> for Beta {
    fn kl(&self, other: &Normal) -> Result<Tensor> {
        divergence("Beta::kl", self, other)
    }
}

impl Kl<Pareto> for Beta {
    fn kl(&self, other: &Pareto) -> Result<Tensor> {
        divergence("Beta::kl", self, other)
    }
}

impl Kl<Uniform> for Beta {
    fn kl(&self, other: &Uniform) -> Result<Tensor> {
        divergence("Beta::kl", self, other)
    }
}

impl Kl<Exponential> for ContinuousBernoulli {
    fn kl(&self, other: &Exponential) -> Result<Tensor> {
        divergence("ContinuousBernoulli::kl", self, other)
    }
}

impl Kl<Normal> for ContinuousBernoulli {
    fn kl(&self, other: &Normal) -> Result<Tensor> {
        divergence("ContinuousBernoulli::kl", self, other)
    }
}

impl Kl<Pareto> for ContinuousBernoulli {
    fn kl(&self, other: &Pareto) -> Result<Tensor> {
        divergence("ContinuousBernoulli::kl", self, other)
    }
}

impl Kl<Uniform> for ContinuousBernoulli {
    fn kl(&self, other: &Uniform) -> Result<Tensor> {
        divergence("ContinuousBernoulli::kl", self, other)
    }
}

impl Kl<Beta> for Exponential {
    fn kl(&self, other: &Beta) -> Result<Tensor> {
        divergence("Exponential::kl", self, other)
    }
}

impl Kl<ContinuousBernoulli> for Exponential {
    fn kl(&self, other: &ContinuousBernoulli) -> Result<Tensor> {
        divergence("Exponential::kl", self, other)
    }
}

impl Kl<Gamma> for Exponential {
    fn kl(&self, other: &Gamma) -> Result<Tensor> {
        divergence("Exponential::kl", self, other)
    }
}

impl Kl<Pareto> for Exponential {
    fn kl(&self, other: &Pareto) -> Result<Tensor> {
        divergence("Exponential::kl", self, other)
    }
}

impl Kl<Beta> for Gamma {
    fn kl(&self, other: &Beta) -> Result<Tensor> {
        divergence("Gamma::kl", self, other)
    }
}

impl Kl<ContinuousBernoulli> for Gamma {
    fn kl(&self, other: &ContinuousBernoulli) -> Result<Tensor> {
        divergence("Gamma::kl", self, other)
    }
}

impl Kl<Exponential> for Gamma {
    fn kl(&self, other: &Exponential) -> Result<Tensor> {
        divergence("Gamma::kl", self, other)
    }
}

impl Kl<Normal> for Gamma {
    fn kl(&self, other: &Normal) -> Result<Tensor> {
        divergence("Gamma::kl", self, other)
    }
}

impl Kl<Pareto> for Gamma {
    fn kl(&self, other: &Pareto) -> Result<Tensor> {
        divergence("Gamma::kl", self, other)
    }
}

impl Kl<Uniform> for Gamma {
    fn kl(&self, other: &Uniform) -> Result<Tensor> {
        divergence("Gamma::kl", self, other)
    }
}

impl Kl<Beta> for Gumbel {
    fn kl(&self, other: &Beta) -> Result<Tensor> {
        divergence("Gumbel::kl", self, other)
    }
}

impl Kl<ContinuousBernoulli> for Gumbel {
    fn kl(&self, other: &ContinuousBernoulli) -> Result<Tensor> {
        divergence("Gumbel::kl", self, other)
    }
}

impl Kl<Gamma> for Gumbel {
    fn kl(&self, other: &Gamma) -> Result<Tensor> {
        divergence("Gumbel::kl", self, other)
    }
}

impl Kl<Pareto> for Gumbel {
    fn kl(&self, other: &Pareto) -> Result<Tensor> {
        divergence("Gumbel::kl", self, other)
    }
}

impl Kl<Beta> for Laplace {
    fn kl(&self, other: &Beta) -> Result<Tensor> {
        divergence("Laplace::kl", self, other)
    }
}

impl Kl<ContinuousBernoulli> for Laplace {
    fn kl(&self, other: &ContinuousBernoulli) -> Result<Tensor> {
        divergence("Laplace::kl", self, other)
    }
}

impl Kl<Gamma> for Laplace {
    fn kl(&self, other: &Gamma) -> Result<Tensor> {
        divergence("Laplace::kl", self, other)
    }
}

impl Kl<Pareto> for Laplace {
    fn kl(&self, other: &Pareto) -> Result<Tensor> {
        divergence("Laplace::kl", self, other)
    }
}

impl Kl<Beta> for Normal {
    fn kl(&self, other: &Beta) -> Result<Tensor> {
        divergence("Normal::kl", self, other)
    }
}

impl Kl<ContinuousBernoulli> for Normal {
    fn kl(&self, other: &ContinuousBernoulli) -> Result<Tensor> {
        divergence("Normal::kl", self, other)
    }
}

impl Kl<Gamma> for Normal {
    fn kl(&self, other: &Gamma) -> Result<Tensor> {
        divergence("Normal::kl", self, other)
    }
}

impl Kl<Pareto> for Normal {
    fn kl(&self, other: &Pareto) -> Result<Tensor> {
        divergence("Normal::kl", self, other)
    }
}

impl Kl<Beta> for Pareto {
    fn kl(&self, other: &Beta) -> Result<Tensor> {
        divergence("Pareto::kl", self, other)
    }
}

impl Kl<ContinuousBernoulli> for Pareto {
    fn kl(&self, other: &ContinuousBernoulli) -> Result<Tensor> {
        divergence("Pareto::kl", self, other)
    }
}

impl Kl<Exponential> for Pareto {
    fn kl(&self, other: &Exponential) -> Result<Tensor> {
        divergence("Pareto::kl", self, other)
    }
}

impl Kl<Gamma> for Pareto {
    fn kl(&self, other: &Gamma) -> Result<Tensor> {
        divergence("Pareto::kl", self, other)
    }
}

impl Kl<Normal> for Pareto {
    fn kl(&self, other: &Normal) -> Result<Tensor> {
        divergence("Pareto::kl", self, other)
    }
}

impl Kl<Uniform> for Pareto {
    fn kl(&self, other: &Uniform) -> Result<Tensor> {
        divergence("Pareto::kl", self, other)
    }
}

impl Kl<Beta> for Uniform {
    fn kl(&self, other: &Beta) -> Result<Tensor> {
        divergence("Uniform::kl", self, other)
    }
}

impl Kl<ContinuousBernoulli> for Uniform {
    fn kl(&self, other: &ContinuousBernoulli) -> Result<Tensor> {
        divergence("Uniform::kl", self, other)
    }
}

impl Kl<Gamma> for Uniform {
    fn kl(&self, other: &Gamma) -> Result<Tensor> {
        divergence("Uniform::kl", self, other)
    }
}

impl Kl<Pareto> for Uniform {
    fn kl(&self, other: &Pareto) -> Result<Tensor> {
        divergence("Uniform::kl", self, other)
    }
}

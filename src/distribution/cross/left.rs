//! The families on the left: parameters, entropies and means.

use super::*;
use crate::distribution::continuous_bernoulli as bernoulli;
use crate::kernels::special::EULER;

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

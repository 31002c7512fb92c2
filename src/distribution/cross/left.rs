//! The families on the left: parameters, entropies and means.

use super::*;
use crate::distribution::beta::entropy;
use crate::distribution::{continuous_bernoulli as bernoulli, gamma};
use crate::kernels::number::EULER;

impl Left for Beta {
    fn pair(&self) -> Result<Parameters<2>> {
        Ok(self.parameters.clone())
    }

    fn facts<R: Real>([a, b]: [R; 2]) -> Facts<R> {
        let (total, mean, rest) = (a + b, a / (a + b), b / (a + b));
        let gap = total.log_gap();
        Facts {
            information: -entropy(a, b),
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
            log_below: R::constant(EULER),
            ..Facts::on(POSITIVE)
        }
    }
}

impl Left for Gamma {
    fn pair(&self) -> Result<Parameters<2>> {
        Ok(self.parameters.clone())
    }

    fn facts<R: Real>([a, rate]: [R; 2]) -> Facts<R> {
        Facts {
            information: -gamma::entropy(a, rate),
            mean: a / rate,
            variance: a / rate / rate,
            log: a.digamma() - rate.ln(),
            log_below: a.log_gap(),
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
            log_below: -(-alpha.recip()).log_minus_line(),
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
        let (mean, middle) = ((low + high) * 0.5, (left + rest) * 0.5);
        Facts {
            information: -width.ln(),
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

//! The families on the right: parameters, supports and expected log-densities.

use super::*;
use crate::distribution::continuous_bernoulli as bernoulli;
use crate::kernels::number::HALF_LN_TAU;

impl Right for Beta {
    fn pair(&self) -> Result<Parameters<2>> {
        Ok(self.parameters.clone())
    }

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
        if p.mean.value() == f64::INFINITY {
            return R::constant(f64::NEG_INFINITY);
        }
        let far = a.deviance(rate * p.mean) + a * p.log_below;
        a.ln() - a.stirling_rest() - far - p.log
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

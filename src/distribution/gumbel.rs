//! The Gumbel distribution.

use super::parameters::{Domain, Parameters};
use super::*;
use crate::kernels::elementwise::{Formula, formula};
use crate::kernels::number::EULER;
use crate::kernels::number::Real;
use crate::kernels::number::saddle;
use std::f64::consts::PI;

/// Gumbel distribution (of the largest of many) with mode `loc` and scale `scale`.
///
/// Formula: `log p(x) = -t - e^-t - ln scale` with `t = (x - loc) / scale`.
///
/// Shapes: `loc` and `scale` broadcast to the batch shape; the event is scalar. Units: nats.
///
/// Gradients: pathwise, `x = quantile(u)` for uniform u; first derivatives only.
///
/// Errors: parameters that are not floating point, of different dtype or device, do not broadcast, or are not
/// finite; a scale that is not positive.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::{Cdf, Distribution, Gumbel};
/// # fn main() -> candle_prob::Result<()> {
/// let (loc, scale) = (Tensor::new(1f64, &Device::Cpu)?, Tensor::new(2f64, &Device::Cpu)?);
/// let gumbel = Gumbel::new(&loc, &scale)?;
/// let x = Tensor::new(&[1f64, 4001.], &Device::Cpu)?;
/// assert_eq!(gumbel.log_prob(&x)?.to_vec1::<f64>()?, [-1. - 2f64.ln(), -2000. - 2f64.ln()]);
/// assert_eq!(gumbel.log_survival(&x)?.to_vec1::<f64>()?[1], -2000.);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: both tails of the cdf keep full relative precision as logarithms.
#[derive(Debug, Clone)]
pub struct Gumbel {
    pub(super) parameters: Parameters<2>,
}

impl Gumbel {
    /// From mode and scale.
    pub fn new(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        let parameters = [
            ("loc", loc, Domain::Real),
            ("scale", scale, Domain::Positive),
        ];
        Ok(Gumbel {
            parameters: Parameters::new("Gumbel::new", parameters)?,
        })
    }

    /// As [`new`](Gumbel::new), without looking at the parameters' values.
    pub fn new_unchecked(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        let parameters = [("loc", loc), ("scale", scale)];
        Ok(Gumbel {
            parameters: Parameters::unchecked("Gumbel::new_unchecked", parameters)?,
        })
    }

    /// The mode, shape `batch`.
    pub fn loc(&self) -> Result<Tensor> {
        self.parameters.full(0)
    }

    /// The scale, shape `batch`.
    pub fn scale(&self) -> Result<Tensor> {
        self.parameters.full(1)
    }

    /// A formula of value and parameters; `op` names the caller in errors.
    fn at<F: Formula<3>>(&self, op: &'static str, f: F, value: &Tensor) -> Result<Tensor> {
        self.parameters.check_value(op, value)?;
        let [loc, scale] = self.parameters.given();
        formula(f, [value, loc, scale])
    }
}

#[derive(Clone, Copy)]
struct LogProb;

impl Formula<3> for LogProb {
    const NAME: &'static str = "gumbel-log-prob";
    const QUICK: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [x, loc, scale]: [R; 3]) -> R {
        let t = x.standard(loc, scale);
        if t.value() == f64::NEG_INFINITY {
            return R::constant(f64::NEG_INFINITY);
        }
        -(t + (-t).exp()) - scale.ln()
    }
}

/// ln P(X <= x) or, for the upper tail, ln P(X > x).
#[derive(Clone, Copy)]
struct LogTail {
    upper: bool,
}

impl Formula<3> for LogTail {
    const NAME: &'static str = "gumbel-log-cdf";

    #[inline(always)]
    fn at<R: Real>(self, [x, loc, scale]: [R; 3]) -> R {
        if let Some(log) = at_infinity(x, self.upper) {
            return log;
        }
        let t = x.standard(loc, scale);
        let y = (-t).exp();
        if !self.upper {
            -y
        } else if t.value() > 40. {
            // ln(1 - e^-y) is ln y - y / 2 to the last bit, also where y underflows.
            -t - y * 0.5
        } else {
            y.log1mexp()
        }
    }
}

#[derive(Clone, Copy)]
struct Quantile;

impl Formula<3> for Quantile {
    const NAME: &'static str = "gumbel-quantile";
    const QUICK: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [p, loc, scale]: [R; 3]) -> R {
        loc - scale * (-p.ln()).ln()
    }
}

impl Distribution for Gumbel {
    fn batch_shape(&self) -> &[usize] {
        self.parameters.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let [loc, scale] = self.parameters.given();
        let u = self.parameters.uniforms(shape, rng)?;
        formula(Quantile, [&u, loc, scale])
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.at("Gumbel::log_prob", LogProb, value)
    }
}

impl Reparameterized for Gumbel {}

impl Moments for Gumbel {
    /// `loc + gamma scale` with Euler's constant gamma.
    fn mean(&self) -> Result<Tensor> {
        Ok((self.loc()? + (self.scale()? * EULER)?)?)
    }

    /// `(pi scale)^2 / 6`.
    fn variance(&self) -> Result<Tensor> {
        Ok((self.scale()?.sqr()? * (PI * PI / 6.))?)
    }
}

impl Mode for Gumbel {
    fn mode(&self) -> Result<Tensor> {
        self.loc()
    }
}

impl Entropy for Gumbel {
    /// `1 + gamma + ln scale` with Euler's constant gamma.
    fn entropy(&self) -> Result<Tensor> {
        Ok((self.scale()?.log()? + (1. + EULER))?)
    }
}

impl Cdf for Gumbel {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.at("Gumbel::log_cdf", LogTail { upper: false }, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.at("Gumbel::log_survival", LogTail { upper: true }, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.parameters
            .check_probability("Gumbel::quantile", probability)?;
        self.at("Gumbel::quantile", Quantile, probability)
    }
}

/// `ln Gamma(1 + x) + gamma x` with Euler's constant gamma: how far ln Gamma lies above its tangent at 1.
#[inline(always)]
pub(super) fn lgamma_above_tangent<R: Real>(x: R) -> R {
    let step = x.value();
    let r = 1. + step;
    let bend = saddle::deviance_by_gap(r, 1., step).unwrap_or_else(|| r * r.ln() - step)
        + saddle::divergence_rest(1., r, step);
    let slope = saddle::log_ratio(r, 1., step) + saddle::log_gap_less(1., r, step);
    x.map(bend, slope)
}

#[derive(Clone, Copy)]
struct Divergence;

impl Formula<4> for Divergence {
    const NAME: &'static str = "gumbel-kl";

    #[inline(always)]
    fn at<R: Real>(self, [loc, scale, other, to]: [R; 4]) -> R {
        let ratio = scale / to;
        // E[e^(-(x - loc_q) / scale_q)] = Gamma(1 + r) e^-d, as a distance from 1.
        let tilt = (ratio + 1.).lgamma() - (loc - other) / to;
        tilt.exp_minus_line() + lgamma_above_tangent((scale - to) / to)
    }
}

impl Kl for Gumbel {
    /// `e^g - 1 - g + ln Gamma(r) + gamma (r - 1)` with `r = scale_p / scale_q`,
    /// `g = ln Gamma(1 + r) - (loc_p - loc_q) / scale_q` and Euler's constant gamma.
    fn kl(&self, other: &Gumbel) -> Result<Tensor> {
        self.parameters
            .check_other("Gumbel::kl", &other.parameters)?;
        let ([loc, scale], [other, to]) = (self.parameters.given(), other.parameters.given());
        formula(Divergence, [loc, scale, other, to])
    }
}

impl MixtureComponent for Gumbel {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        let parameters = self.parameters.select(index, after)?;
        Ok(Gumbel { parameters })
    }
}

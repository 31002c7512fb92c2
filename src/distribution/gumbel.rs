//! The Gumbel distribution.

use super::family::*;
use super::*;
use crate::kernels::number::EULER;
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
pub struct Gumbel(pub(super) Parameters<2>);

impl Gumbel {
    /// From mode and scale.
    pub fn new(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        Parameters::new("Gumbel::new", LOCATION_SCALE, [loc, scale]).map(Gumbel)
    }

    /// As [`new`](Gumbel::new), without looking at the parameters' values.
    pub fn new_unchecked(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        Parameters::unchecked("Gumbel::new_unchecked", LOCATION_SCALE, [loc, scale]).map(Gumbel)
    }

    /// The mode, shape `batch`.
    pub fn loc(&self) -> &Tensor {
        self.0.full(0)
    }

    /// The scale, shape `batch`.
    pub fn scale(&self) -> &Tensor {
        self.0.full(1)
    }
}

#[derive(Clone, Copy)]
struct Law;

impl DensityFormula<3> for Law {
    const QUICK: bool = true;

    #[inline(always)]
    fn log_prob<R: Real>(self, [x, loc, scale]: [R; 3]) -> R {
        let t = x.standard(loc, scale);
        if t.value() == f64::NEG_INFINITY {
            return R::constant(f64::NEG_INFINITY);
        }
        -(t + (-t).exp()) - scale.ln()
    }
}

impl CdfFormulas<3> for Law {
    const QUICK_QUANTILE: bool = true;

    #[inline(always)]
    fn log_tail<R: Real>(self, [x, loc, scale]: [R; 3], upper: bool) -> R {
        if let Some(log) = at_infinity(x, upper) {
            return log;
        }
        let t = x.standard(loc, scale);
        let y = (-t).exp();
        if !upper {
            -y
        } else if t.value() > 40. {
            // ln(1 - e^-y) is ln y - y / 2 to the last bit, also where y underflows.
            -t - y * 0.5
        } else {
            y.log1mexp()
        }
    }

    #[inline(always)]
    fn quantile<R: Real>(self, [p, loc, scale]: [R; 3]) -> R {
        loc - scale * (-p.ln()).ln()
    }
}

impl KlFormula<4> for Law {
    #[inline(always)]
    fn kl<R: Real>(self, [loc, scale, other, to]: [R; 4]) -> R {
        let ratio = scale / to;
        // E[e^(-(x - loc_q) / scale_q)] = Gamma(1 + r) e^-d, as a distance from 1.
        let tilt = (ratio + 1.).lgamma() - (loc - other) / to;
        tilt.exp_minus_line() + lgamma_above_tangent((scale - to) / to)
    }
}

impl Distribution for Gumbel {
    fn batch_shape(&self) -> &[usize] {
        self.0.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        self.0.sample("Gumbel::sample", Law, shape, rng)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_prob("Gumbel::log_prob", Law, value)
    }
}

impl Detach for Gumbel {
    fn detach(&self) -> Self {
        Gumbel(self.0.detach())
    }
}

impl Reparameterized for Gumbel {}

impl Moments for Gumbel {
    /// `loc + gamma scale` with Euler's constant gamma.
    fn mean(&self) -> Result<Tensor> {
        Ok((self.loc() + (self.scale() * EULER)?)?)
    }

    /// `(pi scale)^2 / 6`.
    fn variance(&self) -> Result<Tensor> {
        Ok((self.scale().sqr()? * (PI * PI / 6.))?)
    }
}

impl Mode for Gumbel {
    fn mode(&self) -> Result<Tensor> {
        Ok(self.loc().clone())
    }
}

impl Entropy for Gumbel {
    /// `1 + gamma + ln scale` with Euler's constant gamma.
    fn entropy(&self) -> Result<Tensor> {
        Ok((self.scale().log()? + (1. + EULER))?)
    }
}

impl Cdf for Gumbel {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_cdf("Gumbel::log_cdf", Law, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_survival("Gumbel::log_survival", Law, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.0.quantile("Gumbel::quantile", Law, probability)
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

impl Kl for Gumbel {
    /// `e^g - 1 - g + ln Gamma(r) + gamma (r - 1)` with `r = scale_p / scale_q`,
    /// `g = ln Gamma(1 + r) - (loc_p - loc_q) / scale_q` and Euler's constant gamma.
    fn kl(&self, other: &Gumbel) -> Result<Tensor> {
        self.0.kl("Gumbel::kl", Law, &other.0)
    }
}

impl MixtureComponent for Gumbel {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        self.0.select(index, after).map(Gumbel)
    }
}

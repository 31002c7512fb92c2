//! The Cauchy distribution.

use super::family::*;
use super::*;
use std::f64::consts::{FRAC_1_PI, PI};

/// Cauchy distribution with median `loc` and half width at half maximum `scale`. It has no moments.
///
/// Formula: `log p(x) = -ln(1 + t^2) - ln(pi scale)` with `t = (x - loc) / scale`.
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
/// use candle_prob::distribution::{Cauchy, Cdf, Moments};
/// # fn main() -> candle_prob::Result<()> {
/// let (loc, scale) = (Tensor::new(1f64, &Device::Cpu)?, Tensor::new(2f64, &Device::Cpu)?);
/// let cauchy = Cauchy::new(&loc, &scale)?;
/// assert!((cauchy.quantile(&Tensor::new(0.75f64, &Device::Cpu)?)?.to_scalar::<f64>()? - 3.).abs() < 1e-15);
/// assert!(cauchy.mean()?.to_scalar::<f64>()?.is_nan());
/// # Ok(())
/// # }
/// ```
///
/// Numerics: the density and both tails of the cdf keep full relative precision as logarithms, also where `t^2` or t overflow.
///
/// Source: the divergence: F. Chyzak and F. Nielsen, "A closed-form formula for the Kullback-Leibler divergence between
/// Cauchy distributions" (2019).
#[derive(Debug, Clone)]
pub struct Cauchy(pub(super) Parameters<2>);

impl Cauchy {
    /// From median and half width at half maximum.
    pub fn new(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        Parameters::new("Cauchy::new", LOCATION_SCALE, [loc, scale]).map(Cauchy)
    }

    /// As [`new`](Cauchy::new), without looking at the parameters' values.
    pub fn new_unchecked(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        Parameters::unchecked("Cauchy::new_unchecked", LOCATION_SCALE, [loc, scale]).map(Cauchy)
    }

    /// The median, shape `batch`.
    pub fn loc(&self) -> &Tensor {
        self.0.full(0)
    }

    /// The half width at half maximum, shape `batch`.
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
        let rise = if R::Functions::EXACT && t.value().abs() > FAR {
            x.log_standard(loc, scale) * 2.
        } else {
            t.square().ln_1p()
        };
        -rise - scale.ln() - PI.ln()
    }
}

impl CdfFormulas<3> for Law {
    #[inline(always)]
    fn log_tail<R: Real>(self, [x, loc, scale]: [R; 3], upper: bool) -> R {
        if let Some(log) = at_infinity(x, upper) {
            return log;
        }
        let t = x.standard(loc, scale);
        let t = if upper { -t } else { t };
        if t.value() < -FAR {
            -x.log_standard(loc, scale) - PI.ln()
        } else if t.value() < -1. {
            ((-t).recip().atan() * FRAC_1_PI).ln()
        } else if t.value() <= 1. {
            (t.atan() * FRAC_1_PI + 0.5).ln()
        } else {
            (t.recip().atan() * -FRAC_1_PI).ln_1p()
        }
    }

    #[inline(always)]
    fn quantile<R: Real>(self, [p, loc, scale]: [R; 3]) -> R {
        let t = if p.value() < 0.25 {
            -(p * PI).tan().recip()
        } else if p.value() <= 0.75 {
            ((p - 0.5) * PI).tan()
        } else {
            ((-p + 1.) * PI).tan().recip()
        };
        loc + scale * t
    }
}

impl KlFormula<4> for Law {
    #[inline(always)]
    fn kl<R: Real>(self, [loc, scale, other, to]: [R; 4]) -> R {
        let distance = (scale - to).square() + (loc - other).square();
        (distance / (scale * to) * 0.25).ln_1p()
    }
}

/// From here on `1 + t^2` is `t^2`, and the inverse tangent of 1 / t is 1 / t.
pub(super) const FAR: f64 = 1e8;

impl Distribution for Cauchy {
    fn batch_shape(&self) -> &[usize] {
        self.0.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        self.0.sample("Cauchy::sample", Law, shape, rng)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_prob("Cauchy::log_prob", Law, value)
    }
}

impl Detach for Cauchy {
    fn detach(&self) -> Self {
        Cauchy(self.0.detach())
    }
}

impl Reparameterized for Cauchy {}

impl Moments for Cauchy {
    /// There is none: NaN.
    fn mean(&self) -> Result<Tensor> {
        Ok(self.loc().affine(0., f64::NAN)?)
    }

    /// Infinite, around whatever center.
    fn variance(&self) -> Result<Tensor> {
        Ok(self.loc().affine(0., f64::INFINITY)?)
    }
}

impl Mode for Cauchy {
    fn mode(&self) -> Result<Tensor> {
        Ok(self.loc().clone())
    }
}

impl Entropy for Cauchy {
    /// `ln(4 pi scale)`.
    fn entropy(&self) -> Result<Tensor> {
        Ok((self.scale().log()? + (4. * PI).ln())?)
    }
}

impl Cdf for Cauchy {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_cdf("Cauchy::log_cdf", Law, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_survival("Cauchy::log_survival", Law, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.0.quantile("Cauchy::quantile", Law, probability)
    }
}

impl Kl for Cauchy {
    /// `ln(((scale_p + scale_q)^2 + (loc_p - loc_q)^2) / (4 scale_p scale_q))`.
    fn kl(&self, other: &Cauchy) -> Result<Tensor> {
        self.0.kl("Cauchy::kl", Law, &other.0)
    }
}

impl MixtureComponent for Cauchy {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        self.0.select(index, after).map(Cauchy)
    }
}

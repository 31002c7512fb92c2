//! The Cauchy distribution.

use super::parameters::{Domain, Parameters};
use super::*;
use crate::kernels::elementwise::{Formula, formula};
use crate::kernels::number::{Elementary, Real};
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
pub struct Cauchy {
    parameters: Parameters<2>,
}

impl Cauchy {
    /// From median and half width at half maximum.
    pub fn new(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        let parameters = [
            ("loc", loc, Domain::Real),
            ("scale", scale, Domain::Positive),
        ];
        Ok(Cauchy {
            parameters: Parameters::new("Cauchy::new", parameters)?,
        })
    }

    /// As [`new`](Cauchy::new), without looking at the parameters' values.
    pub fn new_unchecked(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        let parameters = [("loc", loc), ("scale", scale)];
        Ok(Cauchy {
            parameters: Parameters::unchecked("Cauchy::new_unchecked", parameters)?,
        })
    }

    /// The median, shape `batch`.
    pub fn loc(&self) -> Result<Tensor> {
        self.parameters.full(0)
    }

    /// The half width at half maximum, shape `batch`.
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
    const NAME: &'static str = "cauchy-log-prob";
    const QUICK: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [x, loc, scale]: [R; 3]) -> R {
        let t = x.standard(loc, scale);
        let rise = if R::Functions::EXACT && t.value().abs() > FAR {
            x.log_standard(loc, scale) * 2.
        } else {
            t.square().ln_1p()
        };
        -rise - scale.ln() - PI.ln()
    }
}

/// From here on `1 + t^2` is `t^2`, and the inverse tangent of 1 / t is 1 / t.
pub(super) const FAR: f64 = 1e8;

/// ln P(X <= x) or, for the upper tail, ln P(X > x).
#[derive(Clone, Copy)]
struct LogTail {
    upper: bool,
}

impl Formula<3> for LogTail {
    const NAME: &'static str = "cauchy-log-cdf";

    #[inline(always)]
    fn at<R: Real>(self, [x, loc, scale]: [R; 3]) -> R {
        if let Some(log) = at_infinity(x, self.upper) {
            return log;
        }
        let t = x.standard(loc, scale);
        let t = if self.upper { -t } else { t };
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
}

#[derive(Clone, Copy)]
struct Quantile;

impl Formula<3> for Quantile {
    const NAME: &'static str = "cauchy-quantile";

    #[inline(always)]
    fn at<R: Real>(self, [p, loc, scale]: [R; 3]) -> R {
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

impl Distribution for Cauchy {
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
        self.at("Cauchy::log_prob", LogProb, value)
    }
}

impl Reparameterized for Cauchy {}

impl Moments for Cauchy {
    /// There is none: NaN.
    fn mean(&self) -> Result<Tensor> {
        Ok(self.loc()?.affine(0., f64::NAN)?)
    }

    /// Infinite, around whatever center.
    fn variance(&self) -> Result<Tensor> {
        Ok(self.loc()?.affine(0., f64::INFINITY)?)
    }
}

impl Mode for Cauchy {
    fn mode(&self) -> Result<Tensor> {
        self.loc()
    }
}

impl Entropy for Cauchy {
    /// `ln(4 pi scale)`.
    fn entropy(&self) -> Result<Tensor> {
        Ok((self.scale()?.log()? + (4. * PI).ln())?)
    }
}

impl Cdf for Cauchy {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.at("Cauchy::log_cdf", LogTail { upper: false }, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.at("Cauchy::log_survival", LogTail { upper: true }, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.parameters
            .check_probability("Cauchy::quantile", probability)?;
        self.at("Cauchy::quantile", Quantile, probability)
    }
}

#[derive(Clone, Copy)]
struct Divergence;

impl Formula<4> for Divergence {
    const NAME: &'static str = "cauchy-kl";

    #[inline(always)]
    fn at<R: Real>(self, [loc, scale, other, to]: [R; 4]) -> R {
        let distance = (scale - to).square() + (loc - other).square();
        (distance / (scale * to) * 0.25).ln_1p()
    }
}

impl Kl for Cauchy {
    /// `ln(((scale_p + scale_q)^2 + (loc_p - loc_q)^2) / (4 scale_p scale_q))`.
    fn kl(&self, other: &Cauchy) -> Result<Tensor> {
        self.parameters
            .check_other("Cauchy::kl", &other.parameters)?;
        let ([loc, scale], [other, to]) = (self.parameters.given(), other.parameters.given());
        formula(Divergence, [loc, scale, other, to])
    }
}

impl MixtureComponent for Cauchy {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        let parameters = self.parameters.select(index, after)?;
        Ok(Cauchy { parameters })
    }
}

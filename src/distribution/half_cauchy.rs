//! The half-Cauchy distribution.

use super::cauchy::FAR;
use super::parameters::{Domain, Parameters};
use super::*;
use crate::kernels::elementwise::{Formula, formula};
use crate::kernels::number::{Elementary, Real};
use std::f64::consts::{FRAC_2_PI, FRAC_PI_2, PI};

/// Half-Cauchy distribution: the absolute value of a Cauchy variable with median 0. Its mean is infinite.
///
/// Formula: `log p(x) = -ln(1 + (x / scale)^2) - ln(pi scale / 2)` for x of 0 or more.
///
/// Shapes: the batch shape is that of `scale`; the event is scalar. Units: nats.
///
/// Gradients: pathwise, `x = quantile(u)` for uniform u; first derivatives only.
///
/// Errors: a parameter that is not floating point, not finite or not positive.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::{Cdf, HalfCauchy};
/// # fn main() -> candle_prob::Result<()> {
/// let half = HalfCauchy::new(&Tensor::new(2f64, &Device::Cpu)?)?;
/// let x = Tensor::new(&[2f64, -1.], &Device::Cpu)?;
/// let cdf = half.cdf(&x)?.to_vec1::<f64>()?;
/// assert!((cdf[0] - 0.5).abs() < 1e-15);
/// assert_eq!(cdf[1], 0.);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: both tails of the cdf keep full relative precision as logarithms.
#[derive(Debug, Clone)]
pub struct HalfCauchy {
    parameters: Parameters<1>,
}

impl HalfCauchy {
    /// From the median.
    pub fn new(scale: &Tensor) -> Result<Self> {
        let parameters = [("scale", scale, Domain::Positive)];
        Ok(HalfCauchy {
            parameters: Parameters::new("HalfCauchy::new", parameters)?,
        })
    }

    /// As [`new`](HalfCauchy::new), without looking at the parameters' values.
    pub fn new_unchecked(scale: &Tensor) -> Result<Self> {
        let parameters = [("scale", scale)];
        Ok(HalfCauchy {
            parameters: Parameters::unchecked("HalfCauchy::new_unchecked", parameters)?,
        })
    }

    /// The median, shape `batch`.
    pub fn scale(&self) -> Result<Tensor> {
        self.parameters.full(0)
    }

    /// A formula of value and parameters; `op` names the caller in errors.
    fn at<F: Formula<2>>(&self, op: &'static str, f: F, value: &Tensor) -> Result<Tensor> {
        self.parameters.check_value(op, value)?;
        let [scale] = self.parameters.given();
        formula(f, [value, scale])
    }
}

#[derive(Clone, Copy)]
struct LogProb;

impl Formula<2> for LogProb {
    const NAME: &'static str = "half-cauchy-log-prob";
    const QUICK: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [x, scale]: [R; 2]) -> R {
        if x.value() < 0. {
            return R::constant(f64::NEG_INFINITY);
        }
        let t = x / scale;
        let rise = if R::Functions::EXACT && t.value() > FAR {
            x.log_over(scale) * 2.
        } else {
            t.square().ln_1p()
        };
        -rise - scale.ln() + FRAC_2_PI.ln()
    }
}

/// ln P(X <= x) or, for the upper tail, ln P(X > x).
#[derive(Clone, Copy)]
struct LogTail {
    upper: bool,
}

impl Formula<2> for LogTail {
    const NAME: &'static str = "half-cauchy-log-cdf";

    #[inline(always)]
    fn at<R: Real>(self, [x, scale]: [R; 2]) -> R {
        if let Some(log) = at_infinity(x, self.upper) {
            return log;
        }
        if x.value() <= 0. {
            return R::constant(if self.upper { 0. } else { f64::NEG_INFINITY });
        }
        let t = x / scale;
        // The share beyond x is that of the inverse below 1 / x.
        if t.value() <= 1. {
            let below = t.atan() * FRAC_2_PI;
            if self.upper {
                (-below).ln_1p()
            } else if t.value() < 1. / FAR {
                x.log_over(scale) + FRAC_2_PI.ln()
            } else {
                below.ln()
            }
        } else {
            let above = (scale / x).atan() * FRAC_2_PI;
            if !self.upper {
                (-above).ln_1p()
            } else if t.value() > FAR {
                scale.log_over(x) + FRAC_2_PI.ln()
            } else {
                above.ln()
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Quantile;

impl Formula<2> for Quantile {
    const NAME: &'static str = "half-cauchy-quantile";

    #[inline(always)]
    fn at<R: Real>(self, [p, scale]: [R; 2]) -> R {
        if p.value() <= 0.5 {
            scale * (p * FRAC_PI_2).tan()
        } else {
            scale / ((-p + 1.) * FRAC_PI_2).tan()
        }
    }
}

impl Distribution for HalfCauchy {
    fn batch_shape(&self) -> &[usize] {
        self.parameters.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let [scale] = self.parameters.given();
        let u = self.parameters.uniforms(shape, rng)?;
        formula(Quantile, [&u, scale])
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.at("HalfCauchy::log_prob", LogProb, value)
    }
}

impl Reparameterized for HalfCauchy {}

impl Moments for HalfCauchy {
    /// Infinite.
    fn mean(&self) -> Result<Tensor> {
        Ok(self.scale()?.affine(0., f64::INFINITY)?)
    }

    /// Infinite.
    fn variance(&self) -> Result<Tensor> {
        Ok(self.scale()?.affine(0., f64::INFINITY)?)
    }
}

impl Mode for HalfCauchy {
    fn mode(&self) -> Result<Tensor> {
        Ok(self.scale()?.zeros_like()?)
    }
}

impl Entropy for HalfCauchy {
    /// `ln(2 pi scale)`.
    fn entropy(&self) -> Result<Tensor> {
        Ok((self.scale()?.log()? + (2. * PI).ln())?)
    }
}

impl Cdf for HalfCauchy {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.at("HalfCauchy::log_cdf", LogTail { upper: false }, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.at("HalfCauchy::log_survival", LogTail { upper: true }, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.parameters
            .check_probability("HalfCauchy::quantile", probability)?;
        self.at("HalfCauchy::quantile", Quantile, probability)
    }
}

#[derive(Clone, Copy)]
struct Divergence;

impl Formula<2> for Divergence {
    const NAME: &'static str = "half-cauchy-kl";

    #[inline(always)]
    fn at<R: Real>(self, [scale, to]: [R; 2]) -> R {
        ((scale - to).square() / (scale * to) * 0.25).ln_1p()
    }
}

impl Kl for HalfCauchy {
    /// `ln((scale_p + scale_q)^2 / (4 scale_p scale_q))`, that of the Cauchy distributions.
    fn kl(&self, other: &HalfCauchy) -> Result<Tensor> {
        self.parameters
            .check_other("HalfCauchy::kl", &other.parameters)?;
        let ([scale], [to]) = (self.parameters.given(), other.parameters.given());
        formula(Divergence, [scale, to])
    }
}

impl MixtureComponent for HalfCauchy {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        let parameters = self.parameters.select(index, after)?;
        Ok(HalfCauchy { parameters })
    }
}

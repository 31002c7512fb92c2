//! The half-Cauchy distribution.

use super::cauchy::FAR;
use super::family::*;
use super::*;
use std::f64::consts::{FRAC_2_PI, FRAC_PI_2, PI};

const PARAMETERS: Domains<1> = [("scale", Domain::Positive)];

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
pub struct HalfCauchy(pub(super) Parameters<1>);

impl HalfCauchy {
    /// From the median.
    pub fn new(scale: &Tensor) -> Result<Self> {
        Parameters::new("HalfCauchy::new", PARAMETERS, [scale]).map(HalfCauchy)
    }

    /// As [`new`](HalfCauchy::new), without looking at the parameters' values.
    pub fn new_unchecked(scale: &Tensor) -> Result<Self> {
        Parameters::unchecked("HalfCauchy::new_unchecked", PARAMETERS, [scale]).map(HalfCauchy)
    }

    /// The median, shape `batch`.
    pub fn scale(&self) -> &Tensor {
        self.0.full(0)
    }
}

#[derive(Clone, Copy)]
struct Law;

impl DensityFormula<2> for Law {
    const QUICK: bool = true;

    #[inline(always)]
    fn log_prob<R: Real>(self, [x, scale]: [R; 2]) -> R {
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

impl CdfFormulas<2> for Law {
    #[inline(always)]
    fn log_tail<R: Real>(self, [x, scale]: [R; 2], upper: bool) -> R {
        if let Some(log) = at_infinity(x, upper) {
            return log;
        }
        if x.value() <= 0. {
            return R::constant(if upper { 0. } else { f64::NEG_INFINITY });
        }
        let t = x / scale;
        // The share beyond x is that of the inverse below 1 / x.
        if t.value() <= 1. {
            let below = t.atan() * FRAC_2_PI;
            if upper {
                (-below).ln_1p()
            } else if t.value() < 1. / FAR {
                x.log_over(scale) + FRAC_2_PI.ln()
            } else {
                below.ln()
            }
        } else {
            let above = (scale / x).atan() * FRAC_2_PI;
            if !upper {
                (-above).ln_1p()
            } else if t.value() > FAR {
                scale.log_over(x) + FRAC_2_PI.ln()
            } else {
                above.ln()
            }
        }
    }

    #[inline(always)]
    fn quantile<R: Real>(self, [p, scale]: [R; 2]) -> R {
        if p.value() <= 0.5 {
            scale * (p * FRAC_PI_2).tan()
        } else {
            scale / ((-p + 1.) * FRAC_PI_2).tan()
        }
    }
}

impl KlFormula<2> for Law {
    #[inline(always)]
    fn kl<R: Real>(self, [scale, to]: [R; 2]) -> R {
        ((scale - to).square() / (scale * to) * 0.25).ln_1p()
    }
}

impl Distribution for HalfCauchy {
    fn batch_shape(&self) -> &[usize] {
        self.0.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        self.0.sample("HalfCauchy::sample", Law, shape, rng)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_prob("HalfCauchy::log_prob", Law, value)
    }
}

impl Detach for HalfCauchy {
    fn detach(&self) -> Self {
        HalfCauchy(self.0.detach())
    }
}

impl Reparameterized for HalfCauchy {}

impl Moments for HalfCauchy {
    /// Infinite.
    fn mean(&self) -> Result<Tensor> {
        Ok(self.scale().affine(0., f64::INFINITY)?)
    }

    /// Infinite.
    fn variance(&self) -> Result<Tensor> {
        Ok(self.scale().affine(0., f64::INFINITY)?)
    }
}

impl Mode for HalfCauchy {
    fn mode(&self) -> Result<Tensor> {
        Ok(self.scale().zeros_like()?)
    }
}

impl Entropy for HalfCauchy {
    /// `ln(2 pi scale)`.
    fn entropy(&self) -> Result<Tensor> {
        Ok((self.scale().log()? + (2. * PI).ln())?)
    }
}

impl Cdf for HalfCauchy {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_cdf("HalfCauchy::log_cdf", Law, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_survival("HalfCauchy::log_survival", Law, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.0.quantile("HalfCauchy::quantile", Law, probability)
    }
}

impl Kl for HalfCauchy {
    /// `ln((scale_p + scale_q)^2 / (4 scale_p scale_q))`, that of the Cauchy distributions.
    fn kl(&self, other: &HalfCauchy) -> Result<Tensor> {
        self.0.kl("HalfCauchy::kl", Law, &other.0)
    }
}

impl MixtureComponent for HalfCauchy {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        self.0.select(index, after).map(HalfCauchy)
    }
}

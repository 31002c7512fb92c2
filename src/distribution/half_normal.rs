//! The half-normal distribution.

use super::parameters::{Domain, Parameters};
use super::*;
use crate::kernels::elementwise::{Formula, formula};
use crate::kernels::number::Real;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI, LN_2, PI, SQRT_2};

/// Half-normal distribution: the absolute value of a normal `N(0, scale^2)`.
///
/// Formula: `log p(x) = -(x / scale)^2 / 2 - ln scale + ln(2 / pi) / 2` for x of 0 or more.
///
/// Shapes: the batch shape is that of `scale`; the event is scalar. Units: nats.
///
/// Gradients: pathwise, `x = scale |eps|`; first derivatives only.
///
/// Errors: a parameter that is not floating point, not finite or not positive.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::{Cdf, Distribution, HalfNormal};
/// # fn main() -> candle_prob::Result<()> {
/// let half = HalfNormal::new(&Tensor::new(2f32, &Device::Cpu)?)?;
/// let x = Tensor::new(&[-1f32, 80.], &Device::Cpu)?;
/// assert_eq!(half.log_prob(&x)?.to_vec1::<f32>()?[0], f32::NEG_INFINITY);
/// assert_eq!(half.log_survival(&x)?.to_vec1::<f32>()?, [0., -803.9153]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: both tails of the cdf keep full relative precision as logarithms.
#[derive(Debug, Clone)]
pub struct HalfNormal {
    parameters: Parameters<1>,
}

impl HalfNormal {
    /// From the standard deviation of the normal.
    pub fn new(scale: &Tensor) -> Result<Self> {
        let parameters = [("scale", scale, Domain::Positive)];
        Ok(HalfNormal {
            parameters: Parameters::new("HalfNormal::new", parameters)?,
        })
    }

    /// As [`new`](HalfNormal::new), without looking at the parameters' values.
    pub fn new_unchecked(scale: &Tensor) -> Result<Self> {
        let parameters = [("scale", scale)];
        Ok(HalfNormal {
            parameters: Parameters::unchecked("HalfNormal::new_unchecked", parameters)?,
        })
    }

    /// The standard deviation of the normal, shape `batch`.
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
    const NAME: &'static str = "half-normal-log-prob";
    const QUICK: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [x, scale]: [R; 2]) -> R {
        if x.value() < 0. {
            return R::constant(f64::NEG_INFINITY);
        }
        (x / scale).square() * -0.5 - scale.ln() + 0.5 * FRAC_2_PI.ln()
    }
}

/// ln P(X <= x) or, for the upper tail, ln P(X > x).
#[derive(Clone, Copy)]
struct LogTail {
    upper: bool,
}

impl Formula<2> for LogTail {
    const NAME: &'static str = "half-normal-log-cdf";

    #[inline(always)]
    fn at<R: Real>(self, [x, scale]: [R; 2]) -> R {
        if let Some(log) = at_infinity(x, self.upper) {
            return log;
        }
        if x.value() <= 0. {
            return R::constant(if self.upper { 0. } else { f64::NEG_INFINITY });
        }
        let t = x / scale;
        if self.upper {
            (-t).log_ndtr() + LN_2
        } else if t.value() < 1e-8 {
            // The quotient itself underflows before its logarithm does.
            x.log_over(scale) + 0.5 * FRAC_2_PI.ln()
        } else if t.value() < 1. {
            (t * FRAC_1_SQRT_2).erf().ln()
        } else {
            (-(t * FRAC_1_SQRT_2).erfc()).ln_1p()
        }
    }
}

#[derive(Clone, Copy)]
struct Sample;

impl Formula<2> for Sample {
    const NAME: &'static str = "half-normal-sample";
    const QUICK: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [z, scale]: [R; 2]) -> R {
        scale * z.abs()
    }
}

#[derive(Clone, Copy)]
struct Quantile;

impl Formula<2> for Quantile {
    const NAME: &'static str = "half-normal-quantile";

    #[inline(always)]
    fn at<R: Real>(self, [p, scale]: [R; 2]) -> R {
        scale * p.erfinv() * SQRT_2
    }
}

impl Distribution for HalfNormal {
    fn batch_shape(&self) -> &[usize] {
        self.parameters.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let [scale] = self.parameters.given();
        let z = self.parameters.normals(shape, rng)?;
        formula(Sample, [&z, scale])
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.at("HalfNormal::log_prob", LogProb, value)
    }
}

impl Reparameterized for HalfNormal {}

impl Moments for HalfNormal {
    /// `scale sqrt(2 / pi)`.
    fn mean(&self) -> Result<Tensor> {
        Ok((self.scale()? * FRAC_2_PI.sqrt())?)
    }

    /// `scale^2 (1 - 2 / pi)`.
    fn variance(&self) -> Result<Tensor> {
        Ok((self.scale()?.sqr()? * (1. - FRAC_2_PI))?)
    }
}

impl Mode for HalfNormal {
    fn mode(&self) -> Result<Tensor> {
        Ok(self.scale()?.zeros_like()?)
    }
}

impl Entropy for HalfNormal {
    /// `ln scale + (1 + ln(pi / 2)) / 2`.
    fn entropy(&self) -> Result<Tensor> {
        Ok((self.scale()?.log()? + 0.5 * (1. + (0.5 * PI).ln()))?)
    }
}

impl Cdf for HalfNormal {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.at("HalfNormal::log_cdf", LogTail { upper: false }, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.at("HalfNormal::log_survival", LogTail { upper: true }, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.parameters
            .check_probability("HalfNormal::quantile", probability)?;
        self.at("HalfNormal::quantile", Quantile, probability)
    }
}

#[derive(Clone, Copy)]
struct Divergence;

impl Formula<2> for Divergence {
    const NAME: &'static str = "half-normal-kl";

    #[inline(always)]
    fn at<R: Real>(self, [scale, to]: [R; 2]) -> R {
        let ratio = scale / to;
        (ratio - 1.).square() * 0.5 + (ratio - 1. - ratio.ln())
    }
}

impl Kl for HalfNormal {
    /// `(r^2 - 1) / 2 - ln r` with `r = scale_p / scale_q`.
    fn kl(&self, other: &HalfNormal) -> Result<Tensor> {
        self.parameters
            .check_other("HalfNormal::kl", &other.parameters)?;
        let ([scale], [to]) = (self.parameters.given(), other.parameters.given());
        formula(Divergence, [scale, to])
    }
}

impl MixtureComponent for HalfNormal {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        let parameters = self.parameters.select(index, after)?;
        Ok(HalfNormal { parameters })
    }
}

//! The half-normal distribution.

use super::family::*;
use super::*;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI, LN_2, PI, SQRT_2};

const PARAMETERS: Domains<1> = [("scale", Domain::Positive)];

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
pub struct HalfNormal(pub(super) Parameters<1>);

impl HalfNormal {
    /// From the standard deviation of the normal.
    pub fn new(scale: &Tensor) -> Result<Self> {
        Parameters::new("HalfNormal::new", PARAMETERS, [scale]).map(HalfNormal)
    }

    /// As [`new`](HalfNormal::new), without looking at the parameters' values.
    pub fn new_unchecked(scale: &Tensor) -> Result<Self> {
        Parameters::unchecked("HalfNormal::new_unchecked", PARAMETERS, [scale]).map(HalfNormal)
    }

    /// The standard deviation of the normal, shape `batch`.
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
        (x / scale).square() * -0.5 - scale.ln() + 0.5 * FRAC_2_PI.ln()
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
        if upper {
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

    #[inline(always)]
    fn quantile<R: Real>(self, [p, scale]: [R; 2]) -> R {
        scale * p.erfinv() * SQRT_2
    }
}

impl KlFormula<2> for Law {
    #[inline(always)]
    fn kl<R: Real>(self, [scale, to]: [R; 2]) -> R {
        let ratio = scale / to;
        (ratio - 1.).square() * 0.5 + (ratio - 1. - ratio.ln())
    }
}

#[derive(Clone, Copy)]
struct Sample;

impl Formula<2> for Sample {
    const QUICK: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [z, scale]: [R; 2]) -> R {
        scale * z.abs()
    }
}

impl Distribution for HalfNormal {
    fn batch_shape(&self) -> &[usize] {
        self.0.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let [scale] = self.0.given();
        let z = self.0.normals(shape, rng)?;
        named("HalfNormal::sample", Sample, [&z, scale])
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_prob("HalfNormal::log_prob", Law, value)
    }
}

impl Detach for HalfNormal {
    fn detach(&self) -> Self {
        HalfNormal(self.0.detach())
    }
}

impl Reparameterized for HalfNormal {}

impl Moments for HalfNormal {
    /// `scale sqrt(2 / pi)`.
    fn mean(&self) -> Result<Tensor> {
        Ok((self.scale() * FRAC_2_PI.sqrt())?)
    }

    /// `scale^2 (1 - 2 / pi)`.
    fn variance(&self) -> Result<Tensor> {
        Ok((self.scale().sqr()? * (1. - FRAC_2_PI))?)
    }
}

impl Mode for HalfNormal {
    fn mode(&self) -> Result<Tensor> {
        Ok(self.scale().zeros_like()?)
    }
}

impl Entropy for HalfNormal {
    /// `ln scale + (1 + ln(pi / 2)) / 2`.
    fn entropy(&self) -> Result<Tensor> {
        Ok((self.scale().log()? + 0.5 * (1. + (0.5 * PI).ln()))?)
    }
}

impl Cdf for HalfNormal {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_cdf("HalfNormal::log_cdf", Law, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_survival("HalfNormal::log_survival", Law, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.0.quantile("HalfNormal::quantile", Law, probability)
    }
}

impl Kl for HalfNormal {
    /// `(r^2 - 1) / 2 - ln r` with `r = scale_p / scale_q`.
    fn kl(&self, other: &HalfNormal) -> Result<Tensor> {
        self.0.kl("HalfNormal::kl", Law, &other.0)
    }
}

impl MixtureComponent for HalfNormal {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        self.0.select(index, after).map(HalfNormal)
    }
}

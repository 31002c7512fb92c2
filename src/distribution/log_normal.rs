//! The log-normal distribution.

use super::family::*;
use super::*;
use crate::kernels::family::gaussian::{self, Spread};
use crate::kernels::number::HALF_LN_TAU;

/// Log-normal distribution: `x = e^y` with normal `y ~ N(loc, scale^2)`.
///
/// Formula: `log p(x) = -((ln x - loc) / scale)^2 / 2 - ln x - ln scale - ln(2 pi) / 2` for positive x.
///
/// Shapes: `loc` and `scale` broadcast to the batch shape; the event is scalar. Units: nats.
///
/// Gradients: pathwise, `x = e^(loc + scale * eps)`; first derivatives only.
///
/// Errors: parameters that are not floating point, of different dtype or device, do not broadcast, or are not
/// finite; a scale that is not positive.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::{Cdf, Distribution, LogNormal};
/// # fn main() -> candle_prob::Result<()> {
/// let (loc, scale) = (Tensor::new(1f64, &Device::Cpu)?, Tensor::new(2f64, &Device::Cpu)?);
/// let x = Tensor::new(&[1f64.exp(), -1.], &Device::Cpu)?;
/// let cdf = LogNormal::new(&loc, &scale)?.cdf(&x)?.to_vec1::<f64>()?;
/// assert!((cdf[0] - 0.5).abs() < 1e-15);
/// assert_eq!(cdf[1], 0.);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: both tails of the cdf keep full relative precision as logarithms.
#[derive(Debug, Clone)]
pub struct LogNormal(pub(super) Parameters<2>);

impl LogNormal {
    /// From mean and standard deviation of the logarithm.
    pub fn new(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        Parameters::new("LogNormal::new", LOCATION_SCALE, [loc, scale]).map(LogNormal)
    }

    /// As [`new`](LogNormal::new), without looking at the parameters' values.
    pub fn new_unchecked(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        Parameters::unchecked("LogNormal::new_unchecked", LOCATION_SCALE, [loc, scale])
            .map(LogNormal)
    }

    /// The mean of the logarithm, shape `batch`.
    pub fn loc(&self) -> &Tensor {
        self.0.full(0)
    }

    /// The standard deviation of the logarithm, shape `batch`.
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
        if x.value() <= 0. {
            return R::constant(f64::NEG_INFINITY);
        }
        let y = x.ln();
        -((y - loc) / scale).square() * 0.5 - y - scale.ln() - HALF_LN_TAU
    }
}

impl CdfFormulas<3> for Law {
    #[inline(always)]
    fn log_tail<R: Real>(self, [x, loc, scale]: [R; 3], upper: bool) -> R {
        if let Some(log) = at_infinity(x, upper) {
            return log;
        }
        if x.value() <= 0. {
            return R::constant(if upper { 0. } else { f64::NEG_INFINITY });
        }
        let t = (x.ln() - loc) / scale;
        let t = if upper { -t } else { t };
        t.log_ndtr()
    }

    #[inline(always)]
    fn quantile<R: Real>(self, [p, loc, scale]: [R; 3]) -> R {
        (loc + scale * p.ndtri()).exp()
    }
}

impl MomentFormulas<2> for Law {
    fn mean<R: Real>(self, [loc, scale]: [R; 2]) -> R {
        (loc + scale.square() * 0.5).exp()
    }

    fn variance<R: Real>(self, [loc, scale]: [R; 2]) -> R {
        let s = scale.square();
        if s.value() > 40. {
            // The factors overflow before their product does.
            return ((loc + s) * 2.).exp();
        }
        s.exp_m1() * (loc * 2. + s).exp()
    }
}

impl ModeFormula<2> for Law {
    fn mode<R: Real>(self, [loc, scale]: [R; 2]) -> R {
        (loc - scale.square()).exp()
    }
}

#[derive(Clone, Copy)]
struct Sample;

impl Formula<3> for Sample {
    const QUICK: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [z, loc, scale]: [R; 3]) -> R {
        (loc + scale * z).exp()
    }
}

impl Distribution for LogNormal {
    fn batch_shape(&self) -> &[usize] {
        self.0.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let [loc, scale] = self.0.given();
        let z = self.0.normals(shape, rng)?;
        named("LogNormal::sample", Sample, [&z, loc, scale])
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_prob("LogNormal::log_prob", Law, value)
    }
}

impl Detach for LogNormal {
    fn detach(&self) -> Self {
        LogNormal(self.0.detach())
    }
}

impl Reparameterized for LogNormal {}

impl Moments for LogNormal {
    /// `e^(loc + scale^2 / 2)`.
    fn mean(&self) -> Result<Tensor> {
        self.0.mean("LogNormal::mean", Law)
    }

    /// `(e^(scale^2) - 1) e^(2 loc + scale^2)`.
    fn variance(&self) -> Result<Tensor> {
        self.0.variance("LogNormal::variance", Law)
    }
}

impl Mode for LogNormal {
    /// `e^(loc - scale^2)`.
    fn mode(&self) -> Result<Tensor> {
        self.0.mode("LogNormal::mode", Law)
    }
}

impl Entropy for LogNormal {
    /// `loc + ln scale + (1 + ln(2 pi)) / 2`.
    fn entropy(&self) -> Result<Tensor> {
        Ok(((self.scale().log()? + self.loc())? + (0.5 + HALF_LN_TAU))?)
    }
}

impl Cdf for LogNormal {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_cdf("LogNormal::log_cdf", Law, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_survival("LogNormal::log_survival", Law, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.0.quantile("LogNormal::quantile", Law, probability)
    }
}

impl Kl for LogNormal {
    /// That of the normal distributions of the logarithms.
    fn kl(&self, other: &LogNormal) -> Result<Tensor> {
        let (p, q) = (&self.0, &other.0);
        p.check_other("LogNormal::kl", q)?;
        gaussian::kl(Spread::Scale, p.given(), q.given(), false)
    }
}

impl MixtureComponent for LogNormal {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        self.0.select(index, after).map(LogNormal)
    }
}

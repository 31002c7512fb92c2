//! The log-normal distribution.

use super::parameters::{Domain, Parameters};
use super::*;
use crate::kernels::elementwise::{Formula, formula};
use crate::kernels::family::gaussian::{self, Spread};
use crate::kernels::number::HALF_LN_TAU;
use crate::kernels::number::Real;

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
pub struct LogNormal {
    parameters: Parameters<2>,
}

impl LogNormal {
    /// From mean and standard deviation of the logarithm.
    pub fn new(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        let parameters = [
            ("loc", loc, Domain::Real),
            ("scale", scale, Domain::Positive),
        ];
        Ok(LogNormal {
            parameters: Parameters::new("LogNormal::new", parameters)?,
        })
    }

    /// As [`new`](LogNormal::new), without looking at the parameters' values.
    pub fn new_unchecked(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        let parameters = [("loc", loc), ("scale", scale)];
        Ok(LogNormal {
            parameters: Parameters::unchecked("LogNormal::new_unchecked", parameters)?,
        })
    }

    /// The mean of the logarithm, shape `batch`.
    pub fn loc(&self) -> Result<Tensor> {
        self.parameters.full(0)
    }

    /// The standard deviation of the logarithm, shape `batch`.
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
    const NAME: &'static str = "log-normal-log-prob";
    const QUICK: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [x, loc, scale]: [R; 3]) -> R {
        if x.value() <= 0. {
            return R::constant(f64::NEG_INFINITY);
        }
        let y = x.ln();
        -((y - loc) / scale).square() * 0.5 - y - scale.ln() - HALF_LN_TAU
    }
}

/// ln P(X <= x) or, for the upper tail, ln P(X > x).
#[derive(Clone, Copy)]
struct LogTail {
    upper: bool,
}

impl Formula<3> for LogTail {
    const NAME: &'static str = "log-normal-log-cdf";

    #[inline(always)]
    fn at<R: Real>(self, [x, loc, scale]: [R; 3]) -> R {
        if let Some(log) = at_infinity(x, self.upper) {
            return log;
        }
        if x.value() <= 0. {
            return R::constant(if self.upper { 0. } else { f64::NEG_INFINITY });
        }
        let t = (x.ln() - loc) / scale;
        let t = if self.upper { -t } else { t };
        t.log_ndtr()
    }
}

#[derive(Clone, Copy)]
struct Sample;

impl Formula<3> for Sample {
    const NAME: &'static str = "log-normal-sample";
    const QUICK: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [z, loc, scale]: [R; 3]) -> R {
        (loc + scale * z).exp()
    }
}

#[derive(Clone, Copy)]
struct Quantile;

impl Formula<3> for Quantile {
    const NAME: &'static str = "log-normal-quantile";

    #[inline(always)]
    fn at<R: Real>(self, [p, loc, scale]: [R; 3]) -> R {
        (loc + scale * p.ndtri()).exp()
    }
}

#[derive(Clone, Copy)]
struct Mean;

impl Formula<2> for Mean {
    const NAME: &'static str = "log-normal-mean";

    #[inline(always)]
    fn at<R: Real>(self, [loc, scale]: [R; 2]) -> R {
        (loc + scale.square() * 0.5).exp()
    }
}

#[derive(Clone, Copy)]
struct Variance;

impl Formula<2> for Variance {
    const NAME: &'static str = "log-normal-variance";

    #[inline(always)]
    fn at<R: Real>(self, [loc, scale]: [R; 2]) -> R {
        let s = scale.square();
        if s.value() > 40. {
            // The factors overflow before their product does.
            return ((loc + s) * 2.).exp();
        }
        s.exp_m1() * (loc * 2. + s).exp()
    }
}

#[derive(Clone, Copy)]
struct Peak;

impl Formula<2> for Peak {
    const NAME: &'static str = "log-normal-mode";

    #[inline(always)]
    fn at<R: Real>(self, [loc, scale]: [R; 2]) -> R {
        (loc - scale.square()).exp()
    }
}

impl Distribution for LogNormal {
    fn batch_shape(&self) -> &[usize] {
        self.parameters.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let [loc, scale] = self.parameters.given();
        let z = self.parameters.normals(shape, rng)?;
        formula(Sample, [&z, loc, scale])
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.at("LogNormal::log_prob", LogProb, value)
    }
}

impl Reparameterized for LogNormal {}

impl Moments for LogNormal {
    /// `e^(loc + scale^2 / 2)`.
    fn mean(&self) -> Result<Tensor> {
        self.parameters.formula(Mean)
    }

    /// `(e^(scale^2) - 1) e^(2 loc + scale^2)`.
    fn variance(&self) -> Result<Tensor> {
        self.parameters.formula(Variance)
    }
}

impl Mode for LogNormal {
    /// `e^(loc - scale^2)`.
    fn mode(&self) -> Result<Tensor> {
        self.parameters.formula(Peak)
    }
}

impl Entropy for LogNormal {
    /// `loc + ln scale + (1 + ln(2 pi)) / 2`.
    fn entropy(&self) -> Result<Tensor> {
        Ok(((self.scale()?.log()? + self.loc()?)? + (0.5 + HALF_LN_TAU))?)
    }
}

impl Cdf for LogNormal {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.at("LogNormal::log_cdf", LogTail { upper: false }, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.at("LogNormal::log_survival", LogTail { upper: true }, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.parameters
            .check_probability("LogNormal::quantile", probability)?;
        self.at("LogNormal::quantile", Quantile, probability)
    }
}

impl Kl for LogNormal {
    /// That of the normal distributions of the logarithms.
    fn kl(&self, other: &LogNormal) -> Result<Tensor> {
        let (p, q) = (&self.parameters, &other.parameters);
        p.check_other("LogNormal::kl", q)?;
        gaussian::kl(Spread::Scale, p.given(), q.given(), false)
    }
}

impl MixtureComponent for LogNormal {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        let parameters = self.parameters.select(index, after)?;
        Ok(LogNormal { parameters })
    }
}

//! The logistic distribution.

use super::parameters::{Domain, Parameters};
use super::*;
use crate::kernels::elementwise::{Formula, formula};
use crate::kernels::number::Real;
use std::f64::consts::PI;

/// Logistic distribution with mean `loc` and scale `scale`: its cdf is the logistic function of `(x - loc) / scale`.
///
/// Formula: `log p(x) = -t - 2 ln(1 + e^-t) - ln scale` with `t = (x - loc) / scale`.
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
/// use candle_prob::distribution::{Cdf, Logistic};
/// # fn main() -> candle_prob::Result<()> {
/// let (loc, scale) = (Tensor::new(1f64, &Device::Cpu)?, Tensor::new(2f64, &Device::Cpu)?);
/// let x = Tensor::new(&[1f64, -1999.], &Device::Cpu)?;
/// let log_cdf = Logistic::new(&loc, &scale)?.log_cdf(&x)?.to_vec1::<f64>()?;
/// assert_eq!(log_cdf, [-(2f64.ln()), -1000.]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: both tails of the cdf keep full relative precision as logarithms.
#[derive(Debug, Clone)]
pub struct Logistic {
    parameters: Parameters<2>,
}

impl Logistic {
    /// From mean and scale.
    pub fn new(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        let parameters = [
            ("loc", loc, Domain::Real),
            ("scale", scale, Domain::Positive),
        ];
        Ok(Logistic {
            parameters: Parameters::new("Logistic::new", parameters)?,
        })
    }

    /// As [`new`](Logistic::new), without looking at the parameters' values.
    pub fn new_unchecked(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        let parameters = [("loc", loc), ("scale", scale)];
        Ok(Logistic {
            parameters: Parameters::unchecked("Logistic::new_unchecked", parameters)?,
        })
    }

    /// The mean, shape `batch`.
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
    const NAME: &'static str = "logistic-log-prob";
    const QUICK: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [x, loc, scale]: [R; 3]) -> R {
        let t = x.standard(loc, scale);
        -(t.softplus() + (-t).softplus()) - scale.ln()
    }
}

/// ln P(X <= x) or, for the upper tail, ln P(X > x).
#[derive(Clone, Copy)]
struct LogTail {
    upper: bool,
}

impl Formula<3> for LogTail {
    const NAME: &'static str = "logistic-log-cdf";
    const QUICK: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [x, loc, scale]: [R; 3]) -> R {
        if let Some(log) = at_infinity(x, self.upper) {
            return log;
        }
        let t = x.standard(loc, scale);
        -(if self.upper { t } else { -t }).softplus()
    }
}

#[derive(Clone, Copy)]
struct Quantile;

impl Formula<3> for Quantile {
    const NAME: &'static str = "logistic-quantile";
    const QUICK: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [p, loc, scale]: [R; 3]) -> R {
        loc + scale * (p.ln() - (-p).ln_1p())
    }
}

impl Distribution for Logistic {
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
        self.at("Logistic::log_prob", LogProb, value)
    }
}

impl Reparameterized for Logistic {}

impl Moments for Logistic {
    fn mean(&self) -> Result<Tensor> {
        self.loc()
    }

    /// `(pi scale)^2 / 3`.
    fn variance(&self) -> Result<Tensor> {
        Ok((self.scale()?.sqr()? * (PI * PI / 3.))?)
    }
}

impl Mode for Logistic {
    fn mode(&self) -> Result<Tensor> {
        self.loc()
    }
}

impl Entropy for Logistic {
    /// `2 + ln scale`.
    fn entropy(&self) -> Result<Tensor> {
        Ok((self.scale()?.log()? + 2.)?)
    }
}

impl Cdf for Logistic {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.at("Logistic::log_cdf", LogTail { upper: false }, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.at("Logistic::log_survival", LogTail { upper: true }, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.parameters
            .check_probability("Logistic::quantile", probability)?;
        self.at("Logistic::quantile", Quantile, probability)
    }
}

impl MixtureComponent for Logistic {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        let parameters = self.parameters.select(index, after)?;
        Ok(Logistic { parameters })
    }
}

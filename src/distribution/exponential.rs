//! The exponential distribution.

use super::parameters::{Domain, Parameters};
use super::*;
use crate::kernels::elementwise::{Formula, formula};
use crate::kernels::number::Real;

/// Exponential distribution with rate `rate`.
///
/// Formula: `log p(x) = ln rate - rate x` for x of 0 or more.
///
/// Shapes: the batch shape is that of `rate`; the event is scalar. Units: nats.
///
/// Gradients: pathwise, `x = quantile(u)` for uniform u; first derivatives only.
///
/// Errors: a parameter that is not floating point, not finite or not positive.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::{Distribution, Exponential};
/// # fn main() -> candle_prob::Result<()> {
/// let exponential = Exponential::new(&Tensor::new(2f64, &Device::Cpu)?)?;
/// let x = Tensor::new(&[0f64, 3., -1.], &Device::Cpu)?;
/// let log_prob = exponential.log_prob(&x)?.to_vec1::<f64>()?;
/// assert_eq!(log_prob, [2f64.ln(), 2f64.ln() - 6., f64::NEG_INFINITY]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: both tails of the cdf keep full relative precision as logarithms.
#[derive(Debug, Clone)]
pub struct Exponential {
    pub(super) parameters: Parameters<1>,
}

impl Exponential {
    /// From the rate, which is one over the mean.
    pub fn new(rate: &Tensor) -> Result<Self> {
        let parameters = [("rate", rate, Domain::Positive)];
        Ok(Exponential {
            parameters: Parameters::new("Exponential::new", parameters)?,
        })
    }

    /// As [`new`](Exponential::new), without looking at the parameters' values.
    pub fn new_unchecked(rate: &Tensor) -> Result<Self> {
        let parameters = [("rate", rate)];
        Ok(Exponential {
            parameters: Parameters::unchecked("Exponential::new_unchecked", parameters)?,
        })
    }

    /// The rate, shape `batch`.
    pub fn rate(&self) -> Result<Tensor> {
        self.parameters.full(0)
    }

    /// A formula of value and parameters; `op` names the caller in errors.
    fn at<F: Formula<2>>(&self, op: &'static str, f: F, value: &Tensor) -> Result<Tensor> {
        self.parameters.check_value(op, value)?;
        let [rate] = self.parameters.given();
        formula(f, [value, rate])
    }
}

#[derive(Clone, Copy)]
struct LogProb;

impl Formula<2> for LogProb {
    const NAME: &'static str = "exponential-log-prob";
    const QUICK: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [x, rate]: [R; 2]) -> R {
        if x.value() < 0. {
            return R::constant(f64::NEG_INFINITY);
        }
        rate.ln() - rate * x
    }
}

/// ln P(X <= x) or, for the upper tail, ln P(X > x).
#[derive(Clone, Copy)]
struct LogTail {
    upper: bool,
}

impl Formula<2> for LogTail {
    const NAME: &'static str = "exponential-log-cdf";

    #[inline(always)]
    fn at<R: Real>(self, [x, rate]: [R; 2]) -> R {
        if let Some(log) = at_infinity(x, self.upper) {
            return log;
        }
        if x.value() <= 0. {
            R::constant(if self.upper { 0. } else { f64::NEG_INFINITY })
        } else if self.upper {
            -(rate * x)
        } else if rate.value() * x.value() < 1e-8 {
            // The product itself underflows before its logarithm does.
            rate.log_times(x) - rate * x * 0.5
        } else {
            (rate * x).log1mexp()
        }
    }
}

#[derive(Clone, Copy)]
struct Quantile;

impl Formula<2> for Quantile {
    const NAME: &'static str = "exponential-quantile";
    const QUICK: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [p, rate]: [R; 2]) -> R {
        -(-p).ln_1p() / rate
    }
}

impl Distribution for Exponential {
    fn batch_shape(&self) -> &[usize] {
        self.parameters.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let [rate] = self.parameters.given();
        let u = self.parameters.uniforms(shape, rng)?;
        formula(Quantile, [&u, rate])
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.at("Exponential::log_prob", LogProb, value)
    }
}

impl Reparameterized for Exponential {}

impl Moments for Exponential {
    /// `1 / rate`.
    fn mean(&self) -> Result<Tensor> {
        Ok(self.rate()?.recip()?)
    }

    /// `1 / rate^2`.
    fn variance(&self) -> Result<Tensor> {
        Ok(self.rate()?.sqr()?.recip()?)
    }
}

impl Mode for Exponential {
    fn mode(&self) -> Result<Tensor> {
        Ok(self.rate()?.zeros_like()?)
    }
}

impl Entropy for Exponential {
    /// `1 - ln rate`.
    fn entropy(&self) -> Result<Tensor> {
        Ok((1. - self.rate()?.log()?)?)
    }
}

impl Cdf for Exponential {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.at("Exponential::log_cdf", LogTail { upper: false }, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.at("Exponential::log_survival", LogTail { upper: true }, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.parameters
            .check_probability("Exponential::quantile", probability)?;
        self.at("Exponential::quantile", Quantile, probability)
    }
}

#[derive(Clone, Copy)]
struct Divergence;

impl Formula<2> for Divergence {
    const NAME: &'static str = "exponential-kl";

    #[inline(always)]
    fn at<R: Real>(self, [rate, to]: [R; 2]) -> R {
        rate.scale_divergence(to)
    }
}

impl Kl for Exponential {
    /// `r - 1 - ln r` with `r = rate_q / rate_p`.
    fn kl(&self, other: &Exponential) -> Result<Tensor> {
        self.parameters
            .check_other("Exponential::kl", &other.parameters)?;
        let ([rate], [to]) = (self.parameters.given(), other.parameters.given());
        formula(Divergence, [rate, to])
    }
}

impl MixtureComponent for Exponential {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        let parameters = self.parameters.select(index, after)?;
        Ok(Exponential { parameters })
    }
}

//! The exponential distribution.

use super::family::*;
use super::*;

const PARAMETERS: Domains<1> = [("rate", Domain::Positive)];

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
pub struct Exponential(pub(super) Parameters<1>);

impl Exponential {
    /// From the rate, which is one over the mean.
    pub fn new(rate: &Tensor) -> Result<Self> {
        Parameters::new("Exponential::new", PARAMETERS, [rate]).map(Exponential)
    }

    /// As [`new`](Exponential::new), without looking at the parameters' values.
    pub fn new_unchecked(rate: &Tensor) -> Result<Self> {
        Parameters::unchecked("Exponential::new_unchecked", PARAMETERS, [rate]).map(Exponential)
    }

    /// The rate, shape `batch`.
    pub fn rate(&self) -> &Tensor {
        self.0.full(0)
    }
}

#[derive(Clone, Copy)]
struct Law;

impl DensityFormula<2> for Law {
    const QUICK: bool = true;

    #[inline(always)]
    fn log_prob<R: Real>(self, [x, rate]: [R; 2]) -> R {
        if x.value() < 0. {
            return R::constant(f64::NEG_INFINITY);
        }
        rate.ln() - rate * x
    }
}

impl CdfFormulas<2> for Law {
    const QUICK_QUANTILE: bool = true;

    #[inline(always)]
    fn log_tail<R: Real>(self, [x, rate]: [R; 2], upper: bool) -> R {
        if let Some(log) = at_infinity(x, upper) {
            return log;
        }
        if x.value() <= 0. {
            R::constant(if upper { 0. } else { f64::NEG_INFINITY })
        } else if upper {
            -(rate * x)
        } else if rate.value() * x.value() < 1e-8 {
            // The product itself underflows before its logarithm does.
            rate.log_times(x) - rate * x * 0.5
        } else {
            (rate * x).log1mexp()
        }
    }

    #[inline(always)]
    fn quantile<R: Real>(self, [p, rate]: [R; 2]) -> R {
        -(-p).ln_1p() / rate
    }
}

impl KlFormula<2> for Law {
    #[inline(always)]
    fn kl<R: Real>(self, [rate, to]: [R; 2]) -> R {
        rate.scale_divergence(to)
    }
}

impl Distribution for Exponential {
    fn batch_shape(&self) -> &[usize] {
        self.0.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        self.0.sample("Exponential::sample", Law, shape, rng)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_prob("Exponential::log_prob", Law, value)
    }
}

impl Detach for Exponential {
    fn detach(&self) -> Self {
        Exponential(self.0.detach())
    }
}

impl Reparameterized for Exponential {}

impl Moments for Exponential {
    /// `1 / rate`.
    fn mean(&self) -> Result<Tensor> {
        Ok(self.rate().recip()?)
    }

    /// `1 / rate^2`.
    fn variance(&self) -> Result<Tensor> {
        Ok(self.rate().sqr()?.recip()?)
    }
}

impl Mode for Exponential {
    fn mode(&self) -> Result<Tensor> {
        Ok(self.rate().zeros_like()?)
    }
}

impl Entropy for Exponential {
    /// `1 - ln rate`.
    fn entropy(&self) -> Result<Tensor> {
        Ok((1. - self.rate().log()?)?)
    }
}

impl Cdf for Exponential {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_cdf("Exponential::log_cdf", Law, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_survival("Exponential::log_survival", Law, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.0.quantile("Exponential::quantile", Law, probability)
    }
}

impl Kl for Exponential {
    /// `r - 1 - ln r` with `r = rate_q / rate_p`.
    fn kl(&self, other: &Exponential) -> Result<Tensor> {
        self.0.kl("Exponential::kl", Law, &other.0)
    }
}

impl MixtureComponent for Exponential {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        self.0.select(index, after).map(Exponential)
    }
}

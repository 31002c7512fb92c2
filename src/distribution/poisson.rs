//! The Poisson distribution.

use super::counts::{self, no_count, no_tail, over_bell, smallest};
use super::family::*;
use super::*;
use crate::kernels::family::count;

const PARAMETERS: Domains<1> = [("rate", Domain::NonNegative)];

/// Poisson distribution of the number of events at a `rate`, its mean.
///
/// Formula: `log p(x) = x ln rate - rate - ln x!` for x = 0, 1, 2, ...
///
/// Shapes: `rate` is the batch shape; the event is scalar. Samples have the dtype of the rate. Units: nats.
///
/// Gradients: `x / rate - 1` for the rate. Samples have none: not [`Reparameterized`].
///
/// Errors: rates that are not floating point, negative or not finite. A rate of 0 is allowed: all mass is at 0.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::{Distribution, Entropy, Poisson};
/// # fn main() -> candle_prob::Result<()> {
/// let poisson = Poisson::new(&Tensor::new(1e6f32, &Device::Cpu)?)?;
/// let log_prob = poisson.log_prob(&Tensor::new(1e6f32, &Device::Cpu)?)?.to_scalar::<f32>()?;
/// assert!((log_prob + 7.826694).abs() < 1e-6);
/// assert!((poisson.entropy()?.to_scalar::<f32>()? - 8.326694).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: the mass is computed without `ln x!`, whose digits would cancel at large rates. The entropy is a sum over the
/// support, up to 12 standard deviations; what it leaves out is below 1e-16.
///
/// Source: Loader (2000), Fast and Accurate Computation of Binomial Probabilities; draws by Ahrens and Dieter (1982).
#[derive(Debug, Clone)]
pub struct Poisson(pub(super) Parameters<1>);

impl Poisson {
    /// From the rate.
    pub fn new(rate: &Tensor) -> Result<Self> {
        Parameters::new("Poisson::new", PARAMETERS, [rate]).map(Poisson)
    }

    /// As [`new`](Poisson::new), without looking at the rate's values.
    pub fn new_unchecked(rate: &Tensor) -> Result<Self> {
        Parameters::unchecked("Poisson::new_unchecked", PARAMETERS, [rate]).map(Poisson)
    }

    /// The rate, shape `batch`.
    pub fn rate(&self) -> &Tensor {
        self.0.full(0)
    }
}

fn mass<R: Real>(x: R, rate: R) -> R {
    if x.value() == 0. {
        return -rate;
    }
    counts::poisson(x, rate.value(), rate.ln())
}

#[derive(Clone, Copy)]
struct Law;

impl DensityFormula<2> for Law {
    #[inline(always)]
    fn log_prob<R: Real>(self, [x, rate]: [R; 2]) -> R {
        no_count(x, f64::INFINITY).unwrap_or_else(|| mass(x, rate))
    }
}

impl CdfFormulas<2> for Law {
    #[inline(always)]
    fn log_tail<R: Real>(self, [x, rate]: [R; 2], upper: bool) -> R {
        no_tail(x, f64::INFINITY, upper).unwrap_or_else(|| {
            let k = R::constant(x.value().floor());
            (k + 1.).gamma_log_tail(rate, !upper)
        })
    }

    #[inline(always)]
    fn quantile<R: Real>(self, arguments: [R; 2]) -> R {
        let [p, rate] = arguments.map(Real::value);
        let tail = |k: f64| (k + 1.).gamma_log_tail(rate, true).exp();
        R::constant(smallest(p, rate, f64::INFINITY, tail))
    }
}

impl EntropyFormula<1> for Law {
    fn entropy<R: Real>(self, [rate]: [R; 1]) -> R {
        let mean = rate.value();
        if mean == 0. {
            return R::constant(0.);
        }
        let mut sum = R::constant(if mean >= 0. { 0. } else { f64::NAN });
        over_bell(mean, mean.sqrt(), 40., f64::INFINITY, |k, weight| {
            let log = mass(R::constant(k), rate);
            sum = sum - log * log.exp() * weight;
        });
        sum
    }
}

impl KlFormula<2> for Law {
    #[inline(always)]
    fn kl<R: Real>(self, [rate, other]: [R; 2]) -> R {
        if rate.value() == 0. {
            return other;
        }
        rate.deviance(other)
    }
}

impl Distribution for Poisson {
    fn batch_shape(&self) -> &[usize] {
        self.0.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        count::draws(self.0.given(), shape, rng.stream(), |rng, [x]| {
            count::poisson(rng, x)
        })
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_prob("Poisson::log_prob", Law, value)
    }
}

impl Detach for Poisson {
    fn detach(&self) -> Self {
        Poisson(self.0.detach())
    }
}

impl Moments for Poisson {
    fn mean(&self) -> Result<Tensor> {
        Ok(self.rate().clone())
    }

    fn variance(&self) -> Result<Tensor> {
        Ok(self.rate().clone())
    }
}

impl Mode for Poisson {
    /// The whole part of the rate: the larger of the two where the rate is whole.
    fn mode(&self) -> Result<Tensor> {
        Ok(self.rate().detach().floor()?)
    }
}

impl Entropy for Poisson {
    /// In the order of a thousand masses for each rate.
    fn entropy(&self) -> Result<Tensor> {
        self.0.entropy("Poisson::entropy", Law)
    }
}

impl Cdf for Poisson {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_cdf("Poisson::log_cdf", Law, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_survival("Poisson::log_survival", Law, value)
    }

    /// Piecewise constant: without gradients.
    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.0.quantile("Poisson::quantile", Law, probability)
    }
}

impl Kl for Poisson {
    /// `p ln(p / q) + q - p` of the rates. A rate of 0 gives q, and no gradient to itself.
    fn kl(&self, other: &Poisson) -> Result<Tensor> {
        self.0.kl("Poisson::kl", Law, &other.0)
    }
}

impl MixtureComponent for Poisson {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        self.0.select(index, after).map(Poisson)
    }
}

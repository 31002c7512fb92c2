//! The inverse gamma distribution.

use super::family::*;
use super::gamma::{self, CONCENTRATION_RATE, constant_less, log_peak_less, log_share};
use super::*;
use crate::kernels::family::gamma as kernel;

/// Inverse gamma distribution: the law of `1 / g` for g of [`Gamma`] with the same parameters.
///
/// Formula: `log p(x) = a ln b - ln Gamma(a) - (a + 1) ln x - b / x` with a the concentration, b the rate, for `x > 0`.
///
/// Shapes: `concentration` and `rate` broadcast to the batch shape; the event is scalar. Units: nats.
///
/// Gradients: pathwise (implicit, as for [`Gamma`]); first derivatives only.
///
/// Errors: parameters that are not floating point, of different dtype or device, do not broadcast, or are not
/// positive and finite.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::{InverseGamma, Moments};
/// # fn main() -> candle_prob::Result<()> {
/// let number = |x: f64| Tensor::new(x, &Device::Cpu);
/// let law = InverseGamma::new(&number(3.)?, &number(4.)?)?;
/// assert_eq!(law.mean()?.to_scalar::<f64>()?, 2.);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: densities, entropy and divergence keep their digits at any concentration, as for [`Gamma`]; both tails of the
/// cdf as logarithms, also where `b / x` overflows or underflows.
#[derive(Debug, Clone)]
pub struct InverseGamma(pub(super) Parameters<2>);

impl InverseGamma {
    /// From concentration and rate, the gamma variable's.
    pub fn new(concentration: &Tensor, rate: &Tensor) -> Result<Self> {
        Parameters::new(
            "InverseGamma::new",
            CONCENTRATION_RATE,
            [concentration, rate],
        )
        .map(InverseGamma)
    }

    /// As [`new`](InverseGamma::new), without looking at the parameters' values.
    pub fn new_unchecked(concentration: &Tensor, rate: &Tensor) -> Result<Self> {
        Parameters::unchecked(
            "InverseGamma::new_unchecked",
            CONCENTRATION_RATE,
            [concentration, rate],
        )
        .map(InverseGamma)
    }

    /// The shape parameter, shape `batch`.
    pub fn concentration(&self) -> &Tensor {
        self.0.full(0)
    }

    /// The scale, which is the rate of the gamma variable, shape `batch`.
    pub fn rate(&self) -> &Tensor {
        self.0.full(1)
    }
}

#[derive(Clone, Copy)]
struct Law;

impl SplitDensityFormula<1, 4> for Law {
    #[inline(always)]
    fn once<R: Real>(self, first: [R; 1]) -> R {
        gamma::Law.once(first)
    }

    /// As that of [`Gamma`].
    #[inline(always)]
    fn log_prob<R: Real>(self, [x, a, b, rest]: [R; 4]) -> R {
        if x.value() <= 0. || x.value() == f64::INFINITY {
            return R::constant(f64::NEG_INFINITY);
        }
        if !R::Functions::EXACT {
            return constant_less(a, b, rest, b / x) - (a + 1.) * x.ln();
        }
        let [v, p, r] = [x.value(), a.value(), b.value()];
        let y = r / v;
        let log = log_share::<R>(y, p, || r.ln() - v.ln());
        let logs = 2. * R::Functions::ln(p) - R::Functions::ln(r);
        let value = log_peak_less::<R>(p, y, log) + log + (logs + rest.value());
        let gap = p - y;
        R::chain(
            [x, a, b, rest],
            value,
            [-(gap + 1.) / v, log + 1. / p, gap / r, 1.],
        )
    }
}

impl CdfFormulas<3> for Law {
    #[inline(always)]
    fn log_tail<R: Real>(self, [x, a, b]: [R; 3], upper: bool) -> R {
        if let Some(log) = at_infinity(x, upper) {
            return log;
        }
        if x.value() <= 0. {
            return R::constant(if upper { 0. } else { f64::NEG_INFINITY });
        }
        a.gamma_log_tail_of(b, x, true, !upper)
    }

    #[inline(always)]
    fn quantile<R: Real>(self, [p, a, b]: [R; 3]) -> R {
        b * (-a.gamma_log_quantile(p, true)).exp()
    }
}

impl MomentFormulas<2> for Law {
    fn mean<R: Real>(self, [a, b]: [R; 2]) -> R {
        if a.value() <= 1. {
            return R::constant(f64::INFINITY);
        }
        b / (a - 1.)
    }

    fn variance<R: Real>(self, [a, b]: [R; 2]) -> R {
        if a.value() <= 2. {
            return R::constant(f64::INFINITY);
        }
        (b / (a - 1.)).square() / (a - 2.)
    }
}

impl EntropyFormula<2> for Law {
    fn entropy<R: Real>(self, [a, b]: [R; 2]) -> R {
        a.stirling_rest() - a.ln() * 2. + (a + 1.) * a.log_gap() + b.ln()
    }
}

impl Distribution for InverseGamma {
    fn batch_shape(&self) -> &[usize] {
        self.0.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let (a, b) = (self.concentration(), self.rate());
        let log = kernel::gamma(a, Some(b), shape, rng.stream(), true)?;
        Ok(log.neg()?.exp()?)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.0.split_log_prob("InverseGamma::log_prob", Law, value)
    }
}

impl Detach for InverseGamma {
    fn detach(&self) -> Self {
        InverseGamma(self.0.detach())
    }
}

impl Reparameterized for InverseGamma {}

impl Moments for InverseGamma {
    /// `b / (a - 1)`; infinite for concentrations up to 1.
    fn mean(&self) -> Result<Tensor> {
        self.0.mean("InverseGamma::mean", Law)
    }

    /// Infinite for concentrations up to 2.
    fn variance(&self) -> Result<Tensor> {
        self.0.variance("InverseGamma::variance", Law)
    }
}

impl Mode for InverseGamma {
    /// `b / (a + 1)`.
    fn mode(&self) -> Result<Tensor> {
        Ok((self.rate() / (self.concentration() + 1.)?)?)
    }
}

impl Entropy for InverseGamma {
    /// `a + ln b + ln Gamma(a) - (a + 1) digamma(a)`.
    fn entropy(&self) -> Result<Tensor> {
        self.0.entropy("InverseGamma::entropy", Law)
    }
}

impl Cdf for InverseGamma {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_cdf("InverseGamma::log_cdf", Law, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.0
            .log_survival("InverseGamma::log_survival", Law, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.0.quantile("InverseGamma::quantile", Law, probability)
    }
}

impl Kl for InverseGamma {
    /// That of the gamma variables: a divergence does not change under an invertible map of both.
    fn kl(&self, other: &InverseGamma) -> Result<Tensor> {
        self.0.kl("InverseGamma::kl", gamma::Law, &other.0)
    }
}

impl MixtureComponent for InverseGamma {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        self.0.select(index, after).map(InverseGamma)
    }
}

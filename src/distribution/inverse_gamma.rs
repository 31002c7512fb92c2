//! The inverse gamma distribution.

use super::gamma::{Divergence, Rest, constant_less, log_peak_less, log_share};
use super::parameters::{Domain, Parameters};
use super::*;
use crate::kernels::elementwise::{Formula, formula};
use crate::kernels::family::gamma as kernel;
use crate::kernels::number::{Elementary, Real};

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
pub struct InverseGamma {
    parameters: Parameters<2>,
}

impl InverseGamma {
    /// From concentration and rate, the gamma variable's.
    pub fn new(concentration: &Tensor, rate: &Tensor) -> Result<Self> {
        let parameters = [
            ("concentration", concentration, Domain::Positive),
            ("rate", rate, Domain::Positive),
        ];
        Ok(InverseGamma {
            parameters: Parameters::new("InverseGamma::new", parameters)?,
        })
    }

    /// As [`new`](InverseGamma::new), without looking at the parameters' values.
    pub fn new_unchecked(concentration: &Tensor, rate: &Tensor) -> Result<Self> {
        let parameters = [("concentration", concentration), ("rate", rate)];
        Ok(InverseGamma {
            parameters: Parameters::unchecked("InverseGamma::new_unchecked", parameters)?,
        })
    }

    /// The shape parameter, shape `batch`.
    pub fn concentration(&self) -> Result<Tensor> {
        self.parameters.full(0)
    }

    /// The scale, which is the rate of the gamma variable, shape `batch`.
    pub fn rate(&self) -> Result<Tensor> {
        self.parameters.full(1)
    }

    fn at<F: Formula<3>>(&self, op: &'static str, f: F, value: &Tensor) -> Result<Tensor> {
        self.parameters.check_value(op, value)?;
        let [a, b] = self.parameters.given();
        formula(f, [value, a, b])
    }
}

/// As that of [`Gamma`].
#[derive(Clone, Copy)]
struct LogProb<const HUGE: bool>;

impl<const HUGE: bool> Formula<4> for LogProb<HUGE> {
    const NAME: &'static str = "inverse-gamma-log-prob";
    const QUICK: bool = !HUGE;

    #[inline(always)]
    fn at<R: Real>(self, [x, a, b, rest]: [R; 4]) -> R {
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

#[derive(Clone, Copy)]
struct LogTail {
    upper: bool,
}

impl Formula<3> for LogTail {
    const NAME: &'static str = "inverse-gamma-log-cdf";

    #[inline(always)]
    fn at<R: Real>(self, [x, a, b]: [R; 3]) -> R {
        if let Some(log) = at_infinity(x, self.upper) {
            return log;
        }
        if x.value() <= 0. {
            return R::constant(if self.upper { 0. } else { f64::NEG_INFINITY });
        }
        a.gamma_log_tail_of(b, x, true, !self.upper)
    }
}

#[derive(Clone, Copy)]
struct Quantile;

impl Formula<3> for Quantile {
    const NAME: &'static str = "inverse-gamma-quantile";

    #[inline(always)]
    fn at<R: Real>(self, [p, a, b]: [R; 3]) -> R {
        b * (-a.gamma_log_quantile(p, true)).exp()
    }
}

#[derive(Clone, Copy)]
struct Mean;

impl Formula<2> for Mean {
    const NAME: &'static str = "inverse-gamma-mean";

    #[inline(always)]
    fn at<R: Real>(self, [a, b]: [R; 2]) -> R {
        if a.value() <= 1. {
            return R::constant(f64::INFINITY);
        }
        b / (a - 1.)
    }
}

#[derive(Clone, Copy)]
struct Variance;

impl Formula<2> for Variance {
    const NAME: &'static str = "inverse-gamma-variance";

    #[inline(always)]
    fn at<R: Real>(self, [a, b]: [R; 2]) -> R {
        if a.value() <= 2. {
            return R::constant(f64::INFINITY);
        }
        (b / (a - 1.)).square() / (a - 2.)
    }
}

#[derive(Clone, Copy)]
struct EntropyOf;

impl Formula<2> for EntropyOf {
    const NAME: &'static str = "inverse-gamma-entropy";

    #[inline(always)]
    fn at<R: Real>(self, [a, b]: [R; 2]) -> R {
        a.stirling_rest() - a.ln() * 2. + (a + 1.) * a.log_gap() + b.ln()
    }
}

impl Distribution for InverseGamma {
    fn batch_shape(&self) -> &[usize] {
        self.parameters.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let (a, b) = (self.concentration()?, self.rate()?);
        let log = kernel::gamma(&a, Some(&b), shape, rng.stream(), true)?;
        Ok(log.neg()?.exp()?)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.parameters
            .check_value("InverseGamma::log_prob", value)?;
        let [a, b] = self.parameters.given();
        match kernel::huge(a)? {
            true => formula(LogProb::<true>, [value, a, b, &formula(Rest::<true>, [a])?]),
            false => formula(
                LogProb::<false>,
                [value, a, b, &formula(Rest::<false>, [a])?],
            ),
        }
    }
}

impl Reparameterized for InverseGamma {}

impl Moments for InverseGamma {
    /// `b / (a - 1)`; infinite for concentrations up to 1.
    fn mean(&self) -> Result<Tensor> {
        self.parameters.formula(Mean)
    }

    /// Infinite for concentrations up to 2.
    fn variance(&self) -> Result<Tensor> {
        self.parameters.formula(Variance)
    }
}

impl Mode for InverseGamma {
    /// `b / (a + 1)`.
    fn mode(&self) -> Result<Tensor> {
        Ok((self.rate()? / (self.concentration()? + 1.)?)?)
    }
}

impl Entropy for InverseGamma {
    /// `a + ln b + ln Gamma(a) - (a + 1) digamma(a)`.
    fn entropy(&self) -> Result<Tensor> {
        self.parameters.formula(EntropyOf)
    }
}

impl Cdf for InverseGamma {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.at("InverseGamma::log_cdf", LogTail { upper: false }, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.at("InverseGamma::log_survival", LogTail { upper: true }, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.parameters
            .check_probability("InverseGamma::quantile", probability)?;
        self.at("InverseGamma::quantile", Quantile, probability)
    }
}

impl Kl for InverseGamma {
    /// That of the gamma variables: a divergence does not change under an invertible map of both.
    fn kl(&self, other: &InverseGamma) -> Result<Tensor> {
        self.parameters
            .check_other("InverseGamma::kl", &other.parameters)?;
        let ([p, rate], [q, to]) = (self.parameters.given(), other.parameters.given());
        formula(Divergence, [p, rate, q, to])
    }
}

impl MixtureComponent for InverseGamma {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        let parameters = self.parameters.select(index, after)?;
        Ok(InverseGamma { parameters })
    }
}

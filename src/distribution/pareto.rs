//! The Pareto distribution.

use super::parameters::{Domain, Parameters};
use super::*;
use crate::kernels::elementwise::{Formula, formula};
use crate::kernels::number::Real;

/// Pareto distribution with smallest value `scale` and tail exponent `alpha`.
///
/// Formula: `log p(x) = ln alpha - ln x - alpha ln(x / scale)` for `x >= scale`; the survival function is
/// `(scale / x)^alpha`.
///
/// Shapes: `scale` and `alpha` broadcast to the batch shape; the event is scalar. Units: nats.
///
/// Gradients: pathwise, `x = quantile(u)` for uniform u; first derivatives only.
///
/// Errors: parameters that are not floating point, of different dtype or device, do not broadcast, or are not
/// positive and finite.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::{Moments, Pareto};
/// # fn main() -> candle_prob::Result<()> {
/// let scale = Tensor::new(2f64, &Device::Cpu)?;
/// let pareto = Pareto::new(&scale, &Tensor::new(&[1f64, 3.], &Device::Cpu)?)?;
/// assert_eq!(pareto.mean()?.to_vec1::<f64>()?, [f64::INFINITY, 3.]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: both tails of the cdf keep full relative precision as logarithms.
#[derive(Debug, Clone)]
pub struct Pareto {
    pub(super) parameters: Parameters<2>,
}

impl Pareto {
    /// From scale and exponent.
    pub fn new(scale: &Tensor, alpha: &Tensor) -> Result<Self> {
        let parameters = [
            ("scale", scale, Domain::Positive),
            ("alpha", alpha, Domain::Positive),
        ];
        Ok(Pareto {
            parameters: Parameters::new("Pareto::new", parameters)?,
        })
    }

    /// As [`new`](Pareto::new), without looking at the parameters' values.
    pub fn new_unchecked(scale: &Tensor, alpha: &Tensor) -> Result<Self> {
        let parameters = [("scale", scale), ("alpha", alpha)];
        Ok(Pareto {
            parameters: Parameters::unchecked("Pareto::new_unchecked", parameters)?,
        })
    }

    /// The smallest value, shape `batch`.
    pub fn scale(&self) -> Result<Tensor> {
        self.parameters.full(0)
    }

    /// The tail exponent, shape `batch`.
    pub fn alpha(&self) -> Result<Tensor> {
        self.parameters.full(1)
    }

    fn at<F: Formula<3>>(&self, op: &'static str, f: F, value: &Tensor) -> Result<Tensor> {
        self.parameters.check_value(op, value)?;
        let [scale, alpha] = self.parameters.given();
        formula(f, [value, scale, alpha])
    }
}

/// ln(x / scale), exact near the scale.
#[inline(always)]
fn log_ratio<R: Real>(x: R, scale: R) -> R {
    if x.value() < 2. * scale.value() {
        ((x - scale) / scale).ln_1p()
    } else {
        x.ln() - scale.ln()
    }
}

#[derive(Clone, Copy)]
struct LogProb;

impl Formula<3> for LogProb {
    const NAME: &'static str = "pareto-log-prob";
    const QUICK: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [x, scale, alpha]: [R; 3]) -> R {
        if x.value() < scale.value() || x.value() == f64::INFINITY {
            return R::constant(f64::NEG_INFINITY);
        }
        alpha.ln() - x.ln() - alpha * log_ratio(x, scale)
    }
}

#[derive(Clone, Copy)]
struct LogTail {
    upper: bool,
}

impl Formula<3> for LogTail {
    const NAME: &'static str = "pareto-log-cdf";

    #[inline(always)]
    fn at<R: Real>(self, [x, scale, alpha]: [R; 3]) -> R {
        if let Some(log) = at_infinity(x, self.upper) {
            return log;
        }
        if x.value() <= scale.value() {
            return R::constant(if self.upper { 0. } else { f64::NEG_INFINITY });
        }
        let t = alpha * log_ratio(x, scale);
        if self.upper { -t } else { t.log1mexp() }
    }
}

#[derive(Clone, Copy)]
struct Quantile;

impl Formula<3> for Quantile {
    const NAME: &'static str = "pareto-quantile";
    const QUICK: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [p, scale, alpha]: [R; 3]) -> R {
        scale * (-(-p).ln_1p() / alpha).exp()
    }
}

#[derive(Clone, Copy)]
struct Mean;

impl Formula<2> for Mean {
    const NAME: &'static str = "pareto-mean";

    #[inline(always)]
    fn at<R: Real>(self, [scale, alpha]: [R; 2]) -> R {
        if alpha.value() <= 1. {
            return R::constant(f64::INFINITY);
        }
        scale * (alpha / (alpha - 1.))
    }
}

#[derive(Clone, Copy)]
struct Variance;

impl Formula<2> for Variance {
    const NAME: &'static str = "pareto-variance";

    #[inline(always)]
    fn at<R: Real>(self, [scale, alpha]: [R; 2]) -> R {
        if alpha.value() <= 2. {
            return R::constant(f64::INFINITY);
        }
        (scale / (alpha - 1.)).square() * (alpha / (alpha - 2.))
    }
}

#[derive(Clone, Copy)]
struct EntropyOf;

impl Formula<2> for EntropyOf {
    const NAME: &'static str = "pareto-entropy";

    #[inline(always)]
    fn at<R: Real>(self, [scale, alpha]: [R; 2]) -> R {
        (scale / alpha).ln() + alpha.recip() + 1.
    }
}

impl Distribution for Pareto {
    fn batch_shape(&self) -> &[usize] {
        self.parameters.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let [scale, alpha] = self.parameters.given();
        let uniforms = self.parameters.uniforms(shape, rng)?;
        formula(Quantile, [&uniforms, scale, alpha])
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.at("Pareto::log_prob", LogProb, value)
    }
}

impl Reparameterized for Pareto {}

impl Moments for Pareto {
    /// `alpha scale / (alpha - 1)`; infinite for exponents up to 1.
    fn mean(&self) -> Result<Tensor> {
        self.parameters.formula(Mean)
    }

    /// Infinite for exponents up to 2.
    fn variance(&self) -> Result<Tensor> {
        self.parameters.formula(Variance)
    }
}

impl Mode for Pareto {
    fn mode(&self) -> Result<Tensor> {
        self.scale()
    }
}

impl Entropy for Pareto {
    /// `ln(scale / alpha) + 1 + 1 / alpha`.
    fn entropy(&self) -> Result<Tensor> {
        self.parameters.formula(EntropyOf)
    }
}

impl Cdf for Pareto {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.at("Pareto::log_cdf", LogTail { upper: false }, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.at("Pareto::log_survival", LogTail { upper: true }, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.parameters
            .check_probability("Pareto::quantile", probability)?;
        self.at("Pareto::quantile", Quantile, probability)
    }
}

#[derive(Clone, Copy)]
struct Divergence;

impl Formula<4> for Divergence {
    const NAME: &'static str = "pareto-kl";

    #[inline(always)]
    fn at<R: Real>(self, [scale, alpha, to_scale, to_alpha]: [R; 4]) -> R {
        if scale.value() < to_scale.value() {
            return R::constant(f64::INFINITY);
        }
        to_alpha * log_ratio(scale, to_scale) + alpha.scale_divergence(to_alpha)
    }
}

impl Kl for Pareto {
    /// `alpha_q ln(scale_p / scale_q) + r - 1 - ln r` with `r = alpha_q / alpha_p`; infinite where scale_p is below scale_q,
    /// so that the support of q does not contain that of p.
    fn kl(&self, other: &Pareto) -> Result<Tensor> {
        self.parameters
            .check_other("Pareto::kl", &other.parameters)?;
        let ([s, a], [to_s, to_a]) = (self.parameters.given(), other.parameters.given());
        formula(Divergence, [s, a, to_s, to_a])
    }
}

impl MixtureComponent for Pareto {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        let parameters = self.parameters.select(index, after)?;
        Ok(Pareto { parameters })
    }
}

//! The Pareto distribution.

use super::family::*;
use super::*;

const PARAMETERS: Domains<2> = [("scale", Domain::Positive), ("alpha", Domain::Positive)];

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
pub struct Pareto(pub(super) Parameters<2>);

impl Pareto {
    /// From scale and exponent.
    pub fn new(scale: &Tensor, alpha: &Tensor) -> Result<Self> {
        Parameters::new("Pareto::new", PARAMETERS, [scale, alpha]).map(Pareto)
    }

    /// As [`new`](Pareto::new), without looking at the parameters' values.
    pub fn new_unchecked(scale: &Tensor, alpha: &Tensor) -> Result<Self> {
        Parameters::unchecked("Pareto::new_unchecked", PARAMETERS, [scale, alpha]).map(Pareto)
    }

    /// The smallest value, shape `batch`.
    pub fn scale(&self) -> &Tensor {
        self.0.full(0)
    }

    /// The tail exponent, shape `batch`.
    pub fn alpha(&self) -> &Tensor {
        self.0.full(1)
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
struct Law;

impl DensityFormula<3> for Law {
    const QUICK: bool = true;

    #[inline(always)]
    fn log_prob<R: Real>(self, [x, scale, alpha]: [R; 3]) -> R {
        if x.value() < scale.value() || x.value() == f64::INFINITY {
            return R::constant(f64::NEG_INFINITY);
        }
        alpha.ln() - x.ln() - alpha * log_ratio(x, scale)
    }
}

impl CdfFormulas<3> for Law {
    const QUICK_QUANTILE: bool = true;

    #[inline(always)]
    fn log_tail<R: Real>(self, [x, scale, alpha]: [R; 3], upper: bool) -> R {
        if let Some(log) = at_infinity(x, upper) {
            return log;
        }
        if x.value() <= scale.value() {
            return R::constant(if upper { 0. } else { f64::NEG_INFINITY });
        }
        let t = alpha * log_ratio(x, scale);
        if upper { -t } else { t.log1mexp() }
    }

    #[inline(always)]
    fn quantile<R: Real>(self, [p, scale, alpha]: [R; 3]) -> R {
        scale * (-(-p).ln_1p() / alpha).exp()
    }
}

impl MomentFormulas<2> for Law {
    fn mean<R: Real>(self, [scale, alpha]: [R; 2]) -> R {
        if alpha.value() <= 1. {
            return R::constant(f64::INFINITY);
        }
        scale * (alpha / (alpha - 1.))
    }

    fn variance<R: Real>(self, [scale, alpha]: [R; 2]) -> R {
        if alpha.value() <= 2. {
            return R::constant(f64::INFINITY);
        }
        (scale / (alpha - 1.)).square() * (alpha / (alpha - 2.))
    }
}

impl EntropyFormula<2> for Law {
    fn entropy<R: Real>(self, [scale, alpha]: [R; 2]) -> R {
        (scale / alpha).ln() + alpha.recip() + 1.
    }
}

impl KlFormula<4> for Law {
    #[inline(always)]
    fn kl<R: Real>(self, [scale, alpha, to_scale, to_alpha]: [R; 4]) -> R {
        if scale.value() < to_scale.value() {
            return R::constant(f64::INFINITY);
        }
        to_alpha * log_ratio(scale, to_scale) + alpha.scale_divergence(to_alpha)
    }
}

impl Distribution for Pareto {
    fn batch_shape(&self) -> &[usize] {
        self.0.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        self.0.sample("Pareto::sample", Law, shape, rng)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_prob("Pareto::log_prob", Law, value)
    }
}

impl Detach for Pareto {
    fn detach(&self) -> Self {
        Pareto(self.0.detach())
    }
}

impl Reparameterized for Pareto {}

impl Moments for Pareto {
    /// `alpha scale / (alpha - 1)`; infinite for exponents up to 1.
    fn mean(&self) -> Result<Tensor> {
        self.0.mean("Pareto::mean", Law)
    }

    /// Infinite for exponents up to 2.
    fn variance(&self) -> Result<Tensor> {
        self.0.variance("Pareto::variance", Law)
    }
}

impl Mode for Pareto {
    fn mode(&self) -> Result<Tensor> {
        Ok(self.scale().clone())
    }
}

impl Entropy for Pareto {
    /// `ln(scale / alpha) + 1 + 1 / alpha`.
    fn entropy(&self) -> Result<Tensor> {
        self.0.entropy("Pareto::entropy", Law)
    }
}

impl Cdf for Pareto {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_cdf("Pareto::log_cdf", Law, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_survival("Pareto::log_survival", Law, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.0.quantile("Pareto::quantile", Law, probability)
    }
}

impl Kl for Pareto {
    /// `alpha_q ln(scale_p / scale_q) + r - 1 - ln r` with `r = alpha_q / alpha_p`; infinite where scale_p is below scale_q,
    /// so that the support of q does not contain that of p.
    fn kl(&self, other: &Pareto) -> Result<Tensor> {
        self.0.kl("Pareto::kl", Law, &other.0)
    }
}

impl MixtureComponent for Pareto {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        self.0.select(index, after).map(Pareto)
    }
}

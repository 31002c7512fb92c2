//! The Laplace distribution.

use super::family::*;
use super::*;
use std::f64::consts::LN_2;

/// Laplace distribution (double exponential) with median `loc` and scale `scale`.
///
/// Formula: `log p(x) = -|x - loc| / scale - ln(2 scale)`.
///
/// Shapes: `loc` and `scale` broadcast to the batch shape; the event is scalar. Units: nats.
///
/// Gradients: pathwise, `x = quantile(u)` for uniform u; first derivatives only. At `x = loc` the slope of the density is
/// taken as 0.
///
/// Errors: parameters that are not floating point, of different dtype or device, do not broadcast, or are not
/// finite; a scale that is not positive.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::{Cdf, Distribution, Laplace};
/// # fn main() -> candle_prob::Result<()> {
/// let laplace = Laplace::new(&Tensor::new(1f64, &Device::Cpu)?, &Tensor::new(2f64, &Device::Cpu)?)?;
/// let x = Tensor::new(&[1f64, -999.], &Device::Cpu)?;
/// let log_prob = laplace.log_prob(&x)?.to_vec1::<f64>()?;
/// assert_eq!(log_prob, [-(4f64.ln()), -500. - 4f64.ln()]);
/// assert_eq!(laplace.log_cdf(&x)?.to_vec1::<f64>()?, [0.5f64.ln(), -500. - 2f64.ln()]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: both tails of the cdf keep full relative precision as logarithms.
#[derive(Debug, Clone)]
pub struct Laplace(pub(super) Parameters<2>);

impl Laplace {
    /// From median and scale.
    pub fn new(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        Parameters::new("Laplace::new", LOCATION_SCALE, [loc, scale]).map(Laplace)
    }

    /// As [`new`](Laplace::new), without looking at the parameters' values.
    pub fn new_unchecked(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        Parameters::unchecked("Laplace::new_unchecked", LOCATION_SCALE, [loc, scale]).map(Laplace)
    }

    /// The median, shape `batch`.
    pub fn loc(&self) -> &Tensor {
        self.0.full(0)
    }

    /// The scale, shape `batch`.
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
        -x.standard(loc, scale).abs() - scale.ln() - LN_2
    }
}

impl CdfFormulas<3> for Law {
    const QUICK_QUANTILE: bool = true;

    #[inline(always)]
    fn log_tail<R: Real>(self, [x, loc, scale]: [R; 3], upper: bool) -> R {
        if let Some(log) = at_infinity(x, upper) {
            return log;
        }
        let t = x.standard(loc, scale);
        let t = if upper { -t } else { t };
        if t.value() <= 0. {
            t - LN_2
        } else {
            ((-t).exp() * -0.5).ln_1p()
        }
    }

    #[inline(always)]
    fn quantile<R: Real>(self, [p, loc, scale]: [R; 3]) -> R {
        let t = if p.value() <= 0.5 {
            (p * 2.).ln()
        } else {
            -((-p + 1.) * 2.).ln()
        };
        loc + scale * t
    }
}

impl KlFormula<4> for Law {
    /// With t = |loc_p - loc_q| and the scales s_p, s_q.
    #[inline(always)]
    fn kl<R: Real>(self, [loc, scale, other, to]: [R; 4]) -> R {
        let t = (loc - other).abs() / scale;
        let ratio = scale / to;
        ratio * (-t).exp_minus_line() + to.scale_divergence(scale)
    }
}

impl Distribution for Laplace {
    fn batch_shape(&self) -> &[usize] {
        self.0.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        self.0.sample("Laplace::sample", Law, shape, rng)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_prob("Laplace::log_prob", Law, value)
    }
}

impl Detach for Laplace {
    fn detach(&self) -> Self {
        Laplace(self.0.detach())
    }
}

impl Reparameterized for Laplace {}

impl Moments for Laplace {
    fn mean(&self) -> Result<Tensor> {
        Ok(self.loc().clone())
    }

    fn variance(&self) -> Result<Tensor> {
        Ok((self.scale().sqr()? * 2.)?)
    }
}

impl Mode for Laplace {
    fn mode(&self) -> Result<Tensor> {
        Ok(self.loc().clone())
    }
}

impl Entropy for Laplace {
    /// `1 + ln(2 scale)`.
    fn entropy(&self) -> Result<Tensor> {
        Ok((self.scale().log()? + (1. + LN_2))?)
    }
}

impl Cdf for Laplace {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_cdf("Laplace::log_cdf", Law, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_survival("Laplace::log_survival", Law, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.0.quantile("Laplace::quantile", Law, probability)
    }
}

impl Kl for Laplace {
    /// `r (e^-t - 1 + t) + r - 1 - ln r` with `t = |loc_p - loc_q| / scale_p` and `r = scale_p / scale_q`.
    fn kl(&self, other: &Laplace) -> Result<Tensor> {
        self.0.kl("Laplace::kl", Law, &other.0)
    }
}

impl MixtureComponent for Laplace {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        self.0.select(index, after).map(Laplace)
    }
}

//! The logistic distribution.

use super::family::*;
use super::*;
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
pub struct Logistic(pub(super) Parameters<2>);

impl Logistic {
    /// From mean and scale.
    pub fn new(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        Parameters::new("Logistic::new", LOCATION_SCALE, [loc, scale]).map(Logistic)
    }

    /// As [`new`](Logistic::new), without looking at the parameters' values.
    pub fn new_unchecked(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        Parameters::unchecked("Logistic::new_unchecked", LOCATION_SCALE, [loc, scale]).map(Logistic)
    }

    /// The mean, shape `batch`.
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
        let t = x.standard(loc, scale);
        -(t.softplus() + (-t).softplus()) - scale.ln()
    }
}

impl CdfFormulas<3> for Law {
    const QUICK_TAIL: bool = true;
    const QUICK_QUANTILE: bool = true;

    #[inline(always)]
    fn log_tail<R: Real>(self, [x, loc, scale]: [R; 3], upper: bool) -> R {
        if let Some(log) = at_infinity(x, upper) {
            return log;
        }
        let t = x.standard(loc, scale);
        -(if upper { t } else { -t }).softplus()
    }

    #[inline(always)]
    fn quantile<R: Real>(self, [p, loc, scale]: [R; 3]) -> R {
        loc + scale * (p.ln() - (-p).ln_1p())
    }
}

impl Distribution for Logistic {
    fn batch_shape(&self) -> &[usize] {
        self.0.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        self.0.sample("Logistic::sample", Law, shape, rng)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_prob("Logistic::log_prob", Law, value)
    }
}

impl Detach for Logistic {
    fn detach(&self) -> Self {
        Logistic(self.0.detach())
    }
}

impl Reparameterized for Logistic {}

impl Moments for Logistic {
    fn mean(&self) -> Result<Tensor> {
        Ok(self.loc().clone())
    }

    /// `(pi scale)^2 / 3`.
    fn variance(&self) -> Result<Tensor> {
        Ok((self.scale().sqr()? * (PI * PI / 3.))?)
    }
}

impl Mode for Logistic {
    fn mode(&self) -> Result<Tensor> {
        Ok(self.loc().clone())
    }
}

impl Entropy for Logistic {
    /// `2 + ln scale`.
    fn entropy(&self) -> Result<Tensor> {
        Ok((self.scale().log()? + 2.)?)
    }
}

impl Cdf for Logistic {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_cdf("Logistic::log_cdf", Law, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_survival("Logistic::log_survival", Law, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.0.quantile("Logistic::quantile", Law, probability)
    }
}

impl MixtureComponent for Logistic {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        self.0.select(index, after).map(Logistic)
    }
}

//! The Laplace distribution.

use super::parameters::{Domain, Parameters};
use super::*;
use crate::kernels::elementwise::{Formula, formula};
use crate::kernels::number::Real;
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
pub struct Laplace {
    pub(super) parameters: Parameters<2>,
}

impl Laplace {
    /// From median and scale.
    pub fn new(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        let parameters = [
            ("loc", loc, Domain::Real),
            ("scale", scale, Domain::Positive),
        ];
        Ok(Laplace {
            parameters: Parameters::new("Laplace::new", parameters)?,
        })
    }

    /// As [`new`](Laplace::new), without looking at the parameters' values.
    pub fn new_unchecked(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        let parameters = [("loc", loc), ("scale", scale)];
        Ok(Laplace {
            parameters: Parameters::unchecked("Laplace::new_unchecked", parameters)?,
        })
    }

    /// The median, shape `batch`.
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
    const NAME: &'static str = "laplace-log-prob";
    const QUICK: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [x, loc, scale]: [R; 3]) -> R {
        -x.standard(loc, scale).abs() - scale.ln() - LN_2
    }
}

/// ln P(X <= x) or, for the upper tail, ln P(X > x).
#[derive(Clone, Copy)]
struct LogTail {
    upper: bool,
}

impl Formula<3> for LogTail {
    const NAME: &'static str = "laplace-log-cdf";

    #[inline(always)]
    fn at<R: Real>(self, [x, loc, scale]: [R; 3]) -> R {
        if let Some(log) = at_infinity(x, self.upper) {
            return log;
        }
        let t = x.standard(loc, scale);
        let t = if self.upper { -t } else { t };
        if t.value() <= 0. {
            t - LN_2
        } else {
            ((-t).exp() * -0.5).ln_1p()
        }
    }
}

#[derive(Clone, Copy)]
struct Quantile;

impl Formula<3> for Quantile {
    const NAME: &'static str = "laplace-quantile";
    const QUICK: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [p, loc, scale]: [R; 3]) -> R {
        let t = if p.value() <= 0.5 {
            (p * 2.).ln()
        } else {
            -((-p + 1.) * 2.).ln()
        };
        loc + scale * t
    }
}

impl Distribution for Laplace {
    fn batch_shape(&self) -> &[usize] {
        self.parameters.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let [loc, scale] = self.parameters.given();
        formula(
            Quantile,
            [&self.parameters.uniforms(shape, rng)?, loc, scale],
        )
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.at("Laplace::log_prob", LogProb, value)
    }
}

impl Reparameterized for Laplace {}

impl Moments for Laplace {
    fn mean(&self) -> Result<Tensor> {
        self.loc()
    }

    fn variance(&self) -> Result<Tensor> {
        Ok((self.scale()?.sqr()? * 2.)?)
    }
}

impl Mode for Laplace {
    fn mode(&self) -> Result<Tensor> {
        self.loc()
    }
}

impl Entropy for Laplace {
    /// `1 + ln(2 scale)`.
    fn entropy(&self) -> Result<Tensor> {
        Ok((self.scale()?.log()? + (1. + LN_2))?)
    }
}

impl Cdf for Laplace {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.at("Laplace::log_cdf", LogTail { upper: false }, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.at("Laplace::log_survival", LogTail { upper: true }, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.parameters
            .check_probability("Laplace::quantile", probability)?;
        self.at("Laplace::quantile", Quantile, probability)
    }
}

/// With t = |loc_p - loc_q| and the scales s_p, s_q.
#[derive(Clone, Copy)]
struct Divergence;

impl Formula<4> for Divergence {
    const NAME: &'static str = "laplace-kl";

    #[inline(always)]
    fn at<R: Real>(self, [loc, scale, other, to]: [R; 4]) -> R {
        let t = (loc - other).abs() / scale;
        let ratio = scale / to;
        ratio * (-t).exp_minus_line() + to.scale_divergence(scale)
    }
}

impl Kl for Laplace {
    /// `r (e^-t - 1 + t) + r - 1 - ln r` with `t = |loc_p - loc_q| / scale_p` and `r = scale_p / scale_q`.
    fn kl(&self, other: &Laplace) -> Result<Tensor> {
        self.parameters
            .check_other("Laplace::kl", &other.parameters)?;
        let ([loc, scale], [other, to]) = (self.parameters.given(), other.parameters.given());
        formula(Divergence, [loc, scale, other, to])
    }
}

impl MixtureComponent for Laplace {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        let parameters = self.parameters.select(index, after)?;
        Ok(Laplace { parameters })
    }
}

//! The Weibull distribution.

use super::gumbel::lgamma_above_tangent;
use super::parameters::{Domain, Parameters};
use super::*;
use crate::kernels::elementwise::{Formula, formula};
use crate::kernels::number::{Elementary, Real};

/// The Euler-Mascheroni constant.
const EULER: f64 = 0.577_215_664_901_532_9;

/// Weibull distribution with `scale` and shape parameter `concentration`.
///
/// Formula: `log p(x) = ln(k / s) + (k - 1) ln(x / s) - (x / s)^k` with s the scale, k the concentration, for `x >= 0`; the
/// survival function is `exp(-(x / s)^k)`.
///
/// Shapes: `scale` and `concentration` broadcast to the batch shape; the event is scalar. Units: nats.
///
/// Gradients: pathwise, `x = quantile(u)` for uniform u; first derivatives only.
///
/// Errors: parameters that are not floating point, of different dtype or device, do not broadcast, or are not
/// positive and finite.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::{Cdf, Weibull};
/// # fn main() -> candle_prob::Result<()> {
/// let number = |x: f64| Tensor::new(x, &Device::Cpu);
/// let weibull = Weibull::new(&number(2.)?, &number(3.)?)?;
/// assert_eq!(weibull.log_survival(&number(4.)?)?.to_scalar::<f64>()?, -8.);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: both tails of the cdf keep full relative precision as logarithms.
#[derive(Debug, Clone)]
pub struct Weibull {
    pub(super) parameters: Parameters<2>,
}

impl Weibull {
    /// From scale and concentration.
    pub fn new(scale: &Tensor, concentration: &Tensor) -> Result<Self> {
        let parameters = [
            ("scale", scale, Domain::Positive),
            ("concentration", concentration, Domain::Positive),
        ];
        Ok(Weibull {
            parameters: Parameters::new("Weibull::new", parameters)?,
        })
    }

    /// As [`new`](Weibull::new), without looking at the parameters' values.
    pub fn new_unchecked(scale: &Tensor, concentration: &Tensor) -> Result<Self> {
        let parameters = [("scale", scale), ("concentration", concentration)];
        Ok(Weibull {
            parameters: Parameters::unchecked("Weibull::new_unchecked", parameters)?,
        })
    }

    /// The scale, shape `batch`.
    pub fn scale(&self) -> Result<Tensor> {
        self.parameters.full(0)
    }

    /// The shape parameter, shape `batch`.
    pub fn concentration(&self) -> Result<Tensor> {
        self.parameters.full(1)
    }

    fn at<F: Formula<3>>(&self, op: &'static str, f: F, value: &Tensor) -> Result<Tensor> {
        self.parameters.check_value(op, value)?;
        let [scale, k] = self.parameters.given();
        formula(f, [value, scale, k])
    }
}

/// `ln(x / scale)`, also where the quotient overflows or underflows, which that of f32 numbers does not in f64.
#[inline(always)]
fn log_share<R: Real>(x: f64, scale: f64) -> f64 {
    R::Functions::log_ratio(x, scale, x - scale)
}

/// `(x / scale)^k`, given the logarithm of the quotient.
#[inline(always)]
fn power<R: Real>(x: f64, scale: f64, k: f64, log: f64) -> f64 {
    let t = x / scale;
    if R::Functions::EXACT && t.is_normal() {
        return R::Functions::powf(t, k);
    }
    R::Functions::exp(k * log)
}

#[derive(Clone, Copy)]
struct LogProb;

impl Formula<3> for LogProb {
    const NAME: &'static str = "weibull-log-prob";
    const QUICK: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [x, scale, k]: [R; 3]) -> R {
        if x.value() < 0. || x.value() == f64::INFINITY {
            return R::constant(f64::NEG_INFINITY);
        }
        if x.value() == 0. {
            let slope = if k.value() == 1. {
                -1. / scale.value()
            } else {
                0.
            };
            return (k - 1.).limit_of_power() + k.ln() - scale.ln() + x.map(0., slope);
        }
        let [v, s, p] = [x.value(), scale.value(), k.value()];
        let log = log_share::<R>(v, s);
        let power = power::<R>(v, s, p, log);
        let logs = R::Functions::ln(p) - R::Functions::ln(s);
        let less = p * (power - 1.);
        R::chain(
            [x, scale, k],
            (p - 1.) * log - power + logs,
            [-(less + 1.) / v, less / s, log * (1. - power) + 1. / p],
        )
    }
}

#[derive(Clone, Copy)]
struct LogTail {
    upper: bool,
}

impl Formula<3> for LogTail {
    const NAME: &'static str = "weibull-log-cdf";

    #[inline(always)]
    fn at<R: Real>(self, [x, scale, k]: [R; 3]) -> R {
        if let Some(log) = at_infinity(x, self.upper) {
            return log;
        }
        if x.value() <= 0. {
            return R::constant(if self.upper { 0. } else { f64::NEG_INFINITY });
        }
        let [v, s, p] = [x.value(), scale.value(), k.value()];
        let log = log_share::<R>(v, s);
        let power = power::<R>(v, s, p, log);
        let to_log = p * power;
        let power = R::chain([x, scale, k], power, [to_log / v, -to_log / s, log * power]);
        if self.upper {
            return -power;
        }
        // The power itself underflows before its logarithm does.
        if power.value() < 1e-8 {
            return k * x.log_over(scale) - power * 0.5;
        }
        power.log1mexp()
    }
}

#[derive(Clone, Copy)]
struct Quantile;

impl Formula<3> for Quantile {
    const NAME: &'static str = "weibull-quantile";
    const QUICK: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [p, scale, k]: [R; 3]) -> R {
        scale * (-(-p).ln_1p()).powf(k.recip())
    }
}

#[derive(Clone, Copy)]
pub(super) struct Mean;

impl Formula<2> for Mean {
    const NAME: &'static str = "weibull-mean";

    #[inline(always)]
    fn at<R: Real>(self, [scale, k]: [R; 2]) -> R {
        scale * (k.recip() + 1.).lgamma().exp()
    }
}

/// With `G(n) = Gamma(1 + n / k)`: `s^2 (G(2) - G(1)^2)`.
#[derive(Clone, Copy)]
struct Variance;

impl Formula<2> for Variance {
    const NAME: &'static str = "weibull-variance";

    #[inline(always)]
    fn at<R: Real>(self, [scale, k]: [R; 2]) -> R {
        let step = k.recip();
        let first = (step + 1.).lgamma();
        let gap = R::constant(1.).lgamma_second_difference(step);
        (scale * first.exp()).square() * gap.exp_m1()
    }
}

#[derive(Clone, Copy)]
struct ModeOf;

impl Formula<2> for ModeOf {
    const NAME: &'static str = "weibull-mode";

    #[inline(always)]
    fn at<R: Real>(self, [scale, k]: [R; 2]) -> R {
        if k.value() <= 1. {
            return R::constant(0.);
        }
        scale * ((-k.recip()).ln_1p() / k).exp()
    }
}

#[derive(Clone, Copy)]
pub(super) struct EntropyOf;

impl Formula<2> for EntropyOf {
    const NAME: &'static str = "weibull-entropy";

    #[inline(always)]
    fn at<R: Real>(self, [scale, k]: [R; 2]) -> R {
        (-k.recip() + 1.) * EULER + (scale / k).ln() + 1.
    }
}

impl Distribution for Weibull {
    fn batch_shape(&self) -> &[usize] {
        self.parameters.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let [scale, k] = self.parameters.given();
        let uniforms = self.parameters.uniforms(shape, rng)?;
        formula(Quantile, [&uniforms, scale, k])
    }

    /// At zero it is the limit from inside: +inf for a concentration below 1, `-ln s` at 1, -inf above.
    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.at("Weibull::log_prob", LogProb, value)
    }
}

impl Reparameterized for Weibull {}

impl Moments for Weibull {
    /// `s Gamma(1 + 1/k)`.
    fn mean(&self) -> Result<Tensor> {
        self.parameters.formula(Mean)
    }

    fn variance(&self) -> Result<Tensor> {
        self.parameters.formula(Variance)
    }
}

impl Mode for Weibull {
    /// `s (1 - 1/k)^(1/k)`, and 0 for concentrations up to 1.
    fn mode(&self) -> Result<Tensor> {
        self.parameters.formula(ModeOf)
    }
}

impl Entropy for Weibull {
    /// `c (1 - 1/k) + ln(s / k) + 1` with Euler's constant c.
    fn entropy(&self) -> Result<Tensor> {
        self.parameters.formula(EntropyOf)
    }
}

impl Cdf for Weibull {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.at("Weibull::log_cdf", LogTail { upper: false }, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.at("Weibull::log_survival", LogTail { upper: true }, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.parameters
            .check_probability("Weibull::quantile", probability)?;
        self.at("Weibull::quantile", Quantile, probability)
    }
}

#[derive(Clone, Copy)]
struct Divergence;

impl Formula<4> for Divergence {
    const NAME: &'static str = "weibull-kl";

    #[inline(always)]
    fn at<R: Real>(self, [s, k, to_s, to_k]: [R; 4]) -> R {
        let ratio = to_k / k;
        let log = to_k * (s / to_s).ln();
        (log + (ratio + 1.).lgamma()).exp_minus_line() + lgamma_above_tangent((to_k - k) / k)
    }
}

impl Kl for Weibull {
    /// With `r = k_q / k_p`, `l = k_q ln(s_p / s_q)` and Euler's constant c:
    /// `Gamma(1 + r) e^l - 1 - l - ln r + c (r - 1)`, as the sum of `e^h - 1 - h` for `h = l + ln Gamma(1 + r)` and
    /// `ln Gamma(r) + c (r - 1)`: neither is negative.
    fn kl(&self, other: &Weibull) -> Result<Tensor> {
        self.parameters
            .check_other("Weibull::kl", &other.parameters)?;
        let ([s, k], [to_s, to_k]) = (self.parameters.given(), other.parameters.given());
        formula(Divergence, [s, k, to_s, to_k])
    }
}

impl MixtureComponent for Weibull {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        let parameters = self.parameters.select(index, after)?;
        Ok(Weibull { parameters })
    }
}

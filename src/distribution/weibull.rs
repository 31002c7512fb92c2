//! The Weibull distribution.

use super::family::*;
use super::gumbel::lgamma_above_tangent;
use super::*;
use crate::kernels::number::EULER;

const PARAMETERS: Domains<2> = [
    ("scale", Domain::Positive),
    ("concentration", Domain::Positive),
];

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
pub struct Weibull(pub(super) Parameters<2>);

impl Weibull {
    /// From scale and concentration.
    pub fn new(scale: &Tensor, concentration: &Tensor) -> Result<Self> {
        Parameters::new("Weibull::new", PARAMETERS, [scale, concentration]).map(Weibull)
    }

    /// As [`new`](Weibull::new), without looking at the parameters' values.
    pub fn new_unchecked(scale: &Tensor, concentration: &Tensor) -> Result<Self> {
        Parameters::unchecked("Weibull::new_unchecked", PARAMETERS, [scale, concentration])
            .map(Weibull)
    }

    /// The scale, shape `batch`.
    pub fn scale(&self) -> &Tensor {
        self.0.full(0)
    }

    /// The shape parameter, shape `batch`.
    pub fn concentration(&self) -> &Tensor {
        self.0.full(1)
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
pub(super) struct Law;

impl DensityFormula<3> for Law {
    const QUICK: bool = true;

    #[inline(always)]
    fn log_prob<R: Real>(self, [x, scale, k]: [R; 3]) -> R {
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

impl CdfFormulas<3> for Law {
    const QUICK_QUANTILE: bool = true;

    #[inline(always)]
    fn log_tail<R: Real>(self, [x, scale, k]: [R; 3], upper: bool) -> R {
        if let Some(log) = at_infinity(x, upper) {
            return log;
        }
        if x.value() <= 0. {
            return R::constant(if upper { 0. } else { f64::NEG_INFINITY });
        }
        let [v, s, p] = [x.value(), scale.value(), k.value()];
        let log = log_share::<R>(v, s);
        let power = power::<R>(v, s, p, log);
        let to_log = p * power;
        let power = R::chain([x, scale, k], power, [to_log / v, -to_log / s, log * power]);
        if upper {
            return -power;
        }
        // The power itself underflows before its logarithm does.
        if power.value() < 1e-8 {
            return k * x.log_over(scale) - power * 0.5;
        }
        power.log1mexp()
    }

    #[inline(always)]
    fn quantile<R: Real>(self, [p, scale, k]: [R; 3]) -> R {
        scale * (-(-p).ln_1p()).powf(k.recip())
    }
}

impl MomentFormulas<2> for Law {
    fn mean<R: Real>(self, [scale, k]: [R; 2]) -> R {
        scale * (k.recip() + 1.).lgamma().exp()
    }

    /// With `G(n) = Gamma(1 + n / k)`: `s^2 (G(2) - G(1)^2)`.
    fn variance<R: Real>(self, [scale, k]: [R; 2]) -> R {
        let step = k.recip();
        let first = (step + 1.).lgamma();
        let gap = R::constant(1.).lgamma_second_difference(step);
        (scale * first.exp()).square() * gap.exp_m1()
    }
}

impl ModeFormula<2> for Law {
    fn mode<R: Real>(self, [scale, k]: [R; 2]) -> R {
        if k.value() <= 1. {
            return R::constant(0.);
        }
        scale * ((-k.recip()).ln_1p() / k).exp()
    }
}

impl EntropyFormula<2> for Law {
    fn entropy<R: Real>(self, [scale, k]: [R; 2]) -> R {
        (-k.recip() + 1.) * EULER + (scale / k).ln() + 1.
    }
}

impl KlFormula<4> for Law {
    #[inline(always)]
    fn kl<R: Real>(self, [s, k, to_s, to_k]: [R; 4]) -> R {
        let ratio = to_k / k;
        let log = to_k * (s / to_s).ln();
        (log + (ratio + 1.).lgamma()).exp_minus_line() + lgamma_above_tangent((to_k - k) / k)
    }
}

impl Distribution for Weibull {
    fn batch_shape(&self) -> &[usize] {
        self.0.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        self.0.sample("Weibull::sample", Law, shape, rng)
    }

    /// At zero it is the limit from inside: +inf for a concentration below 1, `-ln s` at 1, -inf above.
    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_prob("Weibull::log_prob", Law, value)
    }
}

impl Detach for Weibull {
    fn detach(&self) -> Self {
        Weibull(self.0.detach())
    }
}

impl Reparameterized for Weibull {}

impl Moments for Weibull {
    /// `s Gamma(1 + 1/k)`.
    fn mean(&self) -> Result<Tensor> {
        self.0.mean("Weibull::mean", Law)
    }

    fn variance(&self) -> Result<Tensor> {
        self.0.variance("Weibull::variance", Law)
    }
}

impl Mode for Weibull {
    /// `s (1 - 1/k)^(1/k)`, and 0 for concentrations up to 1.
    fn mode(&self) -> Result<Tensor> {
        self.0.mode("Weibull::mode", Law)
    }
}

impl Entropy for Weibull {
    /// `c (1 - 1/k) + ln(s / k) + 1` with Euler's constant c.
    fn entropy(&self) -> Result<Tensor> {
        self.0.entropy("Weibull::entropy", Law)
    }
}

impl Cdf for Weibull {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_cdf("Weibull::log_cdf", Law, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_survival("Weibull::log_survival", Law, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.0.quantile("Weibull::quantile", Law, probability)
    }
}

impl Kl for Weibull {
    /// With `r = k_q / k_p`, `l = k_q ln(s_p / s_q)` and Euler's constant c:
    /// `Gamma(1 + r) e^l - 1 - l - ln r + c (r - 1)`, as the sum of `e^h - 1 - h` for `h = l + ln Gamma(1 + r)` and
    /// `ln Gamma(r) + c (r - 1)`: neither is negative.
    fn kl(&self, other: &Weibull) -> Result<Tensor> {
        self.0.kl("Weibull::kl", Law, &other.0)
    }
}

impl MixtureComponent for Weibull {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        self.0.select(index, after).map(Weibull)
    }
}

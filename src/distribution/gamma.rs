//! The gamma distribution.

use super::family::*;
use super::*;
use crate::kernels::family::gamma as kernel;
use crate::kernels::number::saddle;

/// Gamma distribution with shape parameter `concentration` and inverse scale `rate`.
///
/// Formula: `log p(x) = a ln b + (a - 1) ln x - b x - ln Gamma(a)` with a the concentration, b the rate, for `x >= 0`.
///
/// Shapes: `concentration` and `rate` broadcast to the batch shape; the event is scalar. Units: nats.
///
/// Gradients: pathwise; a draw moves with its concentration at a fixed value of the cdf (implicit reparameterization),
/// and with its rate as `1 / rate`. First derivatives only: the derivative of a draw is not differentiated again.
///
/// Errors: parameters that are not floating point, of different dtype or device, do not broadcast, or are not
/// positive and finite.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use candle_prob::{Rng, distribution::{Distribution, Gamma}};
/// # fn main() -> candle_prob::Result<()> {
/// let concentration = Var::new(&[0.001f32, 2.], &Device::Cpu)?;
/// let gamma = Gamma::new(&concentration, &Tensor::new(3f32, &Device::Cpu)?)?;
/// // At concentration 0.001 half of all draws are below 1e-300: zero in f32, but not as logarithms.
/// let log_x = gamma.sample_log(&[1000], &mut Rng::new(0))?;
/// assert!(log_x.min_all()?.to_scalar::<f32>()? > -20_000.);
/// let gradients = log_x.mean_all()?.backward()?;
/// assert!(gradients.get(&concentration).is_some());
/// # Ok(())
/// # }
/// ```
///
/// Numerics: draws are made as logarithms, so that none is lost to underflow before [`sample_log`](Gamma::sample_log)
/// returns it, for concentrations from 1e-6 to 1e6 (and beyond: below 1e-37 logarithms overflow). A draw's derivative has
/// a relative error below 5e-4 in f32 (1.5e-5 measured for concentrations from 1e-6 to 1e6) and 1e-6 in f64. Densities,
/// entropy and divergence keep their digits at any concentration: their terms of its size cancel before they are computed.
/// The cdf's logarithms keep their digits in both tails.
///
/// Source: densities: Loader (2000), Fast and Accurate Computation of Binomial Probabilities; draws: Marsaglia and Tsang (2000), A Simple Method for Generating Gamma Variables; Figurnov, Mohamed and Mnih (2018),
/// Implicit Reparameterization Gradients, eq. 5.
#[derive(Debug, Clone)]
pub struct Gamma(pub(super) Parameters<2>);

pub(super) const CONCENTRATION_RATE: Domains<2> = [
    ("concentration", Domain::Positive),
    ("rate", Domain::Positive),
];

impl Gamma {
    /// From concentration and rate.
    pub fn new(concentration: &Tensor, rate: &Tensor) -> Result<Self> {
        Parameters::new("Gamma::new", CONCENTRATION_RATE, [concentration, rate]).map(Gamma)
    }

    /// As [`new`](Gamma::new), without looking at the parameters' values. Draws are NaN where they are not positive.
    pub fn new_unchecked(concentration: &Tensor, rate: &Tensor) -> Result<Self> {
        Parameters::unchecked(
            "Gamma::new_unchecked",
            CONCENTRATION_RATE,
            [concentration, rate],
        )
        .map(Gamma)
    }

    /// The shape parameter.
    pub fn concentration(&self) -> &Tensor {
        self.0.full(0)
    }

    /// The inverse scale.
    pub fn rate(&self) -> &Tensor {
        self.0.full(1)
    }

    /// Logarithms of draws, shape `shape ++ batch`: finite where the draws themselves underflow.
    ///
    /// Gradients: pathwise, as for [`sample`](Distribution::sample).
    pub fn sample_log(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        self.draw(shape, rng, true)
    }

    /// Log-density at `exp(log_value)`, with respect to dx as [`log_prob`](Distribution::log_prob) is; for the density
    /// of `ln x` itself (with respect to d ln x) add `log_value`.
    ///
    /// Formula: `a ln b + (a - 1) l - exp(l + ln b) - ln Gamma(a)` with l the log of the value. It stays finite where the
    /// value underflows. `log_value` broadcasts with the batch. At -inf (a value of zero) it is the limit from inside.
    pub fn log_prob_of_log(&self, log_value: &Tensor) -> Result<Tensor> {
        self.0
            .split_log_prob("Gamma::log_prob_of_log", OfLog, log_value)
    }

    fn draw(&self, shape: &[usize], rng: &mut Rng, log: bool) -> Result<Tensor> {
        let (concentration, rate) = (self.concentration(), self.rate());
        kernel::gamma(concentration, Some(rate), shape, rng.stream(), log)
    }
}

/// `ln(y / a)` with y the product of two numbers or their quotient, which may be beyond the largest number or below the
/// smallest normal one: then by `logs`, that of y from theirs.
#[inline(always)]
pub(super) fn log_share<R: Real>(y: f64, a: f64, logs: impl FnOnce() -> f64) -> f64 {
    if !y.is_normal() {
        return logs() - a.ln();
    }
    R::Functions::log_ratio(y, a, y - a)
}

/// The log-density of the logarithm of a gamma variable of rate 1 at y, but for what depends on a alone, given `ln(y / a)`.
#[inline(always)]
pub(super) fn log_peak_less<R: Real>(a: f64, y: f64, log: f64) -> f64 {
    -R::Functions::deviance(a, y, a - y, -log)
}

/// `a ln b - ln Gamma(a) - y`, with y the value times the rate, where a is not huge: terms of the size of a meet in f64.
#[inline(always)]
pub(super) fn constant_less<R: Real>(a: R, b: R, rest: R, y: R) -> R {
    let log = a.ln();
    a * (b.ln() - log) + (a - y) + log + rest
}

#[derive(Clone, Copy)]
pub(super) struct Law;

impl SplitDensityFormula<1, 4> for Law {
    /// `a ln a - a - ln Gamma(1 + a)`: what is left of the density's constant when the terms that cancel against the value's are
    /// taken out. It is small, so that single precision holds it.
    #[inline(always)]
    fn once<R: Real>(self, [a]: [R; 1]) -> R {
        if !R::Functions::EXACT {
            return a * a.ln() - a - (a + 1.).lgamma();
        }
        -a.stirling_rest()
    }

    /// In the saddle-point form, but for f32 numbers of ordinary size, to which one logarithm less is more.
    #[inline(always)]
    fn log_prob<R: Real>(self, [x, a, b, rest]: [R; 4]) -> R {
        if x.value() < 0. || x.value() == f64::INFINITY {
            return R::constant(f64::NEG_INFINITY);
        }
        if !R::Functions::EXACT || x.value() == 0. {
            return (a - 1.).xlogy(x) + constant_less(a, b, rest, b * x);
        }
        let [v, p, r] = [x.value(), a.value(), b.value()];
        let y = r * v;
        let log = log_share::<R>(y, p, || r.ln() + v.ln());
        let value = log_peak_less::<R>(p, y, log) - log + (R::Functions::ln(r) + rest.value());
        let gap = p - y;
        R::chain(
            [x, a, b, rest],
            value,
            [(gap - 1.) / v, log + 1. / p, gap / r, 1.],
        )
    }
}

/// The law, at the logarithm of the value.
#[derive(Clone, Copy)]
struct OfLog;

impl SplitDensityFormula<1, 4> for OfLog {
    #[inline(always)]
    fn once<R: Real>(self, first: [R; 1]) -> R {
        Law.once(first)
    }

    #[inline(always)]
    fn log_prob<R: Real>(self, [l, a, b, rest]: [R; 4]) -> R {
        if l.value() == f64::INFINITY {
            return R::constant(f64::NEG_INFINITY);
        }
        if l.value() == f64::NEG_INFINITY {
            return (a - 1.).limit_of_power() + constant_less(a, b, rest, R::constant(0.));
        }
        if !R::Functions::EXACT {
            return (a - 1.) * l + constant_less(a, b, rest, b * l.exp());
        }
        let [v, p, r] = [l.value(), a.value(), b.value()];
        let log_a = R::Functions::ln(p);
        let t = v + (R::Functions::ln(r) - log_a);
        let less = R::Functions::exp_m1(t);
        let value = p * (t - less) - v + (log_a + rest.value());
        let gap = -p * less;
        R::chain([l, a, b, rest], value, [gap - 1., t + 1. / p, gap / r, 1.])
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
        a.gamma_log_tail_of(b, x, false, upper)
    }

    #[inline(always)]
    fn quantile<R: Real>(self, [p, a, b]: [R; 3]) -> R {
        a.gamma_log_quantile(p, false).exp() / b
    }
}

impl ModeFormula<2> for Law {
    fn mode<R: Real>(self, [a, b]: [R; 2]) -> R {
        if a.value() <= 1. {
            return R::constant(0.);
        }
        (a - 1.) / b
    }
}

impl EntropyFormula<2> for Law {
    fn entropy<R: Real>(self, [a, b]: [R; 2]) -> R {
        a.stirling_rest() + (a - 1.) * a.log_gap() - b.ln()
    }
}

/// `a b - c d`, rounded once (Kahan).
fn products(a: f64, b: f64, c: f64, d: f64) -> f64 {
    let product = c * d;
    a.mul_add(b, -product) - c.mul_add(d, -product)
}

impl KlFormula<4> for Law {
    /// With concentrations p and q, and the rates: two parts, neither negative.
    #[inline(always)]
    fn kl<R: Real>(self, [p, rate, q, to]: [R; 4]) -> R {
        let [a, from, c, into] = [p, rate, q, to].map(Real::value);
        // Of the other's concentration as a Poisson variable's, with what the other's rate makes of the mean.
        let mean = a * (into / from);
        let gap = products(c, from, a, into) / from;
        let gap = if gap.is_finite() { gap } else { c - mean };
        let value = saddle::deviance_by_gap(c, mean, gap)
            .unwrap_or_else(|| c * ((c.ln() - a.ln()) - (into.ln() - from.ln())) - gap);
        let value = value + saddle::divergence_rest(a, c, c - a);
        R::function([p, rate, q, to], value, || {
            let less = saddle::log_gap_less(a, c, c - a);
            [
                -gap / a - saddle::log_gap_fall(a) * (c - a),
                gap / from,
                saddle::log_ratio(c, mean, gap) + less,
                -gap / into,
            ]
        })
    }
}

impl Distribution for Gamma {
    fn batch_shape(&self) -> &[usize] {
        self.0.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        self.draw(shape, rng, false)
    }

    /// At zero it is the limit from inside: +inf for a concentration below 1, `ln b` at 1, -inf above.
    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.0.split_log_prob("Gamma::log_prob", Law, value)
    }
}

impl Detach for Gamma {
    fn detach(&self) -> Self {
        Gamma(self.0.detach())
    }
}

impl Reparameterized for Gamma {}

impl Moments for Gamma {
    fn mean(&self) -> Result<Tensor> {
        Ok((self.concentration() / self.rate())?)
    }

    fn variance(&self) -> Result<Tensor> {
        Ok(((self.concentration() / self.rate())? / self.rate())?)
    }
}

impl Mode for Gamma {
    /// `(a - 1) / b`, and 0 for concentrations up to 1.
    fn mode(&self) -> Result<Tensor> {
        self.0.mode("Gamma::mode", Law)
    }
}

impl Entropy for Gamma {
    /// `a - ln b + ln Gamma(a) + (1 - a) digamma(a)`.
    fn entropy(&self) -> Result<Tensor> {
        self.0.entropy("Gamma::entropy", Law)
    }
}

impl Cdf for Gamma {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_cdf("Gamma::log_cdf", Law, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_survival("Gamma::log_survival", Law, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.0.quantile("Gamma::quantile", Law, probability)
    }
}

impl Kl for Gamma {
    /// With r = b_q / b_p: `a_p (r - 1 - ln r) + (a_p - a_q) ln r` from the rates and
    /// `ln Gamma(a_q) - ln Gamma(a_p) - (a_q - a_p) digamma(a_p)` from the concentrations. Computed as two other parts,
    /// neither negative, so that near-equal parameters lose no digits.
    fn kl(&self, other: &Gamma) -> Result<Tensor> {
        self.0.kl("Gamma::kl", Law, &other.0)
    }
}

impl MixtureComponent for Gamma {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        self.0.select(index, after).map(Gamma)
    }
}

//! The Kumaraswamy distribution.

use super::parameters::{Domain, Parameters};
use super::*;
use crate::kernels::elementwise::{Formula, formula};
use crate::kernels::number::Real;

/// The Euler-Mascheroni constant.
const EULER: f64 = 0.577_215_664_901_532_9;

/// Kumaraswamy distribution on [0, 1]: close to [`Beta`], with a cdf in closed form.
///
/// Formula: `log p(x) = ln(a b) + (a - 1) ln x + (b - 1) ln(1 - x^a)` with `a` = `concentration1`, `b` =
/// `concentration0`; the survival function is `(1 - x^a)^b`.
///
/// Shapes: the concentrations broadcast to the batch shape; the event is scalar. Units: nats.
///
/// Gradients: pathwise, `x = quantile(u)` for uniform u; first derivatives only.
///
/// Errors: parameters that are not floating point, of different dtype or device, do not broadcast, or are not
/// positive and finite.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::{Cdf, Kumaraswamy};
/// # fn main() -> candle_prob::Result<()> {
/// let number = |x: f64| Tensor::new(x, &Device::Cpu);
/// let law = Kumaraswamy::new(&number(2.)?, &number(3.)?)?;
/// let above = law.survival(&number(0.5)?)?.to_scalar::<f64>()?;
/// assert!((above - 0.75f64.powi(3)).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: `1 - x^a` is computed from `a ln x`, so that it keeps its digits at both ends.
///
/// Source: Kumaraswamy (1980), A generalized probability density function for double-bounded random processes.
#[derive(Debug, Clone)]
pub struct Kumaraswamy {
    parameters: Parameters<2>,
}

impl Kumaraswamy {
    /// From the exponents.
    pub fn new(concentration1: &Tensor, concentration0: &Tensor) -> Result<Self> {
        let parameters = [
            ("concentration1", concentration1, Domain::Positive),
            ("concentration0", concentration0, Domain::Positive),
        ];
        Ok(Kumaraswamy {
            parameters: Parameters::new("Kumaraswamy::new", parameters)?,
        })
    }

    /// As [`new`](Kumaraswamy::new), without looking at the parameters' values.
    pub fn new_unchecked(concentration1: &Tensor, concentration0: &Tensor) -> Result<Self> {
        let parameters = [
            ("concentration1", concentration1),
            ("concentration0", concentration0),
        ];
        Ok(Kumaraswamy {
            parameters: Parameters::unchecked("Kumaraswamy::new_unchecked", parameters)?,
        })
    }

    /// The exponent of x, shape `batch`.
    pub fn concentration1(&self) -> Result<Tensor> {
        self.parameters.full(0)
    }

    /// The exponent of the survival function, shape `batch`.
    pub fn concentration0(&self) -> Result<Tensor> {
        self.parameters.full(1)
    }

    fn at<F: Formula<3>>(&self, op: &'static str, f: F, value: &Tensor) -> Result<Tensor> {
        self.parameters.check_value(op, value)?;
        let [a, b] = self.parameters.given();
        formula(f, [value, a, b])
    }
}

/// `-a ln x`, exact near x = 1.
#[inline(always)]
fn depth<R: Real>(x: R, a: R) -> R {
    let log = if x.value() > 0.5 {
        (x - 1.).ln_1p()
    } else {
        x.ln()
    };
    -(a * log)
}

#[derive(Clone, Copy)]
struct LogProb;

impl Formula<3> for LogProb {
    const NAME: &'static str = "kumaraswamy-log-prob";
    const QUICK: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [x, a, b]: [R; 3]) -> R {
        if x.value() < 0. || x.value() > 1. {
            return R::constant(f64::NEG_INFINITY);
        }
        let rest = if x.value() == 0. {
            R::constant(0.)
        } else if x.value() == 1. {
            (b - 1.).limit_of_power()
        } else {
            (b - 1.) * depth(x, a).log1mexp()
        };
        a.ln() + b.ln() + (a - 1.).power_law(x) + rest
    }
}

#[derive(Clone, Copy)]
struct LogTail {
    upper: bool,
}

impl Formula<3> for LogTail {
    const NAME: &'static str = "kumaraswamy-log-cdf";

    #[inline(always)]
    fn at<R: Real>(self, [x, a, b]: [R; 3]) -> R {
        if x.value() <= 0. || x.value() >= 1. {
            let full = self.upper == (x.value() <= 0.);
            return R::constant(if full { 0. } else { f64::NEG_INFINITY });
        }
        let depth = depth(x, a);
        // x^a is below 1e-300.
        if !self.upper && depth.value() > 690. {
            return b.ln() - depth;
        }
        let above = b * depth.log1mexp();
        if self.upper {
            above
        } else {
            (-above).log1mexp()
        }
    }
}

#[derive(Clone, Copy)]
struct Quantile;

impl Formula<3> for Quantile {
    const NAME: &'static str = "kumaraswamy-quantile";
    const QUICK: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [p, a, b]: [R; 3]) -> R {
        ((-(-p).ln_1p() / b).log1mexp() / a).exp()
    }
}

/// ln of `E x^n = b B(1 + n / a, b) = Gamma(1 + n / a) Gamma(1 + b) / Gamma(1 + n / a + b)`, by differences over the shorter
/// step: no large terms cancel.
fn log_moment<R: Real>(a: R, b: R, n: f64) -> R {
    let step = a.recip() * n;
    let (short, long) = if b.value() < step.value() {
        (b, step)
    } else {
        (step, b)
    };
    R::constant(1.).lgamma_gap(short) - (long + 1.).lgamma_gap(short)
}

#[derive(Clone, Copy)]
struct Mean;

impl Formula<2> for Mean {
    const NAME: &'static str = "kumaraswamy-mean";

    #[inline(always)]
    fn at<R: Real>(self, [a, b]: [R; 2]) -> R {
        log_moment(a, b, 1.).exp()
    }
}

#[derive(Clone, Copy)]
struct Variance;

impl Formula<2> for Variance {
    const NAME: &'static str = "kumaraswamy-variance";

    #[inline(always)]
    fn at<R: Real>(self, [a, b]: [R; 2]) -> R {
        let (first, second) = (log_moment(a, b, 1.), log_moment(a, b, 2.));
        if first.value() < -300. {
            // The square of the mean underflows.
            return second.exp();
        }
        // The second logarithm less twice the first, which nearly cancel.
        let (one, step) = (R::constant(1.), a.recip());
        let bend = if b.value() < step.value() && step.value() > 0.5 {
            let gap = |n: f64| (step * n + 1.).lgamma_gap(b);
            gap(1.) * 2. - gap(2.) - gap(0.)
        } else {
            one.lgamma_second_difference(step) - (b + 1.).lgamma_second_difference(step)
        };
        (first * 2.).exp() * bend.exp_m1()
    }
}

#[derive(Clone, Copy)]
struct ModeOf;

impl Formula<2> for ModeOf {
    const NAME: &'static str = "kumaraswamy-mode";

    #[inline(always)]
    fn at<R: Real>(self, [a, b]: [R; 2]) -> R {
        let (p, q) = (a.value(), b.value());
        if p > 1. && q > 1. {
            return (((a - 1.) / (a * b - 1.)).ln() / a).exp();
        }
        // Highest at an end; of a tie the smaller one.
        let right = q < 1. && p >= 1. || q == 1. && p > 1.;
        R::constant(if right { 1. } else { 0. })
    }
}

#[derive(Clone, Copy)]
struct EntropyOf;

impl Formula<2> for EntropyOf {
    const NAME: &'static str = "kumaraswamy-entropy";

    #[inline(always)]
    fn at<R: Real>(self, [a, b]: [R; 2]) -> R {
        // H_b - 1/b - ln b apart: it is small where its terms are not.
        let harmonic = (b + 1.).digamma() + EULER;
        -b.log_gap() - harmonic / a - a.ln() + (1. + EULER)
    }
}

impl Distribution for Kumaraswamy {
    fn batch_shape(&self) -> &[usize] {
        self.parameters.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let [a, b] = self.parameters.given();
        formula(Quantile, [&self.parameters.uniforms(shape, rng)?, a, b])
    }

    /// At zero and one it is the limit from inside, as for [`Beta`].
    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.at("Kumaraswamy::log_prob", LogProb, value)
    }
}

impl Reparameterized for Kumaraswamy {}

impl Moments for Kumaraswamy {
    /// `b B(1 + 1/a, b)`.
    fn mean(&self) -> Result<Tensor> {
        self.parameters.formula(Mean)
    }

    fn variance(&self) -> Result<Tensor> {
        self.parameters.formula(Variance)
    }
}

impl Mode for Kumaraswamy {
    /// `((a - 1) / (a b - 1))^(1/a)` for concentrations above 1, else the end where the density is largest.
    fn mode(&self) -> Result<Tensor> {
        self.parameters.formula(ModeOf)
    }
}

impl Entropy for Kumaraswamy {
    /// `1 - 1/b + (1 - 1/a) H_b - ln(a b)` with the harmonic number `H_b = digamma(b + 1) + c`, c Euler's constant.
    fn entropy(&self) -> Result<Tensor> {
        self.parameters.formula(EntropyOf)
    }
}

impl Cdf for Kumaraswamy {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.at("Kumaraswamy::log_cdf", LogTail { upper: false }, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.at("Kumaraswamy::log_survival", LogTail { upper: true }, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.parameters
            .check_probability("Kumaraswamy::quantile", probability)?;
        self.at("Kumaraswamy::quantile", Quantile, probability)
    }
}

impl MixtureComponent for Kumaraswamy {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        let parameters = self.parameters.select(index, after)?;
        Ok(Kumaraswamy { parameters })
    }
}

//! The Kumaraswamy distribution.

use super::family::*;
use super::*;
use crate::kernels::number::EULER;

const PARAMETERS: Domains<2> = [
    ("concentration1", Domain::Positive),
    ("concentration0", Domain::Positive),
];

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
pub struct Kumaraswamy(pub(super) Parameters<2>);

impl Kumaraswamy {
    /// From the exponents.
    pub fn new(concentration1: &Tensor, concentration0: &Tensor) -> Result<Self> {
        Parameters::new(
            "Kumaraswamy::new",
            PARAMETERS,
            [concentration1, concentration0],
        )
        .map(Kumaraswamy)
    }

    /// As [`new`](Kumaraswamy::new), without looking at the parameters' values.
    pub fn new_unchecked(concentration1: &Tensor, concentration0: &Tensor) -> Result<Self> {
        Parameters::unchecked(
            "Kumaraswamy::new_unchecked",
            PARAMETERS,
            [concentration1, concentration0],
        )
        .map(Kumaraswamy)
    }

    /// The exponent of x, shape `batch`.
    pub fn concentration1(&self) -> &Tensor {
        self.0.full(0)
    }

    /// The exponent of the survival function, shape `batch`.
    pub fn concentration0(&self) -> &Tensor {
        self.0.full(1)
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
struct Law;

impl DensityFormula<3> for Law {
    const QUICK: bool = true;

    #[inline(always)]
    fn log_prob<R: Real>(self, [x, a, b]: [R; 3]) -> R {
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
        a.ln() + b.ln() + (a - 1.).xlogy(x) + rest
    }
}

impl CdfFormulas<3> for Law {
    const QUICK_QUANTILE: bool = true;

    #[inline(always)]
    fn log_tail<R: Real>(self, [x, a, b]: [R; 3], upper: bool) -> R {
        if x.value() <= 0. || x.value() >= 1. {
            let full = upper == (x.value() <= 0.);
            return R::constant(if full { 0. } else { f64::NEG_INFINITY });
        }
        let depth = depth(x, a);
        // x^a is below 1e-300.
        if !upper && depth.value() > 690. {
            return b.ln() - depth;
        }
        let above = b * depth.log1mexp();
        if upper { above } else { (-above).log1mexp() }
    }

    #[inline(always)]
    fn quantile<R: Real>(self, [p, a, b]: [R; 3]) -> R {
        ((-(-p).ln_1p() / b).log1mexp() / a).exp()
    }
}

impl MomentFormulas<2> for Law {
    fn mean<R: Real>(self, [a, b]: [R; 2]) -> R {
        log_moment(a, b, 1.).exp()
    }

    fn variance<R: Real>(self, [a, b]: [R; 2]) -> R {
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

impl ModeFormula<2> for Law {
    fn mode<R: Real>(self, [a, b]: [R; 2]) -> R {
        let (p, q) = (a.value(), b.value());
        if p > 1. && q > 1. {
            return (((a - 1.) / (a * b - 1.)).ln() / a).exp();
        }
        // Highest at an end; of a tie the smaller one.
        let right = q < 1. && p >= 1. || q == 1. && p > 1.;
        R::constant(if right { 1. } else { 0. })
    }
}

impl EntropyFormula<2> for Law {
    fn entropy<R: Real>(self, [a, b]: [R; 2]) -> R {
        // H_b - 1/b - ln b apart: it is small where its terms are not.
        let harmonic = (b + 1.).digamma() + EULER;
        -b.log_gap() - harmonic / a - a.ln() + (1. + EULER)
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

impl Distribution for Kumaraswamy {
    fn batch_shape(&self) -> &[usize] {
        self.0.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        self.0.sample("Kumaraswamy::sample", Law, shape, rng)
    }

    /// At zero and one it is the limit from inside, as for [`Beta`].
    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_prob("Kumaraswamy::log_prob", Law, value)
    }
}

impl Detach for Kumaraswamy {
    fn detach(&self) -> Self {
        Kumaraswamy(self.0.detach())
    }
}

impl Reparameterized for Kumaraswamy {}

impl Moments for Kumaraswamy {
    /// `b B(1 + 1/a, b)`.
    fn mean(&self) -> Result<Tensor> {
        self.0.mean("Kumaraswamy::mean", Law)
    }

    fn variance(&self) -> Result<Tensor> {
        self.0.variance("Kumaraswamy::variance", Law)
    }
}

impl Mode for Kumaraswamy {
    /// `((a - 1) / (a b - 1))^(1/a)` for concentrations above 1, else the end where the density is largest.
    fn mode(&self) -> Result<Tensor> {
        self.0.mode("Kumaraswamy::mode", Law)
    }
}

impl Entropy for Kumaraswamy {
    /// `1 - 1/b + (1 - 1/a) H_b - ln(a b)` with the harmonic number `H_b = digamma(b + 1) + c`, c Euler's constant.
    fn entropy(&self) -> Result<Tensor> {
        self.0.entropy("Kumaraswamy::entropy", Law)
    }
}

impl Cdf for Kumaraswamy {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_cdf("Kumaraswamy::log_cdf", Law, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_survival("Kumaraswamy::log_survival", Law, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.0.quantile("Kumaraswamy::quantile", Law, probability)
    }
}

impl MixtureComponent for Kumaraswamy {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        self.0.select(index, after).map(Kumaraswamy)
    }
}

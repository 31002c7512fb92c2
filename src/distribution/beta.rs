//! The beta distribution.

use super::family::*;
use super::*;
use crate::kernels::family::gamma as kernel;
use crate::kernels::number::saddle;
use candle_core::D;

const PARAMETERS: Domains<2> = [
    ("concentration1", Domain::Positive),
    ("concentration0", Domain::Positive),
];

/// Beta distribution on [0, 1].
///
/// Formula: `log p(x) = (a - 1) ln x + (b - 1) ln(1 - x) - ln B(a, b)` with `a` = `concentration1`, `b` =
/// `concentration0`.
///
/// Shapes: the concentrations broadcast to the batch shape; the event is scalar. Units: nats.
///
/// Gradients: pathwise; a draw is `g1 / (g1 + g0)` for two gamma draws, which move with their concentrations by implicit
/// reparameterization. First derivatives only. The gradient of `log_prob` is finite wherever its value is.
///
/// Errors: parameters that are not floating point, of different dtype or device, do not broadcast, or are not
/// positive and finite.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::{Beta, Distribution};
/// # fn main() -> candle_prob::Result<()> {
/// let b = Tensor::new(&[1f64, 8.], &Device::Cpu)?;
/// let beta = Beta::new(&Tensor::new(1f64, &Device::Cpu)?, &b)?;
/// let edge = beta.log_prob(&Tensor::new(0f64, &Device::Cpu)?)?.to_vec1::<f64>()?;
/// assert_eq!(edge[0], 0.);
/// assert!((edge[1] - 8f64.ln()).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: draws are made from logarithms of gammas, so that none is lost to underflow of both. Densities, entropy and
/// divergence keep their digits at any concentrations: their terms of that size cancel before they are computed. The cdf's
/// logarithms keep their digits in both tails.
///
/// Source: densities: Loader (2000), Fast and Accurate Computation of Binomial Probabilities; draws: Figurnov, Mohamed and Mnih (2018), Implicit Reparameterization Gradients, section 3.
#[derive(Debug, Clone)]
pub struct Beta(pub(super) Parameters<2>);

impl Beta {
    /// From the exponents of x and of 1 - x, each plus 1.
    pub fn new(concentration1: &Tensor, concentration0: &Tensor) -> Result<Self> {
        Parameters::new("Beta::new", PARAMETERS, [concentration1, concentration0]).map(Beta)
    }

    /// As [`new`](Beta::new), without looking at the parameters' values.
    pub fn new_unchecked(concentration1: &Tensor, concentration0: &Tensor) -> Result<Self> {
        Parameters::unchecked(
            "Beta::new_unchecked",
            PARAMETERS,
            [concentration1, concentration0],
        )
        .map(Beta)
    }

    /// The exponent of x, plus 1; shape `batch`.
    pub fn concentration1(&self) -> &Tensor {
        self.0.full(0)
    }

    /// The exponent of 1 - x, plus 1; shape `batch`.
    pub fn concentration0(&self) -> &Tensor {
        self.0.full(1)
    }
}

/// `a ln(a / n) + b ln(b / n)` with `n = a + b`.
#[inline(always)]
fn entropies<R: Real>(a: R, b: R) -> R {
    // By the ratio that cannot overflow.
    let (less, more) = if a.value() < b.value() {
        (a, b)
    } else {
        (b, a)
    };
    -((a + b) * (less / more).ln_1p() + less * (more.ln() - less.ln()))
}

#[derive(Clone, Copy)]
pub(super) struct Law;

impl SplitDensityFormula<2, 4> for Law {
    /// What is left of `ln B(a, b)` when the terms that cancel against the value's are taken out: `r(a) + r(b) - r(n) - ln(a b / n)`
    /// with `n = a + b` and r of [`stirling_rest`](Real::stirling_rest), small, so that single precision holds it.
    #[inline(always)]
    fn once<R: Real>(self, [a, b]: [R; 2]) -> R {
        if !R::Functions::EXACT {
            return a.lbeta(b) - entropies(a, b);
        }
        let n = a + b;
        let logs = a.ln() + b.ln() - n.ln();
        a.stirling_rest() + b.stirling_rest() - n.stirling_rest() - logs
    }

    /// In the saddle-point form, but for f32 numbers of ordinary size.
    #[inline(always)]
    fn log_prob<R: Real>(self, [x, a, b, rest]: [R; 4]) -> R {
        if x.value() < 0. || x.value() > 1. {
            return R::constant(f64::NEG_INFINITY);
        }
        if !R::Functions::EXACT || x.value() == 0. || x.value() == 1. {
            let powers = (a - 1.).xlogy(x) + (b - 1.).xlog1py(-x);
            // At an end the norm is all there is, and the logarithm of a small whole number is exact.
            if R::Functions::EXACT && a.value() + b.value() < 1e6 {
                return powers - a.lbeta(b);
            }
            return powers - entropies(a, b) - rest;
        }
        let [v, p, q] = [x.value(), a.value(), b.value()];
        let (c, n) = (1. - v, p + q);
        // How far n x is from its mean a, and with the other sign n (1 - x) from b.
        let gap = q * v - p * c;
        let share = |part: f64, a: f64, gap: f64| {
            let y = n * part;
            if !y.is_normal() {
                return n.ln() + part.ln() - a.ln();
            }
            R::Functions::log_ratio(y, a, gap)
        };
        let (log, log_c) = (share(v, p, gap), share(c, q, -gap));
        let far = R::Functions::deviance(p, n * v, -gap, -log)
            + R::Functions::deviance(q, n * c, gap, -log_c);
        let logs = 2. * n.ln() - p.ln() - q.ln();
        let value = logs - far - (log + log_c) - rest.value();
        R::chain(
            [x, a, b, rest],
            value,
            [((v - c) - gap) / (v * c), log, log_c, -1.],
        )
    }
}

impl CdfFormulas<3> for Law {
    #[inline(always)]
    fn log_tail<R: Real>(self, [x, a, b]: [R; 3], upper: bool) -> R {
        if x.value() <= 0. || x.value() >= 1. {
            let full = upper == (x.value() <= 0.);
            return R::constant(if full { 0. } else { f64::NEG_INFINITY });
        }
        a.beta_log_tail(b, x, 1. - x.value(), upper)
    }

    #[inline(always)]
    fn quantile<R: Real>(self, [p, a, b]: [R; 3]) -> R {
        a.beta_quantile(b, p)
    }
}

impl MomentFormulas<2> for Law {
    fn mean<R: Real>(self, [a, b]: [R; 2]) -> R {
        a / (a + b)
    }

    fn variance<R: Real>(self, [a, b]: [R; 2]) -> R {
        let n = a + b;
        (a / n) * (b / n) / (n + 1.)
    }
}

impl ModeFormula<2> for Law {
    fn mode<R: Real>(self, [a, b]: [R; 2]) -> R {
        let (p, q) = (a.value(), b.value());
        if p > 1. && q > 1. {
            return (a - 1.) / (a + b - 2.);
        }
        // Highest at an end; of a tie the smaller one.
        let right = q < 1. && p >= 1. || q == 1. && p > 1.;
        R::constant(if right { 1. } else { 0. })
    }
}

impl EntropyFormula<2> for Law {
    fn entropy<R: Real>(self, [a, b]: [R; 2]) -> R {
        let n = a + b;
        let rests = a.stirling_rest() + b.stirling_rest() - n.stirling_rest() - n.ln();
        rests + (a - 1.) * a.log_gap() + (b - 1.) * b.log_gap() - (n - 2.) * n.log_gap()
    }
}

impl KlFormula<4> for Law {
    #[inline(always)]
    fn kl<R: Real>(self, [a, b, to_a, to_b]: [R; 4]) -> R {
        let [p, q, into, other] = [a, b, to_a, to_b].map(Real::value);
        let total = saddle::Total::new(p + q, into + other, (into - p) + (other - q));
        let parts = [total.share(p, into), total.share(q, other)];
        let value = parts[0].divergence + parts[1].divergence - total.divergence;
        R::function([a, b, to_a, to_b], value, || {
            let [one, two] = parts.map(|part| part.slopes());
            let [to_n, from_n] = total.slopes();
            [
                one[0] - to_n,
                two[0] - to_n,
                one[1] - from_n,
                two[1] - from_n,
            ]
        })
    }
}

impl Distribution for Beta {
    fn batch_shape(&self) -> &[usize] {
        self.0.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let both = [self.concentration1(), self.concentration0()];
        let pairs = kernel::dirichlet(
            &Tensor::stack(&both, D::Minus1)?,
            shape,
            rng.stream(),
            false,
        )?;
        Ok(pairs.narrow(D::Minus1, 0, 1)?.squeeze(D::Minus1)?)
    }

    /// At zero it is the limit from inside: +inf for a first concentration below 1, finite at 1, -inf above; at one the same
    /// for the other.
    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.0.split_log_prob("Beta::log_prob", Law, value)
    }
}

impl Detach for Beta {
    fn detach(&self) -> Self {
        Beta(self.0.detach())
    }
}

impl Reparameterized for Beta {}

impl Moments for Beta {
    /// `a / (a + b)`.
    fn mean(&self) -> Result<Tensor> {
        self.0.mean("Beta::mean", Law)
    }

    fn variance(&self) -> Result<Tensor> {
        self.0.variance("Beta::variance", Law)
    }
}

impl Mode for Beta {
    /// `(a - 1) / (a + b - 2)` for concentrations above 1, else the end where the density is largest.
    fn mode(&self) -> Result<Tensor> {
        self.0.mode("Beta::mode", Law)
    }
}

impl Entropy for Beta {
    /// `ln B(a, b) + (a - 1) (psi(n) - psi(a)) + (b - 1) (psi(n) - psi(b))` with `n = a + b`, psi = digamma.
    fn entropy(&self) -> Result<Tensor> {
        self.0.entropy("Beta::entropy", Law)
    }
}

impl Cdf for Beta {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_cdf("Beta::log_cdf", Law, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_survival("Beta::log_survival", Law, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.0.quantile("Beta::quantile", Law, probability)
    }
}

impl Kl for Beta {
    /// `ln B(q) - ln B(p) + (a_p - a_q) E ln x + (b_p - b_q) E ln(1 - x)`, in an order in which near-equal parameters lose
    /// no digits.
    fn kl(&self, other: &Beta) -> Result<Tensor> {
        self.0.kl("Beta::kl", Law, &other.0)
    }
}

impl MixtureComponent for Beta {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        self.0.select(index, after).map(Beta)
    }
}

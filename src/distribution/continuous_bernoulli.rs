//! The continuous Bernoulli distribution.

use super::family::*;
use super::*;
use crate::kernels::number::above_tangent;

const PARAMETERS: Domains<1> = [("logits", Domain::Real)];

/// Continuous Bernoulli distribution on [0, 1]: the exponential family with natural parameter `logits`.
///
/// Formula: `log p(x) = l x - K(l)` with `K(l) = ln((e^l - 1) / l)`, `K(0) = 0`.
///
/// Shapes: the batch is the shape of `logits`; the event is scalar. Units: nats.
///
/// Gradients: pathwise, `x = quantile(u)` for uniform u; first derivatives only.
///
/// Errors: logits that are not floating point, or not finite.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::{ContinuousBernoulli, Distribution, Moments};
/// # fn main() -> candle_prob::Result<()> {
/// let pixels = ContinuousBernoulli::new(&Tensor::new(&[0f64, 50.], &Device::Cpu)?)?;
/// assert_eq!(pixels.mean()?.to_vec1::<f64>()?, [0.5, 0.98]);
/// let log_prob = pixels.log_prob(&Tensor::new(&[0.3f64, 1.], &Device::Cpu)?)?.to_vec1::<f64>()?;
/// assert!(log_prob[0] == 0. && (log_prob[1] - 50f64.ln()).abs() < 1e-14);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: K and its derivatives, which are the moments, are sums of positive or alternating powers near 0 and closed
/// forms elsewhere: no clamp, at any logit.
///
/// Source: G. Loaiza-Ganem and J. P. Cunningham, "The continuous Bernoulli: fixing a pervasive error in variational
/// autoencoders" (2019).
#[derive(Debug, Clone)]
pub struct ContinuousBernoulli(pub(super) Parameters<1>);

impl ContinuousBernoulli {
    /// From logits: the density at 1 is `e^logits` times that at 0.
    pub fn new(logits: &Tensor) -> Result<Self> {
        Parameters::new("ContinuousBernoulli::new", PARAMETERS, [logits]).map(ContinuousBernoulli)
    }

    /// As [`new`](ContinuousBernoulli::new), without looking at the parameters' values.
    pub fn new_unchecked(logits: &Tensor) -> Result<Self> {
        Parameters::unchecked("ContinuousBernoulli::new_unchecked", PARAMETERS, [logits])
            .map(ContinuousBernoulli)
    }

    /// The logits, shape `batch`.
    pub fn logits(&self) -> &Tensor {
        self.0.full(0)
    }
}

/// B_2n / (2n)! for n = 1, 2, ...: the series of K is `l / 2 + sum_n c_n l^2n / 2n`.
const SERIES: [f64; 12] = [
    1. / 12.,
    -1. / 720.,
    1. / 30240.,
    -1. / 1209600.,
    1. / 47900160.,
    -691. / 1307674368000.,
    1. / 74724249600.,
    -3617. / 10670622842880000.,
    43867. / 5109094217170944000.,
    -174611. / 802857662698291200000.,
    77683. / 14101100039391805440000.,
    -236364091. / 1693824136731743669452800000.,
];

/// Where the series has run out of terms above rounding.
const NEAR: f64 = 1.;

/// Derivative number ORDER of `sum_n c_n l^2n / 2n`, for |l| up to [`NEAR`].
fn series<const ORDER: i32>(l: f64) -> f64 {
    let mut sum = 0.;
    for (i, c) in SERIES.iter().enumerate() {
        let power = 2 * (i as i32 + 1);
        let factor = match ORDER {
            0 => 1. / f64::from(power),
            1 => 1.,
            2 => f64::from(power - 1),
            _ => f64::from((power - 1) * (power - 2)),
        };
        let rest = power - ORDER;
        if rest >= 0 {
            sum += c * factor * l.powi(rest);
        }
    }
    sum
}

/// K and its first three derivatives: cumulants of the distribution.
fn cumulant<const ORDER: i32>(l: f64) -> f64 {
    if l.abs() <= NEAR {
        let line = match ORDER {
            0 => 0.5 * l,
            1 => 0.5,
            _ => 0.,
        };
        return line + series::<ORDER>(l);
    }
    let a = l.abs();
    let decay = (-a).exp();
    // e^-a / (1 - e^-a)^2
    let bell = decay / ((1. - decay) * (1. - decay));
    match ORDER {
        0 => l.max(0.) + ((-decay).ln_1p() - a.ln()),
        1 => -1. / (-l).exp_m1() - 1. / l,
        2 => 1. / (l * l) - bell,
        _ => l.signum() * (bell * (1. + decay) / (1. - decay) - 2. / (a * a * a)),
    }
}

pub(super) fn log_norm<R: Real>(l: R) -> R {
    let x = l.value();
    R::function([l], cumulant::<0>(x), || [cumulant::<1>(x)])
}

#[derive(Clone, Copy)]
pub(super) struct Law;

impl DensityFormula<2> for Law {
    #[inline(always)]
    fn log_prob<R: Real>(self, [x, l]: [R; 2]) -> R {
        if x.value() < 0. || x.value() > 1. {
            return R::constant(f64::NEG_INFINITY);
        }
        l * x - log_norm(l)
    }
}

impl CdfFormulas<2> for Law {
    /// `ln F(x) = ln x + K(l x) - K(l)`; the upper tail is the lower one of 1 - x at -l.
    #[inline(always)]
    fn log_tail<R: Real>(self, [x, l]: [R; 2], upper: bool) -> R {
        if x.value() <= 0. || x.value() >= 1. {
            let full = (x.value() >= 1.) != upper;
            return R::constant(if full { 0. } else { f64::NEG_INFINITY });
        }
        let tail = |upper: bool| {
            let (x, rest, l) = if upper {
                (-x + 1., x, -l)
            } else {
                (x, -x + 1., l)
            };
            // Large terms would cancel.
            if l.value() > 30. {
                return (l * x).log1mexp() - l.log1mexp() - l * rest;
            } else if l.value() < -30. {
                return (-l * x).log1mexp() - (-l).log1mexp();
            }
            x.ln() + (log_norm(l * x) - log_norm(l))
        };
        let own = tail(upper);
        if own.value() < -std::f64::consts::LN_2 || own.value().is_nan() {
            own
        } else {
            (-tail(!upper).exp()).ln_1p()
        }
    }

    /// The slope to the logits is implicit: `-(dF/dl) / density`, with `dF/dl = F (x K'(l x) - K'(l))`.
    #[inline(always)]
    fn quantile<R: Real>(self, [p, l]: [R; 2]) -> R {
        let (share, logit) = (p.value(), l.value());
        let x = if logit == 0. {
            share
        } else if logit < 700. {
            (share * logit.exp_m1()).ln_1p() / logit
        } else {
            1. + (share + (1. - share) * (-logit).exp()).ln() / logit
        };
        // Rounding may step over the end.
        let x = if x > 1. { 1. } else { x };
        R::function([p, l], x, || {
            let slope = (cumulant::<0>(logit) - logit * x).exp();
            let bend = x * cumulant::<1>(logit * x) - cumulant::<1>(logit);
            [slope, -share * bend * slope]
        })
    }
}

impl MomentFormulas<1> for Law {
    fn mean<R: Real>(self, [l]: [R; 1]) -> R {
        let x = l.value();
        R::function([l], cumulant::<1>(x), || [cumulant::<2>(x)])
    }

    fn variance<R: Real>(self, [l]: [R; 1]) -> R {
        let x = l.value();
        R::function([l], cumulant::<2>(x), || [cumulant::<3>(x)])
    }
}

impl EntropyFormula<1> for Law {
    fn entropy<R: Real>(self, [l]: [R; 1]) -> R {
        log_norm(l) - l * self.mean([l])
    }
}

impl KlFormula<2> for Law {
    #[inline(always)]
    fn kl<R: Real>(self, [l, to]: [R; 2]) -> R {
        let (own, d) = (l.value(), to.value() - l.value());
        if d.abs() > NEAR {
            return (l - to) * self.mean([l]) + (log_norm(to) - log_norm(l));
        }
        let (kl, slope) = above_tangent(own, d, cumulant::<2>);
        R::function([l, to], kl, || [-d * cumulant::<2>(own), slope])
    }
}

impl Distribution for ContinuousBernoulli {
    fn batch_shape(&self) -> &[usize] {
        self.0.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        self.0
            .sample("ContinuousBernoulli::sample", Law, shape, rng)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_prob("ContinuousBernoulli::log_prob", Law, value)
    }
}

impl Detach for ContinuousBernoulli {
    fn detach(&self) -> Self {
        ContinuousBernoulli(self.0.detach())
    }
}

impl Reparameterized for ContinuousBernoulli {}

impl Moments for ContinuousBernoulli {
    /// `1 / (1 - e^-l) - 1 / l`.
    fn mean(&self) -> Result<Tensor> {
        self.0.mean("ContinuousBernoulli::mean", Law)
    }

    /// `1 / l^2 - e^l / (e^l - 1)^2`.
    fn variance(&self) -> Result<Tensor> {
        self.0.variance("ContinuousBernoulli::variance", Law)
    }
}

impl Mode for ContinuousBernoulli {
    /// 1 where the logits are positive, 0 elsewhere.
    fn mode(&self) -> Result<Tensor> {
        let logits = self.logits();
        Ok(logits.gt(0f64)?.to_dtype(logits.dtype())?)
    }
}

impl Entropy for ContinuousBernoulli {
    /// `K(l) - l K'(l)`.
    fn entropy(&self) -> Result<Tensor> {
        self.0.entropy("ContinuousBernoulli::entropy", Law)
    }
}

impl Cdf for ContinuousBernoulli {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_cdf("ContinuousBernoulli::log_cdf", Law, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        let op = "ContinuousBernoulli::log_survival";
        self.0.log_survival(op, Law, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.0
            .quantile("ContinuousBernoulli::quantile", Law, probability)
    }
}

impl Kl for ContinuousBernoulli {
    /// `(l_p - l_q) K'(l_p) - K(l_p) + K(l_q)`.
    fn kl(&self, other: &ContinuousBernoulli) -> Result<Tensor> {
        self.0.kl("ContinuousBernoulli::kl", Law, &other.0)
    }
}

impl MixtureComponent for ContinuousBernoulli {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        self.0.select(index, after).map(ContinuousBernoulli)
    }
}

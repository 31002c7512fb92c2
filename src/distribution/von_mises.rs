//! The von Mises distribution.

use super::family::*;
use super::*;
use crate::kernels::family::von_mises;
use crate::kernels::number::von_mises as circle;
use crate::kernels::number::{above_tangent, bessel};
use std::f64::consts::{PI, TAU};

const PARAMETERS: Domains<2> = [
    ("loc", Domain::Real),
    ("concentration", Domain::NonNegative),
];

/// Von Mises distribution on the circle, with centre `loc` and `concentration` k.
///
/// Formula: `log p(x) = k cos(x - loc) - ln(2 pi I0(k))`, for angles x in radians.
///
/// Shapes: `loc` and `concentration` broadcast to the batch shape; the event is scalar. Units: nats.
///
/// Angles that differ by a full turn are the same. Draws lie in -pi to pi; the cdf starts at `loc - pi`. The mean is the
/// direction `loc`, the variance that of directions, `1 - I1(k) / I0(k)`.
///
/// Gradients: pathwise, implicit in the concentration; first derivatives only.
///
/// Errors: parameters that are not floating point, of different dtype or device, do not broadcast, or are not
/// finite; a negative concentration.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::{Cdf, Distribution, VonMises};
/// # fn main() -> candle_prob::Result<()> {
/// let loc = Tensor::new(0.5f64, &Device::Cpu)?;
/// let even = VonMises::new(&loc, &Tensor::new(0f64, &Device::Cpu)?)?;
/// let log_prob = even.log_prob(&Tensor::new(2f64, &Device::Cpu)?)?.to_scalar::<f64>()?;
/// assert!((log_prob + std::f64::consts::TAU.ln()).abs() < 1e-15);
/// assert!((even.cdf(&loc)?.to_scalar::<f64>()? - 0.5).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: `k (cos t - 1)` is computed as `-2 k sin^2(t / 2)`, and both tails of the cdf keep their relative precision.
///
/// Source: the sampler is that of D. J. Best and N. I. Fisher, "Efficient simulation of the von Mises distribution" (1979).
#[derive(Debug, Clone)]
pub struct VonMises(pub(super) Parameters<2>);

impl VonMises {
    /// From centre and concentration.
    pub fn new(loc: &Tensor, concentration: &Tensor) -> Result<Self> {
        Parameters::new("VonMises::new", PARAMETERS, [loc, concentration]).map(VonMises)
    }

    /// As [`new`](VonMises::new), without looking at the parameters' values.
    pub fn new_unchecked(loc: &Tensor, concentration: &Tensor) -> Result<Self> {
        Parameters::unchecked("VonMises::new_unchecked", PARAMETERS, [loc, concentration])
            .map(VonMises)
    }

    /// The centre, shape `batch`.
    pub fn loc(&self) -> &Tensor {
        self.0.full(0)
    }

    /// The concentration, shape `batch`.
    pub fn concentration(&self) -> &Tensor {
        self.0.full(1)
    }
}

/// `1 - cos t`.
fn versine<R: Real>(t: R) -> R {
    (t * 0.5).sin().square() * 2.
}

/// The same angle between -pi and pi.
fn wrap<R: Real>(t: R) -> R {
    let x = t.value();
    // A half turn rounded to f32 is not on the other side.
    let turns = if x.abs() <= PI * (1. + 1e-6) {
        0.
    } else {
        (x / TAU).round()
    };
    t.map((x - TAU * turns).clamp(-PI, PI), 1.)
}

#[derive(Clone, Copy)]
struct Law;

impl DensityFormula<3> for Law {
    #[inline(always)]
    fn log_prob<R: Real>(self, [x, loc, k]: [R; 3]) -> R {
        if x.value().is_infinite() {
            return R::constant(f64::NEG_INFINITY);
        }
        -(k * versine(x - loc)) - k.log_i0e() - TAU.ln()
    }
}

impl CdfFormulas<3> for Law {
    #[inline(always)]
    fn log_tail<R: Real>(self, [x, loc, k]: [R; 3], upper: bool) -> R {
        if let Some(log) = at_infinity(x, upper) {
            return log;
        }
        let t = wrap(x - loc);
        let (angle, value) = (t.value(), k.value());
        let log = circle::log_tail(angle, value, upper);
        R::function([t, k], log, || {
            let slope = (circle::log_density(angle, value) - log).exp();
            let sign = if upper { -1. } else { 1. };
            [sign * slope, circle::log_tail_slope(angle, value, upper)]
        })
    }

    #[inline(always)]
    fn quantile<R: Real>(self, [p, loc, k]: [R; 3]) -> R {
        let t = circle::quantile(p.value(), k.value());
        let draw = R::function([p, k], t, || {
            let slope = (-circle::log_density(t, k.value())).exp();
            [slope, circle::draw_slope(t, k.value())]
        });
        draw + loc
    }
}

impl EntropyFormula<2> for Law {
    fn entropy<R: Real>(self, [_, k]: [R; 2]) -> R {
        k.log_i0e() + k * k.bessel_gap() + TAU.ln()
    }
}

impl KlFormula<4> for Law {
    /// With `v = 1 - cos(loc_p - loc_q)`: `k_q v I1(k_p) / I0(k_p)`, and the divergence at equal locations. Neither is negative.
    #[inline(always)]
    fn kl<R: Real>(self, [loc, k, other, to]: [R; 4]) -> R {
        let (v, gap) = (versine(loc - other), k.bessel_gap());
        to * v * (-gap + 1.) + concentrations(k, to)
    }
}

/// A draw around 0 moved to loc, with the implicit derivative to the concentration.
#[derive(Clone, Copy)]
struct Sample;

impl Formula<3> for Sample {
    #[inline(always)]
    fn at<R: Real>(self, [z, loc, k]: [R; 3]) -> R {
        let t = z.value();
        wrap(R::function([k], t, || [circle::draw_slope(t, k.value())]) + loc)
    }
}

#[derive(Clone, Copy)]
struct Variance;

impl Formula<2> for Variance {
    #[inline(always)]
    fn at<R: Real>(self, [_, k]: [R; 2]) -> R {
        k.bessel_gap()
    }
}

/// The divergence at equal locations, `ln I0(k_q) - ln I0(k_p) - (k_q - k_p) I1(k_p) / I0(k_p)`.
#[inline(always)]
fn concentrations<R: Real>(k: R, to: R) -> R {
    let (own, d) = (k.value(), to.value() - k.value());
    if d.abs() > 0.25 * (1. + own) {
        return (to - k) * k.bessel_gap() + (to.log_i0e() - k.log_i0e());
    }
    let (kl, slope) = above_tangent(own, d, bessel::ratio_slope);
    R::function([k, to], kl, || [-d * bessel::ratio_slope(own), slope])
}

impl Distribution for VonMises {
    fn batch_shape(&self) -> &[usize] {
        self.0.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let [loc, concentration] = self.0.given();
        let draws = von_mises::draws(self.0.full(1), shape, rng.stream())?;
        named("VonMises::sample", Sample, [&draws, loc, concentration])
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_prob("VonMises::log_prob", Law, value)
    }
}

impl Detach for VonMises {
    fn detach(&self) -> Self {
        VonMises(self.0.detach())
    }
}

impl Reparameterized for VonMises {}

impl Moments for VonMises {
    fn mean(&self) -> Result<Tensor> {
        Ok(self.loc().clone())
    }

    fn variance(&self) -> Result<Tensor> {
        self.0.formula("VonMises::variance", Variance)
    }
}

impl Mode for VonMises {
    fn mode(&self) -> Result<Tensor> {
        Ok(self.loc().clone())
    }
}

impl Entropy for VonMises {
    /// `ln(2 pi I0(k)) - k I1(k) / I0(k)`.
    fn entropy(&self) -> Result<Tensor> {
        self.0.entropy("VonMises::entropy", Law)
    }
}

impl Cdf for VonMises {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_cdf("VonMises::log_cdf", Law, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_survival("VonMises::log_survival", Law, value)
    }

    /// Between `loc - pi` and `loc + pi`.
    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.0.quantile("VonMises::quantile", Law, probability)
    }
}

impl Kl for VonMises {
    /// `ln(I0(k_q) / I0(k_p)) + (I1(k_p) / I0(k_p)) (k_p - k_q cos(loc_p - loc_q))`.
    fn kl(&self, other: &VonMises) -> Result<Tensor> {
        self.0.kl("VonMises::kl", Law, &other.0)
    }
}

impl MixtureComponent for VonMises {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        self.0.select(index, after).map(VonMises)
    }
}

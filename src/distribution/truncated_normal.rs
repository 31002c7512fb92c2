//! The truncated normal distribution.

use super::family::*;
use super::parameters::above;
use super::*;
use crate::kernels::number::above_tangent;
use crate::kernels::number::slice::Slice;

const PARAMETERS: Domains<4> = [
    ("loc", Domain::Real),
    ("scale", Domain::Positive),
    ("low", Domain::Extended),
    ("high", Domain::Extended),
];

/// Normal distribution with mean `loc` and standard deviation `scale`, given that the value is from `low` to `high`.
///
/// Formula: `log p(x) = -((x - loc) / scale)^2 / 2 - ln scale - ln Z` inside, with Z the integral of `e^(-z^2 / 2)` between
/// the standardized ends; -inf outside.
///
/// Shapes: the parameters broadcast to the batch shape; the event is scalar. Units: nats.
///
/// Gradients: pathwise to all four parameters, by the implicit derivative of the quantile; first derivatives only. To an end
/// at infinity they are 0.
///
/// Errors: parameters that are not floating point, of different dtype or device, do not broadcast, or are NaN; a
/// location or scale that is not finite; a scale that is not positive; `high` that is not above `low`. Both ends may be
/// infinite.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::{Distribution, TruncatedNormal};
/// # fn main() -> candle_prob::Result<()> {
/// let number = |x: f64| Tensor::new(x, &Device::Cpu);
/// let (low, high) = (number(10.)?, number(f64::INFINITY)?);
/// let tail = TruncatedNormal::new(&number(0.)?, &number(1.)?, &low, &high)?;
/// let log_prob = tail.log_prob(&number(10.1)?)?.to_scalar::<f64>()?;
/// assert!((log_prob - 1.3073466173078).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: everything is measured from the densest point of the interval, so that densities, tails and moments keep their
/// digits however far out or however narrow the interval is. Draws are inside, ends included, also after rounding to single
/// precision. Gradients of draws cost two quadratures for each.
///
/// Source: implicit derivatives, Figurnov, Mohamed and Mnih (2018).
#[derive(Debug, Clone)]
pub struct TruncatedNormal(Parameters<4>);

impl TruncatedNormal {
    /// From mean and standard deviation of the normal, and the ends of the interval.
    pub fn new(loc: &Tensor, scale: &Tensor, low: &Tensor, high: &Tensor) -> Result<Self> {
        let op = "TruncatedNormal::new";
        let parameters = Parameters::new(op, PARAMETERS, [loc, scale, low, high])?;
        above(op, low, high)?;
        Ok(TruncatedNormal(parameters))
    }

    /// As [`new`](TruncatedNormal::new), without looking at the parameters' values.
    pub fn new_unchecked(
        loc: &Tensor,
        scale: &Tensor,
        low: &Tensor,
        high: &Tensor,
    ) -> Result<Self> {
        let op = "TruncatedNormal::new_unchecked";
        Parameters::unchecked(op, PARAMETERS, [loc, scale, low, high]).map(TruncatedNormal)
    }

    /// The mean of the normal before truncation, shape `batch`.
    pub fn loc(&self) -> &Tensor {
        self.0.full(0)
    }

    /// The standard deviation of the normal before truncation, shape `batch`.
    pub fn scale(&self) -> &Tensor {
        self.0.full(1)
    }

    /// The lower end, shape `batch`.
    pub fn low(&self) -> &Tensor {
        self.0.full(2)
    }

    /// The upper end, shape `batch`.
    pub fn high(&self) -> &Tensor {
        self.0.full(3)
    }
}

fn values<R: Real, const N: usize>(numbers: [R; N]) -> [f64; N] {
    numbers.map(R::value)
}

/// A density times something that is infinite where the end is.
fn weighed(density: f64, factor: impl FnOnce() -> f64) -> f64 {
    if density == 0. {
        0.
    } else {
        density * factor()
    }
}

#[derive(Clone, Copy)]
struct Law;

impl DensityFormula<5> for Law {
    fn log_prob<R: Real>(self, arguments: [R; 5]) -> R {
        let [x, loc, scale, low, high] = values(arguments);
        if x < low || x > high || x.is_infinite() {
            return R::constant(f64::NEG_INFINITY);
        }
        let slice = Slice::new([loc, scale, low, high]);
        let t = slice.place(x);
        R::function(arguments, slice.log_density(t), || {
            let (m, [low, high]) = (slice.moments(), slice.ends());
            let gap = t - m.mean;
            let spread = gap * (2. * slice.a + t + m.mean) - m.variance;
            let [to_x, to_loc] = [-(slice.a + t), gap].map(|slope| slice.sign * slope / scale);
            [to_x, to_loc, spread / scale, low.density, -high.density]
        })
    }
}

impl CdfFormulas<5> for Law {
    fn log_tail<R: Real>(self, arguments: [R; 5], upper: bool) -> R {
        let [x, loc, scale, low, high] = values(arguments);
        let slice = Slice::new([loc, scale, low, high]);
        let tails = slice.log_tails(x, [low, high]);
        let (value, t) = (tails[usize::from(upper)], slice.place(x));
        if slice.is_end(t) {
            return R::constant(value);
        }
        R::function(arguments, value, || {
            let all = slice.moments();
            let [below, above] = slice.parts(t);
            let part = if upper { above } else { below };
            let gap = part.mean - all.mean;
            let spread = gap * (2. * slice.a + part.mean + all.mean) + part.variance - all.variance;
            // Densities per probability of this tail.
            let odds = (tails[usize::from(!upper)] - value).exp();
            let here = (slice.log_density(t) - value).exp();
            let [low, high] = slice.ends().map(|end| end.density);
            let [to_x, to_low, to_high] = if upper {
                [-here, low, weighed(high, || odds)]
            } else {
                [here, -weighed(low, || odds), -high]
            };
            [
                to_x,
                slice.sign * gap / scale,
                spread / scale,
                to_low,
                to_high,
            ]
        })
    }

    /// Draws are quantiles of uniforms.
    fn quantile<R: Real>(self, arguments: [R; 5]) -> R {
        let [p, loc, scale, low, high] = values(arguments);
        let slice = Slice::new([loc, scale, low, high]);
        let t = slice.quantile(p);
        let x = slice.value(t, [low, high]);
        R::function(arguments, x, || {
            if slice.is_end(t) {
                let [to_low, to_high] =
                    [low, high].map(|end| f64::from(u8::from(x == end && end.is_finite())));
                return [0., 0., 0., to_low, to_high];
            }
            let density = slice.log_density(t).exp();
            let [below, above] = slice.parts(t);
            // The cdf falls with the location as the mean above x exceeds that below.
            let gap = above.mean - below.mean;
            let spread =
                gap * (2. * slice.a + above.mean + below.mean) + above.variance - below.variance;
            let share = p * (1. - p) / (density * scale);
            let energy = slice.energy(t);
            let [to_low, to_high] = slice.ends().map(|end| (energy - end.energy).exp());
            [
                1. / density,
                share * slice.sign * gap,
                share * spread,
                (1. - p) * to_low,
                p * to_high,
            ]
        })
    }
}

impl MomentFormulas<4> for Law {
    fn mean<R: Real>(self, arguments: [R; 4]) -> R {
        let [loc, scale, low, high] = values(arguments);
        let slice = Slice::new([loc, scale, low, high]);
        let m = slice.moments();
        let mean = slice.anchor + slice.sign * scale * m.mean;
        R::function(arguments, mean, || {
            let [to_low, to_high] = slice
                .ends()
                .map(|end| weighed(end.density, || slice.sign * scale * (m.mean - end.t)));
            let to_scale = 2. * (slice.a + m.mean) * m.variance + m.third;
            [m.variance, slice.sign * to_scale, to_low, -to_high]
        })
    }

    fn variance<R: Real>(self, arguments: [R; 4]) -> R {
        let [loc, scale, low, high] = values(arguments);
        let slice = Slice::new([loc, scale, low, high]);
        let m = slice.moments();
        R::function(arguments, scale * scale * m.variance, || {
            let [to_low, to_high] = slice.ends().map(|end| {
                weighed(end.density, || {
                    scale * scale * (m.variance - (end.t - m.mean).powi(2))
                })
            });
            let to_scale = 2. * (slice.a + m.mean) * m.third + m.fourth - m.variance.powi(2);
            [
                slice.sign * scale * m.third,
                scale * to_scale,
                to_low,
                -to_high,
            ]
        })
    }
}

impl ModeFormula<4> for Law {
    fn mode<R: Real>(self, [loc, _, low, high]: [R; 4]) -> R {
        if loc.value() < low.value() {
            low
        } else if loc.value() > high.value() {
            high
        } else {
            loc
        }
    }
}

impl EntropyFormula<4> for Law {
    fn entropy<R: Real>(self, arguments: [R; 4]) -> R {
        let [loc, scale, low, high] = values(arguments);
        let slice = Slice::new([loc, scale, low, high]);
        let m = slice.moments();
        let energy = slice.energy(m.mean) + 0.5 * m.variance;
        R::function(arguments, scale.ln() + slice.log_size + energy, || {
            let z = slice.a + m.mean;
            let to_loc = slice.sign * (z * m.variance + 0.5 * m.third) / scale;
            let to_scale =
                2. * z * z * m.variance + 2. * z * m.third + 0.5 * (m.fourth - m.variance.powi(2));
            let [to_low, to_high] = slice
                .ends()
                .map(|end| weighed(end.density, || energy - end.energy - 1.));
            [to_loc, to_scale / scale, to_low, -to_high]
        })
    }
}

impl KlFormula<8> for Law {
    fn kl<R: Real>(self, arguments: [R; 8]) -> R {
        let [loc, scale, low, high, other, to, from, until] = values(arguments);
        if from > low || until < high {
            return R::constant(f64::INFINITY);
        }
        let (p, q) = (
            Slice::new([loc, scale, low, high]),
            Slice::new([other, to, from, until]),
        );
        let m = p.moments();
        // Moments of p in units of q; signs are those of each slice's own direction.
        let (ratio, turn) = (scale / to, p.sign * q.sign);
        let mean = q.place(p.anchor) + turn * ratio * m.mean;
        let variance = ratio * ratio * m.variance;
        let spread = (q.energy(mean) - p.energy(m.mean)) + 0.5 * (variance - m.variance);
        let value = spread + (q.log_size - p.log_size) - ratio.ln();
        let value = match value < 1e-3 && [low, high] == [from, until] {
            true => near([loc, scale], [other, to], [low, high]),
            false => value,
        };
        R::function(arguments, value, || {
            // Standardized means, in the direction of p, and covariances of ln(p / q) with z and z^2.
            let (z, w) = (p.a + m.mean, turn * (q.a + mean));
            let (first, second) = (ratio * w - z, ratio * ratio - 1.);
            let with_z = first * m.variance + 0.5 * second * m.third;
            let square = m.fourth - m.variance.powi(2);
            let with_square = 2. * z * with_z + first * m.third + 0.5 * second * square;
            let [to_low, to_high] = p.ends().map(|end| {
                weighed(end.density, || {
                    let x = p.anchor + p.sign * scale * end.t;
                    let ratio = p.log_density(end.t) - q.log_density(q.place(x));
                    value + 1. - ratio
                })
            });
            let own = q.moments();
            let gap = mean - own.mean;
            let wide = gap * (2. * q.a + mean + own.mean) + variance - own.variance;
            let [from, until] = q.ends().map(|end| end.density);
            [
                p.sign * with_z / scale,
                with_square / scale,
                to_low,
                -to_high,
                -q.sign * gap / to,
                -wide / to,
                -from,
                until,
            ]
        })
    }
}

impl Distribution for TruncatedNormal {
    fn batch_shape(&self) -> &[usize] {
        self.0.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        self.0.sample("TruncatedNormal::sample", Law, shape, rng)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_prob("TruncatedNormal::log_prob", Law, value)
    }
}

impl Detach for TruncatedNormal {
    fn detach(&self) -> Self {
        TruncatedNormal(self.0.detach())
    }
}

impl Reparameterized for TruncatedNormal {}

impl Moments for TruncatedNormal {
    fn mean(&self) -> Result<Tensor> {
        self.0.mean("TruncatedNormal::mean", Law)
    }

    fn variance(&self) -> Result<Tensor> {
        self.0.variance("TruncatedNormal::variance", Law)
    }
}

impl Mode for TruncatedNormal {
    /// The point of the interval nearest to `loc`.
    fn mode(&self) -> Result<Tensor> {
        self.0.mode("TruncatedNormal::mode", Law)
    }
}

impl Entropy for TruncatedNormal {
    fn entropy(&self) -> Result<Tensor> {
        self.0.entropy("TruncatedNormal::entropy", Law)
    }
}

impl Cdf for TruncatedNormal {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.0.log_cdf("TruncatedNormal::log_cdf", Law, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        self.0
            .log_survival("TruncatedNormal::log_survival", Law, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        self.0
            .quantile("TruncatedNormal::quantile", Law, probability)
    }
}

/// The divergence on one interval of normals that are near each other, where its terms cancel: on the way from the one energy to
/// the other the variance of their difference D is the curvature of ln of the mass.
fn near([loc, scale]: [f64; 2], [other, to]: [f64; 2], [low, high]: [f64; 2]) -> f64 {
    let [own, precision] = [scale, to].map(|s| 1. / (s * s));
    let growth = (scale - to) * (scale + to) / (scale * to).powi(2);
    let variance = |u: f64| {
        let between = own + u * growth;
        let (center, s) = (
            loc + u * precision * (other - loc) / between,
            between.sqrt().recip(),
        );
        let slice = Slice::new([center, s, low, high]);
        let m = slice.moments();
        // D = first t + second t^2 and a constant, for the t of the slice.
        let slope = (slice.anchor - loc) * growth + (loc - other) * precision;
        let (first, second) = (slice.sign * s * slope, 0.5 * growth * s * s);
        let with_square = m.third + 2. * m.mean * m.variance;
        let square = m.fourth - m.variance.powi(2) + 4. * m.mean * (m.third + m.mean * m.variance);
        first * (first * m.variance + 2. * second * with_square) + second * second * square
    };
    above_tangent(0., 1., variance).0
}

impl Kl for TruncatedNormal {
    /// Infinite where the other interval does not contain this one.
    fn kl(&self, other: &TruncatedNormal) -> Result<Tensor> {
        self.0.kl("TruncatedNormal::kl", Law, &other.0)
    }
}

impl MixtureComponent for TruncatedNormal {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        self.0.select(index, after).map(TruncatedNormal)
    }
}

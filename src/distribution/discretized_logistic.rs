//! The discretized logistic distribution.

use super::counts::times;
use super::family::*;
use super::*;

/// Logistic distribution rounded to a grid: the likelihood of pixels.
///
/// Formula: the grid is `c_i = -1 + 2 i / (levels - 1)` for i = 0, ..., levels - 1, so that bytes b are `b / 127.5 - 1` for
/// 256 levels. `p(c_i) = sigmoid((c_i + h - loc) / scale) - sigmoid((c_i - h - loc) / scale)` with half a step
/// `h = 1 / (levels - 1)`; the first and the last value take the tails.
///
/// Shapes: `loc` and `scale` broadcast to the batch shape; the event is scalar. Under [`MixtureSameFamily`] it is the
/// likelihood of PixelCNN++ and its successors. Samples have the dtype of the parameters. Units: nats.
///
/// Gradients: for both parameters, none for values. Samples have none: not [`Reparameterized`].
///
/// Errors: parameters that are not floating point, of different dtype or device, do not broadcast, or are not
/// finite; a scale that is not positive; less than 2 levels, or more than 65536.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::{DiscretizedLogistic, Distribution};
/// # fn main() -> candle_prob::Result<()> {
/// let new = |x: f32| Tensor::new(x, &Device::Cpu);
/// let pixel = DiscretizedLogistic::new(&new(-0.5)?, &new(0.001)?, 256)?;
/// // A thousand scales off, where probabilities underflow.
/// let log_prob = pixel.log_prob(&new(127. / 127.5 - 1.)?)?.to_scalar::<f32>()?;
/// assert!((log_prob + 492.15723).abs() < 1e-3);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: the difference is taken as `sigmoid(a) sigmoid(-b) (1 - e^(b - a))`, exact everywhere: no floor on the scale,
/// no switch to the density where the difference is small. Values within a hundredth of a step of the grid belong to it,
/// others have log-probability -inf. Moments, mode, entropy and KL are sums over all levels.
///
/// Source: Salimans, Karpathy, Chen and Kingma (2017), PixelCNN++, eq. 2.
#[derive(Debug, Clone)]
pub struct DiscretizedLogistic(Parameters<2>, Grid);

impl DiscretizedLogistic {
    /// From location, scale and the number of levels.
    pub fn new(loc: &Tensor, scale: &Tensor, levels: usize) -> Result<Self> {
        let op = "DiscretizedLogistic::new";
        let parameters = Parameters::new(op, LOCATION_SCALE, [loc, scale])?;
        Ok(DiscretizedLogistic(parameters, Grid::new(op, levels)?))
    }

    /// As [`new`](DiscretizedLogistic::new), without looking at the parameters' values.
    pub fn new_unchecked(loc: &Tensor, scale: &Tensor, levels: usize) -> Result<Self> {
        let op = "DiscretizedLogistic::new_unchecked";
        let parameters = Parameters::unchecked(op, LOCATION_SCALE, [loc, scale])?;
        Ok(DiscretizedLogistic(parameters, Grid::new(op, levels)?))
    }

    /// The location, shape `batch`.
    pub fn loc(&self) -> &Tensor {
        self.0.full(0)
    }

    /// The scale, shape `batch`.
    pub fn scale(&self) -> &Tensor {
        self.0.full(1)
    }

    /// The number of values on the grid.
    pub fn levels(&self) -> usize {
        self.1.last as usize + 1
    }
}

/// The grid from -1 to 1, by its last index.
#[derive(Clone, Copy, Debug)]
struct Grid {
    last: f64,
}

/// How far from the grid, in steps, a value may be.
const SLACK: f64 = 0.01;

impl Grid {
    fn new(op: &'static str, levels: usize) -> Result<Self> {
        if !(2..=65_536).contains(&levels) {
            return Err(Error::value(op, "levels", "2 to 65536", levels));
        }
        let last = (levels - 1) as f64;
        Ok(Grid { last })
    }

    fn value(self, index: f64) -> f64 {
        index * 2. / self.last - 1.
    }

    /// Where on the grid, in steps, a value is.
    fn index(self, x: f64) -> f64 {
        (x + 1.) * self.last / 2.
    }

    fn indices(self) -> impl Iterator<Item = f64> {
        (0..=self.last as u32).map(f64::from)
    }

    /// The edge below an index, in scales from the location.
    fn edge<R: Real>(self, index: f64, [loc, scale]: [R; 2]) -> R {
        (-loc + self.value(index - 0.5)) / scale
    }

    fn expectation<R: Real>(self, at: [R; 2], term: impl Fn(f64, R) -> R) -> R {
        let zero = R::constant(0.);
        self.indices().fold(zero, |sum, i| {
            let log = self.log_mass(i, at);
            sum + log.exp() * term(self.value(i), log)
        })
    }

    fn log_mass<R: Real>(self, index: f64, [loc, scale]: [R; 2]) -> R {
        let [low, high] = [index, index + 1.].map(|i| self.edge(i, [loc, scale]));
        if index == 0. {
            return -(-high).softplus();
        }
        if index == self.last {
            return -low.softplus();
        }
        let width = scale.recip() * (2. / self.last);
        width.log1mexp() - (-high).softplus() - low.softplus()
    }
}

impl DensityFormula<3> for Grid {
    #[inline(always)]
    fn log_prob<R: Real>(self, [x, loc, scale]: [R; 3]) -> R {
        let at = self.index(x.value());
        let index = at.round();
        if at.is_nan() {
            return R::constant(at);
        }
        if !((at - index).abs() <= SLACK && 0. <= index && index <= self.last) {
            return R::constant(f64::NEG_INFINITY);
        }
        self.log_mass(index, [loc, scale])
    }
}

impl CdfFormulas<3> for Grid {
    #[inline(always)]
    fn log_tail<R: Real>(self, [x, loc, scale]: [R; 3], upper: bool) -> R {
        let index = (self.index(x.value()) + SLACK).floor();
        if index < 0. || index >= self.last {
            let empty = (index < 0.) != upper;
            return R::constant(if empty { f64::NEG_INFINITY } else { 0. });
        }
        let edge = self.edge(index + 1., [loc, scale]) + x.value() * 0.;
        match upper {
            true => -edge.softplus(),
            false => -(-edge).softplus(),
        }
    }

    #[inline(always)]
    fn quantile<R: Real>(self, [p, loc, scale]: [R; 3]) -> R {
        let [p, loc, scale] = [p, loc, scale].map(Real::value);
        let guess = self.index(loc + scale * (p.ln() - (-p).ln_1p())) - 0.5;
        let cdf = |k: f64| match k < self.last {
            true => self.edge(k + 1., [loc, scale]).sigmoid(),
            false => 1.,
        };
        R::constant(self.value(counts::smallest(p, guess, self.last, cdf)))
    }
}

impl MomentFormulas<2> for Grid {
    fn mean<R: Real>(self, at: [R; 2]) -> R {
        self.expectation(at, |x, _| R::constant(x))
    }

    fn variance<R: Real>(self, at: [R; 2]) -> R {
        let mean = self.mean(at);
        self.expectation(at, |x, _| (-mean + x).square())
    }
}

impl ModeFormula<2> for Grid {
    fn mode<R: Real>(self, at: [R; 2]) -> R {
        let best = |a: (f64, f64), i: f64| {
            let mass = self.log_mass(i, at).value();
            match mass > a.1 || mass.is_nan() {
                true => (i, mass),
                false => a,
            }
        };
        let (index, mass) = self.indices().fold((0., f64::NEG_INFINITY), best);
        R::constant(self.value(index) + mass * 0.)
    }
}

impl EntropyFormula<2> for Grid {
    fn entropy<R: Real>(self, at: [R; 2]) -> R {
        self.expectation(at, |_, log| -log)
    }
}

impl KlFormula<4> for Grid {
    #[inline(always)]
    fn kl<R: Real>(self, [loc, scale, other, to]: [R; 4]) -> R {
        let zero = R::constant(0.);
        self.indices().fold(zero, |sum, i| {
            let log = self.log_mass(i, [loc, scale]);
            let gap = self.log_mass(i, [other, to]) - log;
            sum + times(log.exp(), gap.exp_minus_line())
        })
    }
}

impl Distribution for DiscretizedLogistic {
    fn batch_shape(&self) -> &[usize] {
        self.0.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let op = "DiscretizedLogistic::sample";
        Ok(self.0.sample(op, self.1, shape, rng)?.detach())
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.0
            .log_prob("DiscretizedLogistic::log_prob", self.1, value)
    }
}

impl Detach for DiscretizedLogistic {
    fn detach(&self) -> Self {
        DiscretizedLogistic(self.0.detach(), self.1)
    }
}

impl Moments for DiscretizedLogistic {
    fn mean(&self) -> Result<Tensor> {
        self.0.mean("DiscretizedLogistic::mean", self.1)
    }

    fn variance(&self) -> Result<Tensor> {
        self.0.variance("DiscretizedLogistic::variance", self.1)
    }
}

impl Mode for DiscretizedLogistic {
    fn mode(&self) -> Result<Tensor> {
        self.0.mode("DiscretizedLogistic::mode", self.1)
    }
}

impl Entropy for DiscretizedLogistic {
    fn entropy(&self) -> Result<Tensor> {
        self.0.entropy("DiscretizedLogistic::entropy", self.1)
    }
}

impl Cdf for DiscretizedLogistic {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.0
            .log_cdf("DiscretizedLogistic::log_cdf", self.1, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        let op = "DiscretizedLogistic::log_survival";
        self.0.log_survival(op, self.1, value)
    }

    /// Piecewise constant: without gradients.
    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        let op = "DiscretizedLogistic::quantile";
        self.0.quantile(op, self.1, probability)
    }
}

impl Kl for DiscretizedLogistic {
    /// A sum over all levels, which must be as many in both, of `p (q / p - 1 - ln(q / p))`: no term is negative.
    fn kl(&self, other: &DiscretizedLogistic) -> Result<Tensor> {
        let op = "DiscretizedLogistic::kl";
        if self.levels() != other.levels() {
            let expected = format!("{} levels", self.levels());
            return Err(Error::value(op, "other", expected, other.levels()));
        }
        self.0.kl(op, self.1, &other.0)
    }
}

impl MixtureComponent for DiscretizedLogistic {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        let parameters = self.0.select(index, after)?;
        Ok(DiscretizedLogistic(parameters, self.1))
    }
}

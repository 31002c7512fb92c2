//! The discretized logistic distribution.

use super::counts::times;
use super::parameters::{Domain, Parameters};
use super::*;
use crate::kernels::elementwise::{Formula, formula};
use crate::kernels::number::Real;

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
pub struct DiscretizedLogistic {
    parameters: Parameters<2>,
    grid: Grid,
}

impl DiscretizedLogistic {
    /// From location, scale and the number of levels.
    pub fn new(loc: &Tensor, scale: &Tensor, levels: usize) -> Result<Self> {
        let op = "DiscretizedLogistic::new";
        let parameters = [
            ("loc", loc, Domain::Real),
            ("scale", scale, Domain::Positive),
        ];
        Ok(DiscretizedLogistic {
            parameters: Parameters::new(op, parameters)?,
            grid: Grid::new(op, levels)?,
        })
    }

    /// As [`new`](DiscretizedLogistic::new), without looking at the parameters' values.
    pub fn new_unchecked(loc: &Tensor, scale: &Tensor, levels: usize) -> Result<Self> {
        let op = "DiscretizedLogistic::new_unchecked";
        let parameters = [("loc", loc), ("scale", scale)];
        Ok(DiscretizedLogistic {
            parameters: Parameters::unchecked(op, parameters)?,
            grid: Grid::new(op, levels)?,
        })
    }

    /// The location, shape `batch`.
    pub fn loc(&self) -> Result<Tensor> {
        self.parameters.full(0)
    }

    /// The scale, shape `batch`.
    pub fn scale(&self) -> Result<Tensor> {
        self.parameters.full(1)
    }

    /// The number of values on the grid.
    pub fn levels(&self) -> usize {
        self.grid.last as usize + 1
    }

    fn at<F: Formula<3>>(&self, op: &'static str, f: F, value: &Tensor) -> Result<Tensor> {
        self.parameters.check_value(op, value)?;
        let [loc, scale] = self.parameters.given();
        formula(f, [value, loc, scale])
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

#[derive(Clone, Copy)]
struct LogProb(Grid);

impl Formula<3> for LogProb {
    const NAME: &'static str = "discretized-logistic-log-prob";

    #[inline(always)]
    fn at<R: Real>(self, [x, loc, scale]: [R; 3]) -> R {
        let at = self.0.index(x.value());
        let index = at.round();
        if at.is_nan() {
            return R::constant(at);
        }
        if !((at - index).abs() <= SLACK && 0. <= index && index <= self.0.last) {
            return R::constant(f64::NEG_INFINITY);
        }
        self.0.log_mass(index, [loc, scale])
    }
}

#[derive(Clone, Copy)]
struct LogTail {
    grid: Grid,
    upper: bool,
}

impl Formula<3> for LogTail {
    const NAME: &'static str = "discretized-logistic-log-cdf";

    #[inline(always)]
    fn at<R: Real>(self, [x, loc, scale]: [R; 3]) -> R {
        let index = (self.grid.index(x.value()) + SLACK).floor();
        if index < 0. || index >= self.grid.last {
            let empty = (index < 0.) != self.upper;
            return R::constant(if empty { f64::NEG_INFINITY } else { 0. });
        }
        let edge = self.grid.edge(index + 1., [loc, scale]) + x.value() * 0.;
        match self.upper {
            true => -edge.softplus(),
            false => -(-edge).softplus(),
        }
    }
}

#[derive(Clone, Copy)]
struct Quantile(Grid);

impl Formula<3> for Quantile {
    const NAME: &'static str = "discretized-logistic-quantile";

    #[inline(always)]
    fn at<R: Real>(self, [p, loc, scale]: [R; 3]) -> R {
        let [p, loc, scale] = [p, loc, scale].map(Real::value);
        let guess = self.0.index(loc + scale * (p.ln() - (-p).ln_1p())) - 0.5;
        let cdf = |k: f64| match k < self.0.last {
            true => self.0.edge(k + 1., [loc, scale]).sigmoid(),
            false => 1.,
        };
        R::constant(self.0.value(counts::smallest(p, guess, self.0.last, cdf)))
    }
}

#[derive(Clone, Copy)]
enum Summary {
    Mean,
    Variance,
    Mode,
    Entropy,
}

#[derive(Clone, Copy)]
struct Moment(Grid, Summary);

impl Moment {
    fn expectation<R: Real>(self, at: [R; 2], term: impl Fn(f64, R) -> R) -> R {
        let zero = R::constant(0.);
        self.0.indices().fold(zero, |sum, i| {
            let log = self.0.log_mass(i, at);
            sum + log.exp() * term(self.0.value(i), log)
        })
    }
}

impl Formula<2> for Moment {
    const NAME: &'static str = "discretized-logistic-moments";

    #[inline(always)]
    fn at<R: Real>(self, at: [R; 2]) -> R {
        let mean = || self.expectation(at, |x, _| R::constant(x));
        match self.1 {
            Summary::Mean => mean(),
            Summary::Variance => {
                let mean = mean();
                self.expectation(at, |x, _| (-mean + x).square())
            }
            Summary::Mode => {
                let best = |a: (f64, f64), i: f64| {
                    let mass = self.0.log_mass(i, at).value();
                    if mass > a.1 || mass.is_nan() {
                        (i, mass)
                    } else {
                        a
                    }
                };
                let (index, mass) = self.0.indices().fold((0., f64::NEG_INFINITY), best);
                R::constant(self.0.value(index) + mass * 0.)
            }
            Summary::Entropy => self.expectation(at, |_, log| -log),
        }
    }
}

impl Distribution for DiscretizedLogistic {
    fn batch_shape(&self) -> &[usize] {
        self.parameters.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let u = self.parameters.uniforms(shape, rng)?;
        let [loc, scale] = self.parameters.given();
        Ok(formula(Quantile(self.grid), [&u, loc, scale])?.detach())
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.at("DiscretizedLogistic::log_prob", LogProb(self.grid), value)
    }
}

impl Moments for DiscretizedLogistic {
    fn mean(&self) -> Result<Tensor> {
        self.parameters.formula(Moment(self.grid, Summary::Mean))
    }

    fn variance(&self) -> Result<Tensor> {
        let moment = Moment(self.grid, Summary::Variance);
        self.parameters.formula(moment)
    }
}

impl Mode for DiscretizedLogistic {
    fn mode(&self) -> Result<Tensor> {
        self.parameters.formula(Moment(self.grid, Summary::Mode))
    }
}

impl Entropy for DiscretizedLogistic {
    fn entropy(&self) -> Result<Tensor> {
        self.parameters.formula(Moment(self.grid, Summary::Entropy))
    }
}

impl Cdf for DiscretizedLogistic {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        let (grid, upper) = (self.grid, false);
        let op = "DiscretizedLogistic::log_cdf";
        self.at(op, LogTail { grid, upper }, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        let (grid, upper) = (self.grid, true);
        let op = "DiscretizedLogistic::log_survival";
        self.at(op, LogTail { grid, upper }, value)
    }

    /// Piecewise constant: without gradients.
    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        let op = "DiscretizedLogistic::quantile";
        self.parameters.check_probability(op, probability)?;
        self.at(op, Quantile(self.grid), probability)
    }
}

#[derive(Clone, Copy)]
struct Divergence(Grid);

impl Formula<4> for Divergence {
    const NAME: &'static str = "discretized-logistic-kl";

    #[inline(always)]
    fn at<R: Real>(self, [loc, scale, other, to]: [R; 4]) -> R {
        let zero = R::constant(0.);
        self.0.indices().fold(zero, |sum, i| {
            let log = self.0.log_mass(i, [loc, scale]);
            let gap = self.0.log_mass(i, [other, to]) - log;
            sum + times(log.exp(), gap.exp_minus_line())
        })
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
        self.parameters.check_other(op, &other.parameters)?;
        let ([loc, scale], [other, to]) = (self.parameters.given(), other.parameters.given());
        formula(Divergence(self.grid), [loc, scale, other, to])
    }
}

impl MixtureComponent for DiscretizedLogistic {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        let parameters = self.parameters.select(index, after)?;
        Ok(DiscretizedLogistic {
            parameters,
            grid: self.grid,
        })
    }
}

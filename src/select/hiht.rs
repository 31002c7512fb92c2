//! Homotopy iterative hard thresholding, and its accelerated form.

use super::loss::Loss;
use super::matrix::squares;
use super::path::{Path, Ranking, Solution};
use super::problem::{Centred, Data, Problem};
use crate::error::{Error, Result};
use crate::kernels::design::Number;
use crate::rng::Rng;
use candle_core::{DType, Device};

/// How [`hiht`] and [`ahiht`] go along the path.
#[derive(Debug, Clone, PartialEq)]
pub struct HihtConfig {
    /// The first lambda; none: where the first step from zero finds its first feature.
    pub lambda: Option<f64>,
    /// The last lambda.
    pub final_lambda: f64,
    /// Each lambda is the one before times rho, between 0 and 1.
    pub rho: f64,
    /// The first L; none: a little above the largest eigenvalue of the centred data's second moments, where every step
    /// descends.
    pub lipschitz: Option<f64>,
    /// L is raised by this factor, above 1, until a step descends enough.
    pub gamma: f64,
    /// A step descends enough where the objective falls by `eta / 2` times the squared length of the step.
    pub eta: f64,
    /// [`hiht`] is done with a lambda when the squared length of a step is no more than this.
    pub epsilon: f64,
    /// The most steps for one lambda.
    pub iterations: usize,
    /// What is minimized beside the number of features.
    pub loss: Loss,
    /// The path ends as soon as so many features are selected; none: it goes on to the last lambda.
    pub features: Option<usize>,
    /// Where W starts.
    pub start: Start,
}

/// Where W starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Start {
    /// At zero.
    Zero,
    /// At independent normal numbers of this standard deviation.
    Gaussian {
        /// The standard deviation.
        scale: f64,
        /// The seed.
        seed: u64,
    },
    /// At independent uniform numbers between -scale and scale.
    Uniform {
        /// The largest absolute value.
        scale: f64,
        /// The seed.
        seed: u64,
    },
}

impl Default for HihtConfig {
    fn default() -> Self {
        HihtConfig {
            lambda: None,
            final_lambda: 1e-4,
            rho: 0.7,
            lipschitz: None,
            gamma: 2.,
            eta: 1e-3,
            epsilon: 1e-6,
            iterations: 10_000,
            loss: Loss::Squares,
            features: None,
            start: Start::Zero,
        }
    }
}

/// Feature selection by homotopy iterative hard thresholding: least squares with lambda times the number of features.
///
/// Formula: `min |H (X W - Y)|_F^2 / 2 + lambda |W|_{2,0}` for falling lambda, each started from the solution before. A step
/// takes W to `V = W - grad / L` and keeps the rows with `|v_i|^2 > 2 lambda / L`; L grows until the objective falls by
/// `eta / 2` times the squared length of the step. Steps for one lambda end when they are shorter than `epsilon`. The
/// objective never rises. With another [`Loss`] than squares the bias takes steps as the rows do, without a penalty.
///
/// Shapes: see [`Problem`]; a [`Solution`] holds the rows of its support alone. Gradients: none.
///
/// Errors: rho outside (0, 1), a gamma of 1 or less, negative lambda, eta or epsilon, no iterations, more features than there
/// are.
///
/// Cost: rows that a bound on their slope keeps at zero are not computed, which changes no result; memory is that of the data
/// and of the supports.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::Rng;
/// use candle_prob::select::{HihtConfig, Preparation, Problem, hiht};
/// # fn main() -> candle_prob::Result<()> {
/// // Of 50 features the third and the seventh count.
/// let mut rng = Rng::new(0);
/// let x = rng.normal((200, 50), DType::F64, &Device::Cpu)?;
/// let noise = (rng.normal((200, 1), DType::F64, &Device::Cpu)? * 0.1)?;
/// let y = ((x.narrow(1, 2, 1)? - x.narrow(1, 6, 1)?)? + noise)?;
/// let problem = Problem::regression(&x, &y, &Preparation::default())?;
/// let path = hiht(&problem, &HihtConfig { features: Some(2), ..Default::default() })?;
/// let mut top = path.ranking().top(2)?.to_vec();
/// top.sort();
/// assert_eq!(top, [2, 6]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Sun and Yu (2020), Robust Multi-class Feature Selection via l2,0-Norm Regularization Minimization, algorithm 1.
pub fn hiht(problem: &Problem, config: &HihtConfig) -> Result<Path> {
    solve("select::hiht", problem, config, config.iterations)
}

/// As [`hiht`], with one step for each lambda: faster, and less sparse at the same lambda.
///
/// Source: Sun and Yu (2020), algorithm 2.
pub fn ahiht(problem: &Problem, config: &HihtConfig) -> Result<Path> {
    solve("select::ahiht", problem, config, 1)
}

fn solve(
    op: &'static str,
    problem: &Problem,
    config: &HihtConfig,
    iterations: usize,
) -> Result<Path> {
    config.check(op, problem.features())?;
    match &problem.data {
        Data::F32(data) => Solver::new(op, problem, data, config)?.path(iterations),
        Data::F64(data) => Solver::new(op, problem, data, config)?.path(iterations),
    }
}

impl HihtConfig {
    fn check(&self, op: &'static str, features: usize) -> Result<()> {
        if !(self.rho > 0. && self.rho < 1.) {
            let expected = "a number between 0 and 1, neither of them";
            return Err(Error::value(op, "rho", expected, self.rho));
        }
        if !(self.gamma > 1. && self.gamma.is_finite()) {
            let expected = "a finite number above 1";
            return Err(Error::value(op, "gamma", expected, self.gamma));
        }
        for (arg, value) in [
            ("lambda", self.lambda.unwrap_or(1.)),
            ("final_lambda", self.final_lambda),
            ("lipschitz", self.lipschitz.unwrap_or(1.)),
        ] {
            if !(value > 0. && value.is_finite()) {
                let expected = "a positive finite number";
                return Err(Error::value(op, arg, expected, value));
            }
        }
        for (arg, value) in [("eta", self.eta), ("epsilon", self.epsilon)] {
            if !(value >= 0. && value.is_finite()) {
                let expected = "a finite number of at least 0";
                return Err(Error::value(op, arg, expected, value));
            }
        }
        if let Loss::Robust { delta } = self.loss
            && !(delta > 0. && delta.is_finite())
        {
            let expected = "a positive finite number";
            return Err(Error::value(op, "delta", expected, delta));
        }
        if self.iterations == 0 {
            return Err(Error::value(op, "iterations", "at least 1", 0));
        }
        if self.features.is_some_and(|k| k > features) {
            let expected = format!("at most {features}");
            let found = self.features.unwrap_or(0);
            return Err(Error::value(op, "features", expected, found));
        }
        Ok(())
    }
}

/// Rows of W that are not zero: features in order, `[C]` numbers each.
#[derive(Debug, Clone, Default)]
struct Rows<T> {
    features: Vec<usize>,
    values: Vec<T>,
}

/// W, the bias, the loss there, and its slopes to the scores `X W + b`: for squares the residual. The bias is that of
/// centred features, and not used for squares.
struct Point<T> {
    w: Rows<T>,
    bias: Vec<f64>,
    residual: Vec<T>,
    loss: f64,
}

struct Solver<'a, T> {
    problem: &'a Problem,
    data: &'a Centred<T>,
    config: &'a HihtConfig,
    /// Targets as they came, [C, N]; none for squares.
    targets: Vec<f64>,
    /// Lengths of the features.
    lengths: Vec<f64>,
    /// The residual of the last time that all slopes were computed, and their lengths then.
    known: Option<(Vec<T>, Vec<f64>)>,
}

impl<'a, T: Number> Solver<'a, T> {
    fn new(
        op: &'static str,
        problem: &'a Problem,
        data: &'a Centred<T>,
        config: &'a HihtConfig,
    ) -> Result<Self> {
        let targets = match config.loss {
            Loss::Squares => vec![],
            _ => problem.targets(data),
        };
        if config.loss == Loss::Softmax && !problem.is_classification() {
            let (arg, expected) = ("loss", "squares or robust for targets that are no classes");
            return Err(Error::value(op, arg, expected, "Softmax"));
        }
        Ok(Solver {
            problem,
            data,
            config,
            targets,
            lengths: data.x.lengths()?,
            known: None,
        })
    }

    fn outputs(&self) -> usize {
        self.problem.outputs()
    }

    fn path(mut self, iterations: usize) -> Result<Path> {
        let config = self.config;
        let (problem, loss) = (self.problem, config.loss);
        let bias = loss.bias(&problem.means[1], &self.targets, &problem.weights);
        let mut at = self.point(self.start()?, bias)?;
        let mut lipschitz = match config.lipschitz {
            Some(lipschitz) => lipschitz,
            None => self.largest_eigenvalue()? * 1.01,
        };
        let mut lambda = match config.lambda {
            Some(lambda) => lambda,
            None => self.first_lambda(&at, lipschitz)?,
        };
        let mut solutions = vec![];
        loop {
            let (mut increases, mut objectives, mut squared_change) = (0, vec![], 0.);
            for _ in 0..iterations {
                let (next, change, raised) = self.step(&at, lambda, &mut lipschitz)?;
                at = next;
                increases += raised;
                squared_change = change;
                objectives.push(at.objective(lambda));
                if change <= config.epsilon {
                    break;
                }
            }
            let rows: Vec<Vec<f64>> = at.w.rows(self.outputs());
            let (rows, bias) = self.problem.as_came(&at.w.features, &rows, &at.bias);
            solutions.push(Solution {
                lambda,
                lipschitz,
                iterations: objectives.len(),
                increases,
                loss: at.loss,
                objective: at.objective(lambda),
                objectives,
                squared_change,
                support: at.w.features.clone(),
                rows,
                bias,
            });
            let enough = config.features.is_some_and(|k| at.w.features.len() >= k);
            if lambda <= config.final_lambda || enough {
                break;
            }
            lambda = (config.rho * lambda).max(config.final_lambda);
        }
        Ok(Path {
            solutions,
            ranking: self.ranking(&at)?,
            features: self.data.x.features(),
        })
    }

    /// One step: the new point, the squared length of the change, and how often L was raised.
    fn step(
        &mut self,
        at: &Point<T>,
        lambda: f64,
        lipschitz: &mut f64,
    ) -> Result<(Point<T>, f64, usize)> {
        let objective = at.objective(lambda);
        let slack = 0.1 * T::ROUNDING * objective;
        let slopes = self.slopes(at, 2. * lambda * *lipschitz)?;
        let mut raised = 0;
        loop {
            let w = self.threshold(&at.w, &slopes, lambda, *lipschitz);
            let bias = self.bias_after(at, *lipschitz);
            let change =
                squared_distance(&at.w, &w, self.outputs()) + distance(&at.bias, &bias).powi(2);
            let next = self.point(w, bias)?;
            let descent = objective - next.objective(lambda);
            // At an infinite L nothing changes any more: data beyond the range of their dtype.
            if descent + slack >= 0.5 * self.config.eta * change || !lipschitz.is_finite() {
                return Ok((next, change, raised));
            }
            *lipschitz *= self.config.gamma;
            raised += 1;
        }
    }

    /// The slopes of all rows whose squared length may exceed `threshold`, and of those that are not zero.
    fn slopes(&mut self, at: &Point<T>, threshold: f64) -> Result<Rows<T>> {
        let features = self.data.x.features();
        let least = threshold.sqrt();
        let mut list = self.candidates(at, least);
        if list.is_none() {
            let all: Vec<usize> = (0..features).collect();
            let slopes = self.data.x.correlate(&all, &at.residual)?;
            let lengths = slopes
                .chunks_exact(self.outputs())
                .map(|s| squares(s).sqrt())
                .collect();
            self.known = Some((at.residual.clone(), lengths));
            list = self.candidates(at, least);
            if list.as_ref().is_none_or(|list| list.len() > features / 8) {
                return Ok(Rows {
                    features: all,
                    values: slopes,
                });
            }
        }
        let features = list.unwrap_or_default();
        let values = self.data.x.correlate(&features, &at.residual)?;
        Ok(Rows { features, values })
    }

    /// The rows whose slope must be computed: a slope has changed by no more than the feature's length times the distance of
    /// the residuals. None where nothing is known or the bound says too little.
    fn candidates(&self, at: &Point<T>, least: f64) -> Option<Vec<usize>> {
        let (residual, slopes) = self.known.as_ref()?;
        let size = squares(&at.residual).sqrt();
        let gap = distance(residual, &at.residual) + T::ROUNDING * size;
        let mut list = vec![];
        let mut active = at.w.features.iter().peekable();
        for (i, (slope, length)) in slopes.iter().zip(&self.lengths).enumerate() {
            let is_active = active.next_if(|a| **a == i).is_some();
            if is_active || slope + length * gap >= least {
                list.push(i);
            }
        }
        let most = slopes.len() / 8 + at.w.features.len();
        (list.len() <= most).then_some(list)
    }

    /// `W - slopes / L` where its rows are long enough.
    fn threshold(&self, w: &Rows<T>, slopes: &Rows<T>, lambda: f64, lipschitz: f64) -> Rows<T> {
        let c = self.outputs();
        let least = 2. * lambda / lipschitz;
        let mut kept = Rows::default();
        let mut active = w.features.iter().zip(w.values.chunks_exact(c)).peekable();
        let mut row = vec![T::default(); c];
        for (i, slope) in slopes.features.iter().zip(slopes.values.chunks_exact(c)) {
            let own = active.next_if(|(a, _)| *a == i).map(|(_, own)| own);
            for (k, row) in row.iter_mut().enumerate() {
                let w: f64 = own.map_or(0., |own| own[k].into());
                let slope: f64 = slope[k].into();
                *row = T::of(w - slope / lipschitz);
            }
            if squares(&row) > least {
                kept.features.push(*i);
                kept.values.extend(&row);
            }
        }
        kept
    }

    /// The bias after a step; for squares it does not move, because it is eliminated.
    fn bias_after(&self, at: &Point<T>, lipschitz: f64) -> Vec<f64> {
        let mut bias = at.bias.clone();
        if self.config.loss != Loss::Squares {
            let stride = self.data.x.stride();
            let roots = &self.problem.weights.roots;
            for (b, slopes) in bias.iter_mut().zip(at.residual.chunks_exact(stride)) {
                let slopes = roots.iter().zip(slopes);
                let slope: f64 = slopes.map(|(root, r)| root * Into::<f64>::into(*r)).sum();
                *b -= slope / lipschitz;
            }
        }
        bias
    }

    fn point(&self, w: Rows<T>, bias: Vec<f64>) -> Result<Point<T>> {
        let x = &self.data.x;
        let (residual, loss) = match self.config.loss {
            Loss::Squares => {
                let minus = |y: &T| T::of(-(*y).into());
                let start: Vec<T> = self.data.y.iter().map(minus).collect();
                let residual = x.combine(&w.features, &w.values, &start)?;
                let loss = 0.5 * squares(&residual);
                (residual, loss)
            }
            other => {
                let zeros = vec![T::default(); self.data.y.len()];
                let mut scores = x.combine(&w.features, &w.values, &zeros)?;
                let weights = &self.problem.weights;
                for (b, scores) in bias.iter().zip(scores.chunks_exact_mut(x.stride())) {
                    for (score, root) in scores.iter_mut().zip(&weights.roots) {
                        // A sample that does not count has no score.
                        let plain = if *root > 0. {
                            (*score).into() / root
                        } else {
                            0.
                        };
                        *score = T::of(plain + b);
                    }
                }
                let loss = other.slopes(&mut scores, &self.targets, weights);
                (scores, loss)
            }
        };
        Ok(Point {
            w,
            bias,
            residual,
            loss,
        })
    }

    /// All features of which the start is not zero.
    fn start(&self) -> Result<Rows<T>> {
        let (features, c) = (self.data.x.features(), self.outputs());
        let values = match self.config.start {
            Start::Zero => return Ok(Rows::default()),
            Start::Gaussian { scale, seed } => {
                let draws = Rng::new(seed).normal(features * c, DType::F64, &Device::Cpu)?;
                draws.affine(scale, 0.)?
            }
            Start::Uniform { scale, seed } => {
                let draws = Rng::new(seed).uniform(features * c, DType::F64, &Device::Cpu)?;
                draws.affine(2. * scale, -scale)?
            }
        };
        let values = values.to_vec1::<f64>()?.into_iter().map(T::of).collect();
        Ok(Rows {
            features: (0..features).collect(),
            values,
        })
    }

    /// Where a step from this point has its first row.
    fn first_lambda(&self, at: &Point<T>, lipschitz: f64) -> Result<f64> {
        let all: Vec<usize> = (0..self.data.x.features()).collect();
        let slopes = self.data.x.correlate(&all, &at.residual)?;
        let largest = slopes
            .chunks_exact(self.outputs())
            .map(squares)
            .fold(0., f64::max);
        // A little below the tie that rounding would decide.
        Ok((0.499 * largest / lipschitz).max(self.config.final_lambda))
    }

    /// Of the data's second moments, from below, by the power method.
    fn largest_eigenvalue(&self) -> Result<f64> {
        let x = self.data.x.as_ref();
        let all: Vec<usize> = (0..x.features()).collect();
        let zeros = vec![T::default(); x.stride()];
        let mut v: Vec<T> = self.lengths.iter().map(|l| T::of(*l)).collect();
        let mut value = 0.;
        for _ in 0..50 {
            let length = squares(&v).sqrt();
            if length == 0. {
                return Ok(1.);
            }
            v.iter_mut().for_each(|v| *v = T::of((*v).into() / length));
            v = x.correlate(&all, &x.combine(&all, &v, &zeros)?)?;
            value = squares(&v).sqrt();
        }
        Ok(value)
    }

    /// By the lengths of the rows, then by those of the slopes.
    fn ranking(&self, at: &Point<T>) -> Result<Ranking> {
        let c = self.outputs();
        let all: Vec<usize> = (0..self.data.x.features()).collect();
        let slopes = self.data.x.correlate(&all, &at.residual)?;
        let slopes: Vec<f64> = slopes.chunks_exact(c).map(squares).collect();
        let mut scores = vec![0.; all.len()];
        for (i, row) in at.w.features.iter().zip(at.w.values.chunks_exact(c)) {
            scores[*i] = squares(row).sqrt();
        }
        Ok(Ranking::new(scores, &slopes))
    }
}

impl<T: Number> Point<T> {
    fn objective(&self, lambda: f64) -> f64 {
        self.loss + lambda * self.w.features.len() as f64
    }
}

impl<T: Number> Rows<T> {
    fn rows(&self, outputs: usize) -> Vec<Vec<f64>> {
        let row = |row: &[T]| row.iter().map(|w| (*w).into()).collect();
        self.values.chunks_exact(outputs).map(row).collect()
    }
}

fn distance<T: Number>(a: &[T], b: &[T]) -> f64 {
    let square = |(a, b): (&T, &T)| {
        let gap: f64 = (*a).into() - (*b).into();
        gap * gap
    };
    a.iter().zip(b).map(square).sum::<f64>().sqrt()
}

fn squared_distance<T: Number>(a: &Rows<T>, b: &Rows<T>, outputs: usize) -> f64 {
    let mut rest = b
        .features
        .iter()
        .zip(b.values.chunks_exact(outputs))
        .peekable();
    let mut total = 0.;
    for (i, own) in a.features.iter().zip(a.values.chunks_exact(outputs)) {
        while let Some((_, other)) = rest.next_if(|(j, _)| *j < i) {
            total += squares(other);
        }
        total += match rest.next_if(|(j, _)| *j == i) {
            Some((_, other)) => distance(own, other).powi(2),
            None => squares(own),
        };
    }
    total + rest.map(|(_, other)| squares(other)).sum::<f64>()
}

//! The steps of iterative hard thresholding.
//!
//! Most rows of W are zero and stay so. A row's slope changes by no more than the length of its feature times the distance
//! that the slopes of the scores have moved since it was last computed, so that most slopes need not be computed to know
//! that their rows stay zero.

use super::config::{HihtConfig, Start};
use super::eigenvalue;
use super::loss::Loss;
use super::path::{Path, Solution};
use super::point::{Point, Rows, squared_change, step_row};
use crate::error::{Error, Result};
use crate::kernels::linear::design::Number;
use crate::rng::Rng;
use crate::select::centred::Centred;
use crate::select::checks::beyond_range;
use crate::select::matrix::{squared_gap, squares};
use crate::select::{Problem, Ranking};
use candle_core::{DType, Device};

/// All slopes, and the first try of a step: W with its scores.
type Tried<T> = (Rows<T>, Option<(Rows<T>, Vec<T>)>);

/// The path of one problem.
pub(super) struct Solver<'a, T> {
    op: &'static str,
    problem: &'a Problem,
    data: &'a Centred<T>,
    config: &'a HihtConfig,
    /// Targets as they came, [C, N]; none for squares.
    targets: Vec<f64>,
    /// Lengths of the features.
    lengths: Vec<f64>,
    /// Features that are constant up to rounding, and so never selected.
    constant: Vec<bool>,
    /// The score gradient of the last time that all slopes were computed, and the slopes' lengths then.
    known: Option<(Vec<T>, Vec<f64>)>,
}

impl<'a, T: Number> Solver<'a, T> {
    pub(super) fn new(
        op: &'static str,
        problem: &'a Problem,
        data: &'a Centred<T>,
        config: &'a HihtConfig,
    ) -> Result<Self> {
        let targets = match config.loss {
            Loss::Squares => vec![],
            _ => problem.targets(),
        };
        if config.loss == Loss::Softmax && !problem.is_classification() {
            let (arg, expected) = ("loss", "squares or robust for targets that are no classes");
            return Err(Error::value(op, arg, expected, "Softmax"));
        }
        let lengths = data.x.lengths()?;
        let all = lengths.iter().enumerate();
        let constant = all.map(|(i, l)| !problem.varies(i, l * l));
        Ok(Solver {
            op,
            problem,
            data,
            config,
            targets,
            constant: constant.collect(),
            lengths,
            known: None,
        })
    }

    fn outputs(&self) -> usize {
        self.problem.outputs()
    }

    fn check_range(&self, lipschitz: f64) -> Result<()> {
        if lipschitz.is_finite() {
            return Ok(());
        }
        Err(beyond_range(self.op))
    }

    /// With so many steps for each lambda at most.
    pub(super) fn path(mut self, iterations: usize) -> Result<Path> {
        let config = self.config;
        let (problem, loss) = (self.problem, config.loss);
        let bias = loss.bias(&problem.means[1], &self.targets, &problem.weights);
        let start = self.start()?;
        let scores = self.scores(&start)?;
        let mut at = self.point_of(start, bias, scores);
        let mut lipschitz = match config.lipschitz {
            Some(lipschitz) => lipschitz,
            None => self.first_lipschitz()?,
        };
        self.check_range(lipschitz)?;
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
        let (slopes, mut first) = match self.is_dense(at) {
            true => self.sweep(at, lambda, *lipschitz)?,
            false => (self.slopes(at, lambda, *lipschitz)?, None),
        };
        let mut raised = 0;
        loop {
            let (w, scores) = match first.take() {
                Some(first) => first,
                None => {
                    let w = self.threshold(&at.w, &slopes, lambda, *lipschitz);
                    let scores = self.scores(&w)?;
                    (w, scores)
                }
            };
            let bias = self.bias_after(at, *lipschitz);
            let change = squared_change(&at.w, &w, self.outputs()) + squared_gap(&at.bias, &bias);
            let next = self.point_of(w, bias, scores);
            let descent = objective - next.objective(lambda);
            if descent + slack >= 0.5 * self.config.eta * change {
                return Ok((next, change, raised));
            }
            // At an infinite L nothing changes any more: data beyond the range of their dtype.
            self.check_range(*lipschitz)?;
            *lipschitz *= self.config.gamma;
            raised += 1;
        }
    }

    /// Whether so many rows are not zero that there is little to pass over.
    fn is_dense(&self, at: &Point<T>) -> bool {
        at.w.features.len() > self.data.x.features() / 8
    }

    /// The slopes of all rows that a step may keep, and of those that are not zero.
    fn slopes(&mut self, at: &Point<T>, lambda: f64, lipschitz: f64) -> Result<Rows<T>> {
        let features = self.data.x.features();
        let least = (2. * lambda * lipschitz).sqrt();
        let mut list = self.candidates(at, least);
        if list.is_none() {
            let all: Vec<usize> = (0..features).collect();
            let slopes = self.data.x.correlate(&all, &at.score_gradient)?;
            let lengths = slopes.chunks_exact(self.outputs());
            let lengths = lengths.map(|s| squares(s).sqrt()).collect();
            self.known = Some((at.score_gradient.clone(), lengths));
            list = self.candidates(at, least);
            if list.as_ref().is_none_or(|list| list.len() > features / 8) {
                let (features, values) = (all, slopes);
                return Ok(Rows { features, values });
            }
        }
        let features = list.unwrap_or_default();
        let values = self.data.x.correlate(&features, &at.score_gradient)?;
        Ok(Rows { features, values })
    }

    /// All slopes, and W after a step with its scores, while the data pass by once.
    fn sweep(&mut self, at: &Point<T>, lambda: f64, lipschitz: f64) -> Result<Tried<T>> {
        let (c, features) = (self.outputs(), self.data.x.features());
        let mut places = vec![None; features];
        for (place, i) in at.w.features.iter().enumerate() {
            places[*i] = Some(place);
        }
        let next = |i: usize, slope: &[T], row: &mut [T]| {
            let own = places[i].map(|place| &at.w.values[place * c..][..c]);
            step_row(own, slope, lambda, lipschitz, row) && !self.constant[i]
        };
        let swept = self
            .data
            .x
            .sweep(&at.score_gradient, &self.origin(), &next)?;
        self.known = None;
        let slopes = Rows {
            features: (0..features).collect(),
            values: swept.products,
        };
        let w = Rows {
            features: swept.rows,
            values: swept.weights,
        };
        Ok((slopes, Some((w, swept.sums))))
    }

    /// The rows whose slope must be computed: a slope has changed by no more than the feature's length times the distance of
    /// the score gradients. None where nothing is known or the bound says too little.
    fn candidates(&self, at: &Point<T>, least: f64) -> Option<Vec<usize>> {
        let (gradient, slopes) = self.known.as_ref()?;
        let size = squares(&at.score_gradient).sqrt();
        let gap = squared_gap(gradient, &at.score_gradient).sqrt() + T::ROUNDING * size;
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
        let mut kept = Rows::default();
        let mut active = w.features.iter().zip(w.values.chunks_exact(c)).peekable();
        let mut row = vec![T::default(); c];
        for (i, slope) in slopes.features.iter().zip(slopes.values.chunks_exact(c)) {
            let own = active.next_if(|(a, _)| *a == i).map(|(_, own)| own);
            if step_row(own, slope, lambda, lipschitz, &mut row) && !self.constant[*i] {
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
            for (b, slopes) in bias.iter_mut().zip(at.score_gradient.chunks_exact(stride)) {
                let slopes = roots.iter().zip(slopes);
                let slope: f64 = slopes.map(|(root, r)| root * Into::<f64>::into(*r)).sum();
                *b -= slope / lipschitz;
            }
        }
        bias
    }

    /// Those of the features, added to the [`origin`](Self::origin).
    fn scores(&self, w: &Rows<T>) -> Result<Vec<T>> {
        let origin = self.origin();
        self.data.x.combine(&w.features, &w.values, &origin)
    }

    /// What the features' scores are added to: for squares, whose residuals they are, the targets.
    fn origin(&self) -> Vec<T> {
        let minus = |y: &T| T::of(-(*y).into());
        match self.config.loss {
            Loss::Squares => self.data.y.iter().map(minus).collect(),
            _ => vec![T::default(); self.data.y.len()],
        }
    }

    fn point_of(&self, w: Rows<T>, bias: Vec<f64>, mut scores: Vec<T>) -> Point<T> {
        let loss = match self.config.loss {
            Loss::Squares => 0.5 * squares(&scores),
            other => {
                let weights = &self.problem.weights;
                let stride = self.data.x.stride();
                for (b, scores) in bias.iter().zip(scores.chunks_exact_mut(stride)) {
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
                other.slopes(&mut scores, &self.targets, weights)
            }
        };
        Point {
            w,
            bias,
            score_gradient: scores,
            loss,
        }
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

    /// A little above the largest eigenvalue.
    fn first_lipschitz(&self) -> Result<f64> {
        let value = eigenvalue::largest(self.data.x.as_ref())?;
        let varying = self.lengths.iter().zip(&self.constant);
        let varying = varying.filter(|(_, constant)| !**constant);
        let longest = varying.map(|(length, _)| *length).fold(0., f64::max);
        let digits: f64 = T::of(longest * longest * T::ROUNDING).into();
        if longest > 0. && digits == 0. {
            let expected = "numbers whose squares are not 0 in their dtype";
            return Err(Error::value(self.op, "x", expected, "smaller ones"));
        }
        // Where nothing varies, no step goes anywhere.
        Ok(if longest == 0. { 1. } else { 1.01 * value })
    }

    /// Where a step from this point has its first row.
    fn first_lambda(&self, at: &Point<T>, lipschitz: f64) -> Result<f64> {
        let all: Vec<usize> = (0..self.data.x.features()).collect();
        let slopes = self.data.x.correlate(&all, &at.score_gradient)?;
        let squares = slopes.chunks_exact(self.outputs()).map(squares);
        let varying = squares
            .zip(&self.constant)
            .filter(|(_, constant)| !**constant);
        let largest = varying.map(|(square, _)| square).fold(0., f64::max);
        // A little below the tie that rounding would decide.
        Ok((0.499 * largest / lipschitz).max(self.config.final_lambda))
    }

    /// By the lengths of the rows, then by those of the slopes.
    fn ranking(&self, at: &Point<T>) -> Result<Ranking> {
        let c = self.outputs();
        let all: Vec<usize> = (0..self.data.x.features()).collect();
        let slopes = self.data.x.correlate(&all, &at.score_gradient)?;
        let slopes = slopes.chunks_exact(c).map(squares).zip(&self.constant);
        let slopes = slopes.map(|(square, constant)| if *constant { 0. } else { square });
        let slopes: Vec<f64> = slopes.collect();
        let mut scores = vec![0.; all.len()];
        for (i, row) in at.w.features.iter().zip(at.w.values.chunks_exact(c)) {
            scores[*i] = squares(row).sqrt();
        }
        Ok(Ranking::new(scores, &slopes))
    }
}

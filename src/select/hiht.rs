//! Homotopy iterative hard thresholding, and its accelerated form.

use super::loss::Loss;
use super::path::Path;
use super::problem::{Data, Problem};
use super::solver::Solver;
use crate::check;
use crate::error::{Error, Result};

/// How [`hiht`] and [`ahiht`] go along the path.
#[derive(Debug, Clone, PartialEq)]
pub struct HihtConfig {
    /// The first lambda; none: where the first step from zero finds its first feature.
    pub lambda: Option<f64>,
    /// The last lambda.
    pub final_lambda: f64,
    /// Each lambda is the one before times rho, between 0 and 1.
    pub rho: f64,
    /// The first L; none: 1.01 times an estimate, from below, of the largest eigenvalue of the centred data's second moments,
    /// above which every step descends for squares.
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
/// Formula: `min |H (X W - Y)|_F^2 / 2 + lambda |W|_{2,0}` for falling lambda, each started from the solution before. A
/// step takes W to `V = W - grad / L` and keeps the rows with `|v_i|^2 > 2 lambda / L`; L grows until the objective falls
/// by `eta / 2` times the squared length of the step. Steps for one lambda end when their squared length is no more than
/// `epsilon`. The objective never rises beyond rounding. With another [`Loss`] than squares the bias takes steps as the
/// rows do, without a penalty.
///
/// Shapes: see [`Problem`]; a [`Solution`](super::Solution) holds the rows of its support alone. Gradients: none.
///
/// Errors: rho outside (0, 1), a gamma of 1 or less, a lambda or L that is not positive, negative eta, epsilon or start, no
/// iterations, a delta that is not positive, softmax for targets that are no classes, more features than there are, data whose
/// squares are beyond the range of their dtype.
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
/// Cost: rows that a bound on their slope keeps at zero are not computed, which changes no result; memory is that of the data
/// and of the supports.
///
/// Source: Sun and Yu (2020), Robust Multi-class Feature Selection via l2,0-Norm Regularization Minimization, algorithm 1.
pub fn hiht(problem: &Problem, config: &HihtConfig) -> Result<Path> {
    solve("select::hiht", problem, config, config.iterations)
}

/// As [`hiht`], with one step for each lambda: faster, and less sparse at the same lambda. Shapes, gradients and errors are
/// those of [`hiht`].
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_prob::Rng;
/// use candle_prob::select::{HihtConfig, Preparation, Problem, ahiht};
/// # fn main() -> candle_prob::Result<()> {
/// let x = Rng::new(0).normal((200, 50), DType::F64, &Device::Cpu)?;
/// let y = (x.narrow(1, 2, 1)? - x.narrow(1, 6, 1)?)?;
/// let problem = Problem::regression(&x, &y, &Preparation::default())?;
/// let path = ahiht(&problem, &HihtConfig { features: Some(2), ..Default::default() })?;
/// assert_eq!(path.last().support, [2, 6]);
/// # Ok(())
/// # }
/// ```
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
        check::in_open_interval(op, "rho", self.rho, 0., 1.)?;
        check::in_open_interval(op, "gamma", self.gamma, 1., f64::INFINITY)?;
        for (arg, value) in [
            ("lambda", self.lambda.unwrap_or(1.)),
            ("final_lambda", self.final_lambda),
            ("lipschitz", self.lipschitz.unwrap_or(1.)),
        ] {
            // A subnormal lambda times rho can be itself again.
            if !(value > 0. && value.is_normal()) {
                let expected = "a positive finite number of full precision";
                return Err(Error::value(op, arg, expected, value));
            }
        }
        for (arg, value) in [("eta", self.eta), ("epsilon", self.epsilon)] {
            check::non_negative(op, arg, value)?;
        }
        if let Loss::Robust { delta } = self.loss {
            check::positive_finite(op, "delta", delta)?;
        }
        if let Start::Gaussian { scale, .. } | Start::Uniform { scale, .. } = self.start {
            check::non_negative(op, "scale", scale)?;
        }
        check::at_least_one(op, &[("iterations", self.iterations)])?;
        check::at_most(op, "features", self.features.unwrap_or(0), features)
    }
}

//! Homotopy iterative hard thresholding, and its accelerated form.

mod config;
mod eigenvalue;
mod loss;
mod path;
mod point;
mod solver;

pub use config::{HihtConfig, Start};
pub use loss::Loss;
pub use path::{Path, Solution};

use super::centred::Data;
use super::{Preparation, Problem, Ranking, Selector};
use crate::error::Result;
use candle_core::Tensor;
use solver::Solver;

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

/// [`hiht`] as a method that ranks.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Hiht(pub HihtConfig);

/// [`ahiht`] as a method that ranks.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ahiht(pub HihtConfig);

impl Selector for Hiht {
    fn rank(&self, x: &Tensor, y: &Tensor, how: &Preparation) -> Result<Ranking> {
        let problem = Problem::labelled(x, y, how)?;
        Ok(hiht(&problem, &self.0)?.ranking().clone())
    }
}

impl Selector for Ahiht {
    fn rank(&self, x: &Tensor, y: &Tensor, how: &Preparation) -> Result<Ranking> {
        let problem = Problem::labelled(x, y, how)?;
        Ok(ahiht(&problem, &self.0)?.ranking().clone())
    }
}

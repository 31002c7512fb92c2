//! What regressions that select features have in common.

use super::labelled::Labelled;
use crate::check;
use crate::error::{Error, Result};
use crate::kernels::linear::triangular;
use crate::select::Ranking;
use candle_core::{DType, Device, Tensor};

/// What a regression that selects features found. Weights and bias belong to the data as they came.
#[derive(Debug, Clone)]
pub struct Fit {
    /// The weights, `[d, C]`, f64.
    pub weights: Tensor,
    /// The bias, `[C]`, f64.
    pub bias: Tensor,
    /// The objective after every step.
    pub objectives: Vec<f64>,
    /// How far the last step was from the constraints, relative to what they constrain; 0 where every step obeys them.
    pub gap: f64,
    /// Whether the steps ended before there were as many as allowed.
    pub converged: bool,
    /// All features, the most relevant first.
    pub ranking: Ranking,
}

/// Objectives of steps, until they do not fall any more.
pub(super) struct Descent {
    pub(super) objectives: Vec<f64>,
    pub(super) converged: bool,
}

impl Descent {
    /// Takes steps until the objective falls by less than `tolerance` of itself.
    pub(super) fn run(
        iterations: usize,
        tolerance: f64,
        mut step: impl FnMut() -> Result<f64>,
    ) -> Result<Self> {
        let mut objectives: Vec<f64> = Vec::new();
        let mut converged = false;
        while !converged && objectives.len() < iterations {
            let new = step()?;
            converged = objectives
                .last()
                .is_some_and(|old| old - new <= tolerance * new.abs());
            objectives.push(new);
        }
        Ok(Descent {
            objectives,
            converged,
        })
    }
}

impl Fit {
    /// From weights `[d, C]` and a bias `[1, C]` for centred data, divided by their scales, and scores by which to rank.
    pub(super) fn new(
        op: &'static str,
        data: &Labelled,
        [weights, bias]: [Tensor; 2],
        steps: Descent,
        scores: Vec<f64>,
        second: &[f64],
    ) -> Result<Self> {
        if scores.iter().chain(second).any(|score| !score.is_finite()) {
            let expected = "numbers whose squares have finite sums";
            return Err(Error::value(op, "x", expected, "larger ones"));
        }
        let scales = Tensor::from_slice(&data.scales, (data.scales.len(), 1), &Device::Cpu)?;
        let weights = weights.broadcast_div(&scales)?;
        let shift = data.means()?.unsqueeze(0)?.matmul(&weights)?;
        Ok(Fit {
            bias: (bias - shift)?.squeeze(0)?,
            weights,
            objectives: steps.objectives,
            gap: 0.,
            converged: steps.converged,
            ranking: Ranking::new(scores, second),
        })
    }
}

/// `M` with `M M^T = a^-1` for a symmetric positive definite `a` `[N, N]`.
pub(super) fn inverse_root(op: &'static str, a: &Tensor) -> Result<Tensor> {
    let n = a.dim(0)?;
    let factor = triangular::cholesky(&a.unsqueeze(0)?)?;
    // The rows of the solution are the columns of the inverse factor.
    let eye = Tensor::eye(n, DType::F64, &Device::Cpu)?.unsqueeze(0)?;
    let root = triangular::solve(&factor, &eye)?.squeeze(0)?;
    if root.sum_all()?.to_scalar::<f64>()?.is_finite() {
        return Ok(root);
    }
    let expected = "data whose linear system is regular in f64 (a larger penalty helps)";
    Err(Error::value(op, "x", expected, "a singular one"))
}

/// `M M^T b`.
pub(super) fn apply_root(root: &Tensor, b: &Tensor) -> Result<Tensor> {
    Ok(root.matmul(&root.t()?.matmul(b)?)?)
}

/// The W that minimizes `sum_n |x_n W - y_n|^2 / e_n + sum_i |w_i|^2 / s_i`, which is `S X^T (X S X^T + E)^-1 Y`: one system
/// of `N` equations, however many features there are.
pub(super) fn weighted_ridge(
    op: &'static str,
    [x, y]: [&Tensor; 2],
    s: &[f64],
    e: &[f64],
) -> Result<Tensor> {
    let row = |v: &[f64]| Tensor::from_slice(v, (1, v.len()), &Device::Cpu);
    let xs = x.broadcast_mul(&row(s)?)?;
    let eye = Tensor::eye(e.len(), DType::F64, &Device::Cpu)?;
    let system = (xs.matmul(&x.t()?)? + eye.broadcast_mul(&row(e)?)?)?;
    let solution = apply_root(&inverse_root(op, &system)?, y)?;
    Ok(xs.t()?.matmul(&solution)?)
}

/// The squared lengths of the rows.
pub(super) fn squared_rows(w: &Tensor) -> Result<Vec<f64>> {
    Ok(w.sqr()?.sum(1)?.to_vec1()?)
}

/// The lengths of the rows.
pub(super) fn lengths(w: &Tensor) -> Result<Vec<f64>> {
    Ok(squared_rows(w)?.into_iter().map(f64::sqrt).collect())
}

/// Lengths that are smooth at zero.
pub(super) fn smooth(squares: &[f64], floor: f64) -> Vec<f64> {
    squares.iter().map(|s| (s + floor * floor).sqrt()).collect()
}

/// The sum of squares.
pub(super) fn squared(x: &Tensor) -> Result<f64> {
    Ok(x.sqr()?.sum_all()?.to_scalar()?)
}

/// What every iterative selector is told about when to end.
pub(super) fn check_steps(op: &'static str, iterations: usize, tolerance: f64) -> Result<()> {
    check::at_least_one(op, &[("iterations", iterations)])?;
    check::non_negative(op, "tolerance", tolerance)
}

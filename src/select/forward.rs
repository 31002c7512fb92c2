//! Features one by one.

use super::Problem;
use super::checks::beyond_range;
use super::least_squares::{Basis, check_count};
use super::matrix::{dot, squares};
use crate::error::Result;

const OP: &str = "select::forward";

/// What [`forward`] came by.
#[derive(Debug, Clone, PartialEq)]
pub struct Forward {
    /// The features, as they were taken: the first m of them are its support of m features.
    pub order: Vec<usize>,
    /// The least-squares loss with the bias alone, then with each feature more.
    pub losses: Vec<f64>,
}

/// Forward selection: takes, one by one, the feature that lowers the least-squares loss most.
///
/// Formula: for the residual R of the features taken so far and what `z_j` they leave of feature j, the largest
/// `|z_j^T R|^2 / |z_j|^2`. One run has a support for every number of features up to `k`, and each is a start for
/// [`splice`](super::splice), which takes back what later features make useless.
///
/// Shapes: see [`Problem`]. Gradients: none.
///
/// Errors: no features, more than there are, or as many as there are samples; data whose squares are beyond the range of
/// their dtype. The order is shorter than `k` where the features taken leave of the squares of all others less than 1e-5
/// (f64: 1e-13), but not where they explain the targets.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_prob::Rng;
/// use candle_prob::select::{Preparation, Problem, forward};
/// # fn main() -> candle_prob::Result<()> {
/// let x = Rng::new(0).normal((50, 20), DType::F64, &Device::Cpu)?;
/// let y = (x.narrow(1, 3, 1)? + (x.narrow(1, 9, 1)? * 2.)?)?;
/// let problem = Problem::regression(&x, &y, &Preparation::default())?;
/// let found = forward(&problem, 2)?;
/// assert_eq!(found.order, [9, 3]);
/// assert!(found.losses[2] < 1e-20);
/// # Ok(())
/// # }
/// ```
///
/// Cost: `(C + 1) N d` multiplications a feature.
///
/// Source: Chen, Billings and Luo (1989), Orthogonal least squares methods and their application to non-linear system
/// identification.
pub fn forward(problem: &Problem, k: usize) -> Result<Forward> {
    check_count(OP, problem, k)?;
    let data = problem.data.wide();
    let stride = data.stride();
    let all: Vec<usize> = (0..data.features()).collect();
    let mut residual = data.targets();
    let own = problem.squared_lengths()?;
    // The squared lengths of what is left of each feature.
    let mut left = own.clone();
    let mut basis = Basis::new(OP, problem, &[])?;
    let (mut order, mut losses) = (vec![], vec![0.5 * squares(&residual)]);
    while order.len() < k {
        let last = basis.vectors.last();
        let rows = residual.iter().chain(last.into_iter().flatten());
        let rows: Vec<f64> = rows.copied().collect();
        let products = data.correlate(&all, &rows)?;
        if !squares(&products).is_finite() {
            return Err(beyond_range(OP));
        }
        let outputs = residual.len() / stride;
        let mut best: Option<(usize, f64)> = None;
        for (j, products) in products.chunks_exact(rows.len() / stride).enumerate() {
            let (slopes, known) = products.split_at(outputs);
            left[j] -= squares(known);
            // What is constant, or explained to the last digits by the features taken, says nothing more.
            if left[j] <= own[j] * data.rounding() {
                continue;
            }
            let gain = squares(slopes) / left[j];
            if best.is_none_or(|(_, most)| gain > most) && !order.contains(&j) {
                best = Some((j, gain));
            }
        }
        let Some((feature, _)) = best else { break };
        let row = data.columns(&[feature])?;
        basis.push(OP, problem, feature, row)?;
        order.push(feature);
        let q = &basis.vectors[order.len() - 1];
        for r in residual.chunks_exact_mut(stride) {
            let share = dot(q, r);
            r.iter_mut().zip(q).for_each(|(r, q)| *r -= share * q);
        }
        losses.push(0.5 * squares(&residual));
    }
    Ok(Forward { order, losses })
}

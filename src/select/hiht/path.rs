//! Solutions along a path of regularization.

use crate::check;
use crate::error::{Error, Result};
use crate::select::least_squares::scores;
use crate::select::{Problem, Ranking};
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;

/// The solutions for falling weights of the regularization, each started from the one before.
#[derive(Debug, Clone)]
pub struct Path {
    pub(super) solutions: Vec<Solution>,
    pub(super) ranking: Ranking,
    pub(super) features: usize,
}

/// What was found for one weight of the regularization. Weights and bias belong to the data as they came.
#[derive(Debug, Clone)]
pub struct Solution {
    /// The weight of the regularization.
    pub lambda: f64,
    /// The constant L of the last step, an upper bound of the slope's change where it mattered.
    pub lipschitz: f64,
    /// Steps taken.
    pub iterations: usize,
    /// How often L was raised.
    pub increases: usize,
    /// `|H (X W - Y)|_F^2 / 2`.
    pub loss: f64,
    /// The loss and lambda for each feature of the support.
    pub objective: f64,
    /// The objective after every step.
    pub objectives: Vec<f64>,
    /// The squared length of the last change of W.
    pub squared_change: f64,
    /// The features whose rows are not zero, in order.
    pub support: Vec<usize>,
    /// The rows of the support, `[C]` each.
    pub rows: Vec<Vec<f64>>,
    /// The bias, `[C]`.
    pub bias: Vec<f64>,
}

impl Solution {
    /// The weights `[d, C]`, f64.
    pub fn weights(&self, features: usize) -> Result<Tensor> {
        let outputs = self.bias.len();
        let mut w = vec![0.; features * outputs];
        for (feature, row) in self.support.iter().zip(&self.rows) {
            check::at_least("Solution::weights", "features", features, feature + 1)?;
            w[feature * outputs..][..outputs].copy_from_slice(row);
        }
        Ok(Tensor::from_vec(w, (features, outputs), &Device::Cpu)?)
    }

    /// The scores `X W + b` of samples `[N, d]`: `[N, C]`, f64.
    ///
    /// Errors: samples without one of the features.
    pub fn scores(&self, x: &Tensor) -> Result<Tensor> {
        let op = "Solution::scores";
        scores(op, x, &self.support, &self.rows, &self.bias)
    }

    /// What the scores leave of the targets of the problem, `Y - X W - b`: `[N, C]`, f64, from sparse rows and blocks as
    /// well. A sample of weight 0 has no residual: 0.
    ///
    /// Errors: a problem of fewer features, or of another number of classes or targets.
    pub fn residuals(&self, problem: &Problem) -> Result<Tensor> {
        let op = "Solution::residuals";
        let least = self.support.last().map_or(0, |last| last + 1);
        let found = [problem.features(), problem.outputs()];
        if found[0] < least || found[1] != self.bias.len() {
            let expected = format!("[d, {}], d at least {least}", self.bias.len());
            return Err(Error::shape(op, "problem", expected, &found));
        }
        let (data, samples, outputs) = (problem.data.wide(), problem.samples(), problem.outputs());
        let (mut w, mut left) = (vec![], vec![]);
        // What the bias is beside that of least squares.
        let mut shift: Vec<f64> = std::iter::zip(&problem.means[1], &self.bias)
            .map(|(mean, bias)| mean - bias)
            .collect();
        for (i, row) in self.support.iter().zip(&self.rows) {
            for (shift, weight) in shift.iter_mut().zip(row) {
                w.push(weight * problem.scales[*i]);
                *shift -= weight * problem.means[0][*i];
            }
        }
        let minus: Vec<f64> = data.targets().into_iter().map(|y| -y).collect();
        let scores = data.combine(&self.support, &w, &minus)?;
        let rows: Vec<&[f64]> = scores.chunks_exact(data.stride()).collect();
        for n in 0..samples {
            let root = problem.weights.root(n);
            for (row, shift) in rows.iter().zip(&shift) {
                left.push(if root > 0. { shift - row[n] / root } else { 0. });
            }
        }
        Ok(Tensor::from_vec(left, (samples, outputs), &Device::Cpu)?)
    }
}

impl Path {
    /// The solutions, the one of the largest lambda first.
    pub fn solutions(&self) -> &[Solution] {
        &self.solutions
    }

    /// The last solution.
    pub fn last(&self) -> &Solution {
        // A path has one or more.
        &self.solutions[self.solutions.len() - 1]
    }

    /// For each number of features that the path came by, the solution of the least loss, by number: a support of another
    /// size needs no other run.
    pub fn by_size(&self) -> Vec<&Solution> {
        let mut best = BTreeMap::new();
        for solution in &self.solutions {
            let least = best.entry(solution.support.len()).or_insert(solution);
            if solution.loss < least.loss {
                *least = solution;
            }
        }
        best.into_values().collect()
    }

    /// Features by the length of their row in the last solution, then those that it has none of by the slope of the loss
    /// there.
    pub fn ranking(&self) -> &Ranking {
        &self.ranking
    }

    /// The number of features.
    pub fn features(&self) -> usize {
        self.features
    }
}

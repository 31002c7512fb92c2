//! The l2,1 norm of the residuals and of the weights.

use super::fit::{Descent, Fit, check_steps, lengths, smooth, squared_rows, weighted_ridge};
use super::labelled::Labelled;
use crate::check;
use crate::error::Result;
use crate::select::{Preparation, Ranking, Selector};
use candle_core::{DType, Device, Tensor};

/// The floor of lengths: of residuals, and of weights in parts of the longest row of the first step.
const FLOOR: f64 = 1e-6;

/// Robust feature selection by joint l2,1 norms: samples far from their class count once, not squared.
///
/// Formula: the minimum of `|X W + b - Y|_{2,1} + gamma (|W|_{2,1} + |b|)`, where targets are one for the class of the sample
/// and zero elsewhere, and the bias is the weight of a constant feature. Each step solves least squares whose weights are the
/// inverse lengths of the last one, `W = S X^T (X S X^T + gamma E)^-1 Y`, with `S` the lengths of the rows of `W` and `E`
/// those of the residuals: the problem is convex and its objective never rises. Features are ranked by the lengths of their
/// rows.
///
/// Errors: gamma that is not positive, no iterations, a negative tolerance; a system that is singular in f64; those of
/// [`Problem::classification`](crate::select::Problem::classification).
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::Rng;
/// use candle_prob::select::{Preparation, Rfs, Selector};
/// # fn main() -> candle_prob::Result<()> {
/// let labels = Tensor::new(&[0u32, 1, 0, 1, 0, 1, 1, 0], &Device::Cpu)?;
/// let noise = Rng::new(0).normal((8, 2), DType::F32, &Device::Cpu)?;
/// let class = labels.to_dtype(DType::F32)?.affine(9., 0.)?.unsqueeze(1)?;
/// let x = Tensor::cat(&[&noise, &class], 1)?;
/// assert_eq!(Rfs::default().rank(&x, &labels, &Preparation::default())?.top(1)?, [2]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: features are centred first, which moves the bias that is penalized. Lengths are `(|v|^2 + f^2)^(1/2)` with f one
/// millionth, of the longest row of the first step for weights, in the objective too. Time and memory are `N^2 d` and `N d`
/// for each step: the system is of `N` equations.
///
/// Source: Nie, Huang, Cai and Ding (2010), Efficient and Robust Feature Selection via Joint l2,1-Norms Minimization,
/// algorithm 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rfs {
    /// The weight of the regularization.
    pub gamma: f64,
    /// The most steps.
    pub iterations: usize,
    /// The steps end when the objective falls by less than this part of itself.
    pub tolerance: f64,
}

impl Default for Rfs {
    fn default() -> Self {
        Rfs {
            gamma: 1.,
            iterations: 200,
            tolerance: 1e-6,
        }
    }
}

impl Rfs {
    /// The solution on data that are prepared like this, with its objectives.
    pub fn fit(&self, x: &Tensor, labels: &Tensor, how: &Preparation) -> Result<Fit> {
        let op = "Rfs::fit";
        check::positive_finite(op, "gamma", self.gamma)?;
        check_steps(op, self.iterations, self.tolerance)?;
        let data = Labelled::new(op, x, labels, how)?;
        let (samples, features) = (data.samples(), data.features.len());
        let constant = Tensor::ones((samples, 1), DType::F64, &Device::Cpu)?;
        let (x, y) = (
            Tensor::cat(&[&data.centred()?, &constant], 1)?,
            data.targets()?,
        );
        let (mut rows, mut rests) = (vec![1.; features + 1], vec![1.; samples]);
        let (mut w, mut floor) = (None, None);
        let steps = Descent::run(self.iterations, self.tolerance, || {
            let e: Vec<f64> = rests.iter().map(|e| e * self.gamma).collect();
            let new = weighted_ridge(op, [&x, &y], &rows, &e)?;
            let squares = squared_rows(&new)?;
            let longest = squares.iter().fold(0f64, |most, s| most.max(*s)).sqrt();
            rows = smooth(&squares, *floor.get_or_insert(FLOOR * longest));
            rests = smooth(&squared_rows(&(&y - x.matmul(&new)?)?)?, FLOOR);
            w = Some(new);
            Ok(rests.iter().sum::<f64>() + self.gamma * rows.iter().sum::<f64>())
        })?;
        // There was one step or more.
        let w = w.ok_or_else(|| crate::Error::value(op, "iterations", "1 or more", 0))?;
        let parts = [w.narrow(0, 0, features)?, w.narrow(0, features, 1)?];
        let scores = lengths(&parts[0])?;
        Fit::new(op, &data, parts, steps, scores, &vec![0.; features])
    }
}

impl Selector for Rfs {
    fn rank(&self, x: &Tensor, y: &Tensor, how: &Preparation) -> Result<Ranking> {
        Ok(self.fit(x, y, how)?.ranking)
    }
}

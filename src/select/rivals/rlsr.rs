//! Linear regression with a scale factor for each feature.

use super::fit::{Descent, Fit, check_steps, smooth, squared, squared_rows, weighted_ridge};
use super::labelled::Labelled;
use crate::check;
use crate::error::Result;
use crate::select::{Preparation, Ranking, Selector};
use candle_core::Tensor;

/// The floor of lengths in parts of the longest row of the first step.
const FLOOR: f64 = 1e-6;

/// Rescaled linear regression, with all labels known.
///
/// Formula: the minimum over V, b and theta of `|X Theta^(1/2) V + b - Y|_F^2 + gamma |V|_F^2`, where the scale factors
/// `theta` of the features are not negative and add up to 1. With `W = Theta^(1/2) V` it is that of `|X W + b - Y|_F^2 + gamma
/// |W|_{2,1}^2`, and `theta_i = |w_i| / |W|_{2,1}`. Steps take turns: `W = Theta X^T (X Theta X^T + gamma I)^-1 Y` on centred
/// data, then theta. The problem is convex and its objective never rises. Features are ranked by theta.
///
/// Errors: gamma that is not positive, no iterations, a negative tolerance; a system that is singular in f64; those of
/// [`Problem::classification`](crate::select::Problem::classification).
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::Rng;
/// use candle_prob::select::{Preparation, Rlsr, Selector};
/// # fn main() -> candle_prob::Result<()> {
/// let labels = Tensor::new(&[0u32, 1, 0, 1, 0, 1, 1, 0], &Device::Cpu)?;
/// let noise = Rng::new(0).normal((8, 2), DType::F32, &Device::Cpu)?;
/// let class = labels.to_dtype(DType::F32)?.affine(9., 0.)?.unsqueeze(1)?;
/// let x = Tensor::cat(&[&noise, &class], 1)?;
/// assert_eq!(Rlsr::default().rank(&x, &labels, &Preparation::default())?.top(1)?, [2]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: lengths are `(|w_i|^2 + f^2)^(1/2)` with f one millionth of the longest row of the first step, in the objective
/// too. Time and memory are `N^2 d` and `N d` for each step: the system is of `N` equations.
///
/// Source: Chen, Yuan, Nie and Huang (2017), Semi-supervised Feature Selection via Rescaled Linear Regression; without
/// unlabelled samples, whose labels the paper estimates as well.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rlsr {
    /// The weight of the regularization.
    pub gamma: f64,
    /// The most steps.
    pub iterations: usize,
    /// The steps end when the objective falls by less than this part of itself.
    pub tolerance: f64,
}

impl Default for Rlsr {
    fn default() -> Self {
        Rlsr {
            gamma: 1.,
            iterations: 200,
            tolerance: 1e-6,
        }
    }
}

impl Rlsr {
    /// The solution on data that are prepared like this, with its objectives.
    pub fn fit(&self, x: &Tensor, labels: &Tensor, how: &Preparation) -> Result<Fit> {
        let op = "Rlsr::fit";
        check::positive_finite(op, "gamma", self.gamma)?;
        check_steps(op, self.iterations, self.tolerance)?;
        let data = Labelled::new(op, x, labels, how)?;
        let features = data.features.len();
        let (x, targets) = (data.centred()?, data.targets()?);
        let bias = targets.mean_keepdim(0)?;
        let y = targets.broadcast_sub(&bias)?;
        let penalty = vec![self.gamma; data.samples()];
        let mut theta = vec![1. / features as f64; features];
        let (mut w, mut floor) = (Tensor::zeros_like(&bias)?, None);
        let steps = Descent::run(self.iterations, self.tolerance, || {
            w = weighted_ridge(op, [&x, &y], &theta, &penalty)?;
            let squares = squared_rows(&w)?;
            let longest = squares.iter().fold(0f64, |most, s| most.max(*s)).sqrt();
            let rows = smooth(&squares, *floor.get_or_insert(FLOOR * longest));
            let norm: f64 = rows.iter().sum();
            // Weights that are all zero say nothing about the scales.
            if norm > 0. {
                theta = rows.iter().map(|row| row / norm).collect();
            }
            Ok(squared(&(&y - x.matmul(&w)?)?)? + self.gamma * norm * norm)
        })?;
        Fit::new(op, &data, [w, bias], steps, theta, &vec![0.; features])
    }
}

impl Selector for Rlsr {
    fn rank(&self, x: &Tensor, y: &Tensor, how: &Preparation) -> Result<Ranking> {
        Ok(self.fit(x, y, how)?.ranking)
    }
}

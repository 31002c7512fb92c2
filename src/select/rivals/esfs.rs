//! Least squares of coded labels with so many rows.

use super::fit::{Descent, Fit, check_steps, lengths, squared, squared_rows};
use super::labelled::Labelled;
use crate::error::Result;
use crate::select::{Preparation, Ranking, Regularizer, Selector, TopRows};
use candle_core::{Device, Tensor};

/// Efficient sparse feature selection: k features by the ratio of the scatter between classes to all scatter, then improved
/// together by projected gradients.
///
/// Formula: `|X W + b - Y Q|_F^2 / 2` is made small over the W with k rows that are not zero, where targets `Y` are coded
/// by `Q = (Y^T Y)^(-1/2)`: one over the root of the size of the class. For uncorrelated features the minimum has the k
/// largest `r_i = |x_i^T Y Q|^2 / |x_i|^2` of the centred features, the ratios of linear discriminant analysis (`r / (1 -
/// r)` is between to within). From there steps `W <- k longest rows of W - X^T (X W - Y Q) / L` follow, where L is doubled
/// until the objective falls by `1e-3 L / 2` times the squared change: it never rises. Features are ranked by the lengths
/// of their rows, those that have none by r.
///
/// Errors: k of zero or more than there are features, no iterations, a negative tolerance; those of
/// [`Problem::classification`](crate::select::Problem::classification).
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::Rng;
/// use candle_prob::select::{Esfs, Preparation, Selector};
/// # fn main() -> candle_prob::Result<()> {
/// let labels = Tensor::new(&[0u32, 1, 0, 1, 0, 1, 1, 0], &Device::Cpu)?;
/// let noise = Rng::new(0).normal((8, 2), DType::F32, &Device::Cpu)?;
/// let class = labels.to_dtype(DType::F32)?.affine(9., 0.)?.unsqueeze(1)?;
/// let x = Tensor::cat(&[&noise, &class], 1)?;
/// assert_eq!(Esfs::new(1).rank(&x, &labels, &Preparation::default())?.top(1)?, [2]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: the first W has the k rows `x_i^T Y Q / |x_i|^2`, times the one factor that is best for the objective. Time and
/// memory are `N d C` for each step and `N d`.
///
/// Source: Pang, Nie, Han and Li (2019), Efficient Feature Selection via l2,0-Norm Constrained Sparse Regression. The step
/// length and the first W are of this crate, and so is the squared loss: Sun and Yu (2020), equation 3, print an l2,1
/// norm, of which the largest scatter ratios would not be the minimum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Esfs {
    /// Features to select.
    pub k: usize,
    /// The most steps.
    pub iterations: usize,
    /// The steps end when the objective falls by less than this part of itself.
    pub tolerance: f64,
}

impl Esfs {
    /// To select `k` features.
    pub fn new(k: usize) -> Self {
        Esfs {
            k,
            iterations: 500,
            tolerance: 1e-6,
        }
    }

    /// The solution on data that are prepared like this, with its objectives.
    pub fn fit(&self, x: &Tensor, labels: &Tensor, how: &Preparation) -> Result<Fit> {
        let op = "Esfs::fit";
        check_steps(op, self.iterations, self.tolerance)?;
        let data = Labelled::new(op, x, labels, how)?;
        data.check_k(op, self.k)?;
        let x = data.centred()?;
        let xt = x.t()?.contiguous()?;
        let codes: Vec<f64> = data
            .counts()
            .iter()
            .map(|n| 1. / (*n).max(1) as f64)
            .map(f64::sqrt)
            .collect();
        let codes = Tensor::from_vec(codes, (1, data.classes), &Device::Cpu)?;
        let targets = data.targets()?.broadcast_mul(&codes)?;
        let bias = targets.mean_keepdim(0)?;
        let y = targets.broadcast_sub(&bias)?;

        let slope = xt.matmul(&y)?;
        let squares = squared_rows(&xt)?;
        let scatter = squared_rows(&slope)?;
        // A constant feature is zero.
        let safe = |numerator: f64, square: f64| match square {
            0. => 0.,
            _ => numerator / square,
        };
        let ratios: Vec<f64> = std::iter::zip(&scatter, &squares)
            .map(|(b, t)| safe(*b, *t))
            .collect();
        let best = Ranking::new(ratios.clone(), &squares);
        let mut factors = vec![0.; squares.len()];
        for i in best.top(self.k)? {
            factors[*i] = safe(1., squares[*i]);
        }
        let factors = Tensor::from_vec(factors, (squares.len(), 1), &Device::Cpu)?;
        let mut w = slope.broadcast_mul(&factors)?;
        let fitted = x.matmul(&w)?;
        let length = safe((&fitted * &y)?.sum_all()?.to_scalar()?, squared(&fitted)?);
        w = (w * length)?;

        let rest = |w: &Tensor| -> Result<Tensor> { Ok((x.matmul(w)? - &y)?) };
        // No more than the largest change of the slope, and no less.
        let mut l = safe(squared(&slope)?, squared(&y)?);
        let most: f64 = squares.iter().sum();
        let (top, mut r) = (TopRows::new(self.k), rest(&w)?);
        let mut objective = squared(&r)? / 2.;
        let mut first = true;
        let steps = Descent::run(self.iterations, self.tolerance, || {
            if std::mem::take(&mut first) {
                return Ok(objective);
            }
            let gradient = xt.matmul(&r)?;
            while l > 0. && l.is_finite() && l <= 4. * most {
                let new = top.prox(&(&w - (&gradient / l)?)?, 1.)?;
                let (new_r, change) = (rest(&new)?, squared(&(&new - &w)?)?);
                let new_objective = squared(&new_r)? / 2.;
                if new_objective <= objective - 5e-4 * l * change {
                    (w, r, objective) = (new, new_r, new_objective);
                    break;
                }
                l *= 2.;
            }
            Ok(objective)
        })?;
        let scores = lengths(&w)?;
        Fit::new(op, &data, [w, bias], steps, scores, &ratios)
    }
}

impl Selector for Esfs {
    fn rank(&self, x: &Tensor, y: &Tensor, how: &Preparation) -> Result<Ranking> {
        Ok(self.fit(x, y, how)?.ranking)
    }
}

//! How many features: by cross-validation and by information criteria.

use super::samples::{Samples, pick};
use super::{LeastSquares, Preparation, Selector};
use crate::check;
use crate::error::{Error, Result};
use crate::rng::Rng;
use candle_core::{D, DType, Tensor};

const OP: &str = "select::cross_validate";

/// How [`cross_validate`] goes about.
#[derive(Debug, Clone, PartialEq)]
pub struct CrossValidation {
    /// The number of folds.
    pub folds: usize,
    /// The numbers of features to compare; 0 is one as good as any.
    pub sizes: Vec<usize>,
    /// The seed of the folds.
    pub seed: u64,
}

/// Errors and criteria for each number of features.
#[derive(Debug, Clone, PartialEq)]
pub struct Validated {
    /// The numbers of features.
    pub sizes: Vec<usize>,
    /// For each fold the mean error of its samples, by weight, for each number of features: of labels the share of another
    /// class than predicted, of targets the squared distance from them.
    pub errors: Vec<Vec<f64>>,
    /// The mean of the folds.
    pub mean: Vec<f64>,
    /// Its standard error.
    pub standard_error: Vec<f64>,
    /// The number of features of the least mean error; of equal ones the smallest.
    pub best: usize,
    /// The smallest number of features whose mean error is within a standard error of the least.
    pub one_standard_error: usize,
    /// Akaike's criterion of all data for each number of features.
    pub aic: Vec<f64>,
    /// Schwarz' criterion.
    pub bic: Vec<f64>,
    /// The extended criterion, which counts the supports of that size among all features.
    pub ebic: Vec<f64>,
}

/// Cross-validation of the number of features that a [`Selector`] puts first: in each fold the preparation, the ranking and a
/// least-squares fit see the other folds alone.
///
/// Formula: a sample's class is that of the largest score; the error of targets is `|x W + b - y|^2 / C`. The criteria are
/// those of a normal model with one variance, `m ln(2 loss / m) + p`, with m targets (weights count) and parameters at `p`
/// 2 (AIC), `ln n` (BIC), and for EBIC beside them twice the logarithm of the number of supports of that size among all d
/// features.
///
/// A selector that is told how many features to select ranks the others too, after them; its number should be that of the
/// largest size.
///
/// Shapes: `x` is `[N, d]`, `y` labels `[N]` (integers) or targets `[N, C]` of x's dtype. Folds are stratified: each class is dealt
/// out evenly. Gradients: none.
///
/// Errors: fewer than two folds, or more than the smallest class, or all targets, has samples; no sizes, or one that the
/// other folds' samples cannot determine; those of [`Problem`](super::Problem) and of the selector.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::Rng;
/// use candle_prob::select::{Ahiht, CrossValidation, Preparation, ReliefF, cross_validate};
/// # fn main() -> candle_prob::Result<()> {
/// let x = Rng::new(0).normal((60, 30), DType::F64, &Device::Cpu)?;
/// let labels = x.narrow(1, 4, 1)?.gt(0.)?.flatten_all()?.to_dtype(DType::U32)?;
/// let how = CrossValidation { folds: 5, sizes: vec![0, 1, 5], seed: 0 };
/// let found = cross_validate(&x, &labels, &Preparation::default(), &Ahiht::default(), &how)?;
/// assert_eq!(found.one_standard_error, 1);
/// // A rival on the same folds.
/// let rival = cross_validate(&x, &labels, &Preparation::default(), &ReliefF::default(), &how)?;
/// assert_eq!(rival.one_standard_error, 1);
/// # Ok(())
/// # }
/// ```
///
/// Source: Hastie, Tibshirani and Friedman (2009), The Elements of Statistical Learning, section 7.10; Chen and Chen (2008),
/// Extended Bayesian information criteria.
pub fn cross_validate(
    x: &Tensor,
    y: &Tensor,
    preparation: &Preparation,
    selector: &dyn Selector,
    how: &CrossValidation,
) -> Result<Validated> {
    let op = OP;
    // All that is wrong with the data is said of the whole of them.
    let samples = Samples::new(x, y, preparation)?;
    let folds = deal(op, &samples, how)?;
    check::at_least_one(op, &[("sizes", how.sizes.len())])?;
    let held = |fold: usize| folds.iter().filter(|f| **f == fold).count();
    let fewest = folds.len() - (0..how.folds).map(held).max().unwrap_or(0);
    let most = samples.whole.features().min(fewest - 1);
    if let Some(size) = how.sizes.iter().find(|size| **size > most) {
        let expected = format!("at most {most}, what the other folds' {fewest} samples determine");
        return Err(Error::value(op, "sizes", expected, size));
    }
    let mut errors = vec![];
    for fold in 0..how.folds {
        let part = |inside: bool| -> Vec<u32> {
            let all = (0..folds.len()).filter(|n| (folds[*n] == fold) == inside);
            all.map(|n| n as u32).collect()
        };
        let (rest, held) = (part(false), part(true));
        let part = samples.part(&rest)?;
        let (problem, ranking) = (part.problem()?, part.rank(selector)?);
        let error = |size: &usize| -> Result<f64> {
            let fit = LeastSquares::on(&problem, ranking.top(*size)?)?;
            held_out_error(&samples, &fit, &held)
        };
        errors.push(how.sizes.iter().map(error).collect::<Result<Vec<f64>>>()?);
    }
    let count = how.folds as f64;
    let column = |k: usize| errors.iter().map(move |row: &Vec<f64>| row[k]);
    let mean: Vec<f64> = (0..how.sizes.len())
        .map(|k| column(k).sum::<f64>() / count)
        .collect();
    let spread = |k: usize| {
        let squares = column(k).map(|e| (e - mean[k]).powi(2));
        (squares.sum::<f64>() / (count * (count - 1.))).sqrt()
    };
    let standard_error: Vec<f64> = (0..how.sizes.len()).map(spread).collect();
    let smallest = |limit: f64| {
        let within = how
            .sizes
            .iter()
            .zip(&mean)
            .filter(|(_, mean)| **mean <= limit);
        within.map(|(size, _)| *size).min().unwrap_or(0)
    };
    let least = mean.iter().copied().fold(f64::INFINITY, f64::min);
    let best = smallest(least);
    let at = how.sizes.iter().position(|size| *size == best).unwrap_or(0);
    let [aic, bic, ebic] = criteria(&samples, selector, &how.sizes)?;
    Ok(Validated {
        best,
        one_standard_error: smallest(least + standard_error[at]),
        sizes: how.sizes.clone(),
        errors,
        mean,
        standard_error,
        aic,
        bic,
        ebic,
    })
}

/// The mean error of samples that the fit has not seen.
fn held_out_error(samples: &Samples, fit: &LeastSquares, held: &[u32]) -> Result<f64> {
    let (scores, y) = (
        fit.scores(&pick(samples.x, held)?)?,
        pick(&samples.y, held)?,
    );
    let errors = match samples.whole.is_classification() {
        true => scores.argmax(D::Minus1)?.ne(&y)?.to_dtype(DType::F64)?,
        false => (scores - y.to_dtype(DType::F64)?)?.sqr()?.mean(D::Minus1)?,
    };
    let weights = match samples.weights(held)? {
        Some(weights) => weights.to_dtype(DType::F64)?,
        None => errors.ones_like()?,
    };
    let total = weights.sum_all()?.to_scalar::<f64>()?;
    if total == 0. {
        let expected = "weights that leave samples in every fold";
        let found = "zeros in all of one";
        return Err(Error::value(OP, "weights", expected, found));
    }
    Ok((errors * weights)?.sum_all()?.to_scalar::<f64>()? / total)
}

/// The fold of each sample: every class is shuffled and dealt out.
fn deal(op: &'static str, samples: &Samples, how: &CrossValidation) -> Result<Vec<usize>> {
    let smallest = samples.groups.iter().map(Vec::len).min().unwrap_or(0);
    if how.folds < 2 || how.folds > smallest {
        let expected = match samples.whole.is_classification() {
            true => format!("2 to {smallest}, the samples of the smallest class"),
            false => format!("2 to {smallest}, the samples"),
        };
        return Err(Error::value(op, "folds", expected, how.folds));
    }
    let mut rng = Rng::new(how.seed).fork("folds");
    let mut folds = vec![0; samples.whole.samples()];
    let order = samples.groups.iter().flat_map(|group| {
        let order = rng.permutation(group.len());
        order.into_iter().map(|i| group[i] as usize)
    });
    for (next, n) in order.enumerate() {
        folds[n] = next % how.folds;
    }
    Ok(folds)
}

/// AIC, BIC and EBIC for each number of features.
fn criteria(samples: &Samples, selector: &dyn Selector, sizes: &[usize]) -> Result<[Vec<f64>; 3]> {
    let (problem, ranking) = (&samples.whole, samples.rank(selector)?);
    let [mut aic, mut bic, mut ebic] = [const { vec![] }; 3];
    let (n, c) = (problem.weights.total, problem.outputs() as f64);
    let choices = |k: usize| {
        let d = problem.features() as f64;
        let terms = (0..k).map(|i| ((d - i as f64) / (k - i) as f64).ln());
        terms.sum::<f64>()
    };
    for size in sizes {
        let loss = LeastSquares::on(problem, ranking.top(*size)?)?.loss;
        let fit = n * c * (2. * loss / (n * c)).ln();
        let parameters = (*size as f64 + 1.) * c;
        aic.push(fit + 2. * parameters);
        bic.push(fit + n.ln() * parameters);
        ebic.push(fit + n.ln() * parameters + 2. * choices(*size));
    }
    Ok([aic, bic, ebic])
}

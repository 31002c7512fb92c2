//! How many features: by cross-validation, by information criteria, and which of them are found again and again.

use super::{HihtConfig, LeastSquares, Preparation, Problem, ahiht};
use crate::error::{Error, Result};
use crate::rng::Rng;
use candle_core::{D, DType, Tensor};

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
    /// For each fold the share of its samples, by weight, of another class than predicted, for each number of features.
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

/// Cross-validation of the number of features that [`ahiht`] selects: in each fold the path, the ranking and a least-squares
/// fit see the other folds alone.
///
/// Formula: a sample's class is that of the largest score. The criteria are those of a normal model with one variance,
/// `m ln(2 loss / m) + p`, with m targets (weights count) and parameters at `p` 2 (AIC), `ln n` (BIC), and for EBIC beside
/// them twice the logarithm of the number of supports of that size among all d features.
///
/// Shapes: `x` is `[N, d]`, labels `[N]`. Folds are stratified: each class is dealt out evenly.
///
/// Errors: fewer than two folds, or more than the smallest class has samples; no sizes, or one that a fold's samples cannot
/// determine; those of [`Problem`] and [`ahiht`].
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::Rng;
/// use candle_prob::select::{CrossValidation, HihtConfig, Preparation, cross_validate};
/// # fn main() -> candle_prob::Result<()> {
/// let x = Rng::new(0).normal((60, 30), DType::F64, &Device::Cpu)?;
/// let labels = x.narrow(1, 4, 1)?.gt(0.)?.flatten_all()?.to_dtype(DType::U32)?;
/// let how = CrossValidation { folds: 5, sizes: vec![0, 1, 5], seed: 0 };
/// let found = cross_validate(&x, &labels, &Preparation::default(), &HihtConfig::default(), &how)?;
/// assert_eq!(found.one_standard_error, 1);
/// # Ok(())
/// # }
/// ```
///
/// Source: Hastie, Tibshirani and Friedman (2009), The Elements of Statistical Learning, section 7.10; Chen and Chen (2008),
/// Extended Bayesian information criteria.
pub fn cross_validate(
    x: &Tensor,
    labels: &Tensor,
    preparation: &Preparation,
    config: &HihtConfig,
    how: &CrossValidation,
) -> Result<Validated> {
    let op = "select::cross_validate";
    // All that is wrong with the data is said of the whole of them.
    let whole = Problem::classification(x, labels, preparation)?;
    let classes = labels.to_vec1::<u32>()?;
    let folds = deal(op, &classes, how)?;
    if how.sizes.is_empty() {
        return Err(Error::value(op, "sizes", "one or more", "none"));
    }
    let mut errors = vec![];
    for fold in 0..how.folds {
        let part = |inside: bool| -> Vec<u32> {
            let all = 0..classes.len();
            let kept = all.filter(|n| (folds[*n] == fold) == inside);
            kept.map(|n| n as u32).collect()
        };
        let (rest, held) = (part(false), part(true));
        let problem = whole.part(x, labels, preparation, &rest)?;
        let ranking = ahiht(&problem, config)?.ranking().clone();
        let held = Tensor::new(held, x.device())?;
        let (x, labels) = (x.index_select(&held, 0)?, labels.index_select(&held, 0)?);
        let weights = preparation.weights.as_ref();
        let weights = weights.map(|w| w.index_select(&held, 0)).transpose()?;
        let error = |size: &usize| -> Result<f64> {
            let fit = LeastSquares::on(&problem, ranking.top(*size)?)?;
            let wrong = fit.scores(&x)?.argmax(D::Minus1)?.ne(&labels)?;
            let wrong = wrong.to_dtype(DType::F64)?;
            let weights = match &weights {
                Some(weights) => weights.to_dtype(DType::F64)?,
                None => wrong.ones_like()?,
            };
            let total = weights.sum_all()?.to_scalar::<f64>()?;
            let share = (wrong * weights)?.sum_all()?.to_scalar::<f64>()?;
            Ok(if total > 0. { share / total } else { 0. })
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
    let [aic, bic, ebic] = criteria(&whole, config, &how.sizes)?;
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

/// The fold of each sample: every class is shuffled and dealt out.
fn deal(op: &'static str, classes: &[u32], how: &CrossValidation) -> Result<Vec<usize>> {
    let mut rng = Rng::new(how.seed).fork("folds");
    let mut folds = vec![0; classes.len()];
    let (mut next, mut smallest) = (0, classes.len());
    for class in 0..=classes.iter().copied().max().unwrap_or(0) {
        let mut members: Vec<usize> = (0..classes.len())
            .filter(|n| classes[*n] == class)
            .collect();
        if members.is_empty() {
            continue;
        }
        smallest = smallest.min(members.len());
        let order = rng.permutation(members.len());
        members = order.into_iter().map(|i| members[i]).collect();
        for n in members {
            folds[n] = next % how.folds.max(1);
            next += 1;
        }
    }
    if how.folds < 2 || how.folds > smallest {
        let expected = format!("2 to {smallest}, the samples of the smallest class");
        return Err(Error::value(op, "folds", expected, how.folds));
    }
    Ok(folds)
}

/// AIC, BIC and EBIC for each number of features.
fn criteria(problem: &Problem, config: &HihtConfig, sizes: &[usize]) -> Result<[Vec<f64>; 3]> {
    let ranking = ahiht(problem, config)?.ranking().clone();
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

/// How often features are among the first of a ranking of half of the samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Stability {
    /// For each feature the share of the halves in which it was selected.
    pub frequencies: Vec<f64>,
    /// The number of features that were selected each time.
    pub size: usize,
}

/// Stability selection: [`ahiht`] selects `size` features of each of `halves` random halves of the samples, drawn class by
/// class.
///
/// Errors: no halves; more features than there are; a class of fewer than two samples; those of [`Problem`] and [`ahiht`].
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::Rng;
/// use candle_prob::select::{HihtConfig, Preparation, stability};
/// # fn main() -> candle_prob::Result<()> {
/// let x = Rng::new(0).normal((60, 30), DType::F64, &Device::Cpu)?;
/// let labels = x.narrow(1, 4, 1)?.gt(0.)?.flatten_all()?.to_dtype(DType::U32)?;
/// let (how, config) = (Preparation::default(), HihtConfig::default());
/// let found = stability(&x, &labels, &how, &config, 3, 20, &mut Rng::new(1))?;
/// assert_eq!(found.selected(0.9), [4]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Meinshausen and Buehlmann (2010), Stability selection.
pub fn stability(
    x: &Tensor,
    labels: &Tensor,
    preparation: &Preparation,
    config: &HihtConfig,
    size: usize,
    halves: usize,
    rng: &mut Rng,
) -> Result<Stability> {
    let op = "select::stability";
    let whole = Problem::classification(x, labels, preparation)?;
    if halves == 0 {
        return Err(Error::value(op, "halves", "at least 1", 0));
    }
    if size == 0 || size > whole.features() {
        let expected = format!("1 to {}", whole.features());
        return Err(Error::value(op, "size", expected, size));
    }
    let classes = labels.to_vec1::<u32>()?;
    let mut counts = vec![0usize; whole.features()];
    for _ in 0..halves {
        let mut half = vec![];
        for class in 0..whole.outputs() as u32 {
            let all = (0..classes.len() as u32).filter(|n| classes[*n as usize] == class);
            let members: Vec<u32> = all.collect();
            if members.len() == 1 {
                let expected = "two samples or more of every class";
                return Err(Error::value(op, "labels", expected, "one"));
            }
            let order = rng.permutation(members.len());
            half.extend(order[..members.len() / 2].iter().map(|i| members[*i]));
        }
        let ranking = ahiht(&whole.part(x, labels, preparation, &half)?, config)?;
        for feature in ranking.ranking().top(size)? {
            counts[*feature] += 1;
        }
    }
    let share = |count: &usize| *count as f64 / halves as f64;
    Ok(Stability {
        frequencies: counts.iter().map(share).collect(),
        size,
    })
}

impl Stability {
    /// The features that were selected in so large a share of the halves, in order: none is an answer as well.
    pub fn selected(&self, share: f64) -> Vec<usize> {
        let all = self.frequencies.iter().enumerate();
        all.filter(|(_, f)| **f >= share).map(|(i, _)| i).collect()
    }

    /// A bound of the expected number of features among [`selected`](Stability::selected) that tell nothing, for a share
    /// above one half, where features that tell nothing are exchangeable: `size^2 / ((2 share - 1) d)`; infinite below.
    pub fn false_selections(&self, share: f64) -> f64 {
        match share > 0.5 {
            true => {
                (self.size * self.size) as f64 / ((2. * share - 1.) * self.frequencies.len() as f64)
            }
            false => f64::INFINITY,
        }
    }
}

impl Problem {
    /// The problem of some of the samples, with as many classes.
    fn part(
        &self,
        x: &Tensor,
        labels: &Tensor,
        preparation: &Preparation,
        samples: &[u32],
    ) -> Result<Problem> {
        let index = Tensor::new(samples, x.device())?;
        let weights = preparation.weights.as_ref();
        let preparation = Preparation {
            weights: weights.map(|w| w.index_select(&index, 0)).transpose()?,
            ..preparation.clone()
        };
        let x = x.contiguous()?.index_select(&index, 0)?;
        let labels = labels.index_select(&index, 0)?;
        Problem::of_classes(&x, &labels, self.outputs(), &preparation)
    }
}

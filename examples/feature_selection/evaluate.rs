//! Trials: features selected and classifiers trained on some samples, judged on others.

use crate::common::classify;
use crate::common::labelled::Labelled;
use crate::methods::Method;
use candle_core::Tensor;
use candle_prob::select::Preparation;
use candle_prob::{Result, Rng};
use std::time::Instant;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Classifier {
    /// So many nearest neighbours.
    Knn(usize),
    /// Softmax regression.
    Softmax,
}

impl Classifier {
    pub fn name(self) -> &'static str {
        match self {
            Classifier::Knn(_) => "knn",
            Classifier::Softmax => "softmax",
        }
    }

    pub fn title(self) -> String {
        match self {
            Classifier::Knn(neighbours) => format!("{neighbours}-NN"),
            Classifier::Softmax => "softmax".into(),
        }
    }
}

/// Samples for training and for test, each `[N, d]`.
pub struct Trial {
    pub x: Tensor,
    pub labels: Tensor,
    train_labels: Vec<u32>,
    test_x: Tensor,
    test_labels: Vec<u32>,
}

impl Trial {
    pub fn new(data: &Labelled, rng: &Rng) -> Result<Self> {
        let (train, test) = data.split(rng)?;
        let device = data.x.device();
        let labels = |rows: &[u32]| rows.iter().map(|n| data.labels[*n as usize]).collect();
        let x = |rows: Vec<u32>| data.x.index_select(&Tensor::new(rows, device)?, 0);
        let (train_labels, test_labels): (Vec<u32>, _) = (labels(&train), labels(&test));
        Ok(Trial {
            labels: Tensor::new(train_labels.as_slice(), device)?,
            train_labels,
            test_labels,
            x: x(train)?,
            test_x: x(test)?,
        })
    }

    pub fn training(&self) -> usize {
        self.train_labels.len()
    }

    /// The accuracy on the test samples of a classifier that sees these features alone.
    pub fn accuracy(&self, classifier: Classifier, features: &[usize]) -> Result<f64> {
        let columns: Vec<u32> = features.iter().map(|i| *i as u32).collect();
        let columns = Tensor::new(columns, self.x.device())?;
        let train = self.x.index_select(&columns, 1)?;
        let test = self.test_x.index_select(&columns, 1)?;
        let found = match classifier {
            Classifier::Knn(k) => classify::nearest(&train, &self.train_labels, &test, k)?,
            Classifier::Softmax => classify::softmax(&train, &self.train_labels, &test)?,
        };
        Ok(classify::accuracy(&found, &self.test_labels))
    }
}

/// Accuracies of a method at one lambda.
pub struct Scores {
    pub lambda: Option<f64>,
    /// By classifier, number of features, trial.
    pub accuracies: Vec<Vec<Vec<f64>>>,
}

/// A method's scores for every lambda.
pub struct Outcome {
    pub method: Method,
    /// The numbers of features.
    pub grid: Vec<usize>,
    pub scores: Vec<Scores>,
    pub seconds_per_fit: f64,
}

/// The best mean accuracy and where it is.
pub struct Best {
    pub lambda: Option<f64>,
    pub features: usize,
    pub mean: f64,
    pub deviation: f64,
    /// Means at every number of features, with this lambda.
    pub curve: Vec<(f64, f64)>,
}

/// 20, 40, ..., 400 features, as far as there are so many.
fn grid(features: usize) -> Vec<usize> {
    match (20..=400.min(features)).step_by(20).collect::<Vec<_>>() {
        grid if grid.is_empty() => (1..=features).collect(),
        grid => grid,
    }
}

/// Runs every trial for every lambda.
pub fn judge(
    method: Method,
    trials: &[Trial],
    classifiers: &[Classifier],
    quick: bool,
) -> Result<Outcome> {
    let lambdas = if quick {
        vec![method.quick_lambda()]
    } else {
        method.lambdas()
    };
    let grid = grid(trials[0].x.dim(1)?);
    let (mut fits, mut seconds, mut scores) = (0, 0., vec![]);
    let name = method.title();
    let bar = crate::common::report::progress((lambdas.len() * trials.len()) as u64, name);
    for lambda in lambdas {
        let mut accuracies = vec![vec![vec![]; grid.len()]; classifiers.len()];
        for trial in trials {
            let mut ranking = None;
            for (k, features) in grid.iter().enumerate().rev() {
                if ranking.is_none() || method.counts() {
                    let start = Instant::now();
                    let selector = method.selector(lambda, *features);
                    ranking =
                        Some(selector.rank(&trial.x, &trial.labels, &Preparation::default())?);
                    seconds += start.elapsed().as_secs_f64();
                    fits += 1;
                }
                let Some(ranking) = &ranking else { continue };
                for (c, classifier) in classifiers.iter().enumerate() {
                    let accuracy = trial.accuracy(*classifier, ranking.top(*features)?)?;
                    accuracies[c][k].push(accuracy);
                }
            }
            bar.inc(1);
        }
        scores.push(Scores { lambda, accuracies });
    }
    bar.finish_and_clear();
    Ok(Outcome {
        method,
        grid,
        scores,
        seconds_per_fit: seconds / f64::from(fits),
    })
}

impl Outcome {
    /// Of equally good ones, the one of fewest features.
    pub fn best(&self, classifier: usize) -> Best {
        let mut best: Option<Best> = None;
        for scores in &self.scores {
            let means: Vec<f64> = scores.accuracies[classifier]
                .iter()
                .map(|a| mean(a))
                .collect();
            let points = self.grid.iter().zip(&means);
            let curve: Vec<(f64, f64)> = points.map(|(k, mean)| (*k as f64, *mean)).collect();
            for (k, features) in self.grid.iter().enumerate() {
                let better = best.as_ref().is_none_or(|best| {
                    let fewer = means[k] == best.mean && *features < best.features;
                    means[k] > best.mean || fewer
                });
                if better {
                    best = Some(Best {
                        lambda: scores.lambda,
                        features: *features,
                        mean: means[k],
                        deviation: deviation(&scores.accuracies[classifier][k]),
                        curve: curve.clone(),
                    });
                }
            }
        }
        // There is a lambda and a number of features.
        best.unwrap_or(Best {
            lambda: None,
            features: 0,
            mean: 0.,
            deviation: 0.,
            curve: vec![],
        })
    }
}

/// Mean and standard deviation of the accuracy with all features, by classifier.
pub fn without_selection(trials: &[Trial], classifiers: &[Classifier]) -> Result<Vec<[f64; 2]>> {
    let all: Vec<usize> = (0..trials[0].x.dim(1)?).collect();
    let accuracies = |classifier: &Classifier| {
        let each = trials.iter().map(|trial| trial.accuracy(*classifier, &all));
        let each = each.collect::<Result<Vec<f64>>>()?;
        Ok([mean(&each), deviation(&each)])
    };
    classifiers.iter().map(accuracies).collect()
}

pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The standard deviation of a sample; 0 of a single number.
fn deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (squares / (values.len() - 1).max(1) as f64).sqrt()
}

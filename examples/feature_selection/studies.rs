//! What the paper asks of its algorithms: where they start, how they go down, and how sparse they get.

use crate::common::labelled::Labelled;
use crate::common::part_error;
use crate::common::report::{Failures, Output};
use crate::evaluate::{Classifier, Trial, mean};
use crate::methods::path;
use candle_core::Tensor;
use candle_prob::Result;
use candle_prob::select::{
    Esfs, HihtConfig, Path, Preparation, Problem, Rpmfs, Start, ahiht, hiht,
};

type Solve = fn(&Problem, &HihtConfig) -> Result<Path>;
pub type Point = (f64, f64);

pub struct Studies {
    /// AHIHT from three starts.
    pub starts: Vec<Line>,
    /// AHIHT and HIHT.
    pub algorithms: Vec<Line>,
    /// Objectives after each step, on all samples: a group for each of the functions that are minimized.
    pub objectives: Vec<Vec<(&'static str, Vec<Point>)>>,
}

/// Means over trials, over log10 of lambda.
pub struct Line {
    pub name: &'static str,
    /// Of the features whose rows are not zero; where there are none, there is no point.
    pub accuracies: Vec<Point>,
    /// How many these are.
    pub supports: Vec<Point>,
}

/// The figures.
pub const STARTS: &str = "initialization.png";
pub const ALGORITHMS: &str = "hiht.png";
pub const OBJECTIVES: &str = "objective.png";
const STEPS: usize = 300;
/// Of the methods that are told how many.
const FEATURES: usize = 100;

/// The training samples of a trial, and where a path from zero starts on them.
struct Ready<'a> {
    trial: &'a Trial,
    problem: Problem,
    lambda: f64,
    lipschitz: f64,
}

pub fn run(
    data: &Labelled,
    trials: &[Trial],
    classifier: Classifier,
    quick: bool,
    output: &Output,
    failures: &mut Failures,
) -> Result<Studies> {
    let exponents: &[i32] = match quick {
        true => &[-4, -3],
        false => &[-5, -4, -3, -2, -1],
    };
    let ready: Vec<Ready> = trials.iter().map(Ready::new).collect::<Result<_>>()?;
    let line = |name, solve: Solve, start| -> Result<Line> {
        let (mut accuracies, mut supports) = (vec![], vec![]);
        for exponent in exponents {
            let (mut right, mut sizes) = (vec![], vec![]);
            for ready in &ready {
                let last = 10f64.powi(*exponent);
                let config = HihtConfig {
                    start,
                    lambda: Some(ready.lambda.max(last)),
                    lipschitz: Some(ready.lipschitz),
                    ..path(last)
                };
                let path = solve(&ready.problem, &config)?;
                let support = &path.last().support;
                sizes.push(support.len() as f64);
                if !support.is_empty() {
                    right.push(ready.trial.accuracy(classifier, support)?);
                }
            }
            supports.push((f64::from(*exponent), mean(&sizes)));
            if !right.is_empty() {
                accuracies.push((f64::from(*exponent), mean(&right)));
            }
        }
        Ok(Line {
            name,
            accuracies,
            supports,
        })
    };
    let labels = Tensor::new(data.labels.as_slice(), data.x.device())?;
    let how = Preparation::default();
    let problem = Problem::classification(&data.x, &labels, &how)?;
    let points = |objectives: Vec<f64>| -> Vec<Point> {
        let steps = (1..).map(f64::from);
        steps.zip(objectives).take(STEPS).collect()
    };
    let objective = |solve: Solve| -> Result<Vec<Point>> {
        let path = solve(&problem, &path(1e-5))?;
        let all = path.solutions().iter().flat_map(|s| &s.objectives);
        Ok(points(all.copied().collect()))
    };
    let k = FEATURES.min(problem.features());
    let rpmfs = || Rpmfs::new(k).fit(&data.x, &labels, &how);
    let esfs = || Esfs::new(k).fit(&data.x, &labels, &how);
    let (scale, seed) = (1e-3, 0);
    let mut lines = |file: &str, what: &str, lines: &[(&'static str, Solve, Start)]| -> Vec<Line> {
        let lines = lines.iter().map(|(name, solve, start)| {
            let line = line(name, *solve, *start);
            failures
                .keep(line.map_err(|e| part_error(&output.path(file), &format!("{what}{name}"), e)))
        });
        lines.flatten().collect()
    };
    let starts = [
        ("zero", ahiht as Solve, Start::Zero),
        ("Gaussian", ahiht, Start::Gaussian { scale, seed }),
        ("uniform", ahiht, Start::Uniform { scale, seed }),
    ];
    let algorithms = [
        ("AHIHT", ahiht as Solve, Start::Zero),
        ("HIHT", hiht, Start::Zero),
    ];
    let (starts, algorithms) = (
        lines(STARTS, "AHIHT, start ", &starts),
        lines(ALGORITHMS, "", &algorithms),
    );
    // What one method fails at is not the others'.
    let mut kept = |name, found: Result<Vec<Point>>| {
        let found = found.map_err(|e| part_error(&output.path(OBJECTIVES), name, e));
        failures.keep(found).map(|points| (name, points))
    };
    let mut objectives = vec![
        [
            kept("AHIHT", objective(ahiht)),
            kept("HIHT", objective(hiht)),
        ]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>(),
        Vec::from_iter(kept("RPMFS", rpmfs().map(|fit| points(fit.objectives)))),
        Vec::from_iter(kept("ESFS", esfs().map(|fit| points(fit.objectives)))),
    ];
    objectives.retain(|group| !group.is_empty());
    Ok(Studies {
        starts,
        algorithms,
        objectives,
    })
}

impl<'a> Ready<'a> {
    fn new(trial: &'a Trial) -> Result<Self> {
        let how = Preparation::default();
        let problem = Problem::classification(&trial.x, &trial.labels, &how)?;
        let none = HihtConfig {
            features: Some(0),
            ..path(1e-5)
        };
        let path = ahiht(&problem, &none)?;
        let first = &path.solutions()[0];
        Ok(Ready {
            trial,
            lambda: first.lambda,
            lipschitz: first.lipschitz,
            problem,
        })
    }
}

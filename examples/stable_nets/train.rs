//! The levels of a network, one after the other.

use crate::common::report::Output;
use crate::common::train::{History, Learner, Metrics, Steps, Training};
use crate::config::{Arguments, Net, Plan, Solver, join};
use crate::data::Data;
use crate::model::{Lifted, Model, PART};
use candle_nn::VarMap;
use candle_prob::dual::Linearize;
use candle_prob::objective::regularization::Quadratic;
use candle_prob::optim::{
    ArmijoConfig, BlockDescent, BlockDescentConfig, Checkpoint, Evaluation, GaussNewtonConfig,
    NewtonConfig, PcgConfig, Penalties,
};
use candle_prob::{Result, Rng};
use std::time::Instant;

/// Bound of the norm of Adam's gradients.
const MAX_NORM: f64 = 10.;
/// Halvings of a step of Gauss-Newton or Newton.
const TRIALS: usize = 20;

/// A level that has been trained: Gauss-Newton's ends at its best iterate, Adam's and one that paused where they are.
pub struct Level<'a> {
    pub layers: usize,
    pub history: History,
    pub model: Model<'a>,
    /// Of this run, which may have continued another one.
    pub seconds: f64,
    /// The iterations that led to the model.
    pub iteration: usize,
    /// Of the samples that validate, and of those that train.
    pub accuracy: f64,
    pub train_accuracy: f64,
}

impl Level<'_> {
    /// The validation accuracy before the first iteration.
    pub fn before(&self) -> f64 {
        self.history
            .first()
            .map_or(f64::NAN, |first| first["accuracy_before"])
    }
}

impl Arguments {
    /// The trainings of all levels, whose checkpoints have these names.
    pub fn trainings<'a>(
        &self,
        plan: &Plan,
        names: &'a [String],
        data: &Data,
    ) -> Vec<Training<'a>> {
        let mut settings = self.settings(data);
        settings.insert("net", plan.net.name());
        let steps = match self.solver {
            Solver::Adam => data.train.len().div_ceil(self.batch),
            Solver::GaussNewton => 1,
        };
        let training = |(k, name): (usize, &'a String)| {
            // The levels before this one decide as well, but not those after it.
            let mut settings = settings.clone();
            settings.insert("levels", join(&plan.levels[..=k]));
            Training {
                name,
                title: plan.net.title(),
                settings,
                epochs: plan.iterations,
                pause_after: self.pause_after,
                steps,
                lr: self.lr,
                warm_up: 0,
                max_norm: MAX_NORM,
                shown: ("accuracy", "accuracy"),
            }
        };
        names.iter().enumerate().map(training).collect()
    }
}

/// The names of all levels' checkpoints.
pub fn names(plan: &Plan) -> Vec<String> {
    plan.levels
        .iter()
        .map(|layers| name(plan.net, *layers))
        .collect()
}

/// The name of a level's checkpoint.
pub fn name(net: Net, layers: usize) -> String {
    format!("{}_{layers:04}", net.name())
}

/// Trains the levels from the coarsest to the finest.
pub fn train<'a>(
    plan: &'a Plan,
    trainings: &[Training],
    arguments: &Arguments,
    data: &Data,
    output: &Output,
) -> Result<Vec<Level<'a>>> {
    let mut levels: Vec<Level> = vec![];
    for (layers, training) in plan.levels.iter().zip(trainings) {
        let model = match levels.last() {
            None => Model::first(plan, data, arguments.common.seed)?,
            Some(level) => level.model.next(*layers, data)?,
        };
        let level = level(*layers, model, training, arguments, data, output)?;
        let paused = level.history.len() < training.epochs;
        levels.push(level);
        if paused {
            break;
        }
    }
    Ok(levels)
}

fn level<'a>(
    layers: usize,
    model: Model<'a>,
    training: &Training,
    arguments: &Arguments,
    data: &Data,
    output: &Output,
) -> Result<Level<'a>> {
    let begun = Instant::now();
    let rng = Rng::new(arguments.common.seed).fork(training.name);
    let resume = arguments.common.resume;
    let history = match arguments.solver {
        Solver::Adam => training.run(&model.vars, resume, output, |epoch, steps| {
            let mut metrics = before(epoch, &model, data)?;
            let mut rng = rng.fork(&format!("{epoch}"));
            let objective = adam(steps, &model, arguments.batch, data, &mut rng)?;
            metrics.insert("objective".into(), objective);
            let after = model.evaluate(&data.valid.examples)?;
            metrics.extend(validation(after));
            Ok(metrics)
        })?,
        Solver::GaussNewton => {
            let mut descent = Descent::new(&model, data)?;
            let bar = training.bar();
            let history =
                training.run_with(&mut descent, &bar, resume, output, |epoch, descent| {
                    let mut metrics = before(epoch, &model, data)?;
                    let mut rng = rng.fork(&format!("{epoch}"));
                    metrics.extend(descent.step(&mut rng)?);
                    bar.inc(1);
                    Ok(metrics)
                })?;
            if history.len() == training.epochs {
                descent.blocks.restore_best()?;
            }
            history
        }
    };
    let kept = match history.len() == training.epochs {
        true => history
            .iter()
            .rposition(|iteration| iteration.get("best") != Some(&0.)),
        false => history.len().checked_sub(1),
    };
    Ok(Level {
        layers,
        iteration: kept.map_or(0, |last| last + 1),
        accuracy: model.evaluate(&data.valid.examples)?.accuracy,
        train_accuracy: model.evaluate(&data.train.examples)?.accuracy,
        history,
        seconds: begun.elapsed().as_secs_f64(),
        model,
    })
}

/// Before the first iteration: how the start does.
fn before(epoch: usize, model: &Model, data: &Data) -> Result<Metrics> {
    let mut metrics = Metrics::new();
    if epoch == 0 {
        let before = model.evaluate(&data.valid.examples)?;
        metrics.insert("accuracy_before".into(), before.accuracy);
    }
    Ok(metrics)
}

fn validation(found: Evaluation) -> [(String, f64); 2] {
    [
        ("accuracy".into(), found.accuracy),
        ("validation_loss".into(), found.loss),
    ]
}

/// Steps on all samples in random order; the mean objective on the way.
fn adam(steps: &mut Steps, model: &Model, batch: usize, data: &Data, rng: &mut Rng) -> Result<f64> {
    let (mut sum, mut count) = (0., 0.);
    let order = rng.permutation(data.train.len());
    for indices in order.chunks(batch) {
        let objective = model.objective(&data.train.select(indices)?)?;
        if steps.step(&objective)? {
            sum += f64::from(objective.to_scalar::<f32>()?);
            count += 1.;
        }
    }
    Ok(sum / count)
}

/// Newton's method for the classifier and Gauss-Newton's for the network.
struct Descent<'a> {
    vars: &'a VarMap,
    blocks: BlockDescent<'a, Lifted>,
}

impl Learner for Descent<'_> {
    fn parts<'a>(&'a mut self, checkpoint: Checkpoint<'a>) -> Checkpoint<'a> {
        let checkpoint = checkpoint.vars("model", self.vars);
        checkpoint.vars("descent", self.blocks.progress())
    }

    fn begin(&mut self, _: usize) {}

    fn skipped(&self) -> usize {
        0
    }
}

impl<'a> Descent<'a> {
    fn new(model: &'a Model, data: &Data) -> Result<Self> {
        let plan = model.plan;
        let (steps, products) = plan.newton;
        let newton = NewtonConfig::default();
        let line_search = ArmijoConfig {
            max_trials: TRIALS,
            ..ArmijoConfig::default()
        };
        let config = BlockDescentConfig {
            classifier: NewtonConfig {
                max_steps: steps,
                pcg: PcgConfig {
                    max_steps: products,
                    ..newton.pcg.clone()
                },
                line_search: line_search.clone(),
                ..newton
            },
            propagation: GaussNewtonConfig {
                hessian_rows: plan.hessian,
                batch: plan.size.map(|_| PART),
                line_search,
                ..GaussNewtonConfig::default()
            },
            rows: None,
        };
        let smooth: &dyn Quadratic = &model.smooth;
        let penalties = Penalties {
            weight: model
                .spatial
                .as_ref()
                .map(|spatial| spatial as &dyn Quadratic),
            parameters: vec![Some(smooth); model.lifted.parameters().len()],
        };
        let blocks = BlockDescent::new(
            &model.lifted,
            &model.classifier,
            data.train.examples.clone(),
            Some(data.valid.examples.clone()),
            penalties,
            &config,
        )?;
        Ok(Descent {
            vars: &model.vars,
            blocks,
        })
    }

    /// A step on the classifier and one on the network, and what came of them.
    fn step(&mut self, rng: &mut Rng) -> Result<Metrics> {
        let iteration = self.blocks.step(rng)?;
        let step = iteration.propagation;
        let parts = [
            ("objective", step.line_search.value),
            ("gradient", step.gradient),
            ("products", step.pcg.steps as f64),
            ("step", step.line_search.step),
            ("best", f64::from(u8::from(iteration.best))),
        ];
        let parts = parts.map(|(name, value)| (name.to_string(), value));
        let found = iteration.validation.map(validation);
        Ok(parts
            .into_iter()
            .chain(found.into_iter().flatten())
            .collect())
    }
}

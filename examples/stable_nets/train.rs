//! The levels of a network, one after the other.

use crate::common::report::Output;
use crate::common::train::{History, Learner, Metrics, Training};
use crate::config::{Arguments, Net, Plan, Solver, join};
use crate::data::Data;
use crate::model::{Model, PART};
use candle_prob::dual::Linearize;
use candle_prob::objective::regularization::Quadratic;
use candle_prob::optim::{
    Adam, AdamConfig, ArmijoConfig, BlockDescent, BlockDescentConfig, Checkpoint, Clipped,
    GaussNewtonConfig, NewtonConfig, Optimizer, PcgConfig, Penalties, Schedule, backward,
    clip_grad_norm_or_skip,
};
use candle_prob::{Result, Rng};
use indicatif::ProgressBar;
use std::time::Instant;

/// Bound of the norm of Adam's gradients.
const MAX_NORM: f64 = 10.;
/// Halvings of a step of Gauss-Newton or Newton.
const TRIALS: usize = 20;

/// A level that has been trained; the model is at its best.
pub struct Level<'a> {
    pub layers: usize,
    pub history: History,
    pub model: Model<'a>,
    pub seconds: f64,
    /// Of the samples that train, at the best.
    pub train_accuracy: f64,
}

impl Level<'_> {
    /// The validation accuracy before the first iteration.
    pub fn before(&self) -> f64 {
        self.history
            .first()
            .map_or(f64::NAN, |first| first["accuracy_before"])
    }

    /// The best validation accuracy, after how many iterations.
    pub fn best(&self) -> (f64, usize) {
        best(&self.history)
    }
}

fn best(history: &History) -> (f64, usize) {
    let before = history.first().map_or(0., |first| first["accuracy_before"]);
    let after = history.iter().map(|epoch| epoch["accuracy"]).zip(1..);
    after.fold(
        (before, 0),
        |best, own| if own.0 > best.0 { own } else { best },
    )
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
    let bar = training.bar();
    let mut pass = Pass::new(&model, training, bar.clone())?;
    let rng = Rng::new(arguments.common.seed).fork(training.name);
    let resume = arguments.common.resume;
    let history = training.run_with(&mut pass, &bar, resume, output, |epoch, pass| {
        let mut metrics = Metrics::new();
        if epoch == 0 {
            let before = model.evaluate(&data.valid.examples)?;
            model.keep_if_best(before)?;
            metrics.insert("accuracy_before".into(), before.accuracy);
            // Newton's method does not come back from where probabilities are 0 and 1, and wrong.
            if model.evaluate(&data.train.examples)?.loss > (data.classes as f64).ln() {
                model.forget_classifier()?;
            }
        }
        let mut rng = rng.fork(&format!("{epoch}"));
        match arguments.solver {
            Solver::Adam => pass.adam(arguments.batch, data, &mut rng, &mut metrics)?,
            Solver::GaussNewton => pass.gauss_newton(data, &mut rng, &mut metrics)?,
        }
        let after = model.evaluate(&data.valid.examples)?;
        model.keep_if_best(after)?;
        metrics.insert("accuracy".into(), after.accuracy);
        metrics.insert("validation_loss".into(), after.loss);
        Ok(metrics)
    })?;
    if history.len() == training.epochs {
        model.restore()?;
    }
    Ok(Level {
        layers,
        history,
        train_accuracy: model.evaluate(&data.train.examples)?.accuracy,
        seconds: begun.elapsed().as_secs_f64(),
        model,
    })
}

/// A pass over the data, or an iteration.
struct Pass<'a, 'b> {
    model: &'a Model<'b>,
    training: &'a Training<'a>,
    bar: ProgressBar,
    adam: Adam,
    schedule: Schedule,
    epoch: usize,
    skipped: usize,
}

impl Learner for Pass<'_, '_> {
    fn parts<'a>(&'a mut self, checkpoint: Checkpoint<'a>) -> Checkpoint<'a> {
        let checkpoint = checkpoint.vars("model", &self.model.vars);
        let checkpoint = checkpoint.vars("best", &self.model.best);
        checkpoint.optimizer("adam", &mut self.adam)
    }

    fn begin(&mut self, epoch: usize) {
        (self.epoch, self.skipped) = (epoch, 0);
    }

    fn skipped(&self) -> usize {
        self.skipped
    }
}

impl<'a, 'b> Pass<'a, 'b> {
    fn new(model: &'a Model<'b>, training: &'a Training<'a>, bar: ProgressBar) -> Result<Self> {
        let config = AdamConfig {
            lr: training.lr,
            ..AdamConfig::default()
        };
        Ok(Pass {
            adam: Adam::new(&model.vars, &config)?,
            schedule: Schedule::Cosine {
                from: training.lr,
                to: 0.,
                steps: training.epochs * training.steps,
            },
            model,
            training,
            bar,
            epoch: 0,
            skipped: 0,
        })
    }

    /// Steps on all samples in random order; the mean objective on the way.
    fn adam(
        &mut self,
        batch: usize,
        data: &Data,
        rng: &mut Rng,
        metrics: &mut Metrics,
    ) -> Result<()> {
        let (mut sum, mut count) = (0., 0.);
        let order = rng.permutation(data.train.len());
        for (k, indices) in order.chunks(batch).enumerate() {
            let objective = self.model.objective(&data.train.select(indices)?)?;
            let mut gradients = backward(&objective)?;
            let step = self.epoch * self.training.steps + k;
            self.adam.set_learning_rate(self.schedule.at(step));
            self.bar.inc(1);
            match clip_grad_norm_or_skip(&mut gradients, &self.model.vars, MAX_NORM)? {
                Clipped::Norm(_) => {
                    self.adam.step(&gradients)?;
                    sum += f64::from(objective.to_scalar::<f32>()?);
                    count += 1.;
                }
                Clipped::NotFinite => self.skipped += 1,
            }
            self.training.check_skipped(self.epoch, self.skipped)?;
        }
        metrics.insert("objective".into(), sum / count);
        Ok(())
    }

    /// A step on the classifier and one on the network; the objective after it.
    fn gauss_newton(&mut self, data: &Data, rng: &mut Rng, metrics: &mut Metrics) -> Result<()> {
        let model = self.model;
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
        let training = data.train.examples.clone();
        let mut descent = BlockDescent::new(
            &model.lifted,
            &model.classifier,
            training,
            None,
            penalties,
            &config,
        )?;
        let step = descent.step(rng)?.propagation;
        self.bar.inc(1);
        let parts = [
            ("objective", step.line_search.value),
            ("gradient", step.gradient),
            ("products", step.pcg.steps as f64),
            ("step", step.line_search.step),
        ];
        metrics.extend(parts.map(|(name, value)| (name.to_string(), value)));
        Ok(())
    }
}

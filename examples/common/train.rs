//! The loop of every training: learning rate, clipping, a checkpoint after every epoch, and what ends a run that goes wrong.

use super::report::{self, Output};
use super::{exists, file_error, place};
use candle_core::Tensor;
use candle_nn::VarMap;
use candle_prob::optim::{
    Adam, AdamConfig, Checkpoint, Clipped, Optimizer, Schedule, backward, clip_grad_norm_or_skip,
};
use candle_prob::{Error, Result};
use indicatif::ProgressBar;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Everything that decides the result of a training, by name: a checkpoint of other settings cannot be continued.
pub type Settings = BTreeMap<&'static str, String>;
/// Numbers by name.
pub type Metrics = BTreeMap<String, f64>;
/// The metrics of each epoch.
pub type History = Vec<Metrics>;

/// The last epoch under `name.metric`, every epoch under `name.epoch_NNN.metric`.
pub fn by_epoch(name: &str, history: &History) -> Metrics {
    let mut all = Metrics::new();
    for (epoch, metrics) in (1..).zip(history) {
        for (metric, value) in metrics {
            all.insert(format!("{name}.epoch_{epoch:03}.{metric}"), *value);
            all.insert(format!("{name}.{metric}"), *value);
        }
    }
    all
}

/// The steps that were skipped in all epochs.
pub fn skipped(history: &History) -> f64 {
    history.iter().filter_map(|epoch| epoch.get(SKIPPED)).sum()
}

#[derive(Clone)]
pub struct Training<'a> {
    /// Of the checkpoint's file.
    pub name: &'a str,
    /// For people.
    pub title: &'static str,
    pub settings: Settings,
    pub epochs: usize,
    /// Pause after so many epochs.
    pub pause_after: Option<usize>,
    /// Of an epoch.
    pub steps: usize,
    /// The highest learning rate; it falls to zero along a half cosine.
    pub lr: f64,
    /// Steps of a growing learning rate, at most a tenth of all.
    pub warm_up: usize,
    /// Bound of the gradient's norm.
    pub max_norm: f64,
    /// The metric that is shown after every epoch, and what it is called.
    pub shown: (&'static str, &'static str),
}

/// Who is trained by the loop.
pub trait Learner {
    /// Adds all that training changes.
    fn parts<'a>(&'a mut self, checkpoint: Checkpoint<'a>) -> Checkpoint<'a>;

    /// The epoch of this number begins.
    fn begin(&mut self, epoch: usize);

    /// How many steps of this epoch were skipped.
    fn skipped(&self) -> usize;
}

/// What an epoch takes its steps with.
pub struct Steps<'a> {
    training: &'a Training<'a>,
    vars: &'a VarMap,
    adam: Adam,
    schedule: Schedule,
    bar: ProgressBar,
    epoch: usize,
    taken: usize,
    skipped: usize,
}

/// The last of the checks before the first step. A run without `--resume` removes what earlier ones left of its own
/// checkpoints and figures.
pub fn begin(
    trainings: &[Training],
    figures: &[String],
    resume: bool,
    output: &Output,
) -> Result<()> {
    let checkpoints: Vec<String> = trainings.iter().map(Training::file).collect();
    output.check_files(&checkpoints)?;
    check_resume(trainings, resume, output)?;
    match resume {
        true => Ok(()),
        false => {
            let advice = "--resume continues one, --out takes another folder";
            output.remove_earlier(&[&checkpoints, figures].concat(), advice)
        }
    }
}

/// A run with `--resume` needs a checkpoint of one training or more, and none of another run. This is found out before the
/// first step of any of them.
pub fn check_resume(trainings: &[Training], resume: bool, output: &Output) -> Result<()> {
    if !resume {
        return Ok(());
    }
    let mut missing = vec![];
    for training in trainings {
        let path = training.path(output);
        match exists(&path)? {
            true => drop(training.checkpoint().load_parts(&path)?),
            false => missing.push(path),
        }
    }
    if missing.len() == trainings.len() {
        let folder = output.folder();
        let expected = "a checkpoint of an earlier run for --resume";
        return Err(missing.first().map_or_else(
            || file_error(folder, expected, "no training"),
            |path| file_error(path, expected, "none"),
        ));
    }
    for path in missing {
        report::warn(&format!(
            "{}: no checkpoint: this training starts from its beginning",
            place(&path)
        ));
    }
    Ok(())
}

impl Training<'_> {
    fn file(&self) -> String {
        format!("{}.safetensors", self.name)
    }

    fn path(&self, output: &Output) -> PathBuf {
        output.path(&self.file())
    }

    /// One config for each setting, so that a refusal names the one that differs.
    fn checkpoint<'a>(&self) -> Checkpoint<'a> {
        let settings = self.settings.iter();
        settings.fold(Checkpoint::new(), |checkpoint, (name, value)| {
            checkpoint.config(name, &format_args!("{value}"))
        })
    }

    /// Runs the epochs that are left. `epoch` takes the steps of the epoch of this number and measures what came of them.
    /// Its random numbers must be forked by the numbers of epoch and step, so that a continued run draws what an
    /// uninterrupted one draws.
    pub fn run(
        &self,
        vars: &VarMap,
        resume: bool,
        output: &Output,
        epoch: impl FnMut(usize, &mut Steps) -> Result<Metrics>,
    ) -> Result<History> {
        let config = AdamConfig {
            lr: self.lr,
            ..AdamConfig::default()
        };
        let all = self.epochs * self.steps;
        let warm_up = self.warm_up.min(all / 10);
        let schedule = Schedule::Cosine {
            from: self.lr,
            to: 0.,
            steps: all - warm_up,
        };
        let bar = self.bar();
        let mut steps = Steps {
            training: self,
            vars,
            adam: Adam::new(vars, &config)?,
            schedule: schedule.after_warm_up(warm_up),
            bar: bar.clone(),
            epoch: 0,
            taken: 0,
            skipped: 0,
        };
        self.run_with(&mut steps, &bar, resume, output, epoch)
    }

    /// The epochs that are done without a pause.
    fn last(&self) -> usize {
        self.epochs.min(self.pause_after.unwrap_or(usize::MAX))
    }

    /// On which a learner counts its steps.
    pub fn bar(&self) -> ProgressBar {
        report::progress((self.last() * self.steps) as u64, self.title)
    }

    /// As [`run`](Training::run), of another learner.
    pub fn run_with<L: Learner>(
        &self,
        learner: &mut L,
        bar: &ProgressBar,
        resume: bool,
        output: &Output,
        mut epoch: impl FnMut(usize, &mut L) -> Result<Metrics>,
    ) -> Result<History> {
        let path = self.path(output);
        let mut history = History::new();
        if resume && exists(&path)? {
            let notes = learner.parts(self.checkpoint()).load(&path)?;
            let text = notes.get("history").map_or("", String::as_str);
            history = serde_json::from_str(text)
                .map_err(|_| file_error(&path, "a history of epochs", "none"))?;
            report::saved();
        }
        bar.set_position((history.len() * self.steps) as u64);
        for number in history.len()..self.last() {
            learner.begin(number);
            let metrics = epoch(number, learner).and_then(|metrics| {
                match metrics.iter().find(|(_, value)| !value.is_finite()) {
                    Some((name, value)) => {
                        Err(self.diverged(number + 1, &format!("{name} {value}")))
                    }
                    None => Ok(metrics),
                }
            });
            let mut metrics = metrics.map_err(|error| match error {
                Error::File { .. } | Error::Value { arg: TRAINING, .. } => error,
                // Parameters that are not numbers are refused by the distribution that first gets them.
                Error::Value { ref found, .. }
                    if found.contains("NaN") || found.contains("inf") =>
                {
                    self.diverged(number + 1, &error.to_string())
                }
                other => self.error(
                    format!("epoch {} without errors", number + 1),
                    &other.to_string(),
                ),
            })?;
            metrics.insert(SKIPPED.into(), learner.skipped() as f64);
            self.show(number, &metrics, bar);
            history.push(metrics);
            learner
                .parts(self.checkpoint())
                .note("history", serde_json::json!(history))
                .save(&path)?;
            report::saved();
        }
        bar.finish_and_clear();
        let skipped = skipped(&history);
        if skipped > 0. {
            let (title, all) = (self.title, history.len() * self.steps);
            report::warn(&format!(
                "{title}: {skipped} of {all} steps skipped: gradients that were not finite"
            ));
        }
        Ok(history)
    }

    /// When most of an epoch is skipped the model does not learn, and that is an error.
    pub fn check_skipped(&self, epoch: usize, skipped: usize) -> Result<()> {
        if 2 * skipped <= self.steps {
            return Ok(());
        }
        let steps = self.steps;
        let found = format!("{skipped} of {steps} steps skipped: gradients that are not finite");
        Err(self.diverged(epoch + 1, &found))
    }

    /// The error of a training that is lost; epochs are counted from 1.
    pub fn diverged(&self, epoch: usize, found: &str) -> Error {
        let lr = self.lr;
        let expected = format!("finite numbers in epoch {epoch}, at a learning rate of {lr:?}");
        self.error(expected, found)
    }

    fn error(&self, expected: String, found: &str) -> Error {
        Error::Value {
            op: self.title,
            arg: TRAINING,
            expected,
            found: found.into(),
        }
    }

    /// On the bar, or as a line where there is no terminal for one.
    fn show(&self, number: usize, metrics: &Metrics, bar: &ProgressBar) {
        let (metric, name) = self.shown;
        let mut text = metrics
            .get(metric)
            .map_or(String::new(), |value| format!("{name} {value:.3}"));
        let skipped = metrics[SKIPPED];
        if skipped > 0. {
            text += &format!(", {skipped} steps skipped");
        }
        if bar.is_hidden() {
            let (title, epochs) = (self.title, self.epochs);
            report::tell(&format!(
                "{title}: epoch {} of {epochs}: {text}",
                number + 1
            ));
        }
        bar.set_message(text);
    }
}

const TRAINING: &str = "training";
const SKIPPED: &str = "skipped_steps";

impl Steps<'_> {
    /// A step down the loss. One whose gradients are not finite is skipped: it returns false, and its loss is not one to
    /// add to the others. When most of an epoch is skipped the model does not learn, and that is an error.
    pub fn step(&mut self, loss: &Tensor) -> Result<bool> {
        let training = self.training;
        let mut gradients = backward(loss)?;
        let number = self.epoch * training.steps + self.taken + self.skipped;
        self.adam.set_learning_rate(self.schedule.at(number));
        self.bar.inc(1);
        match clip_grad_norm_or_skip(&mut gradients, self.vars, training.max_norm)? {
            Clipped::Norm(_) => {
                self.adam.step(&gradients)?;
                self.taken += 1;
                return Ok(true);
            }
            Clipped::NotFinite => self.skipped += 1,
        }
        training.check_skipped(self.epoch, self.skipped)?;
        Ok(false)
    }
}

impl Learner for Steps<'_> {
    fn parts<'a>(&'a mut self, checkpoint: Checkpoint<'a>) -> Checkpoint<'a> {
        let checkpoint = checkpoint.vars("model", self.vars);
        checkpoint.optimizer("adam", &mut self.adam)
    }

    fn begin(&mut self, epoch: usize) {
        (self.epoch, self.taken, self.skipped) = (epoch, 0, 0);
    }

    fn skipped(&self) -> usize {
        self.skipped
    }
}

//! Training on points that are all new.

use super::cli::{Common, Size, count, positive};
use super::report::{self, Failures, Output};
use super::train::{Metrics, Settings, Training, skipped};
use candle_core::{DType, Tensor};
use candle_nn::VarMap;
use candle_prob::distribution::Distribution;
use candle_prob::{Result, Rng};
use clap::Args;
use std::collections::BTreeMap;
use std::time::Instant;

/// Steps of an epoch.
const STEPS: usize = 100;
/// Points on which the likelihood is measured.
const TEST: usize = 10_000;
/// Points that are looked at together where nothing is learned from them.
const PART: usize = 1000;

/// How a flow is fitted.
#[derive(Debug, Clone, Args)]
pub struct Fit {
    /// Points of a step, all of them new
    #[arg(long, default_value_t = 512, value_parser = count)]
    pub batch: usize,
    /// Learning rate at the start; it falls to zero along a half cosine
    #[arg(long, default_value_t = 2e-3, value_parser = positive)]
    pub lr: f64,
}

impl Fit {
    /// The flag `--batch`, for [`super::cli::check_memory`]: the points of a step, or those of a measurement.
    pub fn size(&self) -> Size {
        Size("--batch", self.batch.max(PART), PART)
    }
}

/// What a model is fitted to.
pub struct Data<'a> {
    /// For files and metrics.
    pub name: &'a str,
    /// For people.
    pub title: &'static str,
    /// So many new points.
    pub draw: &'a dyn Fn(usize, &mut Rng) -> Result<Tensor>,
}

pub struct Run<M> {
    pub model: M,
    /// Mean negative log-likelihood of new points, in nats, and its standard error.
    pub nll: f64,
    pub error: f64,
    pub seconds: f64,
    /// Steps of gradients that were not finite.
    pub skipped: f64,
}

/// A function of points, part by part: what each part went through is forgotten before the next.
pub fn in_parts(x: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let count = x.dim(0)?;
    let part = |start| -> Result<Tensor> {
        let part = x.narrow(0, start, PART.min(count - start))?;
        Ok(f(&part)?.detach())
    };
    let parts = (0..count)
        .step_by(PART)
        .map(part)
        .collect::<Result<Vec<_>>>()?;
    Ok(Tensor::cat(&parts, 0)?)
}

/// How long to fit, and where the rest of a run is told.
pub struct Plan<'a> {
    pub how: &'a Fit,
    /// Of 100 steps each.
    pub epochs: usize,
    /// Of the model: its name and sizes.
    pub model: Settings,
    pub common: &'a Common,
    pub output: &'a Output,
}

impl Plan<'_> {
    /// All settings but the name of the data.
    pub fn settings(&self) -> Settings {
        let mut settings = self.model.clone();
        settings.extend([
            ("epochs", self.epochs.to_string()),
            ("batch", self.how.batch.to_string()),
            ("lr", format!("{:?}", self.how.lr)),
            ("seed", self.common.seed.to_string()),
        ]);
        settings
    }

    /// The training on data of this name and title.
    pub fn training<'a>(&self, name: &'a str, title: &'static str) -> Training<'a> {
        let mut settings = self.settings();
        settings.insert("data", name.into());
        Training {
            name,
            title,
            settings,
            epochs: self.epochs,
            pause_after: None,
            steps: STEPS,
            lr: self.how.lr,
            warm_up: 0,
            max_norm: 10.,
            shown: ("training_nll_nats", "NLL"),
        }
    }
}

/// Fits the model, whose variables are `vars`.
pub fn fit<M: Distribution>(data: &Data, model: M, vars: &VarMap, plan: &Plan) -> Result<Run<M>> {
    let rng = Rng::new(plan.common.seed).fork(data.name);
    let training = plan.training(data.name, data.title);
    let start = Instant::now();
    let history = training.run(vars, plan.common.resume, plan.output, |epoch, steps| {
        let (mut sum, mut count) = (0., 0.);
        for k in 0..STEPS {
            let mut fresh = rng.fork(&format!("step {}", epoch * STEPS + k));
            let x = (data.draw)(plan.how.batch, &mut fresh)?;
            let loss = model.log_prob(&x)?.mean_all()?.neg()?;
            if steps.step(&loss)? {
                sum += f64::from(loss.to_scalar::<f32>()?);
                count += 1.;
            }
        }
        Ok(Metrics::from([("training_nll_nats".into(), sum / count)]))
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let test = (data.draw)(TEST, &mut rng.fork("test"))?;
    let log_prob = in_parts(&test, |x| model.log_prob(x))?.to_dtype(DType::F64)?;
    let nll = -log_prob.mean_all()?.to_scalar::<f64>()?;
    let spread = log_prob.var(0)?.to_scalar::<f64>()?;
    if !nll.is_finite() || !spread.is_finite() {
        let found = format!("a test NLL of {nll}");
        return Err(training.diverged(training.epochs, &found));
    }
    Ok(Run {
        model,
        nll,
        error: (spread / TEST as f64).sqrt(),
        seconds,
        skipped: skipped(&history),
    })
}

/// The results, for the terminal and for `metrics.json`.
#[derive(Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
    metrics: BTreeMap<String, f64>,
}

impl Table {
    pub fn add<M>(&mut self, name: &str, title: &str, run: &Run<M>) {
        let parts = [
            ("nll_nats", run.nll),
            ("nll_standard_error", run.error),
            ("seconds", run.seconds),
            ("skipped_steps", run.skipped),
        ];
        for (part, value) in parts {
            self.metrics.insert(format!("{name}_{part}"), value);
        }
        let cells = [
            title.to_string(),
            format!("{:.3}", run.nll),
            format!("{:.3}", run.error),
            format!("{:.1}", run.seconds),
        ];
        self.rows.push(cells.to_vec());
    }

    /// Metrics without a row.
    pub fn extend(&mut self, metrics: BTreeMap<String, f64>) {
        self.metrics.extend(metrics);
    }

    /// Writes and prints what was reached, if anything.
    pub fn write(&self, output: &Output, settings: &Settings, failures: &mut Failures) {
        if self.metrics.is_empty() {
            return;
        }
        failures.keep(output.metrics(&self.metrics, settings));
        let mut text = format!("written to {}", output.folder().display());
        if !self.rows.is_empty() {
            let header = ["data", "test NLL, nats", "s.e.", "training, s"];
            text = format!("{}\n{text}", report::table(&header, &self.rows));
        }
        failures.keep(report::print(&text));
    }
}

//! Training on points that are all new, a checkpoint after every epoch.

use super::cli::{Common, count, positive};
use super::file_error;
use super::report::{self, Output};
use candle_core::{DType, Tensor};
use candle_nn::VarMap;
use candle_prob::distribution::Distribution;
use candle_prob::optim::{
    Adam, AdamConfig, Checkpoint, Optimizer, Schedule, backward, clip_grad_norm_or_skip,
};
use candle_prob::{Result, Rng};
use clap::Args;
use std::collections::BTreeMap;
use std::time::Instant;

/// Steps of an epoch.
const STEPS: usize = 100;
/// Points on which the likelihood is measured.
const TEST: usize = 10_000;
const MAX_NORM: f64 = 10.;

/// How a flow is fitted.
#[derive(Debug, Clone, Args)]
pub struct Fit {
    /// Points of a step, all of them new
    #[arg(long, default_value_t = 512, value_parser = count)]
    pub batch: usize,
    /// Learning rate at the start
    #[arg(long, default_value_t = 2e-3, value_parser = positive)]
    pub lr: f64,
}

/// What a model is fitted to.
pub struct Data<'a> {
    /// For files and metrics.
    pub name: &'a str,
    /// For people.
    pub title: &'a str,
    /// So many new points.
    pub draw: &'a dyn Fn(usize, &mut Rng) -> Result<Tensor>,
}

pub struct Run<M> {
    pub model: M,
    /// Mean negative log-likelihood of new points, in nats, and its standard error.
    pub nll: f64,
    pub error: f64,
    pub seconds: f64,
}

/// How long to fit, and where the rest of a run is told.
pub struct Plan<'a> {
    pub how: &'a Fit,
    /// Of 100 steps each.
    pub epochs: usize,
    /// What a checkpoint to continue must agree with.
    pub settings: String,
    pub common: &'a Common,
    pub output: &'a Output,
}

/// Fits the model, whose variables are `vars`.
pub fn fit<M: Distribution>(data: &Data, model: M, vars: &VarMap, plan: &Plan) -> Result<Run<M>> {
    let Plan { how, common, .. } = plan;
    let rng = Rng::new(common.seed).fork(data.name);
    let adam_config = AdamConfig {
        lr: how.lr,
        ..AdamConfig::default()
    };
    let mut adam = Adam::new(vars, adam_config)?;

    let path = plan.output.path(&format!("{}.safetensors", data.name));
    let (batch, lr) = (how.batch, how.lr);
    let (seed, epochs) = (common.seed, plan.epochs);
    let settings = &plan.settings;
    let settings = format!("{settings} epochs {epochs} batch {batch} lr {lr} seed {seed}");
    let mut done = 0;
    if common.resume && path.exists() {
        let notes = Checkpoint::new()
            .config("run", &settings)
            .vars("model", vars)
            .optimizer("adam", &mut adam)
            .load(&path)?;
        let count = notes.get("epochs").map_or("", String::as_str).parse();
        done = count.map_err(|e| file_error(&path, "a number of epochs", e))?;
    }

    let steps = epochs * STEPS;
    let schedule = Schedule::Cosine {
        from: how.lr,
        to: 0.,
        steps,
    };
    let bar = report::progress(steps as u64, data.title);
    bar.set_position((done * STEPS) as u64);
    let start = Instant::now();
    for epoch in done..epochs {
        for k in 0..STEPS {
            let step = epoch * STEPS + k;
            let mut fresh = rng.fork(&format!("step {step}"));
            let x = (data.draw)(how.batch, &mut fresh)?;
            let loss = model.log_prob(&x)?.mean_all()?.neg()?;
            let mut gradients = backward(&loss)?;
            adam.set_learning_rate(schedule.at(step));
            if clip_grad_norm_or_skip(&mut gradients, vars, MAX_NORM)?.is_some() {
                adam.step(&gradients)?;
            }
            bar.inc(1);
        }
        Checkpoint::new()
            .vars("model", vars)
            .optimizer("adam", &mut adam)
            .config("run", &settings)
            .note("epochs", epoch + 1)
            .save(&path)?;
    }
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    let test = (data.draw)(TEST, &mut rng.fork("test"))?;
    let log_prob = model.log_prob(&test)?.to_dtype(DType::F64)?;
    let nll = -log_prob.mean_all()?.to_scalar::<f64>()?;
    let spread = log_prob.var(0)?.to_scalar::<f64>()?;
    Ok(Run {
        model,
        nll,
        error: (spread / TEST as f64).sqrt(),
        seconds,
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

    pub fn write(&self, output: &Output) -> Result<()> {
        output.metrics(&self.metrics)?;
        if !self.rows.is_empty() {
            let header = ["data", "test NLL, nats", "s.e.", "training, s"];
            report::print(&report::table(&header, &self.rows));
        }
        report::print(&format!("written to {}", output.folder().display()));
        Ok(())
    }
}

//! Training on points that are all new, a checkpoint after every epoch.

use crate::Arguments;
use crate::common::file_error;
use crate::common::planar::Set;
use crate::common::report::{self, Output};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarMap;
use candle_prob::distribution::{Distribution, Independent, Normal, Transformed};
use candle_prob::flow::{RealNvp, RealNvpConfig, real_nvp};
use candle_prob::optim::{
    Adam, AdamConfig, Checkpoint, Optimizer, Schedule, backward, clip_grad_norm_or_skip,
};
use candle_prob::{Result, Rng, init};
use std::time::Instant;

/// Steps of an epoch.
const STEPS: usize = 100;
/// Points on which the likelihood is measured.
const TEST: usize = 10_000;
const MAX_NORM: f64 = 10.;

pub type Model = Transformed<Independent<Normal>, RealNvp>;

pub struct Run {
    pub model: Model,
    /// Mean negative log-likelihood of new points, in nats, and its standard error.
    pub nll: f64,
    pub error: f64,
    pub seconds: f64,
}

pub fn train(set: Set, arguments: &Arguments, rng: &Rng, output: &Output) -> Result<Run> {
    let vars = VarMap::new();
    let vb = init::seeded(&vars, arguments.common.seed, DType::F32, &Device::Cpu);
    let config = RealNvpConfig {
        layers: arguments.layers,
        hidden: vec![arguments.hidden; 2],
        ..RealNvpConfig::default()
    };
    let flow = real_nvp(&config, vb)?;
    let zeros = Tensor::zeros(2, DType::F32, &Device::Cpu)?;
    let base = Normal::new(&zeros, &zeros.ones_like()?)?.to_event(1)?;
    let model = base.transformed_by(flow)?;
    let adam_config = AdamConfig {
        lr: arguments.lr,
        ..AdamConfig::default()
    };
    let mut adam = Adam::new(&vars, adam_config)?;

    let path = output.path(&format!("{}.safetensors", set.name()));
    let settings = arguments.fingerprint(set);
    let mut done = 0;
    if arguments.common.resume && path.exists() {
        let notes = Checkpoint::new().load_parts(&path)?;
        let note = |key: &str| notes.get(key).map_or("", String::as_str);
        if note("settings") != settings {
            let found = note("settings");
            return Err(file_error(&path, format!("a run with {settings}"), found));
        }
        let count = note("epochs").parse();
        done = count.map_err(|e| file_error(&path, "a number of epochs", e))?;
        Checkpoint::new()
            .vars("model", &vars)
            .optimizer("adam", &mut adam)
            .load(&path)?;
    }

    let steps = arguments.epochs() * STEPS;
    let schedule = Schedule::Cosine {
        from: arguments.lr,
        to: 0.,
        steps,
    };
    let bar = report::progress(steps as u64, set.title());
    bar.set_position((done * STEPS) as u64);
    let start = Instant::now();
    for epoch in done..arguments.epochs() {
        for k in 0..STEPS {
            let step = epoch * STEPS + k;
            let mut fresh = rng.fork(&format!("step {step}"));
            let x = set.draw(arguments.batch, &mut fresh)?;
            let loss = model.log_prob(&x)?.mean_all()?.neg()?;
            let mut gradients = backward(&loss)?;
            adam.set_learning_rate(schedule.at(step));
            if clip_grad_norm_or_skip(&mut gradients, &vars, MAX_NORM)?.is_some() {
                adam.step(&gradients)?;
            }
            bar.inc(1);
        }
        Checkpoint::new()
            .vars("model", &vars)
            .optimizer("adam", &mut adam)
            .note("settings", settings.clone())
            .note("epochs", epoch + 1)
            .save(&path)?;
    }
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    let test = set.draw(TEST, &mut rng.fork("test"))?;
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

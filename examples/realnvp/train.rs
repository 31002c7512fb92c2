//! Training on images, a checkpoint after every epoch.

use crate::common::cli::Common;
use crate::common::file_error;
use crate::common::report::{self, Output};
use crate::images::{Arguments, Data, logit, sums};
use candle_core::{DType, Device};
use candle_nn::VarMap;
use candle_prob::bijector::{Bijector, LogitPreprocessing};
use candle_prob::flow::{ImageFlow, dequantize};
use candle_prob::optim::{
    Adam, AdamConfig, Checkpoint, Optimizer, Schedule, backward, clip_grad_norm_or_skip,
};
use candle_prob::{Result, Rng, init};
use std::collections::BTreeMap;
use std::time::Instant;

/// Metrics by name, for each epoch.
pub type History = Vec<BTreeMap<String, f64>>;

/// A flow of images in [0, 1] that were whole numbers.
pub struct Model {
    pub flow: ImageFlow,
    pub logit: LogitPreprocessing,
    pub levels: usize,
}

pub struct Run {
    pub model: Model,
    pub history: History,
    pub seconds: f64,
}

const MAX_NORM: f64 = 50.;
/// Steps of a growing learning rate, at most a tenth of all.
const WARM_UP: usize = 100;
/// Images from which a Glow starts.
const START: usize = 256;

/// Every source of random numbers is forked by what it is for, so a continued run draws what an uninterrupted one draws.
pub fn train(arguments: &Arguments, common: &Common, data: &Data, output: &Output) -> Result<Run> {
    let rng = Rng::new(common.seed).fork("images");
    let vars = VarMap::new();
    let vb = init::seeded(&vars, common.seed, DType::F32, &Device::Cpu);
    let model = Model {
        flow: arguments.build(common, data.image(), vb)?,
        logit: logit()?,
        levels: data.levels(),
    };
    let config = AdamConfig {
        lr: arguments.image_lr,
        ..AdamConfig::default()
    };
    let mut adam = Adam::new(&vars, config)?;

    let path = output.path("images.safetensors");
    let settings = arguments.fingerprint(common);
    let mut history = History::new();
    if common.resume && path.exists() {
        let notes = Checkpoint::new()
            .config("run", &settings)
            .vars("model", &vars)
            .optimizer("adam", &mut adam)
            .load(&path)?;
        let text = notes.get("history").map_or("", String::as_str);
        history = serde_json::from_str(text).map_err(|e| file_error(&path, "a history", e))?;
    }
    let start = &data.train[..START.min(data.train.len())];
    let x = dequantize(&data.pixels(start)?, model.levels, &mut rng.fork("start"))?;
    model.flow.initialize(&model.logit.inverse(&x)?)?;

    let (batch, epochs) = (arguments.image_batch, arguments.epochs(common));
    let steps = data.train.len().div_ceil(batch);
    let all = epochs * steps;
    let warm_up = WARM_UP.min(all / 10);
    let schedule = Schedule::Cosine {
        from: arguments.image_lr,
        to: 0.,
        steps: all - warm_up,
    }
    .after_warm_up(warm_up);
    let last = epochs.min(arguments.pause_after.unwrap_or(usize::MAX));
    let bar = report::progress((last * steps) as u64, "images");
    bar.set_position((history.len() * steps) as u64);
    let clock = Instant::now();
    for epoch in history.len()..last {
        let rng = rng.fork(&format!("epoch {epoch}"));
        let order = rng.fork("order").permutation(data.train.len());
        let mut training = 0.;
        for (k, chunk) in order.chunks(batch).enumerate() {
            let indices: Vec<usize> = chunk.iter().map(|&i| data.train[i]).collect();
            let mut noise = rng.fork(&format!("step {k}"));
            let bits = model.bits(&data.pixels(&indices)?, true, &mut noise)?;
            let mut gradients = backward(&bits.mean_all()?)?;
            adam.set_learning_rate(schedule.at(epoch * steps + k));
            if clip_grad_norm_or_skip(&mut gradients, &vars, MAX_NORM)?.is_some() {
                adam.step(&gradients)?;
            }
            training += sums(&bits)?[0];
            bar.inc(1);
        }
        let [test, error] = score(&model, data, batch, &rng.fork("test"))?;
        let metrics = [
            ("training_bits_per_dim", training / data.train.len() as f64),
            ("bits_per_dim", test),
            ("standard_error", error),
        ];
        let line = format!("epoch {}: {test:.4} bits per dim", epoch + 1);
        bar.suspend(|| report::print(&line));
        history.push(
            metrics
                .map(|(name, value)| (name.to_string(), value))
                .into(),
        );
        Checkpoint::new()
            .vars("model", &vars)
            .optimizer("adam", &mut adam)
            .config("run", &settings)
            .note("history", serde_json::json!(history))
            .save(&path)?;
    }
    bar.finish_and_clear();
    Ok(Run {
        model,
        history,
        seconds: clock.elapsed().as_secs_f64(),
    })
}

/// Mean and standard error of the bits per dim of all test images.
fn score(model: &Model, data: &Data, batch: usize, rng: &Rng) -> Result<[f64; 2]> {
    let (mut sum, mut squares) = (0., 0.);
    for (k, indices) in data.test.chunks(batch).enumerate() {
        let mut noise = rng.fork(&format!("batch {k}"));
        let [one, two] = sums(
            &model
                .bits(&data.pixels(indices)?, false, &mut noise)?
                .detach(),
        )?;
        (sum, squares) = (sum + one, squares + two);
    }
    let count = data.test.len() as f64;
    let mean = sum / count;
    Ok([
        mean,
        ((squares / count - mean * mean) / count).max(0.).sqrt(),
    ])
}

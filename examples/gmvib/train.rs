//! Training, a checkpoint after every epoch.

use crate::common::file_error;
use crate::common::multi::Split;
use crate::common::report::{self, Output};
use crate::config::{Arguments, Kind};
use crate::evaluate::{score, sum};
use crate::model::Model;
use crate::report::Run;
use candle_core::{DType, Device};
use candle_nn::VarMap;
use candle_prob::optim::{
    Adam, AdamConfig, Checkpoint, Optimizer, Schedule, backward, clip_grad_norm_or_skip,
};
use candle_prob::{Result, Rng, init};
use std::collections::BTreeMap;

/// Metrics by name, for each epoch.
pub type History = Vec<BTreeMap<String, f64>>;

const MAX_NORM: f64 = 10.;
/// Steps of a growing learning rate, at most a tenth of all.
const WARM_UP: usize = 100;

/// Every source of random numbers is forked by what it is for (the epoch, the step), so a continued run needs nothing but
/// the number of epochs done to draw what an uninterrupted one draws.
pub fn train(
    kind: Kind,
    arguments: &Arguments,
    data: &Split,
    entropy: f64,
    rng: &Rng,
    output: &Output,
) -> Result<Run> {
    let vars = VarMap::new();
    let vb = init::seeded(&vars, arguments.common.seed, DType::F32, &Device::Cpu);
    let size = (data.train.height, data.train.width);
    let model = Model::new(kind, arguments, size, vb)?;
    let mut adam = Adam::new(
        &vars,
        AdamConfig {
            lr: arguments.lr,
            ..AdamConfig::default()
        },
    )?;

    let path = output.path(&format!("{}.safetensors", kind.name()));
    let mut history = History::new();
    if arguments.common.resume && path.exists() {
        let notes = Checkpoint::new()
            .config("run", &arguments.fingerprint())
            .vars("model", &vars)
            .optimizer("adam", &mut adam)
            .load(&path)?;
        let text = notes.get("history").map_or("", String::as_str);
        history = serde_json::from_str(text).map_err(|e| file_error(&path, "a history", e))?;
    }

    let steps = data.train.len().div_ceil(arguments.batch);
    let all = arguments.epochs() * steps;
    let warm_up = WARM_UP.min(all / 10);
    let schedule = Schedule::Cosine {
        from: arguments.lr,
        to: 0.,
        steps: all - warm_up,
    }
    .after_warm_up(warm_up);
    let last = arguments
        .epochs()
        .min(arguments.pause_after.unwrap_or(usize::MAX));
    let bar = report::progress((last * steps) as u64, kind.title());
    bar.set_position((history.len() * steps) as u64);
    for epoch in history.len()..last {
        let rng = rng.fork(&format!("epoch {epoch}"));
        let composed;
        let images = if arguments.fresh {
            let count = data.train.len();
            composed = data
                .train_pool
                .compose(count, arguments.digits, &rng.fork("fresh"))?;
            &composed
        } else {
            &data.train
        };
        let order = rng.fork("order").permutation(images.len());
        let (mut distortion, mut rate) = (0., 0.);
        for (k, indices) in order.chunks(arguments.batch).enumerate() {
            let (x, y) = images.batch(indices)?;
            let mut noise = rng.fork(&format!("step {k}"));
            let parts = model.objective(&model.posterior(&x)?, &y, &mut noise)?;
            let mut gradients = backward(&parts.total.mean_all()?)?;
            adam.set_learning_rate(schedule.at(epoch * steps + k));
            if clip_grad_norm_or_skip(&mut gradients, &vars, MAX_NORM)?.is_some() {
                adam.step(&gradients)?;
            }
            distortion += sum(&parts.distortion)?;
            if let Some(part) = &parts.rate {
                rate += sum(part)?;
            }
            bar.inc(1);
        }
        let count = images.len() as f64;
        let test = score(&model, &data.test, arguments.batch, &rng.fork("test"))?;
        let mut metrics = BTreeMap::from([
            ("training_distortion_nats", distortion / count),
            ("distortion_nats", test.distortion()),
            ("exact_match", test.exact_match()),
            ("label_accuracy", test.label_accuracy()),
            ("micro_f1", test.micro_f1()),
            ("information_y_nats", entropy - test.distortion()),
        ]);
        // The deterministic code has no rate: its I(Z; X) is infinite.
        if kind != Kind::Basic {
            metrics.insert("training_rate_nats", rate / count);
            metrics.insert("information_x_nats", test.rate());
        }
        bar.set_message(format!("exact match {:.3}", test.exact_match()));
        let named = metrics
            .into_iter()
            .map(|(name, value)| (name.to_string(), value));
        history.push(named.collect());
        Checkpoint::new()
            .vars("model", &vars)
            .optimizer("adam", &mut adam)
            .config("run", &arguments.fingerprint())
            .note("history", serde_json::json!(history))
            .save(&path)?;
    }
    bar.finish_and_clear();
    // What the paper's protocol measures: new arrangements of sources that training has seen.
    let count = data.test.len();
    let known = data
        .train_pool
        .compose(count, arguments.digits, &rng.fork("known"))?;
    let known = score(&model, &known, arguments.batch, &rng.fork("test"))?;
    Ok(Run {
        kind,
        model,
        history,
        known,
    })
}

/// `--resume` needs at least one checkpoint; models without one start from the beginning.
pub fn check_resume(arguments: &Arguments, output: &Output) -> Result<()> {
    let path = |kind: Kind| output.path(&format!("{}.safetensors", kind.name()));
    let kinds = arguments.kinds();
    if arguments.common.resume && !kinds.iter().any(|&kind| path(kind).exists()) {
        let expected = "a checkpoint of an earlier run";
        return Err(file_error(&path(kinds[0]), expected, "none"));
    }
    Ok(())
}

//! Training of one model.

use crate::common::multi::Split;
use crate::common::report::Output;
use crate::common::train::{Settings, Training};
use crate::config::{Arguments, Kind};
use crate::evaluate::{score, start, sum};
use crate::model::Model;
use crate::report::Run;
use candle_core::{DType, Device};
use candle_nn::VarMap;
use candle_prob::optim::Schedule;
use candle_prob::{Result, Rng, init};

pub fn training(
    kind: Kind,
    arguments: &Arguments,
    settings: &Settings,
    data: &Split,
) -> Training<'static> {
    let mut settings = settings.clone();
    settings.insert("model", kind.name().into());
    Training {
        name: kind.name(),
        title: kind.title(),
        settings,
        epochs: arguments.epochs(),
        pause_after: arguments.pause_after,
        steps: data.train.len().div_ceil(arguments.batch),
        lr: arguments.lr,
        warm_up: 100,
        max_norm: 10.,
        shown: ("exact_match", "exact match"),
    }
}

/// What all models are trained on, and where the results go.
pub struct Setting<'a> {
    pub arguments: &'a Arguments,
    pub data: &'a Split,
    /// H(Y) in nats.
    pub entropy: f64,
    pub rng: &'a Rng,
    pub output: &'a Output,
}

/// A model and its variables.
pub fn model(kind: Kind, arguments: &Arguments, data: &Split) -> Result<(Model, VarMap)> {
    let vars = VarMap::new();
    let vb = init::seeded(&vars, arguments.common.seed, DType::F32, &Device::Cpu);
    let size = (data.train.height, data.train.width);
    Ok((Model::new(kind, arguments, size, vb)?, vars))
}

pub fn train(
    kind: Kind,
    (model, vars): (Model, VarMap),
    training: &Training,
    setting: &Setting,
) -> Result<Run> {
    let Setting {
        arguments,
        data,
        entropy,
        rng,
        output,
    } = *setting;
    let resume = arguments.common.resume;
    let start = start(&model, &data.test, &rng.fork("start"))?;
    let beta = Schedule::Linear {
        from: 0.,
        to: arguments.beta,
        steps: arguments.beta_warm_up * training.steps,
    };
    let history = training.run(&vars, resume, output, |epoch, steps| {
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
        let (mut distortion, mut rate, mut count) = (0., 0., 0.);
        for (k, indices) in order.chunks(arguments.batch).enumerate() {
            let (x, y) = images.batch(indices)?;
            let mut noise = rng.fork(&format!("step {k}"));
            let beta = beta.at(epoch * training.steps + k);
            let parts = model.objective(&model.posterior(&x)?, &y, beta, &mut noise)?;
            if !steps.step(&parts.total.mean_all()?)? {
                continue;
            }
            distortion += sum(&parts.distortion)?;
            if let Some(part) = &parts.rate {
                rate += sum(part)?;
            }
            count += indices.len() as f64;
        }
        let test = score(&model, &data.test, arguments.batch, &rng.fork("test"))?;
        let metrics = [
            ("training_distortion_nats", distortion / count),
            ("distortion_nats", test.distortion()),
            ("exact_match", test.exact_match()),
            ("label_accuracy", test.label_accuracy()),
            ("micro_f1", test.micro_f1()),
            ("information_y_nats", entropy - test.distortion()),
        ];
        // The deterministic code has no rate: its I(Z; X) is infinite.
        let rates = [
            ("training_rate_nats", rate / count),
            ("information_x_nats", test.rate()),
            ("code_information_x_nats", test.code_rate()),
        ];
        let rates = rates.into_iter().filter(|_| kind != Kind::Basic);
        let all = metrics.into_iter().chain(rates);
        Ok(all.map(|(name, value)| (name.into(), value)).collect())
    })?;
    // What the paper's protocol measures: new arrangements of sources that training has seen.
    let count = data.test.len();
    let known = data
        .train_pool
        .compose(count, arguments.digits, &rng.fork("known"))?;
    let known = score(&model, &known, arguments.batch, &rng.fork("test"))?;
    Ok(Run {
        kind,
        model,
        start,
        history,
        known,
    })
}

//! Training on images.

use crate::common::cli::Common;
use crate::common::images::Split;
use crate::common::report::Output;
use crate::common::train::{History, Training};
use crate::images::{Arguments, logit, sums};
use candle_core::{DType, Device};
use candle_nn::VarMap;
use candle_prob::bijector::{Bijector, LogitPreprocessing};
use candle_prob::flow::{ImageFlow, dequantize};
use candle_prob::{Result, Rng, init};
use std::time::Instant;

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

/// Images from which a Glow starts.
const START: usize = 256;

pub fn train(
    arguments: &Arguments,
    common: &Common,
    data: &Split,
    training: &Training,
    output: &Output,
) -> Result<Run> {
    let rng = Rng::new(common.seed).fork("images");
    let vars = VarMap::new();
    let vb = init::seeded(&vars, common.seed, DType::F32, &Device::Cpu);
    let model = Model {
        flow: arguments.build(data.image(), vb)?,
        logit: logit()?,
        levels: data.levels(),
    };
    let start = &data.train[..START.min(data.train.len())];
    let x = dequantize(&data.pixels(start)?, model.levels, &mut rng.fork("start"))?;
    model.flow.initialize(&model.logit.inverse(&x)?)?;

    let batch = arguments.image_batch;
    let clock = Instant::now();
    let history = training.run(&vars, common.resume, output, |epoch, steps| {
        let rng = rng.fork(&format!("epoch {epoch}"));
        let order = rng.fork("order").permutation(data.train.len());
        let (mut sum, mut count) = (0., 0.);
        for (k, chunk) in order.chunks(batch).enumerate() {
            let indices: Vec<usize> = chunk.iter().map(|&i| data.train[i]).collect();
            let mut noise = rng.fork(&format!("step {k}"));
            let bits = model.bits(&data.pixels(&indices)?, true, &mut noise)?;
            if steps.step(&bits.mean_all()?)? {
                sum += sums(&bits)?[0];
                count += chunk.len() as f64;
            }
        }
        let [test, error] = score(&model, data, batch, &rng.fork("test"))?;
        let metrics = [
            ("training_bits_per_dim", sum / count),
            ("bits_per_dim", test),
            ("standard_error", error),
        ];
        Ok(metrics.map(|(name, value)| (name.into(), value)).into())
    })?;
    Ok(Run {
        model,
        history,
        seconds: clock.elapsed().as_secs_f64(),
    })
}

/// Mean and standard error of the bits per dim of all test images.
fn score(model: &Model, data: &Split, batch: usize, rng: &Rng) -> Result<[f64; 2]> {
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

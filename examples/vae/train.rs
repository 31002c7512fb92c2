//! Training of one model.

use crate::common::images::Split;
use crate::common::report::Output;
use crate::common::train::{History, Training};
use crate::config::{Arguments, Kind};
use crate::evaluate::{Estimate, estimate, score, sum};
use crate::model::Model;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarMap;
use candle_prob::{Result, Rng, init};
use std::time::Instant;

/// A trained model and how it got there.
pub struct Run {
    pub kind: Kind,
    pub model: Model,
    pub history: History,
    pub seconds: f64,
    pub estimate: Estimate,
}

pub fn train(
    kind: Kind,
    arguments: &Arguments,
    data: &Split,
    training: &Training,
    output: &Output,
) -> Result<Run> {
    let common = &arguments.common;
    let rng = Rng::new(common.seed);
    let vars = VarMap::new();
    let vb = init::seeded(&vars, common.seed, DType::F32, &Device::Cpu);
    let pixels = data.image().iter().product();
    let model = Model::new(kind, arguments, pixels, vb)?;
    let clock = Instant::now();
    let history = training.run(&vars, common.resume, output, |epoch, steps| {
        let rng = rng.fork(&format!("epoch {epoch}"));
        let order = rng.fork("order").permutation(data.train.len());
        let (mut total, mut count) = (0., 0.);
        for (k, chunk) in order.chunks(arguments.batch).enumerate() {
            let indices: Vec<usize> = chunk.iter().map(|&i| data.train[i]).collect();
            let mut noise = rng.fork(&format!("step {k}"));
            let x = images(data, &indices, &mut noise)?;
            let parts = model.objective(&x, &mut noise)?;
            if steps.step(&parts.total.mean_all()?)? {
                total += sum(&parts.total)?;
                count += chunk.len() as f64;
            }
        }
        let score = score(&model, data, arguments.batch, &rng.fork("test"))?;
        let metrics = [
            ("training_bound", -total / count),
            ("bound", -score.total),
            ("elbo", -score.distortion - score.rate),
            ("distortion", score.distortion),
            ("rate", score.rate),
        ];
        Ok(metrics.map(|(name, value)| (name.into(), value)).into())
    })?;
    let seconds = clock.elapsed().as_secs_f64();
    Ok(Run {
        kind,
        estimate: estimate(&model, arguments, data, &rng.fork("estimate"))?,
        model,
        history,
        seconds,
    })
}

/// Images [N, pixels], each pixel drawn to be 0 or 1 with its grey value as the probability of 1: other ones at every call,
/// as the published figures have it.
pub fn images(data: &Split, indices: &[usize], rng: &mut Rng) -> Result<Tensor> {
    let grey = (data.pixels(indices)?.flatten_from(1)? / f64::from(data.images.peak))?;
    let uniform = rng.uniform(grey.shape(), DType::F32, &Device::Cpu)?;
    Ok(uniform.lt(&grey)?.to_dtype(DType::F32)?)
}

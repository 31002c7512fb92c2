//! Training of one model.

use crate::common::report::Output;
use crate::common::train::{History, Training};
use crate::config::{Arguments, Kind};
use crate::data::Data;
use crate::evaluate::{Estimate, estimate, score, sum};
use crate::gradients::{Spread, gradients};
use crate::model::Model;
use candle_core::{DType, Device};
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
    pub gradients: Vec<(&'static str, Spread)>,
}

pub fn train(
    kind: Kind,
    arguments: &Arguments,
    data: &Data,
    training: &Training,
    output: &Output,
) -> Result<Run> {
    let common = &arguments.common;
    let rng = Rng::new(common.seed);
    let vars = VarMap::new();
    let vb = init::seeded(&vars, common.seed, DType::F32, &Device::Cpu);
    let model = Model::new(kind, arguments, data, vb)?;
    let clock = Instant::now();
    let history = training.run(&vars, common.resume, output, |epoch, steps| {
        let rng = rng.fork(&format!("epoch {epoch}"));
        let train = &data.split.train;
        let order = rng.fork("order").permutation(train.len());
        let (mut total, mut count) = (0., 0.);
        for (k, chunk) in order.chunks(arguments.batch).enumerate() {
            let indices: Vec<usize> = chunk.iter().map(|&i| train[i]).collect();
            let mut noise = rng.fork(&format!("step {k}"));
            let batch = data.batch(&indices, &mut noise)?;
            let parts = model.objective(&batch, &mut noise)?;
            if steps.step(&parts.total.mean_all()?)? {
                total += sum(&parts.total)?;
                count += chunk.len() as f64;
            }
        }
        let score = score(&model, data, arguments.batch, &rng.fork("test"))?;
        let metrics = [
            ("training_loss", total / count),
            ("loss", score.total),
            ("elbo", -score.distortion - score.rate),
            ("distortion", score.distortion),
            ("rate", score.rate),
        ];
        Ok(metrics.map(|(name, value)| (name.into(), value)).into())
    })?;
    let seconds = clock.elapsed().as_secs_f64();
    let gradients = match arguments.gradients {
        Some(draws) => gradients(&model, &vars, data, draws, &rng.fork("gradients"))?,
        None => vec![],
    };
    Ok(Run {
        kind,
        estimate: estimate(&model, arguments, data, &rng.fork("estimate"))?,
        model,
        history,
        seconds,
        gradients,
    })
}

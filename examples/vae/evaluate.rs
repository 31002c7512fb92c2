//! How well a model does on images it has not seen.

use crate::config::Arguments;
use crate::data::{Batch, Data};
use crate::model::Model;
use candle_core::{DType, Tensor};
use candle_prob::distribution::Distribution;
use candle_prob::special::logsumexp;
use candle_prob::{Result, Rng};

/// Means over the test images, in nats.
#[derive(Debug, Default)]
pub struct Score {
    pub total: f64,
    pub distortion: f64,
    pub rate: f64,
}

/// The objective's parts.
pub fn score(model: &Model, data: &Data, batch: usize, rng: &Rng) -> Result<Score> {
    let mut score = Score::default();
    let count = data.split.test.len() as f64;
    for (k, indices) in data.split.test.chunks(batch).enumerate() {
        let mut rng = rng.fork(&k.to_string());
        let batch = data.batch(indices, &mut rng)?;
        let parts = model.objective(&batch, &mut rng)?;
        score.total += sum(&parts.total)? / count;
        score.distortion += sum(&parts.distortion)? / count;
        score.rate += sum(&parts.rate)? / count;
    }
    Ok(score)
}

/// What is measured once, after training.
pub struct Estimate {
    /// Negative log-likelihood in nats, and its standard error over the images.
    pub nll: f64,
    pub standard_error: f64,
    pub images: usize,
    /// Latents whose posterior mean varies over the images: Burda et al. (2016), section 5.2.
    pub active_units: usize,
}

/// Latents that are scored at once.
const CHUNK: usize = 5000;

pub fn estimate(model: &Model, arguments: &Arguments, data: &Data, rng: &Rng) -> Result<Estimate> {
    let most = arguments.nll_images.unwrap_or(usize::MAX);
    let test = &data.split.test[..most.min(data.split.test.len())];
    let (mut nll, mut means) = (vec![], vec![]);
    for (k, indices) in test.chunks(arguments.batch).enumerate() {
        let mut rng = rng.fork(&k.to_string());
        let batch = data.batch(indices, &mut rng)?;
        means.push(model.code(&batch.input)?.detach());
        let bound = log_likelihood(model, &batch, arguments.nll_samples(), &mut rng)?;
        nll.extend(bound.to_vec1::<f64>()?.into_iter().map(|bound| -bound));
    }
    let count = nll.len() as f64;
    let mean = nll.iter().sum::<f64>() / count;
    let square = nll.iter().map(|nll| (nll - mean).powi(2)).sum::<f64>();
    let variance = Tensor::cat(&means, 0)?.to_dtype(DType::F64)?.var(0)?;
    let active = variance.to_vec1::<f64>()?;
    Ok(Estimate {
        nll: mean,
        standard_error: (square / count).sqrt() / count.sqrt(),
        images: nll.len(),
        active_units: active.into_iter().filter(|&v| v > 0.01).count(),
    })
}

/// `ln mean_k p(x, z_k) / q(z_k | x)` of each image in f64, the latents in chunks that memory holds.
fn log_likelihood(model: &Model, batch: &Batch, samples: usize, rng: &mut Rng) -> Result<Tensor> {
    let chunk = (CHUNK / batch.input.dim(0)?).max(1);
    let mut sums = vec![];
    for start in (0..samples).step_by(chunk) {
        let draws = chunk.min(samples - start);
        let latents = model.latents(&batch.input, draws, rng)?;
        let log_likelihood = model.decode(&latents.value)?.log_prob(&batch.target)?;
        let log_weights = (log_likelihood - latents.log_ratio()?)?.detach();
        sums.push(logsumexp(&log_weights.to_dtype(DType::F64)?, 0)?);
    }
    Ok((logsumexp(&Tensor::stack(&sums, 0)?, 0)? - (samples as f64).ln())?)
}

/// The sum in f64: exact enough for any number of batches.
pub fn sum(tensor: &Tensor) -> Result<f64> {
    Ok(tensor.to_dtype(DType::F64)?.sum_all()?.to_scalar()?)
}

//! How well a model does on images it has not seen.

use crate::config::{Arguments, Posterior};
use crate::data::{Data, batches};
use crate::model::{Model, Objective};
use candle_core::{DType, Tensor};
use candle_prob::distribution::Distribution;
use candle_prob::objective::{ACTIVE_VARIANCE, LogLikelihoodConfig, active_units, information_gap};
use candle_prob::{Result, Rng};

/// Means over the test images, in nats.
#[derive(Debug, Default)]
pub struct Score {
    pub total: f64,
    pub distortion: f64,
    pub rate: f64,
}

/// The objective's parts.
pub fn score(model: &dyn Objective, data: &Data, batch: usize, rng: &Rng) -> Result<Score> {
    let mut score = Score::default();
    let count = data.split.test.len() as f64;
    for (k, indices) in batches(&data.split.test, batch).into_iter().enumerate() {
        let mut rng = rng.fork(&k.to_string());
        let batch = data.batch(indices, &mut rng)?;
        let parts = model.objective(&batch, false, &mut rng)?;
        score.total += sum(&parts.total)? / count;
        score.distortion += sum(&parts.distortion)? / count;
        score.rate += sum(&parts.rate)? / count;
    }
    Ok(score)
}

/// What is measured once, after training.
pub struct Estimate {
    /// None of a likelihood that is no density.
    pub nll: Option<Nll>,
    /// Latents whose posterior mean varies over the images; it is not known of a flow.
    pub active_units: Option<usize>,
    /// How much more one latent says about the class than any other; likewise.
    pub information_gap: Option<f64>,
}

/// Negative log-likelihood in nats, and its standard error over the images.
pub struct Nll {
    pub mean: f64,
    pub standard_error: f64,
    pub images: usize,
}

/// Latents that are scored at once, of one number for each pixel.
const CHUNK: usize = 5000;
/// Test images whose latents are compared with each other.
const PAIRS: usize = 1000;

pub fn estimate(model: &Model, arguments: &Arguments, data: &Data, rng: &Rng) -> Result<Estimate> {
    let nll = match arguments.likelihood.is_density() {
        true => Some(nll(model, arguments, data, rng)?),
        false => None,
    };
    let mut rng = rng.fork("codes");
    let (mut active, mut information_gap) = (None, None);
    if arguments.posterior == Posterior::Normal {
        let codes = data.split.test.chunks(1000).map(|indices| {
            let input = data.batch(indices, &mut rng)?.input;
            Ok(model.code(&input)?.detach())
        });
        let codes = Tensor::cat(&codes.collect::<Result<Vec<_>>>()?, 0)?;
        active = Some(active_units(&codes, ACTIVE_VARIANCE)?.count);
        information_gap = gap(model, data, &mut rng)?;
    }
    Ok(Estimate {
        nll,
        active_units: active,
        information_gap,
    })
}

fn nll(model: &Model, arguments: &Arguments, data: &Data, rng: &Rng) -> Result<Nll> {
    let split = &data.split;
    let most = arguments.nll_images.unwrap_or(usize::MAX);
    let test = &split.test[..most.min(split.test.len())];
    let config = LogLikelihoodConfig {
        samples: arguments.nll_samples(),
        chunk: (CHUNK / arguments.batch / data.numbers()?).max(1),
    };
    let mut nll = vec![];
    for (k, indices) in test.chunks(arguments.batch).enumerate() {
        let mut rng = rng.fork(&k.to_string());
        let batch = data.batch(indices, &mut rng)?;
        let log_likelihood = model.log_likelihood(&batch, &config, &mut rng)?;
        let values = log_likelihood.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        nll.extend(values.into_iter().map(|value| -value));
    }
    let count = nll.len() as f64;
    let mean = nll.iter().sum::<f64>() / count;
    let square = nll.iter().map(|nll| (nll - mean).powi(2)).sum::<f64>();
    Ok(Nll {
        mean,
        standard_error: (square / count).sqrt() / count.sqrt(),
        images: nll.len(),
    })
}

/// Of the first test images; none of one latent or one class.
fn gap(model: &Model, data: &Data, rng: &mut Rng) -> Result<Option<f64>> {
    let split = &data.split;
    let shown = &split.test[..PAIRS.min(split.test.len())];
    let labels = shown
        .iter()
        .map(|&index| u32::from(split.images.labels[index]));
    let labels: Vec<u32> = labels.collect();
    let posterior = model.encode(&data.batch(shown, rng)?.input)?;
    if posterior.event_shape() == [1] || labels.iter().all(|label| *label == labels[0]) {
        return Ok(None);
    }
    let z = posterior.sample(&[], rng)?;
    let labels = Tensor::new(labels, z.device())?.unsqueeze(1)?;
    Ok(Some(information_gap(&posterior, &z, &labels)?.mean))
}

/// The sum in f64: exact enough for any number of batches.
pub fn sum(tensor: &Tensor) -> Result<f64> {
    Ok(tensor.to_dtype(DType::F64)?.sum_all()?.to_scalar()?)
}

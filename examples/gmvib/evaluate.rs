//! How well a model does on images it has not seen.

use crate::common::images::CLASSES;
use crate::common::multi::MultiImages;
use crate::model::Model;
use candle_core::Tensor;
use candle_prob::distribution::{Bernoulli, Distribution, Independent, Moments};
use candle_prob::{Result, Rng};

/// Sums over images.
#[derive(Debug, Default, Clone, Copy)]
pub struct Score {
    images: f64,
    exact: f64,
    labels_right: f64,
    true_positives: f64,
    /// False positives and false negatives.
    mistakes: f64,
    distortion: f64,
    rate: f64,
    code_rate: f64,
}

impl Score {
    /// A label is predicted present where its probability is above one half.
    fn add_predictions(&mut self, probabilities: &[f32], truth: &[f32]) {
        let rows = probabilities.chunks_exact(CLASSES);
        for (row, truth) in rows.zip(truth.chunks_exact(CLASSES)) {
            let pairs = || {
                row.iter()
                    .map(|&p| p > 0.5)
                    .zip(truth.iter().map(|&t| t > 0.5))
            };
            let wrong = pairs().filter(|(p, t)| p != t).count();
            self.images += 1.;
            self.exact += f64::from(u8::from(wrong == 0));
            self.labels_right += (CLASSES - wrong) as f64;
            self.mistakes += wrong as f64;
            self.true_positives += pairs().filter(|&(p, t)| p && t).count() as f64;
        }
    }

    /// All labels of the image right.
    pub fn exact_match(&self) -> f64 {
        self.exact / self.images
    }

    /// Labels right, present and absent alike.
    pub fn label_accuracy(&self) -> f64 {
        self.labels_right / (self.images * CLASSES as f64)
    }

    pub fn micro_f1(&self) -> f64 {
        2. * self.true_positives / (2. * self.true_positives + self.mistakes)
    }

    /// Mean negative log-likelihood of the label set, nats.
    pub fn distortion(&self) -> f64 {
        self.distortion / self.images
    }

    /// Mean KL to the prior, nats: an upper bound of I(Z; X), where Z is all components and their weight.
    pub fn rate(&self) -> f64 {
        self.rate / self.images
    }

    /// The same for the one code that is decoded.
    pub fn code_rate(&self) -> f64 {
        self.code_rate / self.images
    }
}

/// Scores a model. Its prediction is the mean over the Monte-Carlo samples of the labels' probabilities.
pub fn score(model: &Model, images: &MultiImages, batch: usize, rng: &Rng) -> Result<Score> {
    let mut score = Score::default();
    let all: Vec<usize> = (0..images.len()).collect();
    for (k, indices) in all.chunks(batch).enumerate() {
        let (x, y) = images.batch(indices)?;
        let mut rng = rng.fork(&k.to_string());
        let posterior = model.posterior(&x)?;
        let predictions = model.predictions(&posterior, &mut rng)?;
        score.distortion -= sum(&predictions.log_prob(&y)?.mean(0)?)?;
        if let Some(rates) = model.rates(&posterior, &mut rng)? {
            score.rate += sum(&rates.all)?;
            score.code_rate += sum(&rates.code)?;
        }
        score.add_predictions(&probabilities(&predictions)?, &values(&y)?);
    }
    Ok(score)
}

/// The probability of each label, `[B, 10]` row by row: the mean over the Monte-Carlo samples of the code.
pub fn probabilities(predictions: &Independent<Bernoulli>) -> Result<Vec<f32>> {
    values(&predictions.mean()?.mean(0)?)
}

/// Where training begins: the rate, and how far the code's signal stands out of its noise.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// Mean KL to the prior, nats.
    pub rate: f64,
    /// Standard deviation of the code's mean over images by that of the code of one image, dimensions pooled.
    pub signal_to_noise: f64,
}

/// The start of a model with a random code.
pub fn start(model: &Model, images: &MultiImages, rng: &Rng) -> Result<Option<Start>> {
    const SAMPLES: usize = 64;
    let all: Vec<usize> = (0..images.len().min(128)).collect();
    let (x, _) = images.batch(&all)?;
    let posterior = model.posterior(&x)?;
    let Some(rates) = model.rates(&posterior, &mut rng.fork("rates"))? else {
        return Ok(None);
    };
    let codes = model.codes(&posterior, SAMPLES, &mut rng.fork("codes"))?;
    let mean = codes.mean_keepdim(0)?;
    let deviations = sum(&codes.broadcast_sub(&mean)?.sqr()?)?;
    let spread = sum(&mean.broadcast_sub(&mean.mean_keepdim(1)?)?.sqr()?)?;
    let (n, s) = (all.len() as f64, SAMPLES as f64);
    let noise = deviations / (n * (s - 1.));
    // Means of few draws spread by their noise too.
    let signal = (spread / (n - 1.) - noise / s).max(0.);
    Ok(Some(Start {
        rate: sum(&rates.all)? / n,
        signal_to_noise: (signal / noise).sqrt(),
    }))
}

/// The sum in f64: exact enough for any number of batches.
pub fn sum(tensor: &Tensor) -> Result<f64> {
    Ok(values(tensor)?.into_iter().map(f64::from).sum())
}

pub fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}

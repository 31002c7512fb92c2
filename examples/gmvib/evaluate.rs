//! How well a model does on images it has not seen.

use crate::common::images::CLASSES;
use crate::common::multi::MultiImages;
use crate::model::Model;
use candle_core::Tensor;
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

    /// Mean KL to the prior, nats: an upper bound of I(Z; X).
    pub fn rate(&self) -> f64 {
        self.rate / self.images
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
        let parts = model.objective(&posterior, &y, &mut rng)?;
        score.distortion += sum(&parts.distortion)?;
        if let Some(rate) = &parts.rate {
            score.rate += sum(rate)?;
        }
        let probabilities = model.probabilities(&posterior, &mut rng)?;
        score.add_predictions(&values(&probabilities)?, &values(&y)?);
    }
    Ok(score)
}

/// The sum in f64: exact enough for any number of batches.
pub fn sum(tensor: &Tensor) -> Result<f64> {
    Ok(values(tensor)?.into_iter().map(f64::from).sum())
}

pub fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}

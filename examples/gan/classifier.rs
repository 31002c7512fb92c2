//! A small classifier of the training images, in whose features samples are compared with data.

use crate::common::images::{CLASSES, Split};
use crate::common::report::Output;
use crate::common::train::{Metrics, Settings, Training};
use crate::data::images;
use candle_core::{D, DType, Device, Tensor};
use candle_nn::{Module, VarMap};
use candle_prob::distribution::{Categorical, Distribution};
use candle_prob::net::{ConvEncoder, ConvEncoderConfig, Dense, conv_encoder, dense};
use candle_prob::{Activation, Result, Rng, init};

/// Numbers that an image becomes.
const FEATURES: usize = 64;
const BATCH: usize = 100;
/// Images that are classified at once.
const BLOCK: usize = 500;
pub const NAME: &str = "classifier";

pub struct Classifier {
    encoder: ConvEncoder,
    head: Dense,
    /// The share of test images whose class it tells.
    pub accuracy: f64,
}

/// Its training: the same whatever generators are trained beside it.
pub fn training(split: &Split, seed: u64, quick: bool) -> Training<'static> {
    let epochs = match (split.images.own_split, quick) {
        (_, true) => 1,
        (Some(_), false) => 2,
        (None, false) => 20,
    };
    Training {
        name: NAME,
        title: "Classifier",
        settings: Settings::from([
            ("data", split.images.id()),
            ("images", split.train.len().to_string()),
            ("classifier_epochs", epochs.to_string()),
            ("seed", seed.to_string()),
        ]),
        epochs,
        pause_after: None,
        steps: split.train.len().div_ceil(BATCH),
        lr: 2e-3,
        warm_up: 50,
        max_norm: 100.,
        shown: ("accuracy", "accuracy"),
    }
}

impl Classifier {
    pub fn train(
        split: &Split,
        training: &Training,
        (seed, resume): (u64, bool),
        output: &Output,
    ) -> Result<Self> {
        let vars = VarMap::new();
        let vb = init::seeded(&vars, seed, DType::F32, &Device::Cpu);
        let config = ConvEncoderConfig {
            channels: vec![16, 32],
            activation: Activation::LeakyRelu(0.2),
            hidden: Some(FEATURES),
            ..ConvEncoderConfig::default()
        };
        let size = (1, split.images.height, split.images.width);
        let mut classifier = Classifier {
            encoder: conv_encoder(&config, size, vb.pp("encoder"))?,
            head: dense(FEATURES, CLASSES, Activation::Identity, vb.pp("head"))?,
            accuracy: 0.,
        };
        training.run(&vars, resume, output, |epoch, steps| {
            let order = Rng::new(seed).fork(&format!("{NAME} {epoch}"));
            let order = { order }.permutation(split.train.len());
            for indices in order.chunks(BATCH) {
                let indices: Vec<usize> = indices.iter().map(|k| split.train[*k]).collect();
                let logits = classifier.logits(&images(split, &indices)?)?;
                let labels = labels(split, &indices)?;
                let loss = Categorical::new(&logits)?.log_prob(&labels)?.neg()?;
                steps.step(&loss.mean_all()?)?;
            }
            Ok(Metrics::from([(
                "accuracy".into(),
                classifier.measure(split)?,
            )]))
        })?;
        classifier.accuracy = classifier.measure(split)?;
        Ok(classifier)
    }

    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        Ok(self.head.forward(&self.encoder.forward(images)?)?)
    }

    fn measure(&self, split: &Split) -> Result<f64> {
        let mut right = 0.;
        for indices in split.test.chunks(BLOCK) {
            let found = self.logits(&images(split, indices)?)?.argmax(D::Minus1)?;
            let right_here = found.eq(&labels(split, indices)?)?.to_dtype(DType::F64)?;
            right += right_here.sum_all()?.to_scalar::<f64>()?;
        }
        Ok(right / split.test.len() as f64)
    }

    /// The layer before the classes, [N, 64] of images [N, 1, H, W].
    pub fn features(&self, images: &Tensor) -> Result<Tensor> {
        let count = images.dim(0)?;
        let starts = (0..count).step_by(BLOCK);
        let parts = starts.map(|start| {
            let part = images.narrow(0, start, BLOCK.min(count - start))?;
            Ok(self.encoder.forward(&part)?.detach())
        });
        Ok(Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)?)
    }
}

fn labels(split: &Split, indices: &[usize]) -> Result<Tensor> {
    let labels = indices.iter().map(|k| u32::from(split.images.labels[*k]));
    Ok(Tensor::from_iter(labels, &Device::Cpu)?)
}

//! Training on images.

use crate::common::cli::Common;
use crate::common::images::Split;
use crate::common::report::Output;
use crate::common::train::{History, Training};
use crate::images::{Arguments, logit, sums};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarMap;
use candle_prob::bijector::{Bijector, LogitPreprocessing};
use candle_prob::flow::{ImageFlow, VectorFlow, dequantize};
use candle_prob::{Result, Rng, init};
use std::time::Instant;

/// A flow of images in [0, 1] that were whole numbers.
pub struct Model {
    pub network: Network,
    pub logit: LogitPreprocessing,
    pub levels: usize,
}

/// What leads images to latents of the same shape.
pub enum Network {
    Images(ImageFlow),
    /// A flow of all pixels in a row, for images of this shape.
    Vectors(VectorFlow, [usize; 3]),
}

impl Network {
    pub fn image(&self) -> [usize; 3] {
        match self {
            Network::Images(flow) => flow.image(),
            Network::Vectors(_, image) => *image,
        }
    }

    /// Sets what data set before training, if the flow has such.
    fn initialize(&self, images: &Tensor) -> Result<()> {
        match self {
            Network::Images(flow) => flow.initialize(images).map(drop),
            Network::Vectors(..) => Ok(()),
        }
    }

    /// From images to latents. In training the statistics of a batch normalization run.
    pub fn inverse_and_log_det_t(&self, x: &Tensor, train: bool) -> Result<(Tensor, Tensor)> {
        match self {
            Network::Images(flow) => flow.inverse_and_log_det_t(x, train),
            Network::Vectors(flow, _) => {
                let (z, log_det) = flow.inverse_and_log_det(&x.flatten_from(1)?)?;
                Ok((z.reshape(x.shape())?, log_det))
            }
        }
    }

    pub fn inverse(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.inverse_and_log_det_t(x, false)?.0)
    }

    pub fn transform(&self, z: &Tensor) -> Result<Tensor> {
        match self {
            Network::Images(flow) => flow.transform(z),
            Network::Vectors(flow, _) => {
                Ok(flow.transform(&z.flatten_from(1)?)?.reshape(z.shape())?)
            }
        }
    }
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
        network: arguments.build(data.image(), vb)?,
        logit: logit()?,
        levels: data.levels(),
    };
    let start = &data.train[..START.min(data.train.len())];
    let x = dequantize(&data.pixels(start)?, model.levels, &mut rng.fork("start"))?;
    model.network.initialize(&model.logit.inverse(&x)?)?;

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

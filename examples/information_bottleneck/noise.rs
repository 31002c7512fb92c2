//! Figure 4: codes that are scaled to less and less entropy, with and without noise of entropy zero.

use crate::common::images::CLASSES;
use crate::common::report::Output;
use crate::common::train::{History, Metrics, Training};
use crate::config::{Arguments, Experiment};
use crate::data::{Data, Samples};
use crate::estimate;
use crate::model::DropoutCnn;
use crate::train::{Descent, MAX_NORM, metrics, steps};
use candle_core::{D, DType, Device, Module, Tensor};
use candle_nn::{Init, VarBuilder, VarMap};
use candle_prob::distribution::{Categorical, Distribution};
use candle_prob::init::{self, Buffer};
use candle_prob::net::{Dense, dense};
use candle_prob::objective::{ZERO_ENTROPY_VARIANCE, decoder_cross_entropy, zero_entropy_noise};
use candle_prob::special::log_softmax;
use candle_prob::{Activation, Result, Rng};
use std::f64::consts::{E, PI};

/// Images that are encoded at once where nothing is trained.
const BLOCK: usize = 200;
/// Images that train of which the error is told.
const TOLD: usize = 2000;
/// Epochs before the first scaling below 1, as a share.
const WARM_UP: f64 = 0.25;
/// The last scales: with noise a hundredth of its deviation, without where f32 has no numbers left.
const LAST: [f64; 2] = [2.4e-3, 1e-47];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noise {
    Without,
    With,
}

impl Noise {
    pub const ALL: [Noise; 2] = [Noise::Without, Noise::With];

    pub fn name(self) -> &'static str {
        match self {
            Noise::Without => "noise_without",
            Noise::With => "noise_with",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Noise::Without => "without noise",
            Noise::With => "with zero-entropy noise",
        }
    }

    /// The scale after an epoch: 1 at first, then by equal factors to the last.
    fn scale(self, epoch: usize, epochs: usize) -> f64 {
        let last = match self {
            Noise::With => LAST[0],
            Noise::Without => LAST[1],
        };
        let first = (WARM_UP * epochs as f64).floor();
        let share = (epoch as f64 + 1. - first) / (epochs as f64 - first);
        last.powf(share.clamp(0., 1.))
    }
}

pub fn training<'a>(noise: Noise, arguments: &Arguments, data: &Data) -> Training<'a> {
    let experiment = Experiment::Noise;
    let mut settings = arguments.settings(experiment, data);
    settings.insert("noise", (noise == Noise::With).to_string());
    Training {
        name: noise.name(),
        title: noise.title(),
        settings,
        epochs: arguments.epochs(experiment),
        pause_after: arguments.pause_after,
        steps: steps(data.train.len(), arguments.batch),
        lr: arguments.lr(),
        warm_up: 0,
        max_norm: MAX_NORM,
        shown: ("error", "error"),
    }
}

struct Model {
    noise: Noise,
    encoder: DropoutCnn,
    decoder: Dense,
    samples: usize,
    /// Mean and deviation of what the encoder says, `[K]`, and the scale that the code is brought to.
    mean: Buffer,
    deviation: Buffer,
    scale: Buffer,
}

impl Model {
    fn new(noise: Noise, arguments: &Arguments, data: &Data, vb: VarBuilder) -> Result<Self> {
        let latent = arguments.latent(Experiment::Noise);
        let wide = vb.pp("scaling").to_dtype(DType::F64);
        Ok(Model {
            noise,
            encoder: DropoutCnn::new(data.image, latent, vb.pp("encoder"))?,
            decoder: dense(latent, CLASSES, Activation::Identity, vb.pp("decoder"))?,
            samples: arguments.samples(),
            mean: Buffer::new(latent, "mean", Init::Const(0.), vb.pp("scaling"))?,
            deviation: Buffer::new(latent, "deviation", Init::Const(1.), vb.pp("scaling"))?,
            scale: Buffer::new(1, "scale", Init::Const(1.), wide)?,
        })
    }

    fn scale(&self) -> Result<f64> {
        Ok(self.scale.value()?.to_vec1::<f64>()?[0])
    }

    /// The code, normalized and scaled, in f32 whatever is left of it there.
    fn code(&self, raw: &Tensor, rng: &mut Rng) -> Result<Tensor> {
        let normal = raw
            .broadcast_sub(&self.mean.value()?)?
            .broadcast_div(&self.deviation.value()?)?;
        let half = self.scale()?.sqrt();
        // In two steps, as below.
        let code = ((normal * half)? * half)?;
        match self.noise {
            Noise::Without => Ok(code),
            Noise::With => zero_entropy_noise(&code, rng),
        }
    }

    /// Scores of a code: the decoder's weights are divided by what the code was multiplied by, so that scaling alone changes
    /// nothing but by rounding. The gradient is that of no scaling at all, which is the same: 1 / scale would overflow.
    fn scores(&self, raw: &Tensor, rng: &mut Rng) -> Result<Tensor> {
        let code = self.code(&raw.detach(), rng)?;
        let half = 1. / self.scale()?.sqrt();
        let undone = ((code * half)? * half)?
            .broadcast_mul(&self.deviation.value()?)?
            .broadcast_add(&self.mean.value()?)?;
        let change = (undone - raw.detach())?;
        Ok(self.decoder.forward(&(raw + change)?)?)
    }

    fn loss(&self, images: &Tensor, labels: &Tensor, rng: &mut Rng) -> Result<Tensor> {
        let raw = self.encoder.forward(images, self.samples, rng)?;
        let scores = self.scores(&raw, rng)?;
        let labels = labels.broadcast_as(&scores.dims()[..2])?;
        let likelihood = Categorical::new(&scores)?.log_prob(&labels)?;
        Ok(decoder_cross_entropy(&likelihood)?.mean_all()?)
    }

    /// Normalizes what the encoder says of the images that train, by its moments over images and masks.
    fn rescale(&self, scale: f64, samples: &Samples, rng: &mut Rng) -> Result<()> {
        let raw = self.raw(samples, 1, rng)?.to_dtype(DType::F64)?;
        let mean = raw.mean(0)?;
        let variance = raw.broadcast_sub(&mean)?.sqr()?.mean(0)?;
        // Numbers that are always the same are left so.
        let deviation = variance
            .eq(0.)?
            .where_cond(&variance.ones_like()?, &variance.sqrt()?)?;
        self.mean.set(&mean.to_dtype(DType::F32)?)?;
        self.deviation.set(&deviation.to_dtype(DType::F32)?)?;
        self.scale.set(&Tensor::new(&[scale], &Device::Cpu)?)
    }

    /// `[N, K]` of one dropout sample, `[samples, N, K]` of more.
    fn raw(&self, samples: &Samples, draws: usize, rng: &mut Rng) -> Result<Tensor> {
        let mut parts = vec![];
        for start in (0..samples.len()).step_by(BLOCK) {
            let count = BLOCK.min(samples.len() - start);
            let images = samples.images.narrow(0, start, count)?;
            parts.push(self.encoder.forward(&images, draws, rng)?.detach());
        }
        let raw = Tensor::cat(&parts, 1)?;
        Ok(if draws == 1 { raw.squeeze(0)? } else { raw })
    }

    /// The share of images that the mean of the dropout samples' probabilities gets wrong.
    fn error(&self, samples: &Samples, rng: &mut Rng) -> Result<f64> {
        let raw = self.raw(samples, self.samples, rng)?;
        let raw = if raw.rank() == 2 {
            raw.unsqueeze(0)?
        } else {
            raw
        };
        let scores = self.scores(&raw, rng)?.to_dtype(DType::F64)?;
        samples.error(&log_softmax(&scores, D::Minus1)?.exp()?.mean(0)?)
    }

    fn measure(&self, train: &Samples, test: &Samples, rng: &mut Rng) -> Result<Metrics> {
        let raw = self.raw(train, 1, rng)?;
        let codes = self.code(&raw, rng)?.to_dtype(DType::F64)?;
        let scale = self.scale()?;
        let dims = codes.dim(1)? as f64;
        // Of a normal distribution with the variance that scaling leaves and noise adds: the largest entropy.
        let added = if self.noise == Noise::With {
            ZERO_ENTROPY_VARIANCE
        } else {
            0.
        };
        let bound = dims / 2. * (2. * PI * E * (scale * scale + added)).ln();
        let mut all = metrics([
            ("scale", scale),
            ("entropy_bound", bound),
            ("error", self.error(train, rng)?),
            ("test_error", self.error(test, rng)?),
        ]);
        // Codes that coincide have none, and a bound in its place would be taken for it.
        all.extend(estimate::entropy(&codes)?.map(|nats| ("entropy".to_string(), nats)));
        Ok(all)
    }
}

pub fn train(
    noise: Noise,
    training: &Training,
    arguments: &Arguments,
    data: &Data,
    output: &Output,
) -> Result<History> {
    // Both trainings begin from the same weights and have the same batches and masks.
    let rng = Rng::new(arguments.common.seed).fork("noise");
    let vars = VarMap::new();
    let vb = init::seeded(&vars, rng.state().key, DType::F32, &Device::Cpu);
    let model = Model::new(noise, arguments, data, vb)?;
    let mut descent = Descent::new(training, &vars)?;
    let bar = descent.bar();
    let told = data.train.first(TOLD)?;
    let count = data.train.len();
    training.run_with(
        &mut descent,
        &bar,
        arguments.common.resume,
        output,
        |epoch, descent| {
            let rng = rng.fork(&format!("epoch {epoch}"));
            let loss = descent.epoch(count, arguments.batch, &rng, |indices, rng| {
                let (images, labels) = data.train.select(indices)?;
                model.loss(&images, &labels, rng)
            })?;
            let scale = noise.scale(epoch, training.epochs);
            model.rescale(scale, &told, &mut rng.fork("scale"))?;
            let mut all = model.measure(&told, &data.test, &mut rng.fork("measure"))?;
            all.insert("objective".into(), loss);
            Ok(all)
        },
    )
}

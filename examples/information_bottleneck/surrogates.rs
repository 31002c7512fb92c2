//! Figures 1, 5 and 6: regularizers that stand in the place of the entropy of codes with zero-entropy noise.

use crate::common::images::CLASSES;
use crate::common::report::Output;
use crate::common::train::{History, Metrics, Training};
use crate::config::{Arguments, Experiment, Regularizer};
use crate::data::{Data, Samples};
use crate::estimate;
use crate::model::Encoder;
use crate::train::{Descent, MAX_NORM, metrics, steps};
use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{VarBuilder, VarMap};
use candle_prob::distribution::{Categorical, Distribution};
use candle_prob::information::PlanePoint;
use candle_prob::init;
use candle_prob::net::{Dense, dense};
use candle_prob::objective::{decoder_cross_entropy, zero_entropy_noise};
use candle_prob::{Activation, Result, Rng};

/// Images that are encoded at once where nothing is trained.
const BLOCK: usize = 500;
/// Images of whose codes entropies are estimated.
const ESTIMATED: usize = 4000;

/// A regularizer with a weight.
pub struct Point {
    pub regularizer: Regularizer,
    pub gamma: f64,
    pub name: String,
}

pub fn points(arguments: &Arguments) -> Vec<Point> {
    let gammas = arguments.gammas();
    let of = |regularizer: Regularizer| {
        let point = |gamma: &f64| Point {
            regularizer,
            gamma: *gamma,
            name: format!("surrogates_{}_{gamma}", regularizer.name()),
        };
        gammas.iter().map(point).collect::<Vec<_>>()
    };
    arguments.surrogates().into_iter().flat_map(of).collect()
}

pub fn training<'a>(point: &'a Point, arguments: &Arguments, data: &Data) -> Training<'a> {
    let experiment = Experiment::Surrogates;
    let mut settings = arguments.settings(experiment, data);
    settings.insert("surrogate", point.regularizer.name());
    settings.insert("gamma", format!("{:?}", point.gamma));
    Training {
        name: &point.name,
        title: point.regularizer.title(),
        settings,
        epochs: arguments.epochs(experiment),
        pause_after: arguments.pause_after,
        steps: steps(data.train.len(), arguments.batch),
        lr: arguments.lr(),
        warm_up: 0,
        max_norm: MAX_NORM,
        shown: ("encoding_entropy", "H[Z]"),
    }
}

struct Model {
    encoder: Encoder,
    decoder: Dense,
}

impl Model {
    fn new(arguments: &Arguments, data: &Data, vb: VarBuilder) -> Result<Self> {
        let latent = arguments.latent(Experiment::Surrogates);
        Ok(Model {
            encoder: Encoder::residual(arguments.net, data.image, latent, vb.pp("encoder"))?,
            decoder: dense(latent, CLASSES, Activation::Identity, vb.pp("decoder"))?,
        })
    }

    /// Decoder cross-entropy of one sample of the noise, and the regularizer, nats.
    fn loss(
        &self,
        point: &Point,
        images: &Tensor,
        labels: &Tensor,
        rng: &mut Rng,
    ) -> Result<Tensor> {
        let codes = zero_entropy_noise(&self.encoder.forward(images, true)?, rng)?;
        let likelihood = self.likelihood(&codes, labels)?.unsqueeze(0)?;
        let distortion = decoder_cross_entropy(&likelihood)?.mean_all()?;
        let rate = point.regularizer.surrogate().regularizer(&codes, labels)?;
        Ok((distortion + (rate.value * point.gamma)?)?)
    }

    fn likelihood(&self, codes: &Tensor, labels: &Tensor) -> Result<Tensor> {
        Categorical::new(&self.decoder.forward(codes)?)?.log_prob(labels)
    }

    fn codes(&self, samples: &Samples, rng: &mut Rng) -> Result<Tensor> {
        let codes = samples.map(BLOCK, |images| self.encoder.forward(images, false))?;
        zero_entropy_noise(&codes, rng)
    }

    fn measure(&self, data: &Data, told: &Samples, rng: &mut Rng) -> Result<Metrics> {
        let codes = self.codes(told, &mut rng.fork("train"))?;
        let test = self.codes(&data.test, &mut rng.fork("test"))?;
        let mean = |codes: &Tensor, samples: &Samples| -> Result<f64> {
            let likelihood = self
                .likelihood(codes, &samples.labels)?
                .to_dtype(DType::F64)?;
            Ok(-likelihood.mean_all()?.to_scalar::<f64>()?)
        };
        let error =
            |codes: &Tensor, samples: &Samples| samples.error(&self.decoder.forward(codes)?);
        let mut all = metrics([
            ("decoder_cross_entropy", mean(&codes, told)?),
            ("test_decoder_cross_entropy", mean(&test, &data.test)?),
            ("error", error(&codes, told)?),
            ("test_error", error(&test, &data.test)?),
        ]);
        // The encoder is deterministic but for the noise, whose entropy is 0: H[Z|X] = 0 and I[X;Z] = H[Z].
        if let Some(found) = estimate::quantities(&codes.to_dtype(DType::F64)?, told)? {
            let point = PlanePoint {
                encoding_entropy: Some(found.entropy),
                encoding_uncertainty: Some(0.),
                reverse_decoder_uncertainty: Some(found.reverse_decoder_uncertainty),
                preserved_relevant: Some(found.preserved_relevant),
                label_entropy: Some(told.label_entropy()),
                label_uncertainty: Some(0.),
                ..PlanePoint::default()
            };
            let known = point.complete();
            let known = known
                .named()
                .filter_map(|(name, x)| Some((name.to_string(), x?)));
            all.extend(known);
        }
        Ok(all)
    }
}

pub fn train(
    point: &Point,
    training: &Training,
    arguments: &Arguments,
    data: &Data,
    output: &Output,
) -> Result<History> {
    // All trainings begin from the same weights and have the same batches and noise.
    let rng = Rng::new(arguments.common.seed).fork("surrogates");
    let vars = VarMap::new();
    let vb = init::seeded(&vars, rng.state().key, DType::F32, &Device::Cpu);
    let model = Model::new(arguments, data, vb)?;
    let mut descent = Descent::new(training, &vars)?;
    let bar = descent.bar();
    let told = data.train.first(ESTIMATED)?;
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
                model.loss(point, &images, &labels, rng)
            })?;
            let mut all = model.measure(data, &told, &mut rng.fork("measure"))?;
            all.insert("objective".into(), loss);
            Ok(all)
        },
    )
}

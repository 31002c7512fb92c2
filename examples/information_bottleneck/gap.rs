//! Figure 3: what decoder uncertainty and the two cross-entropies of a categorical code are when each is trained in turn.

use crate::common::cli::value_name;
use crate::common::images::CLASSES;
use crate::common::report::Output;
use crate::common::train::{History, Metrics, Training};
use crate::config::{Arguments, Experiment, Optimum};
use crate::data::Data;
use crate::model::Encoder;
use crate::train::{Descent, MAX_NORM, metrics, steps};
use candle_core::{D, DType, Device, Module, Tensor};
use candle_nn::{Init, VarBuilder, VarMap};
use candle_prob::information::{CategoricalDecoder, Diagram, PlanePoint, Targets, optimal_decoder};
use candle_prob::init::{self, Buffer};
use candle_prob::net::{Mlp, mlp};
use candle_prob::objective::error_bound;
use candle_prob::special::log_softmax;
use candle_prob::{Activation, Detach, Result, Rng};

/// Images that are encoded at once where nothing is trained.
const BLOCK: usize = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objective {
    /// H[Y|Z], of the optimal decoder of each batch
    Uncertainty,
    /// H_theta[Y|Z]
    Decoder,
    /// H_theta[Y|X]
    Prediction,
}

impl Objective {
    pub const ALL: [Objective; 3] = [
        Objective::Uncertainty,
        Objective::Decoder,
        Objective::Prediction,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Objective::Uncertainty => "decoder_uncertainty",
            Objective::Decoder => "decoder_cross_entropy",
            Objective::Prediction => "prediction_cross_entropy",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Objective::Uncertainty => "decoder uncertainty H[Y|Z]",
            Objective::Decoder => "decoder cross-entropy",
            Objective::Prediction => "prediction cross-entropy",
        }
    }
}

/// An objective's trainings.
pub struct Trial {
    pub objective: Objective,
    pub trial: usize,
    pub optimum: Optimum,
    pub name: String,
}

pub fn trials(arguments: &Arguments) -> Vec<Trial> {
    let of = |objective: Objective| {
        (0..arguments.trials()).map(move |trial| Trial {
            objective,
            trial,
            optimum: arguments.optimum,
            name: format!("gap_{}_{trial}", objective.name()),
        })
    };
    Objective::ALL.into_iter().flat_map(of).collect()
}

pub fn training<'a>(trial: &'a Trial, arguments: &Arguments, data: &Data) -> Training<'a> {
    let experiment = Experiment::Gap;
    let mut settings = arguments.settings(experiment, data);
    settings.insert("objective", trial.objective.name().into());
    if trial.objective == Objective::Uncertainty {
        settings.insert("optimum", value_name(trial.optimum));
    }
    settings.insert("trial", trial.trial.to_string());
    Training {
        name: &trial.name,
        title: trial.objective.title(),
        settings,
        epochs: arguments.epochs(experiment),
        pause_after: arguments.pause_after,
        steps: steps(data.train.len(), arguments.batch),
        lr: arguments.lr(),
        warm_up: 0,
        max_norm: MAX_NORM,
        shown: ("decoder_uncertainty", "H[Y|Z]"),
    }
}

struct Model {
    encoder: Encoder,
    decoder: Mlp,
    /// The categories as vectors, `[C, C]`: the decoder is asked once for all.
    identity: Tensor,
    /// `p(y|z)`, `[C, CLASSES]`: the optimal decoder of the encoder that the epoch before has left.
    optimal: Buffer,
    /// The order of pixels.
    order: Option<Tensor>,
}

impl Model {
    fn new(arguments: &Arguments, data: &Data, rng: &Rng, vb: VarBuilder) -> Result<Self> {
        let (categories, hidden) = (arguments.categories, arguments.hidden());
        let colours = data.image[0] > 1;
        let vb_encoder = vb.pp("encoder");
        let encoder = match colours {
            true => Encoder::residual(arguments.net, data.image, categories, vb_encoder)?,
            false => Encoder::mlp(data.image, hidden, categories, vb_encoder)?,
        };
        let order = match colours {
            true => None,
            false => {
                let pixels: usize = data.image.iter().product();
                let order = rng.fork("pixels").permutation(pixels);
                let order = order.into_iter().map(|k| k as u32);
                Some(Tensor::from_iter(order, &Device::Cpu)?)
            }
        };
        let sizes = [categories, hidden, hidden, CLASSES];
        let uniform = Init::Const(1. / CLASSES as f64);
        Ok(Model {
            encoder,
            decoder: mlp(&sizes, Activation::Relu, vb.pp("decoder"))?,
            identity: Tensor::eye(categories, DType::F32, &Device::Cpu)?,
            optimal: Buffer::new((categories, CLASSES), "optimal", uniform, vb)?,
            order,
        })
    }

    /// `p(z|x)`, `[N, C]`.
    fn encode(&self, images: &Tensor, train: bool) -> Result<Tensor> {
        let logits = match &self.order {
            Some(order) => {
                let pixels = images.flatten_from(1)?.index_select(order, 1)?;
                self.encoder.forward(&pixels, train)?
            }
            None => self.encoder.forward(images, train)?,
        };
        Ok(log_softmax(&logits, D::Minus1)?.exp()?)
    }

    /// The decoder that is trained.
    fn trained(&self) -> Result<CategoricalDecoder> {
        let logits = self.decoder.forward(&self.identity)?;
        CategoricalDecoder::from_log_probs(&log_softmax(&logits, D::Minus1)?)
    }

    fn lagged(&self) -> Result<CategoricalDecoder> {
        CategoricalDecoder::new(&self.optimal.value()?)
    }

    fn loss(&self, trial: &Trial, images: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let (codes, targets) = (self.encode(images, true)?, targets(labels));
        match (trial.objective, trial.optimum) {
            (Objective::Uncertainty, Optimum::Batch) => {
                Diagram::from_encoder(&codes, labels, CLASSES)?.decoder_uncertainty()
            }
            (Objective::Uncertainty, Optimum::Lagged) => {
                self.lagged()?.decoder_cross_entropy(&codes, targets, None)
            }
            (Objective::Decoder, _) => self.trained()?.decoder_cross_entropy(&codes, targets, None),
            (Objective::Prediction, _) => self
                .trained()?
                .prediction_cross_entropy(&codes, targets, None),
        }
    }

    /// On all images: of a model that trains no decoder, with the optimal one that the epoch before has left.
    fn measure(&self, objective: Objective, data: &Data) -> Result<Metrics> {
        let decoder = match objective {
            Objective::Uncertainty => self.lagged()?,
            _ => self.trained()?.detach(),
        };
        let codes = data.train.map(BLOCK, |images| self.encode(images, false))?;
        let test = data.test.map(BLOCK, |images| self.encode(images, false))?;
        let labels = &data.train.labels;
        let known = targets(labels);
        let cross_entropy = decoder.decoder_cross_entropy(&codes, known, None)?;
        let prediction = decoder.prediction_cross_entropy(&codes, known, None)?;
        let bound = error_bound(&cross_entropy)?;
        let mut all = metrics([
            ("decoder_cross_entropy", number(&cross_entropy)?),
            ("prediction_cross_entropy", number(&prediction)?),
            ("error_bound", number(&bound)?),
            ("error", data.train.error(&decoder.predict(&codes)?)?),
            ("test_error", data.test.error(&decoder.predict(&test)?)?),
        ]);
        let diagram = Diagram::from_encoder(&codes, labels, CLASSES)?;
        let point = PlanePoint::of(&diagram)?;
        let known = point
            .named()
            .filter_map(|(name, x)| Some((name.to_string(), x?)));
        all.extend(known);
        all.insert("lost_nuisance".into(), number(&diagram.lost_nuisance()?)?);
        self.optimal
            .set(&optimal_decoder(&codes, targets(labels), None)?)?;
        Ok(all)
    }
}

fn number(x: &Tensor) -> Result<f64> {
    Ok(x.to_dtype(DType::F64)?.to_scalar()?)
}

fn targets(labels: &Tensor) -> Targets<'_> {
    Targets::Labels {
        labels,
        classes: CLASSES,
    }
}

pub fn train(
    trial: &Trial,
    training: &Training,
    arguments: &Arguments,
    data: &Data,
    output: &Output,
) -> Result<History> {
    let rng = Rng::new(arguments.common.seed).fork("gap");
    // Trials of the same number begin from the same weights and see the same batches, whatever is trained.
    let own = rng.fork(&format!("trial {}", trial.trial));
    let vars = VarMap::new();
    let vb = init::seeded(&vars, own.state().key, DType::F32, &Device::Cpu);
    let model = Model::new(arguments, data, &rng, vb)?;
    let mut descent = Descent::new(training, &vars)?;
    let bar = descent.bar();
    let (objective, count) = (trial.objective, data.train.len());
    training.run_with(
        &mut descent,
        &bar,
        arguments.common.resume,
        output,
        |epoch, descent| {
            if epoch == 0 {
                model.measure(objective, data)?;
            }
            let rng = own.fork(&format!("epoch {epoch}"));
            let loss = descent.epoch(count, arguments.batch, &rng, |indices, _| {
                let (images, labels) = data.train.select(indices)?;
                model.loss(trial, &images, &labels)
            })?;
            let mut all = model.measure(objective, data)?;
            all.insert("objective".into(), loss);
            Ok(all)
        },
    )
}

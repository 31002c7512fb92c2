//! Training of one model.

use crate::common::report::Output;
use crate::common::train::{History, Training};
use crate::config::{Arguments, Kind};
use crate::data::{Data, batches};
use crate::evaluate::{Estimate, estimate, score, sum};
use crate::gradients::{Spread, gradients};
use crate::grid::{Grid, GridPrior};
use crate::model::{Model, Objective};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarMap;
use candle_prob::distribution::Distribution;
use candle_prob::{Result, Rng, init};
use std::time::Instant;

/// A trained model and how it got there.
pub struct Run {
    pub kind: Kind,
    pub model: Trained,
    /// Of the model, and of the prior of codes that is trained after it.
    pub histories: Vec<History>,
    pub seconds: f64,
    pub estimate: Option<Estimate>,
    pub gradients: Vec<(&'static str, Spread)>,
}

pub enum Trained {
    Latents(Box<Model>),
    Codes {
        grid: Box<Grid>,
        prior: Box<GridPrior>,
    },
}

impl Trained {
    /// The mean pixels of what is left of images.
    pub fn reconstruct(&self, input: &Tensor) -> Result<Tensor> {
        match self {
            Trained::Latents(model) => model.means(&model.code(input)?),
            Trained::Codes { grid, .. } => grid.reconstruct(input),
        }
    }

    /// The mean pixels of images that are drawn.
    pub fn sample(&self, count: usize, rng: &mut Rng) -> Result<Tensor> {
        match self {
            Trained::Latents(model) => model.means(&model.prior()?.sample(&[count], rng)?),
            Trained::Codes { grid, prior } => prior.sample(grid, count, rng),
        }
    }
}

/// What all models are trained on, and where the results go.
pub struct Setting<'a> {
    pub arguments: &'a Arguments,
    pub data: &'a Data,
    pub output: &'a Output,
}

/// `trainings` are those of this kind, in their order.
pub fn train(kind: Kind, trainings: &[Training], setting: &Setting) -> Result<Run> {
    let Setting {
        arguments, data, ..
    } = *setting;
    let rng = Rng::new(arguments.common.seed);
    let (vars, later) = (VarMap::new(), VarMap::new());
    let seeded = |vars| init::seeded(vars, arguments.common.seed, DType::F32, &Device::Cpu);
    let clock = Instant::now();
    if kind.has_codes() {
        let grid = Grid::new(kind, arguments, data, seeded(&vars))?;
        let prior = GridPrior::new(&grid, seeded(&later))?;
        let first = epochs(&trainings[0], &vars, &grid, setting)?;
        // The prior is one of codes that stay as they are.
        let second = match first.len() == trainings[0].epochs {
            true => epochs(&trainings[1], &later, &(&grid, &prior), setting)?,
            false => History::new(),
        };
        return Ok(Run {
            kind,
            model: Trained::Codes {
                grid: Box::new(grid),
                prior: Box::new(prior),
            },
            histories: vec![first, second],
            seconds: clock.elapsed().as_secs_f64(),
            estimate: None,
            gradients: vec![],
        });
    }
    let model = Model::new(kind, arguments, data, seeded(&vars))?;
    let history = epochs(&trainings[0], &vars, &model, setting)?;
    let seconds = clock.elapsed().as_secs_f64();
    Ok(Run {
        kind,
        gradients: match arguments.gradients {
            Some(draws) => gradients(&model, &vars, data, draws, &rng.fork("gradients"))?,
            None => vec![],
        },
        estimate: Some(estimate(&model, arguments, data, &rng.fork("estimate"))?),
        model: Trained::Latents(Box::new(model)),
        histories: vec![history],
        seconds,
    })
}

fn epochs(
    training: &Training,
    vars: &VarMap,
    model: &dyn Objective,
    setting: &Setting,
) -> Result<History> {
    let Setting {
        arguments,
        data,
        output,
    } = *setting;
    let common = &arguments.common;
    training.run(vars, common.resume, output, |epoch, steps| {
        let rng = Rng::new(common.seed).fork(&format!("epoch {epoch}"));
        let train = &data.split.train;
        let order = rng.fork("order").permutation(train.len());
        let order: Vec<usize> = order.into_iter().map(|i| train[i]).collect();
        model.begin_epoch(&order, data, &mut rng.fork("begin"))?;
        let (mut total, mut count) = (0., 0.);
        for (k, indices) in batches(&order, arguments.batch).into_iter().enumerate() {
            let mut noise = rng.fork(&format!("step {k}"));
            let batch = data.batch(indices, &mut noise)?;
            let parts = model.objective(&batch, true, &mut noise)?;
            if steps.step(&parts.total.mean_all()?)? {
                total += sum(&parts.total)?;
                count += indices.len() as f64;
            }
        }
        let score = score(model, data, arguments.batch, &rng.fork("test"))?;
        let metrics = [
            ("training_loss", total / count),
            ("loss", score.total),
            ("elbo", -score.distortion - score.rate),
            ("distortion", score.distortion),
            ("rate", score.rate),
        ];
        Ok(metrics.map(|(name, value)| (name.into(), value)).into())
    })
}

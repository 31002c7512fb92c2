//! What all trainings share: Adam, whose rate falls when the loss does not.

use crate::common::train::{Learner, Metrics, Training};
use candle_core::{DType, Device, Tensor};
use candle_nn::{Init, VarMap};
use candle_prob::init::{self, Buffer};
use candle_prob::optim::{
    Adam, AdamConfig, Checkpoint, Clipped, Optimizer, backward, clip_grad_norm_or_skip,
};
use candle_prob::{Result, Rng};
use indicatif::ProgressBar;

/// Bound of the norm of gradients.
pub const MAX_NORM: f64 = 10.;
/// The rate is multiplied by this after so many epochs more than this without a lower loss.
const FACTOR: f64 = 0.8;
const PATIENCE: f64 = 3.;
/// What counts as lower.
const THRESHOLD: f64 = 1e-4;

/// Adam on all that a model has, and its rate: the least loss of an epoch and the epochs since then are buffers, so that a
/// checkpoint holds them.
pub struct Descent<'a> {
    training: &'a Training<'a>,
    vars: &'a VarMap,
    adam: Adam,
    plateau: VarMap,
    /// Rate, least loss, epochs since.
    state: Buffer,
    bar: ProgressBar,
    epoch: usize,
    skipped: usize,
}

impl Learner for Descent<'_> {
    fn parts<'a>(&'a mut self, checkpoint: Checkpoint<'a>) -> Checkpoint<'a> {
        checkpoint
            .vars("model", self.vars)
            .vars("plateau", &self.plateau)
            .optimizer("adam", &mut self.adam)
    }

    fn begin(&mut self, epoch: usize) {
        (self.epoch, self.skipped) = (epoch, 0);
    }

    fn skipped(&self) -> usize {
        self.skipped
    }
}

impl<'a> Descent<'a> {
    pub fn new(training: &'a Training, vars: &'a VarMap) -> Result<Self> {
        let config = AdamConfig {
            lr: training.lr,
            ..AdamConfig::default()
        };
        let plateau = VarMap::new();
        let vb = init::seeded(&plateau, 0, DType::F64, &Device::Cpu);
        let state = Buffer::new(3, "state", Init::Const(0.), vb)?;
        state.set(&Tensor::new(&[training.lr, f64::MAX, 0.], &Device::Cpu)?)?;
        Ok(Descent {
            adam: Adam::new(vars, &config)?,
            bar: training.bar(),
            training,
            vars,
            plateau,
            state,
            epoch: 0,
            skipped: 0,
        })
    }

    pub fn bar(&self) -> ProgressBar {
        self.bar.clone()
    }

    /// One step for each batch in random order, with what `loss` says of the numbers of its images; the mean of the losses.
    pub fn epoch(
        &mut self,
        count: usize,
        batch: usize,
        rng: &Rng,
        mut loss: impl FnMut(&[usize], &mut Rng) -> Result<Tensor>,
    ) -> Result<f64> {
        let order = rng.fork("order").permutation(count);
        let (mut sum, mut taken) = (0., 0.);
        for (k, indices) in batches(&order, batch).into_iter().enumerate() {
            let loss = loss(indices, &mut rng.fork(&format!("step {k}")))?;
            if self.step(&loss)? {
                sum += f64::from(loss.to_scalar::<f32>()?);
                taken += 1.;
            }
        }
        let mean = sum / taken;
        self.observe(mean)?;
        Ok(mean)
    }

    fn step(&mut self, loss: &Tensor) -> Result<bool> {
        let mut gradients = backward(loss)?;
        let state = self.state.value()?.to_vec1::<f64>()?;
        self.adam.set_learning_rate(state[0]);
        self.bar.inc(1);
        match clip_grad_norm_or_skip(&mut gradients, self.vars, MAX_NORM)? {
            Clipped::Norm(_) => {
                self.adam.step(&gradients)?;
                Ok(true)
            }
            Clipped::NotFinite => {
                self.skipped += 1;
                self.training.check_skipped(self.epoch, self.skipped)?;
                Ok(false)
            }
        }
    }

    fn observe(&self, loss: f64) -> Result<()> {
        let state = self.state.value()?.to_vec1::<f64>()?;
        let (mut rate, mut least, mut waited) = (state[0], state[1], state[2] + 1.);
        if loss < least - THRESHOLD * least.abs() {
            (least, waited) = (loss, 0.);
        }
        if waited > PATIENCE {
            (rate, waited) = (rate * FACTOR, 0.);
        }
        self.state
            .set(&Tensor::new(&[rate, least, waited], &Device::Cpu)?)
    }
}

/// Steps of an epoch of so many images.
pub fn steps(count: usize, batch: usize) -> usize {
    (count / batch).max(1)
}

/// As many batches as there are whole ones: what is left joins the last, so that none is small.
fn batches(order: &[usize], batch: usize) -> Vec<&[usize]> {
    let last = (steps(order.len(), batch) - 1) * batch;
    let (whole, rest) = order.split_at(last);
    whole.chunks(batch).chain([rest]).collect()
}

/// Metrics by name.
pub fn metrics<const N: usize>(values: [(&str, f64); N]) -> Metrics {
    let named = values.map(|(name, value)| (name.to_string(), value));
    Metrics::from(named)
}

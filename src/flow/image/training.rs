//! The passes from images to latents that write: running statistics in training, norms from data at the start.

use super::layer::{EPSILON, Layer, Member};
use crate::bijector::{ActNorm, Axis, Bijector, FlowBatchNorm};
use crate::error::Result;
use crate::init::{check_variable, write};
use candle_core::Tensor;
use std::sync::{Arc, Mutex, PoisonError};

/// What a pass from images to latents does beside.
#[derive(Debug, Clone)]
pub(super) enum Pass {
    Evaluate,
    /// Moves the running statistics by those of the batch.
    Train(Writes),
    /// Sets the norms that data initialize.
    Initialize(Writes),
}

impl Pass {
    /// Where a pass that trains notes what is to be written.
    pub(super) fn training(&self) -> Option<Writes> {
        match self {
            Pass::Train(writes) => Some(writes.clone()),
            Pass::Evaluate | Pass::Initialize(_) => None,
        }
    }
}

/// Variables and the values that a pass has found for them. They are written when all of it has succeeded, so that a batch
/// that is refused half-way leaves the flow as it was.
#[derive(Debug, Clone)]
pub(super) struct Writes {
    op: &'static str,
    all: Arc<Mutex<Vec<(Tensor, Tensor)>>>,
}

impl Writes {
    pub(super) fn new(op: &'static str) -> Self {
        let all = Arc::default();
        Writes { op, all }
    }

    /// The pass's name in errors.
    pub(super) fn op(&self) -> &'static str {
        self.op
    }

    pub(super) fn add(&self, variable: &Tensor, value: &Tensor) -> Result<()> {
        check_variable(self.op, variable)?;
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((variable.clone(), value.detach()));
        Ok(())
    }

    pub(super) fn commit(&self) -> Result<()> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.drain(..)
            .try_for_each(|(variable, value)| write(self.op, &variable, &value))
    }
}

/// A layer under a pass that writes.
pub(super) struct Writing {
    pub(super) layer: Layer,
    pub(super) pass: Pass,
}

impl Writing {
    fn current(&self) -> Result<Member> {
        self.layer.bijector(None, f64::INFINITY, None)
    }
}

impl Bijector for Writing {
    fn event_rank(&self) -> usize {
        3
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        self.current()?.transform_and_log_det(x)
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        match (&self.layer, &self.pass) {
            (Layer::ActNorm { loc, log_scale }, Pass::Initialize(writes)) => {
                let norm = ActNorm::from_data(y, Axis::Channel)?;
                writes.add(loc, norm.loc())?;
                writes.add(log_scale, norm.log_scale())?;
                norm.inverse_and_log_det(y)
            }
            (
                Layer::BatchNorm {
                    mean,
                    variance,
                    momentum,
                },
                Pass::Train(writes),
            ) => {
                let norm =
                    FlowBatchNorm::new(&mean.value()?, &variance.value()?, EPSILON, Axis::Channel)?;
                let norm = norm.observe(y, *momentum)?;
                writes.add(mean.variable(), norm.mean())?;
                writes.add(variance.variable(), norm.variance())?;
                norm.inverse_and_log_det(y)
            }
            _ => self.current()?.inverse_and_log_det(y),
        }
    }
}

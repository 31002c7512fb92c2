//! The way back from a trial step.

use super::Update;
use crate::error::Result;
use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use std::collections::BTreeMap;

/// Where the variables were before [`Optimizer::extrapolate`](super::Optimizer::extrapolate) moved them.
#[must_use = "the variables are where a trial step led; `restore` puts them back"]
#[derive(Debug)]
pub struct Origin(Vec<(Var, Tensor)>);

impl Origin {
    /// Copies of the variables that have a gradient.
    pub(super) fn of(vars: &BTreeMap<String, Var>, gradients: &GradStore) -> Result<Self> {
        let moved = vars.values().filter(|var| gradients.get(var).is_some());
        let copies = moved.map(|var| Ok((var.clone(), var.as_detached_tensor().copy()?)));
        Ok(Origin(copies.collect::<Result<_>>()?))
    }

    /// A trial step with the way back from it; one that failed part-way is taken back here.
    pub(super) fn unless_failed(self, trial: Result<Update>) -> Result<(Update, Self)> {
        match trial {
            Ok(update) => Ok((update, self)),
            Err(error) => {
                self.restore()?;
                Err(error)
            }
        }
    }

    /// Puts the variables back, bit for bit. Those without a gradient had not moved and stay as they are, so that what layers
    /// wrote in the meantime counts.
    pub fn restore(self) -> Result<()> {
        for (var, value) in self.0 {
            var.set(&value)?;
        }
        Ok(())
    }
}

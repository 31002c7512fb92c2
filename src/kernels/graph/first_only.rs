//! Gradients that candle must not differentiate again. Where it differentiates twice (`CANDLE_GRAD_DO_NOT_DETACH`) they are to it
//! the result of an operation whose own backward pass is an error, so that no second derivative is wrong in silence.

use crate::kernels::graph::second_derivatives;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Storage, Tensor};
use std::sync::Mutex;

/// An operation of this name whose result is known.
struct Known {
    name: &'static str,
    result: Mutex<Option<(CpuStorage, Shape)>>,
    /// Whether its gradient is the result's; it has none otherwise.
    identity: bool,
}

impl Known {
    /// Numbers as what the operation makes of its argument.
    fn of(
        name: &'static str,
        argument: &Tensor,
        numbers: &Tensor,
        identity: bool,
    ) -> Result<Tensor> {
        let numbers = numbers.detach().force_contiguous()?;
        let data = match &*numbers.storage_and_layout().0 {
            Storage::Cpu(data) => data.clone(),
            _ => candle_core::bail!("{name}: a tensor that is not on the cpu"),
        };
        let result = Mutex::new(Some((data, numbers.shape().clone())));
        argument.apply_op1(Known {
            name,
            result,
            identity,
        })
    }
}

impl CustomOp1 for Known {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        match self.result.lock().map(|mut result| result.take()) {
            Ok(Some(result)) => Ok(result),
            _ => candle_core::bail!("{}: the result was taken before", self.name),
        }
    }

    fn bwd(&self, argument: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        if self.identity {
            return mark(self.name, argument, gradient).map(Some);
        }
        candle_core::bail!(
            "{}: expected one backward pass, as it has first derivatives only, found a second one",
            self.name
        )
    }
}

/// The gradient of an argument, for candle to differentiate once.
pub(super) fn mark(name: &'static str, argument: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    Known::of(name, argument, gradient, false)
}

/// Marks a tensor whose gradient is right, but whose own derivatives are not: what is composed with parts that are held fixed.
/// Changes nothing unless candle differentiates twice.
pub(crate) fn first_only(name: &'static str, x: &Tensor) -> Result<Tensor> {
    if !second_derivatives() || !x.device().is_cpu() {
        return Ok(x.clone());
    }
    Known::of(name, x, x, true)
}

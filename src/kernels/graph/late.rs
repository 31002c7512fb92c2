//! A gradient that is multiplied by what is known only later, before the backward pass.

use crate::kernels::graph::second_derivatives;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Storage, Tensor};
use std::sync::{Arc, Mutex, OnceLock};

/// The factor of [`scaled`].
pub(crate) struct Factor(Arc<OnceLock<Tensor>>);

impl Factor {
    /// Sets it once, of a shape that broadcasts to the gradient's; it has no gradient itself.
    pub(crate) fn set(self, factor: &Tensor) {
        self.0.get_or_init(|| factor.detach());
    }
}

/// An operation of this name that leaves its argument as it is.
struct Scaled {
    name: &'static str,
    numbers: Mutex<Option<(CpuStorage, Shape)>>,
    factor: Arc<OnceLock<Tensor>>,
}

impl CustomOp1 for Scaled {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        match self.numbers.lock().map(|mut numbers| numbers.take()) {
            Ok(Some(numbers)) => Ok(numbers),
            _ => candle_core::bail!("{}: the numbers were taken before", self.name),
        }
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        match self.factor.get() {
            Some(factor) => gradient.broadcast_mul(factor).map(Some),
            None => candle_core::bail!("{}: a backward pass before the factor is set", self.name),
        }
    }
}

/// The same numbers, and what their gradient will be multiplied by. Nothing on other devices and where candle differentiates
/// twice, which would not see how the factor depends on anything.
pub(crate) fn scaled(name: &'static str, x: &Tensor) -> Result<Option<(Tensor, Factor)>> {
    if second_derivatives() {
        return Ok(None);
    }
    let numbers = x.detach().force_contiguous()?;
    let data = match &*numbers.storage_and_layout().0 {
        Storage::Cpu(data) => data.clone(),
        _ => return Ok(None),
    };
    let factor = Arc::new(OnceLock::new());
    let scaled = x.apply_op1(Scaled {
        name,
        numbers: Mutex::new(Some((data, numbers.shape().clone()))),
        factor: factor.clone(),
    })?;
    Ok(Some((scaled, Factor(factor))))
}

//! Solves with a lower-triangular factor.

use super::factor::*;
use crate::kernels::graph::node::{Fresh, Op, Reached, asked};
use crate::kernels::machine::buffer::View;
use candle_core::{Device, Tensor, WithDType};
use std::marker::PhantomData;

/// Inputs: factor [n, d, d], right-hand sides [n, m, d].
pub(super) struct Solve<T>(pub(super) PhantomData<T>);

impl<T: WithDType> Op for Solve<T> {
    const NAME: &'static str = "triangular-solve";

    fn forward(&mut self, inputs: &[Tensor], _: bool) -> candle_core::Result<Vec<Fresh>> {
        let size @ [_, rows, d] = sizes(inputs)?;
        let (lower, x) = (View::new(&inputs[0])?, View::new(&inputs[1])?);
        let (lower, x) = (lower.as_slice::<T>()?, x.as_slice::<T>()?);
        let factors = factors(lower, size);
        let mut out = vec![T::zero(); x.len()];
        run(size, d, &mut out, |task, out| {
            let from = (task.factor * rows + task.from) * d;
            factors[task.factor].solve(&x[from..from + out.len()], out)
        })?;
        Ok(vec![(
            T::to_cpu_storage_owned(out),
            inputs[1].shape().clone(),
        )])
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        needs: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let mut results = vec![None; inputs.len()];
        let Some(Some(reached)) = outputs.first() else {
            return Ok(results);
        };
        let size @ [count, rows, d] = sizes(inputs)?;
        let lower = View::new(&inputs[0])?;
        let value = reached.value.contiguous()?;
        let (value, gradient) = (View::new(&value)?, View::new(&reached.gradient)?);
        let (value, gradient) = (value.as_slice::<T>()?, gradient.as_slice::<T>()?);
        let factors = factors(lower.as_slice::<T>()?, size);
        let mut out = vec![T::zero(); value.len()];
        let parts = run(size, d, &mut out, |task, out| {
            let from = (task.factor * rows + task.from) * d;
            let range = from..from + out.len();
            factors[task.factor].solve_transposed(&gradient[range.clone()], out)?;
            let mut to_factor = vec![T::zero(); d * d];
            let value = asked(&value[range.clone()], &gradient[range], out.len() / d);
            outer(out, &value, d, -1., &mut to_factor)?;
            Ok(to_factor)
        })?;
        if needs[0] {
            let sums = sum(parts, count, d * d);
            results[0] = Some(Tensor::from_vec(sums, inputs[0].shape(), &Device::Cpu)?);
        }
        results[1] = Some(Tensor::from_vec(out, inputs[1].shape(), &Device::Cpu)?);
        Ok(results)
    }
}

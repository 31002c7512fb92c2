//! Cholesky factors.

use super::factor::*;
use crate::kernels::graph::node::{Fresh, Op, Reached};
use crate::kernels::machine::buffer::{View, build};
use candle_core::{Device, Tensor, WithDType};
use std::marker::PhantomData;

/// Input: [n, d, d].
pub(super) struct Cholesky<T>(pub(super) PhantomData<T>);

impl<T: WithDType> Op for Cholesky<T> {
    const NAME: &'static str = "cholesky";

    fn forward(&mut self, inputs: &[Tensor], _: bool) -> candle_core::Result<Vec<Fresh>> {
        let (_, d, _) = inputs[0].dims3()?;
        let a = View::new(&inputs[0])?;
        let a = a.as_slice::<T>()?;
        let out = build(a.len(), d * d, |offset, out| {
            let mut l = vec![0.; d * d];
            for i in 0..d {
                for j in 0..=i {
                    let sum: f64 = (0..j).map(|k| l[i * d + k] * l[j * d + k]).sum();
                    let rest = a[offset + i * d + j].to_f64() - sum;
                    l[i * d + j] = if i == j {
                        rest.sqrt()
                    } else {
                        rest / l[j * d + j]
                    };
                }
            }
            out.iter_mut()
                .zip(l)
                .for_each(|(out, l)| *out = T::from_f64(l));
        });
        Ok(vec![(
            T::to_cpu_storage_owned(out),
            inputs[0].shape().clone(),
        )])
    }

    /// With P the lower triangle of `L^T G`, its diagonal halved: `(S + S^T) / 2` for `S = L^-T P L^-1`.
    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        _: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let Some(Some(reached)) = outputs.first() else {
            return Ok(vec![None]);
        };
        let (_, d, _) = inputs[0].dims3()?;
        let value = reached.value.contiguous()?;
        let (l, g) = (View::new(&value)?, View::new(&reached.gradient)?);
        let (l, g) = (l.as_slice::<T>()?, g.as_slice::<T>()?);
        let out = build(l.len(), d * d, |offset, out| {
            let (l, g) = (&l[offset..offset + d * d], &g[offset..offset + d * d]);
            let mut s = vec![0.; d * d];
            for i in 0..d {
                for j in 0..=i {
                    let sum: f64 = (i..d)
                        .map(|k| l[k * d + i].to_f64() * g[k * d + j].to_f64())
                        .sum();
                    s[i * d + j] = if i == j { 0.5 * sum } else { sum };
                }
            }
            // P L^-1, transposed, and again.
            for _ in 0..2 {
                s.chunks_exact_mut(d)
                    .for_each(|row| substitute_transposed(l, row));
                s = (0..d * d).map(|at| s[at % d * d + at / d]).collect();
            }
            for (at, out) in out.iter_mut().enumerate() {
                *out = T::from_f64(0.5 * (s[at] + s[at % d * d + at / d]));
            }
        });
        let out = Tensor::from_vec(out, inputs[0].shape(), &Device::Cpu)?;
        Ok(vec![Some(out)])
    }
}

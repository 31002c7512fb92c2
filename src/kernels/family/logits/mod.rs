//! Log-masses of discrete families, from logits: one node each, gradients without cancellation.

mod bernoulli;
mod categorical;
mod divergence;
mod draw;
mod normalize;

pub(crate) use bernoulli::bernoulli_log_prob;
pub(crate) use categorical::categorical_log_prob;
pub(crate) use divergence::{categorical_entropy, categorical_kl};
pub(crate) use draw::{categorical_quantile, categorical_sample};
pub(crate) use normalize::{log_softmax, log_sum_exp};

use crate::error::Result;
use candle_core::Tensor;

/// A tensor whose elements repeat with its own size when it is broadcast to `out`: `tensor` itself where its dims are
/// the last of `out`, else a broadcast copy.
pub(super) fn periodic(tensor: &Tensor, out: &[usize], smallest: usize) -> Result<Tensor> {
    let dims = tensor.dims();
    let ones = dims.iter().take_while(|d| **d == 1).count();
    let n = tensor.elem_count();
    if n >= smallest && out.ends_with(&dims[ones..]) || dims == out {
        return Ok(tensor.clone());
    }
    Ok(tensor.broadcast_as(out)?)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use candle_core::{Device, Var};

    pub(in super::super) fn numbers(n: usize, seed: usize, scale: f32) -> Vec<f32> {
        let at = |i: usize| ((i * 7919 + seed * 104_729 + 13) % 10_007) as f32 / 5003.5 - 1.;
        (0..n).map(|i| scale * at(i)).collect()
    }

    pub(in super::super) fn tensor(dims: &[usize], seed: usize, scale: f32) -> Result<Tensor> {
        let n = dims.iter().product();
        Ok(Tensor::from_vec(
            numbers(n, seed, scale),
            dims,
            &Device::Cpu,
        )?)
    }

    /// Value and all gradients of `a` and `b`, weighted by uneven upstream gradients.
    pub(in super::super) fn agree(
        name: &str,
        inputs: &[Tensor],
        a: impl Fn(&[Tensor]) -> Result<Tensor>,
        b: impl Fn(&[Tensor]) -> Result<Tensor>,
        tolerance: f32,
    ) -> Result<()> {
        let run = |f: &dyn Fn(&[Tensor]) -> Result<Tensor>| -> Result<Vec<(Vec<usize>, Vec<f32>)>> {
            let vars = inputs
                .iter()
                .map(Var::from_tensor)
                .collect::<candle_core::Result<Vec<_>>>()?;
            // A view of each variable laid out as the input was.
            let views = vars
                .iter()
                .zip(inputs)
                .map(|(v, t)| match t.is_contiguous() {
                    true => Ok(v.as_tensor().clone()),
                    false => Ok(v.t()?.contiguous()?.t()?),
                });
            let views = views.collect::<Result<Vec<Tensor>>>()?;
            let out = f(&views)?;
            let g = tensor(out.dims(), 77, 1.)?;
            let store = (&out * g)?.sum_all()?.backward()?;
            let mut all = vec![out];
            for var in &vars {
                let zeros = var.zeros_like()?;
                all.push(store.get(var).cloned().unwrap_or(zeros));
            }
            let list = |t: Tensor| Ok((t.dims().to_vec(), t.flatten_all()?.to_vec1()?));
            all.into_iter().map(list).collect()
        };
        for (i, (a, b)) in run(&a)?.into_iter().zip(run(&b)?).enumerate() {
            assert_eq!(a.0, b.0, "{name}: shape of {i}");
            for (x, y) in a.1.iter().zip(&b.1) {
                let close = (x - y).abs() <= tolerance * y.abs().max(1.);
                assert!(
                    close || x == y || x.is_nan() && y.is_nan(),
                    "{name}, {i}: {x} {y}"
                );
            }
        }
        Ok(())
    }
}

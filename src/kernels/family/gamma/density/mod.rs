//! The log-density of Dirichlet distributions, whole rows in one node.

mod loops;
#[cfg(test)]
mod tests;

use super::parts;
use super::rows::{cycle, reduce};
use super::simplex::{on_simplex, tolerance};
use super::{wide, xlogy, xlogy_of_log};
use crate::error::Result;
use crate::kernels::elementwise::log_gamma::lgamma_tensor as lgamma;
use crate::kernels::family::logits::periodic;
use crate::kernels::graph::node::{self, Fresh, Op, Reached, fresh};
use crate::kernels::machine::buffer::{self, View};
use crate::kernels::machine::simd::dispatch;
use crate::shape;
use candle_core::{D, Tensor};
use loops::{Gaps, Norms, Slopes, Values};

/// `sum_i (a_i - 1) ln x_i - ln B(a)` over the last dimension, -inf where the sum of x is not 1; `log` says that `value`
/// is ln x. The arguments broadcast, but for their last dimension.
///
/// Gradients: `(a_i - 1) / x_i` and `ln x_i - digamma(a_i) + digamma(sum a)`; none where the value is -inf, and none of
/// a coordinate at zero.
pub(crate) fn dirichlet_log_prob(
    concentration: &Tensor,
    value: &Tensor,
    log: bool,
) -> Result<Tensor> {
    let full = shape::broadcast(concentration.dims(), value.dims()).unwrap_or_default();
    if !full.contains(&0) && parts::serve(concentration, value)? {
        return parts::log_prob(concentration, value, log);
    }
    if full.contains(&0) || !crate::kernels::graph::fused(&[concentration, value]) {
        return composed(concentration, value, log);
    }
    let categories = full.last().copied().unwrap_or(1);
    let inputs = [
        periodic(concentration, &full, categories)?,
        periodic(value, &full, categories)?,
    ];
    let op = Density {
        rows: full[..full.len() - 1].to_vec(),
        categories,
        log,
    };
    Ok(node::apply1(op, &inputs.each_ref())?)
}

/// The reference expression.
fn composed(concentration: &Tensor, value: &Tensor, log: bool) -> Result<Tensor> {
    let power = (concentration - 1.)?;
    let (powers, value) = match log {
        true => (xlogy_of_log(&power, value)?, value.detach().exp()?),
        false => (xlogy(&power, value)?, value.detach()),
    };
    let norm = log_norm(concentration)?.to_dtype(powers.dtype())?;
    let total = powers.sum(D::Minus1)?.broadcast_sub(&norm)?;
    let tolerance = tolerance(value.dtype(), value.dim(D::Minus1)?);
    on_simplex(total, &powers, &value, tolerance)
}

/// `sum_i ln Gamma(a_i) - ln Gamma(sum_i a_i)` over the last dimension, [`wide`].
fn log_norm(concentration: &Tensor) -> Result<Tensor> {
    let a = wide(concentration)?;
    Ok((lgamma(&a)?.sum(D::Minus1)? - lgamma(&a.sum(D::Minus1)?)?)?)
}

/// Elements per turn: a few buffers of f64 stay in L1.
const TURN: usize = 1024;

struct Density {
    /// The shape of the result.
    rows: Vec<usize>,
    categories: usize,
    log: bool,
}

impl Density {
    /// Whole rows of about a turn.
    fn group(&self) -> usize {
        (TURN / self.categories).max(1)
    }

    /// Numbers made from rows, `f(first row, numbers)` for a group at a time.
    fn build<T: Copy + Default + Send>(
        &self,
        rows: usize,
        width: usize,
        f: impl Fn(usize, &mut [T]) + Sync,
    ) -> Vec<T> {
        let mut out = vec![T::default(); rows * width];
        let group = self.group();
        if rows * self.categories < buffer::SERIAL {
            let parts = out.chunks_mut(group * width).enumerate();
            parts.for_each(|(i, part)| f(i * group, part));
        } else {
            buffer::parallel(&mut out, group * width, |at, part| f(at / width, part));
        }
        out
    }
}

impl Op for Density {
    const NAME: &'static str = "dirichlet-log-prob";

    fn forward(&mut self, inputs: &[Tensor], _: bool) -> candle_core::Result<Vec<Fresh>> {
        let (a, x) = (View::new(&inputs[0])?, View::new(&inputs[1])?);
        let (a, x, k) = (a.f32()?, x.f32()?, self.categories);
        let count: usize = self.rows.iter().product();
        let norms = |row: usize, out: &mut [f64]| {
            dispatch(Norms(&a[row * k..][..out.len() * k], k, out));
        };
        // Once for all rows that share them.
        let own = a.len() == count * k;
        let shared = if own {
            vec![]
        } else {
            self.build(a.len() / k, 1, norms)
        };
        let out = self.build(count, 1, |row, out: &mut [f32]| {
            let len = out.len();
            let mut fresh = vec![0.; if own { len } else { 0 }];
            if own {
                norms(row, &mut fresh);
            }
            let again = cycle(&shared, row, if own { 0 } else { len });
            dispatch(Values {
                a: &cycle(a, row * k, len * k),
                x: &cycle(x, row * k, len * k),
                norms: if own { &fresh } else { &again },
                categories: k,
                log: self.log,
                out,
            });
        });
        Ok(vec![fresh(out, self.rows.as_slice())])
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        needs: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let Some(Some(reached)) = outputs.first() else {
            return Ok(vec![None; inputs.len()]);
        };
        let value = reached.value.contiguous()?;
        let (value, gradient) = (View::new(&value)?, View::new(&reached.gradient)?);
        let (value, gradient) = (value.f32()?, gradient.f32()?);
        let (a, x) = (View::new(&inputs[0])?, View::new(&inputs[1])?);
        let (a, x, k) = (a.f32()?, x.f32()?, self.categories);
        let len = value.len() * k;
        let gaps = |row: usize, out: &mut [f64]| {
            dispatch(Gaps(&a[row * k..][..out.len()], k, out));
        };
        let own = a.len() == len;
        let shared = if own || !needs[0] {
            vec![]
        } else {
            self.build(a.len() / k, k, gaps)
        };
        let slopes = |to_a: bool, offset: usize, out: &mut [f32]| {
            let rows = offset / k..(offset + out.len()) / k;
            let weights: Vec<f64> = value[rows.clone()]
                .iter()
                .zip(&gradient[rows])
                .map(|(v, g)| {
                    if *v == f32::NEG_INFINITY {
                        0.
                    } else {
                        f64::from(*g)
                    }
                })
                .collect();
            let mut fresh = vec![0.; if own && to_a { out.len() } else { 0 }];
            if own && to_a {
                gaps(offset / k, &mut fresh);
            }
            let again = cycle(&shared, offset, if own || !to_a { 0 } else { out.len() });
            dispatch(Slopes {
                a: &cycle(a, offset, out.len()),
                x: &cycle(x, offset, out.len()),
                gaps: to_a.then_some(if own { &fresh } else { &again }),
                weights: &weights,
                categories: k,
                log: self.log,
                out,
            });
        };
        let chunk = self.group() * k;
        let mut results = vec![];
        for (i, input) in inputs.iter().enumerate() {
            results.push(if needs[i] {
                let n = input.elem_count();
                let sums = reduce(len, n, chunk, |at, out: &mut [f32]| slopes(i == 0, at, out));
                Some(Tensor::from_vec(sums, input.shape(), input.device())?)
            } else {
                None
            });
        }
        Ok(results)
    }
}

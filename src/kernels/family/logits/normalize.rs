//! `ln sum exp` over the last dimension, and logits from which it is subtracted: one node each.

use super::categorical::{Softmax, scan};
use crate::error::Result;
use crate::kernels::graph::node::{self, Fresh, Op, Reached, fresh};
use crate::kernels::machine::buffer::{self, CHUNK, View};
use crate::kernels::machine::simd::dispatch;
use crate::kernels::machine::tiles;
use crate::kernels::reduce;
use candle_core::{D, Tensor};

/// `ln sum exp` over the last dimension; -inf where all elements are, with gradient 0. Gradient: the softmax.
pub(crate) fn log_sum_exp(x: &Tensor) -> Result<Tensor> {
    if x.elem_count() == 0 {
        // Candle finds no maximum of nothing.
        return Ok(x.sum(D::Minus1)?);
    }
    if crate::kernels::graph::fused(&[x]) {
        return Ok(node::apply1(Normalize::new(false), &[x])?);
    }
    reduce::logsumexp(x)
}

/// `x - ln sum exp x` over the last dimension. An element of -inf stays; a row of them stays too, with gradient 0.
pub(crate) fn log_softmax(x: &Tensor) -> Result<Tensor> {
    if x.elem_count() == 0 {
        return Ok(x.clone());
    }
    if crate::kernels::graph::fused(&[x]) {
        return Ok(node::apply1(Normalize::new(true), &[x])?);
    }
    reduce::log_softmax(x)
}

/// Whether the sum of a row's exponentials is a positive number; others are left to [`reduce`].
fn usual((shift, ln): &(f32, f32)) -> bool {
    (shift + ln).abs() < f32::INFINITY
}

struct Normalize {
    /// Logits are wanted, not their `ln sum exp`.
    logits: bool,
    rows: Vec<(f32, f32)>,
}

impl Normalize {
    fn new(logits: bool) -> Self {
        Normalize {
            logits,
            rows: vec![],
        }
    }
}

impl Op for Normalize {
    const NAME: &'static str = "log-sum-exp";

    fn forward(&mut self, inputs: &[Tensor], keep: bool) -> candle_core::Result<Vec<Fresh>> {
        let (x, k) = (View::new(&inputs[0])?, inputs[0].dim(D::Minus1)?);
        let x = x.f32()?;
        let rows = scan(x, k);
        let out = if self.logits {
            buffer::build(x.len(), k * CHUNK.div_ceil(k), |offset, out| {
                let x = &x[offset..offset + out.len()];
                let each = x.chunks_exact(k).zip(out.chunks_exact_mut(k));
                for ((x, out), row) in each.zip(&rows[offset / k..]) {
                    if !usual(row) {
                        reduce::log_softmax_row(x, out);
                        continue;
                    }
                    for (x, out) in x.iter().zip(out) {
                        *out = x - row.0 - row.1;
                    }
                }
            })
        } else {
            let each = rows.iter().zip(x.chunks_exact(k));
            let sum = |(row, x): (&(f32, f32), &[f32])| match usual(row) {
                true => row.0 + row.1,
                false => reduce::logsumexp_row(x),
            };
            each.map(sum).collect()
        };
        if keep {
            self.rows = rows;
        }
        let dims = inputs[0].dims();
        let dims = &dims[..dims.len() - usize::from(!self.logits)];
        Ok(vec![fresh(out, dims)])
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        _: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let Some(Some(reached)) = outputs.first() else {
            candle_core::bail!("log-sum-exp: no upstream gradient")
        };
        let (x, g) = (View::new(&inputs[0])?, View::new(&reached.gradient)?);
        let (x, g, k) = (x.f32()?, g.f32()?, inputs[0].dim(D::Minus1)?);
        let out = buffer::build(x.len(), k * CHUNK.div_ceil(k), |offset, out| {
            let range = offset..offset + out.len();
            let rows = offset / k..range.end / k;
            let (x, norms) = (&x[range.clone()], &self.rows[rows.clone()]);
            dispatch(Softmax(x, k, norms, out));
            let own = if self.logits { range } else { rows };
            let per = if self.logits { k } else { 1 };
            let each = out.chunks_exact_mut(k).zip(x.chunks_exact(k));
            let each = each.zip(norms).zip(g[own].chunks_exact(per));
            for (((out, x), row), g) in each {
                match (usual(row), self.logits) {
                    (true, true) => {
                        let total = tiles::sum(g);
                        for (out, g) in out.iter_mut().zip(g) {
                            *out = g - total * *out;
                        }
                    }
                    (true, false) => out.iter_mut().for_each(|x| *x *= g[0]),
                    (false, true) => reduce::log_softmax_gradient(x, g, out),
                    (false, false) => reduce::logsumexp_gradient(x, g[0], out),
                }
            }
        });
        Tensor::from_vec(out, inputs[0].shape(), inputs[0].device()).map(|g| vec![Some(g)])
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{agree, tensor};
    use super::*;
    use candle_core::DType;

    /// Through f64, where everything is composed.
    fn composed(f: impl Fn(&Tensor) -> Result<Tensor>, x: &Tensor) -> Result<Tensor> {
        Ok(f(&x.to_dtype(DType::F64)?)?.to_dtype(DType::F32)?)
    }

    /// -inf replaced: the weighted sum of the comparison would be NaN.
    fn finite(t: Tensor) -> Result<Tensor> {
        let low = (t.ones_like()? * -1e4)?;
        Ok(t.eq(f64::NEG_INFINITY)?.where_cond(&low, &t)?)
    }

    #[test]
    fn fused_is_composed() -> Result<()> {
        for dims in [
            &[7][..],
            &[1],
            &[40, 10],
            &[3, 5, 33],
            &[9000, 8],
            &[50, 1000],
        ] {
            let x = tensor(dims, 3, 30.)?;
            let low = (x.ones_like()? * f64::NEG_INFINITY)?;
            let masked = tensor(dims, 9, 1.)?.lt(-0.6)?.where_cond(&low, &x)?;
            for x in [x, masked] {
                for f in [log_sum_exp, log_softmax] {
                    agree(
                        &format!("{dims:?}"),
                        std::slice::from_ref(&x),
                        |t| finite(f(&t[0])?),
                        |t| finite(composed(f, &t[0])?),
                        1e-5,
                    )?;
                }
            }
        }
        Ok(())
    }

    #[test]
    fn rows_without_a_finite_largest_element() -> Result<()> {
        let x = [[f32::NEG_INFINITY; 2], [f32::NAN, 0.], [0., f32::INFINITY]];
        let x = Tensor::new(&x, &candle_core::Device::Cpu)?;
        let got = log_sum_exp(&x)?.to_vec1::<f32>()?;
        assert!(got[0] == f32::NEG_INFINITY && got[1].is_nan() && got[2] == f32::INFINITY);
        let got = log_softmax(&x)?.to_vec2::<f32>()?;
        assert_eq!(got[0], [f32::NEG_INFINITY; 2]);
        assert!(got[1].iter().all(|l| l.is_nan()));
        assert_eq!(got[2], [f32::NEG_INFINITY, 0.]);
        Ok(())
    }
}

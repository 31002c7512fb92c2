//! Gradients of a node's inputs, as sums over parts of its rows.

use crate::kernels::machine::buffer::{CHUNK, chunks, filled};
use crate::kernels::machine::gemm::Write;
use candle_core::{Result, Tensor};

/// One for each input; nothing as long as nothing was added.
pub(crate) type Sums = Vec<Option<Vec<f32>>>;

/// A product is added to a sum of `len` elements, or begins it: `product` writes as it is told.
pub(crate) fn accumulate(
    sum: &mut Option<Vec<f32>>,
    len: usize,
    product: impl FnOnce(Write, &mut [f32]) -> Result<()>,
) -> Result<()> {
    match sum {
        Some(sum) => product(Write::Add, sum)?,
        None => *sum = Some(filled(len, |sum| product(Write::Set, sum))?),
    }
    Ok(())
}

/// The total of the sums of all parts, in their order.
pub(crate) fn total(parts: Vec<Sums>, count: usize) -> Sums {
    let mut parts = parts.into_iter();
    let mut total = parts.next().unwrap_or_else(|| vec![None; count]);
    for more in parts {
        for (total, more) in total.iter_mut().zip(more) {
            if let (Some(total), Some(more)) = (total, more) {
                chunks(total, CHUNK, |start, total| {
                    let more = &more[start..];
                    total.iter_mut().zip(more).for_each(|(t, m)| *t += m);
                });
            }
        }
    }
    total
}

/// Gradients as tensors, shaped as the inputs; `None` where nobody reads them.
pub(crate) fn tensors(
    sums: Sums,
    inputs: &[Tensor],
    needs: &[bool],
) -> Result<Vec<Option<Tensor>>> {
    let tensor = |((sum, like), needs): ((Option<Vec<f32>>, &Tensor), &bool)| {
        Ok(match sum {
            Some(sum) => Some(Tensor::from_vec(sum, like.shape(), like.device())?),
            // A batch of no rows has no chunk.
            None if *needs => Some(like.zeros_like()?),
            None => None,
        })
    };
    let all = sums.into_iter().zip(inputs).zip(needs);
    all.map(tensor).collect()
}

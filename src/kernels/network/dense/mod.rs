//! Dense layers, one after the other, as one graph node: `y = activation(x W^T + b)` of what the layer before gives.
//!
//! What lies between the layers never enters candle's graph, whose gradient of every edge costs a fill with zeros and an
//! addition. Many rows go through all layers in chunks that stay in the cache, each chunk on one thread, there and back;
//! few rows, and large weights, go layer by layer, with the threads at work on tiles of one product.

pub(crate) mod chain;
mod layer;
#[cfg(test)]
mod tests;

use crate::error::Result;
use crate::kernels::graph::node::{self, Fresh, Op, Reached, fresh};
use crate::kernels::machine::buffer::{View, filled, views};
use crate::kernels::machine::gemm::Mat;
use crate::kernels::network::activation::Activation;
use candle_core::Tensor;
use chain::Chain;
use layer::PARALLEL;
pub(crate) use layer::{Kept, transpose};
use rayon::prelude::*;
use std::ops::Range;

/// Rows from which a batch goes through the layers in chunks.
const MANY: usize = 2048;

/// Rows of such a chunk: enough to amortise the packing of a weight, few enough to stay in L2.
const ROWS: usize = 128;

/// Partial sums of the weights' gradients, each over its part of the chunks.
const PARTS: usize = 16;

/// Elements of all weights up to which there is room for that many partial sums.
const SMALL: usize = 512 * 1024;

/// One layer: `weight` [out, in], `bias` [out], and what follows the affine map.
pub(crate) struct Layer<'a> {
    pub(crate) weight: &'a Tensor,
    pub(crate) bias: Option<&'a Tensor>,
    pub(crate) activation: Activation,
}

/// The layers one after the other, for `x` [.., in]; the result is [.., out].
///
/// The caller has checked the shapes. A batch of no rows gives an empty result.
pub(crate) fn mlp(x: &Tensor, layers: &[Layer]) -> Result<Tensor> {
    let mut inputs = vec![x];
    for layer in layers {
        inputs.push(layer.weight);
        inputs.extend(layer.bias);
    }
    if layers.is_empty() || !crate::kernels::graph::fused(&inputs) {
        return layers.iter().try_fold(x.clone(), |x, l| composed(&x, l));
    }
    let steps = layers.iter().map(|l| (l.activation, l.bias.is_some()));
    let op = Mlp {
        steps: steps.collect(),
        kept: vec![],
    };
    Ok(node::apply1(op, &inputs)?)
}

fn composed(x: &Tensor, layer: &Layer) -> Result<Tensor> {
    let mut shape = x.dims().to_vec();
    let (out, width) = layer.weight.dims2()?;
    let rows = x.elem_count() / width.max(1);
    if let Some(last) = shape.last_mut() {
        *last = out;
    }
    let y = x.reshape((rows, width))?.matmul(&layer.weight.t()?)?;
    let y = match layer.bias {
        Some(b) => y.broadcast_add(b)?,
        None => y,
    };
    layer.activation.forward(&y.reshape(shape)?)
}

/// Inputs: x, then each layer's weight and perhaps bias.
struct Mlp {
    /// Each layer's activation, and whether it has a bias.
    steps: Vec<(Activation, bool)>,
    /// By chunk of rows and layer.
    kept: Vec<Vec<Kept>>,
}

/// The rows of a batch and how they are cut; by the shapes alone, so that the number of threads changes no bit.
struct Cut {
    rows: usize,
    /// Rows of a chunk; all of them in one if products are cut instead.
    step: usize,
    parallel: bool,
}

impl Cut {
    fn new(inputs: &[Tensor]) -> candle_core::Result<Self> {
        let (_, width) = inputs[1].dims2()?;
        let rows = inputs[0].elem_count() / width.max(1);
        let weights = inputs[1..].iter().map(Tensor::elem_count).sum::<usize>();
        let chunked = rows >= MANY && weights <= SMALL;
        Ok(Cut {
            rows,
            step: if chunked { ROWS } else { rows },
            parallel: rows * weights >= PARALLEL,
        })
    }

    fn chunked(&self) -> bool {
        self.step < self.rows
    }

    /// The rows of chunk `i`.
    fn chunk(&self, i: usize) -> Range<usize> {
        i * self.step..((i + 1) * self.step).min(self.rows)
    }

    /// The results of `f` on every item, in their order: an item for each thread at a time if the rows are in chunks.
    fn each<T: Send, R: Send>(
        &self,
        items: impl Iterator<Item = T>,
        f: impl Fn(T) -> candle_core::Result<R> + Send + Sync,
    ) -> candle_core::Result<Vec<R>> {
        if self.chunked() && self.parallel {
            let items: Vec<T> = items.collect();
            items.into_par_iter().with_max_len(1).map(f).collect()
        } else {
            items.map(f).collect()
        }
    }
}

/// A chunk of rows on its way back.
struct Chunk<'a> {
    rows: Range<usize>,
    kept: &'a [Kept],
    /// Where the gradient of its inputs goes, if somebody reads it.
    gx: Option<&'a mut [f32]>,
}

/// The arguments as slices.
struct Net<'a> {
    cut: Cut,
    x: Mat<'a>,
    chain: Chain<'a>,
}

impl Mlp {
    fn net<'a>(
        &self,
        inputs: &[Tensor],
        views: &'a [View],
        forward: bool,
    ) -> candle_core::Result<Net<'a>> {
        let cut = Cut::new(inputs)?;
        let how = [forward && cut.chunked(), cut.parallel && !cut.chunked()];
        let chain = Chain::new(&self.steps, 1, inputs, views, how)?;
        let x = Mat::new(views[0].f32()?, cut.rows, chain.inputs())?;
        Ok(Net { cut, x, chain })
    }
}

impl Op for Mlp {
    const NAME: &'static str = "mlp";

    fn forward(&mut self, inputs: &[Tensor], keep: bool) -> candle_core::Result<Vec<Fresh>> {
        let views = views(inputs)?;
        let net = self.net(inputs, &views, true)?;
        let (cut, out) = (&net.cut, net.chain.outputs());
        let y = filled(cut.rows * out, |y| {
            let chunks = y.chunks_mut((cut.step * out).max(1)).enumerate();
            let kept = cut.each(chunks, |(i, y)| {
                net.chain.forward(net.x.rows(cut.chunk(i))?, y, keep)
            })?;
            self.kept = if keep { kept } else { vec![] };
            Ok(())
        })?;
        let mut shape = inputs[0].dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = out;
        }
        Ok(vec![fresh(y, shape)])
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
        let views = views(inputs)?;
        let net = self.net(inputs, &views, false)?;
        let (cut, width, out) = (&net.cut, net.chain.inputs(), net.chain.outputs());
        let (y, g) = (View::new(&reached.value)?, View::new(&reached.gradient)?);
        let (y, g) = (y.f32()?, g.f32()?);
        let part = self.kept.len().div_ceil(PARTS).max(1);
        let mut parts = vec![];
        let wanted = if needs[0] { inputs[0].elem_count() } else { 0 };
        let gx = filled(wanted, |gx| {
            let mut gx = gx.chunks_mut((cut.step * width).max(1));
            let chunks = self.kept.iter().enumerate().map(|(i, kept)| Chunk {
                rows: cut.chunk(i),
                kept,
                gx: gx.next(),
            });
            let mut chunks: Vec<Chunk> = chunks.collect();
            parts = cut.each(chunks.chunks_mut(part), |chunks| {
                let mut sums = vec![None; inputs.len()];
                for Chunk { rows, kept, gx } in chunks {
                    let of = rows.start * out..rows.end * out;
                    let (x, gx) = (net.x.rows(rows.clone())?, gx.as_deref_mut());
                    let yg = [&y[of.clone()], &g[of]];
                    net.chain.backward(x, kept, yg, gx, needs, &mut sums)?;
                }
                Ok(sums)
            })?;
            Ok(())
        })?;
        let mut total = chain::total(parts, inputs.len());
        total[0] = needs[0].then_some(gx);
        chain::tensors(total, inputs, needs)
    }
}

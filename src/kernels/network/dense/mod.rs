//! Dense layers, one after the other, as one graph node: `y = activation(x W^T + b)` of what the layer before gives.
//!
//! What lies between the layers never enters candle's graph, whose gradient of every edge costs a fill with zeros and an
//! addition. Many rows go through all layers in chunks that stay in the cache, each chunk on one thread, there and back;
//! few rows, and large weights, go layer by layer, with the threads at work on tiles of one product.

pub(crate) mod chain;
pub(crate) mod layer;
#[cfg(test)]
mod tests;

use crate::error::Result;
use crate::kernels::graph::node::{Fresh, Op, Reached, fresh};
use crate::kernels::machine::buffer::{View, filled, views};
use crate::kernels::machine::gemm::Mat;
use crate::kernels::network::activation::Activation;
use crate::kernels::network::inputs::Inputs;
use crate::kernels::network::rows::Rows;
use crate::kernels::network::sums::tensors;
use candle_core::Tensor;
use chain::{Chain, Step};
pub(crate) use layer::Kept;
use layer::PARALLEL;
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
    let mut inputs = Inputs::new(x);
    let steps = chain::steps(layers, &mut inputs);
    if layers.is_empty() || !inputs.fused() {
        return layers.iter().try_fold(x.clone(), |x, l| composed(&x, l));
    }
    let kept = vec![];
    inputs.apply1(Mlp { steps, kept })
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
    steps: Vec<Step>,
    /// By chunk of rows and layer.
    kept: Vec<Vec<Kept>>,
}

/// Many rows are cut into chunks; few are one, and products are cut instead.
fn cut(inputs: &[Tensor]) -> candle_core::Result<Rows> {
    let (_, width) = inputs[1].dims2()?;
    let count = inputs[0].elem_count() / width.max(1);
    let weights = inputs[1..].iter().map(Tensor::elem_count).sum::<usize>();
    let chunked = count >= MANY && weights <= SMALL;
    Ok(Rows {
        count,
        step: if chunked { ROWS } else { count },
        parallel: count * weights >= PARALLEL,
    })
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
    rows: Rows,
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
        let rows = cut(inputs)?;
        let (chunked, parallel) = (rows.chunked(), rows.parallel);
        let how = [forward && chunked, parallel && !chunked];
        let chain = Chain::new(&self.steps, inputs, views, how)?;
        let x = Mat::new(views[0].f32()?, rows.count, chain.inputs())?;
        Ok(Net { rows, x, chain })
    }
}

impl Op for Mlp {
    const NAME: &'static str = "mlp";

    fn forward(&mut self, inputs: &[Tensor], keep: bool) -> candle_core::Result<Vec<Fresh>> {
        let views = views(inputs)?;
        let net = self.net(inputs, &views, true)?;
        let (rows, out) = (&net.rows, net.chain.outputs());
        let y = filled(rows.count * out, |y| {
            let chunks = rows.split(y, out).enumerate();
            let kept = rows.each(chunks, |(i, y)| {
                net.chain.forward(net.x.rows(rows.chunk(i))?, y, keep)
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
        let (rows, width, out) = (&net.rows, net.chain.inputs(), net.chain.outputs());
        let (y, g) = (View::new(&reached.value)?, View::new(&reached.gradient)?);
        let (y, g) = (y.f32()?, g.f32()?);
        let mut sums = vec![];
        let wanted = if needs[0] { inputs[0].elem_count() } else { 0 };
        let gx = filled(wanted, |gx| {
            let mut gx = rows.split(gx, width);
            let chunks = self.kept.iter().enumerate().map(|(i, kept)| Chunk {
                rows: rows.chunk(i),
                kept,
                gx: gx.next(),
            });
            sums = rows.back(chunks, PARTS, inputs.len(), |chunk, sums| {
                let Chunk { rows, kept, gx } = chunk;
                let of = rows.start * out..rows.end * out;
                let (x, gx) = (net.x.rows(rows.clone())?, gx.as_deref_mut());
                let yg = [&y[of.clone()], &g[of]];
                net.chain.backward(x, kept, yg, gx, needs, sums)
            })?;
            Ok(())
        })?;
        sums[0] = needs[0].then_some(gx);
        tensors(sums, inputs, needs)
    }
}

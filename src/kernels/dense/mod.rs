//! Dense layers, one after the other, as one graph node: `y = activation(x W^T + b)` of what the layer before gives.
//!
//! What lies between the layers never enters candle's graph, whose gradient of every edge costs a fill with zeros and an
//! addition. Many rows go through all layers in chunks that stay in the cache, each chunk on one thread, there and back;
//! few rows, and large weights, go layer by layer, with the threads at work on tiles of one product.

mod layer;
#[cfg(test)]
mod tests;

use super::activation::Activation;
use super::buffer::{self, CHUNK, View, filled};
use super::gemm::{Mat, Write};
use super::node::{self, Fresh, Op, Reached, fresh};
use crate::error::Result;
use candle_core::{Device, Tensor};
use layer::{Kept, PARALLEL};
use rayon::prelude::*;
use std::borrow::Cow;
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
    if layers.is_empty() || !super::fused(&inputs) {
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
    layers: Vec<layer::Layer<'a>>,
}

impl Mlp {
    fn net<'a>(
        &self,
        inputs: &[Tensor],
        views: &'a [View],
        forward: bool,
    ) -> candle_core::Result<Net<'a>> {
        let cut = Cut::new(inputs)?;
        let mut layers = vec![];
        let mut at = 1;
        for (activation, bias) in &self.steps {
            let (outputs, width) = inputs[at].dims2()?;
            let b = bias.then(|| views[at + 1].f32()).transpose()?;
            let w = views[at].f32()?;
            layers.push(layer::Layer {
                w: Mat::new(w, outputs, width)?,
                transposed: (forward && cut.chunked())
                    .then(|| layer::transpose(w, [outputs, width])),
                b,
                activation: *activation,
                inputs: width,
                outputs,
                at,
                parallel: cut.parallel && !cut.chunked(),
            });
            at += 1 + usize::from(*bias);
        }
        let x = Mat::new(views[0].f32()?, cut.rows, layers[0].inputs)?;
        Ok(Net { cut, x, layers })
    }
}

fn views(inputs: &[Tensor]) -> candle_core::Result<Vec<View<'_>>> {
    inputs.iter().map(View::new).collect()
}

impl Net<'_> {
    /// The width of the result.
    fn out(&self) -> usize {
        self.layers.last().map_or(0, |l| l.outputs)
    }

    /// A chunk of rows through all layers, into `y`.
    fn forward(&self, i: usize, y: &mut [f32], keep: bool) -> candle_core::Result<Vec<Kept>> {
        let rows = self.cut.chunk(i);
        let mut kept: Vec<Kept> = vec![];
        for (l, layer) in self.layers.iter().enumerate() {
            let x = match kept.last() {
                Some(before) => Mat::new(&before.output, rows.len(), layer.inputs)?,
                None => self.x.rows(rows.clone())?,
            };
            let mut argument = None;
            let mut run = |y: &mut [f32]| {
                argument = layer.forward(x, y, keep)?;
                Ok(())
            };
            let output = if l + 1 == self.layers.len() {
                run(y)?;
                vec![]
            } else {
                filled(rows.len() * layer.outputs, run)?
            };
            if !keep {
                kept.clear();
            }
            kept.push(Kept { output, argument });
        }
        Ok(kept)
    }

    /// A chunk of rows back through the layers, from outputs `y` of all rows and their gradients `g`; its part of the
    /// parameters' gradients is set in or added to `sums`.
    fn backward(
        &self,
        chunk: &mut Chunk,
        [y, g]: [&[f32]; 2],
        needs: &[bool],
        sums: &mut [Option<Vec<f32>>],
    ) -> candle_core::Result<()> {
        let (rows, kept) = (chunk.rows.len(), chunk.kept);
        let range = chunk.rows.start * self.out()..chunk.rows.end * self.out();
        let (y, mut g) = (&y[range.clone()], Cow::Borrowed(&g[range]));
        for (l, layer) in self.layers.iter().enumerate().rev() {
            let output = if l + 1 == self.layers.len() {
                y
            } else {
                &kept[l].output
            };
            g = layer.slope(kept[l].argument.as_deref().unwrap_or(output), g)?;
            let d = Mat::new(&g, rows, layer.outputs)?;
            if layer.b.is_some() && needs[layer.at + 1] {
                let sum = sums[layer.at + 1].get_or_insert_with(|| vec![0.; layer.outputs]);
                layer.gradient_b(&g, sum);
            }
            let x = match l.checked_sub(1) {
                Some(before) => Mat::new(&kept[before].output, rows, layer.inputs)?,
                None => self.x.rows(chunk.rows.clone())?,
            };
            let mut weight = || -> candle_core::Result<()> {
                let sum = &mut sums[layer.at];
                match sum {
                    _ if !needs[layer.at] => {}
                    Some(sum) => layer.gradient_w(Write::Add, d, x, sum)?,
                    None => {
                        let set = |w: &mut [f32]| layer.gradient_w(Write::Set, d, x, w);
                        *sum = Some(filled(layer.inputs * layer.outputs, set)?);
                    }
                }
                Ok(())
            };
            // Further back only if somebody there reads a gradient.
            let mut back = || match &mut chunk.gx {
                Some(gx) if l == 0 => layer.gradient_x(d, gx).map(|_| None),
                _ if l > 0 && needs[..layer.at].contains(&true) => {
                    let len = rows * layer.inputs;
                    filled(len, |gx| layer.gradient_x(d, gx)).map(Some)
                }
                _ => Ok(None),
            };
            let (weight, back) = if layer.share(rows) {
                rayon::join(weight, back)
            } else {
                (weight(), back())
            };
            weight?;
            match back? {
                Some(back) => g = Cow::Owned(back),
                None => break,
            }
        }
        Ok(())
    }
}

impl Op for Mlp {
    const NAME: &'static str = "mlp";

    fn forward(&mut self, inputs: &[Tensor], keep: bool) -> candle_core::Result<Vec<Fresh>> {
        let views = views(inputs)?;
        let net = self.net(inputs, &views, true)?;
        let (cut, out) = (&net.cut, net.out());
        let y = filled(cut.rows * out, |y| {
            let chunks = y.chunks_mut((cut.step * out).max(1)).enumerate();
            let kept = cut.each(chunks, |(i, y)| net.forward(i, y, keep))?;
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
        let (cut, width, x_count) = (&net.cut, net.layers[0].inputs, inputs[0].elem_count());
        let (y, g) = (View::new(&reached.value)?, View::new(&reached.gradient)?);
        let (y, g) = (y.f32()?, g.f32()?);
        let part = self.kept.len().div_ceil(PARTS).max(1);
        let mut parts = vec![];
        let wanted = if needs[0] { x_count } else { 0 };
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
                for chunk in chunks {
                    net.backward(chunk, [y, g], needs, &mut sums)?;
                }
                Ok(sums)
            })?;
            Ok(())
        })?;
        let mut sums = parts.into_iter();
        let mut total = sums.next().unwrap_or_else(|| vec![None; inputs.len()]);
        for more in sums {
            for (total, more) in total.iter_mut().zip(more) {
                if let (Some(total), Some(more)) = (total, more) {
                    buffer::chunks(total, CHUNK, |start, total| {
                        total
                            .iter_mut()
                            .zip(&more[start..])
                            .for_each(|(t, m)| *t += m);
                    });
                }
            }
        }
        total[0] = needs[0].then_some(gx);
        let gradients = total.into_iter().zip(inputs).zip(needs);
        let tensor = |((gradient, like), needs): ((Option<Vec<f32>>, &Tensor), &bool)| {
            let gradient = match gradient {
                Some(gradient) => Tensor::from_vec(gradient, like.shape(), &Device::Cpu)?,
                // A batch of no rows has no chunk.
                None if *needs => like.zeros_like()?,
                None => return Ok(None),
            };
            Ok(Some(gradient))
        };
        gradients.map(tensor).collect()
    }
}

//! Dense layers one after the other on slices: what a chunk of rows goes through, forward and back.

use super::layer::{Kept, Layer, transpose};
use crate::kernels::graph::node::asked;
use crate::kernels::machine::buffer::{View, filled};
use crate::kernels::machine::gemm::{Mat, Write};
use crate::kernels::network::activation::Activation;
use candle_core::{Result, Tensor};
use std::borrow::Cow;
use std::ops::Range;

/// Each layer's activation, and whether it has a bias.
pub(crate) type Steps = [(Activation, bool)];

/// Sums of the gradients of a node's inputs.
pub(crate) type Sums = Vec<Option<Vec<f32>>>;

pub(crate) struct Chain<'a> {
    pub(super) layers: Vec<Layer<'a>>,
    first: usize,
}

impl<'a> Chain<'a> {
    /// From a node's inputs, the first weight at `first`. `transposed` prepares the weights for many chunks of rows,
    /// `parallel` lets one product use several threads.
    pub(crate) fn new(
        steps: &Steps,
        first: usize,
        inputs: &[Tensor],
        views: &'a [View],
        [transposed, parallel]: [bool; 2],
    ) -> Result<Self> {
        let mut layers = vec![];
        let mut at = first;
        for (activation, bias) in steps {
            let (outputs, width) = inputs[at].dims2()?;
            let b = bias.then(|| views[at + 1].f32()).transpose()?;
            let w = views[at].f32()?;
            layers.push(Layer {
                w: Mat::new(w, outputs, width)?,
                transposed: transposed.then(|| transpose(w, [outputs, width])),
                b,
                activation: *activation,
                inputs: width,
                outputs,
                at,
                parallel,
            });
            at += 1 + usize::from(*bias);
        }
        Ok(Chain { layers, first })
    }

    /// The width of the rows that go in.
    pub(crate) fn inputs(&self) -> usize {
        self.layers.first().map_or(0, |l| l.inputs)
    }

    /// The width of the result.
    pub(crate) fn outputs(&self) -> usize {
        self.layers.last().map_or(0, |l| l.outputs)
    }

    /// The rows of `x` through all layers, into `y`.
    pub(crate) fn forward(&self, x: Mat, y: &mut [f32], keep: bool) -> Result<Vec<Kept>> {
        let rows = x.height();
        let mut kept: Vec<Kept> = vec![];
        for (l, layer) in self.layers.iter().enumerate() {
            let x = match kept.last() {
                Some(before) => Mat::new(&before.output, rows, layer.inputs)?,
                None => x,
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
                filled(rows * layer.outputs, run)?
            };
            if !keep {
                kept.clear();
            }
            kept.push(Kept { output, argument });
        }
        Ok(kept)
    }

    /// As [`forward`](Chain::forward), of the last layer's outputs these alone.
    pub(crate) fn columns(&self, x: Mat, outputs: Range<usize>, y: &mut [f32]) -> Result<()> {
        let rows = x.height();
        let mut before: Option<Vec<f32>> = None;
        for (l, layer) in self.layers.iter().enumerate() {
            let x = match &before {
                Some(before) => Mat::new(before, rows, layer.inputs)?,
                None => x,
            };
            if l + 1 == self.layers.len() {
                return layer.affine(x, outputs, y, layer.activation);
            }
            let all = 0..layer.outputs;
            let run = |y: &mut [f32]| layer.affine(x, all, y, layer.activation);
            before = Some(filled(rows * layer.outputs, run)?);
        }
        Ok(())
    }

    /// The rows of `x` back through the layers, from outputs `y` and their gradients `g`; into `gx` the gradient of the
    /// rows, if it is wanted. The part of the parameters' gradients is set in or added to `sums`.
    pub(crate) fn backward(
        &self,
        x: Mat,
        kept: &[Kept],
        [y, g]: [&[f32]; 2],
        mut gx: Option<&mut [f32]>,
        needs: &[bool],
        sums: &mut Sums,
    ) -> Result<()> {
        let rows = x.height();
        let mut g = Cow::Borrowed(g);
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
            let all = match l.checked_sub(1) {
                Some(before) => Some(kept[before].output.as_slice()),
                None => x.slice(),
            };
            let all = all.map(|all| asked(all, &g, rows));
            let x = match &all {
                Some(all) => Mat::new(all, rows, layer.inputs)?,
                None => x,
            };
            let mut weight = || -> Result<()> {
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
            let mut back = || match &mut gx {
                Some(gx) if l == 0 => layer.gradient_x(d, gx).map(|_| None),
                gx if l > 0 && (gx.is_some() || needs[self.first..layer.at].contains(&true)) => {
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

/// The total of the sums of all parts, in their order.
pub(crate) fn total(parts: Vec<Sums>, count: usize) -> Sums {
    let mut parts = parts.into_iter();
    let mut total = parts.next().unwrap_or_else(|| vec![None; count]);
    for more in parts {
        for (total, more) in total.iter_mut().zip(more) {
            if let (Some(total), Some(more)) = (total, more) {
                crate::kernels::machine::buffer::chunks(
                    total,
                    crate::kernels::machine::buffer::CHUNK,
                    |start, total| {
                        let more = &more[start..];
                        total.iter_mut().zip(more).for_each(|(t, m)| *t += m);
                    },
                );
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
    sums.into_iter()
        .zip(inputs)
        .zip(needs)
        .map(tensor)
        .collect()
}

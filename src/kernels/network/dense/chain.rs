//! Dense layers one after the other on slices: what a chunk of rows goes through, forward and back.

use super::layer::{Kept, Layer};
use crate::kernels::graph::node::asked;
use crate::kernels::machine::buffer::{View, filled};
use crate::kernels::machine::gemm::Mat;
use crate::kernels::network::activation::Activation;
use crate::kernels::network::inputs::{Inputs, Place};
use crate::kernels::network::sums::Sums;
use crate::kernels::network::{dense, transpose};
use candle_core::{Result, Tensor};
use std::borrow::Cow;
use std::ops::Range;

/// What a node knows of a layer.
pub(crate) struct Step {
    activation: Activation,
    place: Place,
}

/// The layers' tensors go among a node's inputs.
pub(crate) fn steps<'a>(layers: &[dense::Layer<'a>], inputs: &mut Inputs<'a>) -> Vec<Step> {
    let step = |layer: &dense::Layer<'a>| Step {
        activation: layer.activation,
        place: inputs.layer(layer.weight, layer.bias),
    };
    layers.iter().map(step).collect()
}

pub(crate) struct Chain<'a> {
    pub(crate) layers: Vec<Layer<'a>>,
}

impl<'a> Chain<'a> {
    /// From a node's inputs. `transposed` prepares the weights for many chunks of rows, `parallel` lets one product use several
    /// threads.
    pub(crate) fn new(
        steps: &[Step],
        inputs: &[Tensor],
        views: &'a [View],
        [transposed, parallel]: [bool; 2],
    ) -> Result<Self> {
        let layer = |Step { activation, place }: &Step| {
            let (outputs, width) = inputs[place.weight].dims2()?;
            let w = views[place.weight].f32()?;
            Ok(Layer {
                w,
                transposed: transposed.then(|| transpose::transposed(w, [outputs, width])),
                b: place.bias.map(|at| views[at].f32()).transpose()?,
                activation: *activation,
                inputs: width,
                outputs,
                place: *place,
                parallel,
            })
        };
        let layers = steps.iter().map(layer).collect::<Result<_>>()?;
        Ok(Chain { layers })
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
        let first = self.layers.first().map_or(0, |l| l.place.weight);
        let mut g = Cow::Borrowed(g);
        for (l, layer) in self.layers.iter().enumerate().rev() {
            let output = if l + 1 == self.layers.len() {
                y
            } else {
                &kept[l].output
            };
            g = layer.slope(kept[l].argument.as_deref().unwrap_or(output), g)?;
            let d = Mat::new(&g, rows, layer.outputs)?;
            if let Some(at) = layer.place.bias.filter(|at| needs[*at]) {
                let sum = sums[at].get_or_insert_with(|| vec![0.; layer.outputs]);
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
            let at = layer.place.weight;
            let mut weight = || match needs[at] {
                true => layer.add_gradient_w(d, x, &mut sums[at]),
                false => Ok(()),
            };
            // Further back only if somebody there reads a gradient.
            let mut back = || match &mut gx {
                Some(gx) if l == 0 => layer.gradient_x(d, gx).map(|_| None),
                gx if l > 0 && (gx.is_some() || needs[first..at].contains(&true)) => {
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

//! A residual network of convolutions as one node: sums and activations between the convolutions are passes of their own
//! over large images, each of them several in candle's graph.

use super::step::Step;
use super::{Layer, conv2d};
use crate::error::Result;
use crate::kernels::graph::node::{Fresh, Op, Reached};
use crate::kernels::machine::buffer::{CHUNK, View, build, chunks};
use crate::kernels::network::activation::Activation;
use crate::kernels::network::inputs::Inputs;
use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, Storage, Tensor};

/// `h = first(x)`, then `h + second(one(f(h)))` for each pair of layers, then `last(f(h))`. The layers in between keep the
/// shape of h; the activation of `one` is its own.
pub(crate) fn residual(x: &Tensor, layers: &[Layer], f: Activation) -> Result<Tensor> {
    let (Some((first, rest)), true) = (layers.split_first(), layers.len().is_multiple_of(2)) else {
        return Err(crate::Error::value(
            "conv2d::residual",
            "layers",
            "an even number, at least 2",
            layers.len(),
        ));
    };
    let (blocks, last) = rest.split_at(rest.len() - 1);
    let one = |x: &Tensor, layer: &Layer| conv2d(x, layer.weight, layer.bias, layer.settings);
    let mut inputs = Inputs::new(x);
    let steps = Step::all(x, layers, &mut inputs)?;
    let inner = layers.iter().map(|layer| layer.settings.activation);
    let slopes = inner.chain([f]).all(Activation::slope_from_output);
    if !slopes || !inputs.fused() {
        let mut h = one(x, first)?;
        for pair in blocks.chunks_exact(2) {
            h = (&h + one(&one(&f.forward(&h)?, &pair[0])?, &pair[1])?)?;
        }
        return one(&f.forward(&h)?, &last[0]);
    }
    let kept = vec![];
    inputs.apply1(Residual { steps, f, kept })
}

struct Residual {
    steps: Vec<Step>,
    f: Activation,
    /// The argument of every convolution but the first.
    kept: Vec<Tensor>,
}

fn tensor(data: Vec<f32>, like: &[usize]) -> Tensor {
    let storage = Storage::Cpu(CpuStorage::F32(data));
    Tensor::from_storage(storage, like, BackpropOp::none(), false)
}

fn floats((storage, _): Fresh) -> candle_core::Result<Vec<f32>> {
    match storage {
        CpuStorage::F32(data) => Ok(data),
        _ => candle_core::bail!("a convolution of other numbers than f32"),
    }
}

impl Op for Residual {
    const NAME: &'static str = "conv2d-residual";

    fn forward(&mut self, inputs: &[Tensor], keep: bool) -> candle_core::Result<Vec<Fresh>> {
        let first = self.steps[0].forward(&inputs[0], inputs)?;
        let shape = first.1.dims().to_vec();
        let (mut h, mut kept) = (floats(first)?, vec![]);
        let activated = |h: &[f32]| {
            let data = build(h.len(), CHUNK, |at, out: &mut [f32]| {
                out.copy_from_slice(&h[at..at + out.len()]);
                self.f.apply(out);
            });
            tensor(data, &shape)
        };
        for step in (1..self.steps.len() - 1).step_by(2) {
            let a = activated(&h);
            let inner = self.steps[step].forward(&a, inputs)?;
            let dims = inner.1.dims().to_vec();
            let inner = tensor(floats(inner)?, &dims);
            let more = floats(self.steps[step + 1].forward(&inner, inputs)?)?;
            chunks(&mut h, CHUNK, |at, h| {
                h.iter_mut().zip(&more[at..]).for_each(|(h, m)| *h += m);
            });
            if keep {
                kept.extend([a, inner]);
            }
        }
        let a = activated(&h);
        let y = self.steps[self.steps.len() - 1].forward(&a, inputs)?;
        if keep {
            kept.push(a);
        }
        self.kept = kept;
        Ok(vec![y])
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        needs: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let mut gradients = vec![None; inputs.len()];
        let Some(Some(reached)) = outputs.first() else {
            return Ok(gradients);
        };
        // The gradient to a step's argument, if anything further back reads one; its parameters' are stored.
        let mut back = |step: usize, value: &Tensor, gradient: &Tensor| {
            let x = step.checked_sub(1).map_or(&inputs[0], |i| &self.kept[i]);
            let (value, gradient) = (value.clone(), gradient.clone());
            let reached = Reached { value, gradient };
            self.steps[step].backward(x, inputs, &reached, needs, &mut gradients)
        };
        let last = self.steps.len() - 1;
        // The gradient to h through f, and what reached h beside.
        let through = |a: &Tensor, gradient: &Tensor, beside: Option<&Tensor>| {
            let (values, slopes) = (View::new(a)?, View::new(gradient)?);
            let beside = beside.map(View::new).transpose()?;
            let (values, slopes) = (values.f32()?, slopes.f32()?);
            let beside = beside.as_ref().map(View::f32).transpose()?;
            let data = build(values.len(), CHUNK, |at, out: &mut [f32]| {
                out.copy_from_slice(&slopes[at..at + out.len()]);
                self.f.backprop(&values[at..at + out.len()], out);
                if let Some(beside) = beside {
                    out.iter_mut().zip(&beside[at..]).for_each(|(g, b)| *g += b);
                }
            });
            candle_core::Result::Ok(tensor(data, a.dims()))
        };
        let Some(gradient) = back(last, &reached.value, &reached.gradient)? else {
            return Ok(gradients);
        };
        let mut h = through(&self.kept[last - 1], &gradient, None)?;
        for step in (1..last).step_by(2).rev() {
            // The second convolution has no activation: its value is not read.
            let Some(inner) = back(step + 1, &h, &h)? else {
                return Ok(gradients);
            };
            let Some(gradient) = back(step, &self.kept[step], &inner)? else {
                return Ok(gradients);
            };
            h = through(&self.kept[step - 1], &gradient, Some(&h))?;
        }
        let gradient = back(0, &h, &h)?;
        gradients[0] = gradient;
        Ok(gradients)
    }
}

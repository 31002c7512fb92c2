//! Convolutions one after the other as one node: what lies between them never enters candle's graph, whose gradient of
//! every edge costs a fill with zeros and an addition.

use super::{Geometry, Settings, backward, conv2d, forward};
use crate::error::Result;
use crate::kernels::graph::node::{self, Fresh, Op, Reached};
use candle_core::op::BackpropOp;
use candle_core::{Storage, Tensor};

/// One convolution of a chain.
pub(crate) struct Layer<'a> {
    pub(crate) weight: &'a Tensor,
    pub(crate) bias: Option<&'a Tensor>,
    pub(crate) settings: Settings,
}

/// The convolutions of `layers`, each of the result of the one before.
pub(crate) fn chain(x: &Tensor, layers: &[Layer]) -> Result<Tensor> {
    let mut inputs = vec![x];
    for layer in layers {
        inputs.push(layer.weight);
        inputs.extend(layer.bias);
    }
    let slopes = layers
        .iter()
        .all(|l| l.settings.activation.slope_from_output());
    if layers.is_empty() || !slopes || !crate::kernels::graph::fused(&inputs) {
        let mut y = x.clone();
        for layer in layers {
            y = conv2d(&y, layer.weight, layer.bias, layer.settings)?;
        }
        return Ok(y);
    }
    let steps = Step::of(x, layers)?;
    let op = Chain {
        steps,
        between: vec![],
    };
    Ok(node::apply1(op, &inputs)?)
}

pub(super) struct Step {
    pub(super) geometry: Geometry,
    pub(super) settings: Settings,
    /// The weight and perhaps a bias.
    pub(super) arguments: usize,
}

impl Step {
    /// The layers one after the other, the first on images of x.
    pub(super) fn of(x: &Tensor, layers: &[Layer]) -> Result<Vec<Step>> {
        let mut dims = x.dims().to_vec();
        let step = |layer: &Layer| {
            let geometry = Geometry::new(x, &dims, layer.weight, layer.bias, layer.settings)?;
            dims = geometry.out_dims(layer.settings.output).to_vec();
            Ok(Step {
                geometry,
                settings: layer.settings,
                arguments: 1 + usize::from(layer.bias.is_some()),
            })
        };
        layers.iter().map(step).collect()
    }
}

struct Chain {
    steps: Vec<Step>,
    /// The results of all convolutions but the last.
    between: Vec<Tensor>,
}

impl Op for Chain {
    const NAME: &'static str = "conv2d-chain";

    fn forward(&mut self, inputs: &[Tensor], keep: bool) -> candle_core::Result<Vec<Fresh>> {
        let mut x = inputs[0].clone();
        let mut next = 1;
        for (i, step) in self.steps.iter().enumerate() {
            let mut arguments = vec![x];
            arguments.extend_from_slice(&inputs[next..next + step.arguments]);
            next += step.arguments;
            let y = forward::run(&step.geometry, &step.settings, &arguments)?;
            if i + 1 == self.steps.len() {
                return Ok(vec![y]);
            }
            let (storage, shape) = y;
            x = Tensor::from_storage(Storage::Cpu(storage), shape, BackpropOp::none(), false);
            if keep {
                self.between.push(x.clone());
            }
        }
        candle_core::bail!("{}: no convolution", Self::NAME)
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        needs: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let mut gradients = vec![None; inputs.len()];
        let Some(Some(last)) = outputs.first() else {
            return Ok(gradients);
        };
        let (mut value, mut gradient) = (last.value.clone(), last.gradient.clone());
        let mut end = inputs.len();
        for (i, step) in self.steps.iter().enumerate().rev() {
            let start = end - step.arguments;
            let x = match i.checked_sub(1) {
                Some(before) => &self.between[before],
                None => &inputs[0],
            };
            // Further back only if somebody there reads a gradient.
            let mut wanted = vec![needs[..start].contains(&true)];
            wanted.extend_from_slice(&needs[start..end]);
            let mut arguments = vec![x.clone()];
            arguments.extend_from_slice(&inputs[start..end]);
            let reached = Reached { value, gradient };
            let (geometry, settings) = (&step.geometry, &step.settings);
            let found = backward::run(geometry, settings, &arguments, &reached, &wanted)?;
            let mut found = found.into_iter();
            let back = found.next().flatten();
            for (slot, found) in gradients[start..end].iter_mut().zip(found) {
                *slot = found;
            }
            match (i, back) {
                (0, back) => {
                    gradients[0] = back;
                    break;
                }
                (_, Some(back)) => (value, gradient) = (x.clone(), back),
                (_, None) => break,
            }
            end = start;
        }
        Ok(gradients)
    }
}

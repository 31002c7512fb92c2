//! Convolutions one after the other as one node: what lies between them never enters candle's graph, whose gradient of
//! every edge costs a fill with zeros and an addition.

use super::step::Step;
use super::{Layer, Order, conv2d};
use crate::error::Result;
use crate::kernels::graph::node::{Fresh, Op, Reached};
use crate::kernels::network::activation::Activation;
use crate::kernels::network::inputs::Inputs;
use candle_core::op::BackpropOp;
use candle_core::{Storage, Tensor};

/// The convolutions of `layers`, each of the result of the one before.
pub(crate) fn chain(x: &Tensor, layers: &[Layer]) -> Result<Tensor> {
    let one = |x: Tensor, l: &Layer| conv2d(&x, l.weight, l.bias, l.settings);
    match fused(x, layers)? {
        Some(y) => Ok(y),
        None => layers.iter().try_fold(x.clone(), one),
    }
}

/// [`chain`] from channels-first images to those of order `last`, with channels-last ones in between, so that nothing is
/// transposed there.
pub(crate) fn in_turn(mut layers: Vec<Layer>, x: &Tensor, last: Order) -> Result<Tensor> {
    let mut order = Order::ChannelsFirst;
    let count = layers.len();
    for (i, layer) in layers.iter_mut().enumerate() {
        layer.settings.input = order;
        order = if i + 1 == count {
            last
        } else {
            Order::ChannelsLast
        };
        layer.settings.output = order;
    }
    chain(x, &layers)
}

/// As one node; `None` where there is none.
pub(super) fn fused(x: &Tensor, layers: &[Layer]) -> Result<Option<Tensor>> {
    let mut inputs = Inputs::new(x);
    let steps = Step::all(x, layers, &mut inputs)?;
    let mut activations = layers.iter().map(|l| l.settings.activation);
    let slopes = activations.all(Activation::slope_from_output);
    if !slopes || layers.is_empty() || !inputs.fused() {
        return Ok(None);
    }
    let between = vec![];
    let name = layers[0].settings.kind.name();
    inputs
        .apply1(Chain {
            steps,
            between,
            name,
        })
        .map(Some)
}

struct Chain {
    name: &'static str,
    steps: Vec<Step>,
    /// The results of all convolutions but the last.
    between: Vec<Tensor>,
}

impl Op for Chain {
    const NAME: &'static str = "conv2d";

    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&mut self, inputs: &[Tensor], keep: bool) -> candle_core::Result<Vec<Fresh>> {
        let mut x = inputs[0].clone();
        for (i, step) in self.steps.iter().enumerate() {
            let y = step.forward(&x, inputs)?;
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
        let mut reached = last.clone();
        for (i, step) in self.steps.iter().enumerate().rev() {
            let x = i.checked_sub(1).map_or(&inputs[0], |i| &self.between[i]);
            match step.backward(x, inputs, &reached, needs, &mut gradients)? {
                Some(gradient) if i > 0 => {
                    let value = x.clone();
                    reached = Reached { value, gradient };
                }
                back => {
                    gradients[0] = back;
                    break;
                }
            }
        }
        Ok(gradients)
    }
}

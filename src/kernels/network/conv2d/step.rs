//! One of several convolutions of a node.

use super::geometry::Geometry;
use super::{Layer, Settings, backward, forward};
use crate::error;
use crate::kernels::graph::node::{Fresh, Reached};
use crate::kernels::network::inputs::{Inputs, Place};
use candle_core::{Result, Tensor};
use std::slice;

pub(super) struct Step {
    pub(super) geometry: Geometry,
    pub(super) settings: Settings,
    /// Among the node's inputs.
    place: Place,
}

impl Step {
    /// The layers one after the other, the first on images of x; their tensors go among the inputs.
    pub(super) fn all<'a>(
        x: &Tensor,
        layers: &[Layer<'a>],
        inputs: &mut Inputs<'a>,
    ) -> error::Result<Vec<Step>> {
        let mut dims = x.dims().to_vec();
        let step = |layer: &Layer<'a>| {
            let step = Step::new(x, &dims, layer, inputs)?;
            dims = step.geometry.out_dims(layer.settings.output).to_vec();
            Ok(step)
        };
        layers.iter().map(step).collect()
    }

    /// One on images of shape `dims`, of the kind of x.
    pub(super) fn new<'a>(
        x: &Tensor,
        dims: &[usize],
        layer: &Layer<'a>,
        inputs: &mut Inputs<'a>,
    ) -> error::Result<Step> {
        let geometry = Geometry::new(x, dims, layer.weight, layer.bias, layer.settings)?;
        Ok(Step {
            geometry,
            settings: layer.settings,
            place: inputs.layer(layer.weight, layer.bias),
        })
    }

    /// x and the parameters.
    fn arguments(&self, x: &Tensor, inputs: &[Tensor]) -> Vec<Tensor> {
        [slice::from_ref(x), &inputs[self.place.range()]].concat()
    }

    pub(super) fn forward(&self, x: &Tensor, inputs: &[Tensor]) -> Result<Fresh> {
        let arguments = self.arguments(x, inputs);
        forward::run(&self.geometry, &self.settings, &arguments)
    }

    /// The gradient of x, if something up to there reads one; those of the parameters go to `gradients`.
    pub(super) fn backward(
        &self,
        x: &Tensor,
        inputs: &[Tensor],
        reached: &Reached,
        needs: &[bool],
        gradients: &mut [Option<Tensor>],
    ) -> Result<Option<Tensor>> {
        let own = self.place.range();
        let mut wanted = vec![needs[..own.start].contains(&true)];
        wanted.extend_from_slice(&needs[own.clone()]);
        let arguments = self.arguments(x, inputs);
        let found = backward::run(&self.geometry, &self.settings, &arguments, reached, &wanted)?;
        let mut found = found.into_iter();
        let back = found.next().flatten();
        for (slot, found) in gradients[own].iter_mut().zip(found) {
            *slot = found;
        }
        Ok(back)
    }
}

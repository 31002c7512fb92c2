//! The tensors of layers as a node's inputs, and where each stands among them.

use crate::error::Result;
use crate::kernels::graph;
use crate::kernels::graph::node::{self, Op};
use candle_core::Tensor;
use std::ops::Range;

/// A node's inputs, in their order.
pub(crate) struct Inputs<'a>(Vec<&'a Tensor>);

impl<'a> Inputs<'a> {
    /// Of a node on `x`, its first input.
    pub(crate) fn new(x: &'a Tensor) -> Self {
        Inputs(vec![x])
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// One input more; its place.
    pub(crate) fn push(&mut self, tensor: &'a Tensor) -> usize {
        self.0.push(tensor);
        self.0.len() - 1
    }

    /// The parameters of one layer more.
    pub(crate) fn layer(&mut self, weight: &'a Tensor, bias: Option<&'a Tensor>) -> Place {
        Place {
            weight: self.push(weight),
            bias: bias.map(|bias| self.push(bias)),
        }
    }

    /// Whether a node can have them.
    pub(crate) fn fused(&self) -> bool {
        graph::fused(&self.0)
    }

    /// Constants, contiguous.
    pub(crate) fn contiguous(&self) -> Result<Vec<Tensor>> {
        let all = self.0.iter().map(|t| t.detach().contiguous());
        Ok(all.collect::<candle_core::Result<_>>()?)
    }

    /// The outputs of `op` on them.
    pub(crate) fn apply(&self, op: impl Op) -> Result<Vec<Tensor>> {
        Ok(node::apply(op, &self.0)?)
    }

    /// The one output of `op` on them.
    pub(crate) fn apply1(&self, op: impl Op) -> Result<Tensor> {
        Ok(node::apply1(op, &self.0)?)
    }
}

/// Where a layer's weight, and perhaps its bias right after it, stand among the inputs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) weight: usize,
    pub(crate) bias: Option<usize>,
}

impl Place {
    pub(crate) fn range(self) -> Range<usize> {
        self.weight..self.bias.unwrap_or(self.weight) + 1
    }
}

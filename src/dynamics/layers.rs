//! All layers, one after the other.

use super::step::{Law, Layer, Place};
use super::{Memory, State, Weights};
use crate::dual::Dual;
use crate::error::{Error, Result};
use crate::kernels::graph::chain::{self, Inputs, Stepped, Steps, Way};
use candle_core::Tensor;

/// The stacks of all layers; kernels are what the layers multiply with.
pub(super) struct Stacks {
    pub(super) kernel: Dual,
    pub(super) bias: Option<Dual>,
    pub(super) second_bias: Option<Dual>,
}

impl Stacks {
    pub(super) fn constant(weights: &Weights) -> Self {
        Stacks {
            kernel: Dual::constant(&weights.kernel),
            bias: weights.bias.as_ref().map(Dual::constant),
            second_bias: weights.second_bias.as_ref().map(Dual::constant),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.kernel.value().dims().first().copied().unwrap_or(0)
    }

    pub(super) fn layer(&self, j: usize) -> Result<Layer> {
        let of = |stack: &Dual| stack.linear(|t| Ok(t.get(j)?));
        let some = |stack: &Option<Dual>| stack.as_ref().map(of).transpose();
        Ok(Layer {
            kernel: of(&self.kernel)?,
            bias: some(&self.bias)?,
            second_bias: some(&self.second_bias)?,
        })
    }
}

/// The place after the last layer, in candle's graph layer by layer.
pub(super) fn through(law: &Law, start: Place, stacks: &Stacks) -> Result<Place> {
    (0..stacks.count()).try_fold(start, |at, j| law.forward(&at, &stacks.layer(j)?))
}

/// The state after the last layer, all layers as one node of the graph; none where no node is to be had. Here it is decided which.
pub(super) fn run(
    op: &'static str,
    law: Law,
    start: &State,
    stacks: &Stacks,
    memory: Memory,
) -> Result<Option<State>> {
    let way = match law.scheme.reversible() {
        _ if memory.states(law.scheme, stacks.count()) => Way::States,
        true => Way::Checked,
        false => Way::Checkpoints,
    };
    let parts = [
        Some(&stacks.kernel),
        stacks.bias.as_ref(),
        stacks.second_bias.as_ref(),
    ];
    let list: Vec<Tensor> = (parts.iter().flatten())
        .map(|d| d.value().clone())
        .collect();
    let layers = Layers {
        law,
        count: stacks.count(),
        biases: [stacks.bias.is_some(), stacks.second_bias.is_some()],
        batch: match stacks.kernel.value().rank() {
            3 => start.y.rank().saturating_sub(1),
            _ => 1,
        },
    };
    let inputs = Inputs {
        state: &tensors(start),
        stacks: &list,
        variables: &[],
    };
    let end = chain::run(op, layers, inputs, way)?;
    end.map(|end| state(&end)).transpose()
}

/// The layers as steps of a chain.
struct Layers {
    law: Law,
    count: usize,
    /// Whether there are the first and the second.
    biases: [bool; 2],
    /// Dims of the batch.
    batch: usize,
}

impl Layers {
    /// From a layer's slices of the stacks.
    fn layer(&self, own: &[Tensor]) -> Result<Layer> {
        let mut own = own.iter().map(Dual::constant);
        let missing = || Error::value("Propagation", "kernel", "one for each layer", "none");
        let kernel = own.next().ok_or_else(missing)?;
        let [bias, second_bias] = self
            .biases
            .map(|there| own.by_ref().take(there.into()).next());
        Ok(Layer {
            kernel,
            bias,
            second_bias,
        })
    }
}

impl Steps for Layers {
    fn count(&self) -> usize {
        self.count
    }

    fn forward(&self, _: usize, at: &[Tensor], own: &[Tensor]) -> Result<Stepped> {
        let at = Place::constant(&state(at)?);
        let next = self.law.forward(&at, &self.layer(own)?)?;
        Ok(Stepped {
            state: tensors(&next.state()),
            term: None,
        })
    }

    fn batch(&self) -> usize {
        self.batch
    }

    fn back(&self, _: usize, at: &[Tensor], own: &[Tensor]) -> Result<Vec<Tensor>> {
        let at = Place::constant(&state(at)?);
        Ok(tensors(&self.law.back(&at, &self.layer(own)?)?.state()))
    }
}

/// A state as a list, y first.
fn tensors(state: &State) -> Vec<Tensor> {
    std::iter::once(&state.y).chain(&state.z).cloned().collect()
}

fn state(list: &[Tensor]) -> Result<State> {
    match list {
        [y] => Ok(State::new(y)),
        [y, z] => Ok(State {
            y: y.clone(),
            z: Some(z.clone()),
        }),
        _ => Err(Error::value(
            "Propagation",
            "state",
            "y, perhaps z",
            list.len(),
        )),
    }
}

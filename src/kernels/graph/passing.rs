//! How gradients pass through a [`node`](super::node) to its inputs.
//!
//! The arrows between collector, core and outputs carry a scalar that nobody reads; they exist so that candle visits the
//! nodes in the right order. In the backward pass each output leaves its gradient in a thread-local table, the core takes
//! them, calls [`Op::backward`] once and leaves the input gradients for the collectors, which hand them to candle.
//! Candle adds each of them to a buffer of zeros that it fills first; [`backward`] spares the variables' gradients both.

use super::op::{Fresh, Op, Reached};
use super::{first_only, second_derivatives};
use candle_core::backprop::GradStore;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Device, Layout, Result, Shape, Tensor,
};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Mutex;

#[derive(Default)]
struct Pending {
    outputs: HashMap<usize, Reached>,
    inputs: HashMap<usize, Tensor>,
}

thread_local! {
    // A backward pass runs on one thread, so passes over one graph on two threads do not meet here. Two could on one thread
    // of rayon's pool, where a task that waits may be given another that walks the same graph.
    static PENDING: RefCell<HashMap<u64, Pending>> = RefCell::default();
}

thread_local! {
    /// Variables and their gradients, in the order of arrival, while [`backward`] runs.
    static LEAVES: RefCell<Option<Vec<(Tensor, Tensor)>>> = const { RefCell::new(None) };
}

/// What `loss.backward()` returns.
pub(crate) fn backward(loss: &Tensor) -> Result<GradStore> {
    /// Ends the collection also when a backward pass panics.
    struct Collection(Option<Vec<(Tensor, Tensor)>>);
    impl Drop for Collection {
        fn drop(&mut self) {
            LEAVES.set(self.0.take());
        }
    }
    let _outer = Collection(LEAVES.replace(Some(vec![])));
    let mut gradients = loss.backward()?;
    for (variable, gradient) in LEAVES.take().unwrap_or_default() {
        let gradient = match gradients.remove(&variable) {
            Some(other) => (other + gradient)?,
            None => gradient,
        };
        gradients.insert(&variable, gradient);
    }
    Ok(gradients)
}

fn token() -> (CpuStorage, Shape) {
    (CpuStorage::F32(vec![0.]), Shape::from(()))
}

fn token_gradient() -> Result<Option<Tensor>> {
    Tensor::zeros((), DType::F32, &Device::Cpu).map(Some)
}

pub(super) struct Output {
    pub(super) id: u64,
    pub(super) index: usize,
    pub(super) name: &'static str,
    pub(super) fresh: Mutex<Option<Fresh>>,
}

impl CustomOp1 for Output {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<Fresh> {
        match self.fresh.lock().map(|mut fresh| fresh.take()) {
            Ok(Some(fresh)) => Ok(fresh),
            _ => candle_core::bail!("{}: the output was taken before", self.name),
        }
    }

    fn bwd(&self, _: &Tensor, value: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let reached = Reached {
            value: value.detach(),
            gradient: gradient.contiguous()?,
        };
        PENDING.with(|all| {
            let mut all = all.borrow_mut();
            all.entry(self.id)
                .or_default()
                .outputs
                .insert(self.index, reached)
        });
        token_gradient()
    }
}

pub(super) struct Core<O> {
    pub(super) id: u64,
    pub(super) op: O,
    pub(super) inputs: Vec<Tensor>,
    pub(super) needs: Vec<bool>,
    pub(super) count: usize,
}

impl<O: Op> CustomOp1 for Core<O> {
    fn name(&self) -> &'static str {
        O::NAME
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<Fresh> {
        Ok(token())
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        let mut left = PENDING
            .with(|all| all.borrow_mut().remove(&self.id))
            .unwrap_or_default();
        let outputs: Vec<Option<Reached>> =
            (0..self.count).map(|j| left.outputs.remove(&j)).collect();
        let gradients = self.op.backward(&self.inputs, &outputs, &self.needs)?;
        let inputs = gradients
            .into_iter()
            .enumerate()
            .filter(|(i, _)| self.needs[*i])
            .filter_map(|(i, gradient)| gradient.map(|g| (i, g)))
            .collect();
        let pending = Pending {
            inputs,
            ..Pending::default()
        };
        PENDING.with(|all| all.borrow_mut().insert(self.id, pending));
        token_gradient()
    }
}

/// Hands the gradients of up to three inputs to candle.
struct Collector {
    id: u64,
    name: &'static str,
    /// Input numbers in argument order; `None` stands for the rest of the chain.
    slots: Vec<Option<usize>>,
}

impl Collector {
    fn gradient(&self, slot: usize, argument: &Tensor) -> Result<Option<Tensor>> {
        let Some(input) = self.slots[slot] else {
            return token_gradient();
        };
        let gradient = PENDING.with(|all| {
            let mut all = all.borrow_mut();
            let pending = all.get_mut(&self.id)?;
            let gradient = pending.inputs.remove(&input);
            if pending.inputs.is_empty() {
                all.remove(&self.id);
            }
            gradient
        });
        let gradient = match gradient {
            Some(gradient) if second_derivatives() => {
                Some(first_only::mark(self.name, argument, &gradient)?)
            }
            other => other,
        };
        if !argument.is_variable() {
            return Ok(gradient);
        }
        Ok(LEAVES.with_borrow_mut(|leaves| match (leaves, gradient) {
            (Some(leaves), Some(gradient)) => {
                leaves.push((argument.clone(), gradient));
                None
            }
            (_, gradient) => gradient,
        }))
    }
}

pub(super) fn collect(
    name: &'static str,
    id: u64,
    chain: Option<&Tensor>,
    inputs: &[(usize, &Tensor)],
) -> Result<Tensor> {
    let mut slots: Vec<Option<usize>> = chain.iter().map(|_| None).collect();
    slots.extend(inputs.iter().map(|(i, _)| Some(*i)));
    let arguments: Vec<&Tensor> = chain
        .into_iter()
        .chain(inputs.iter().map(|(_, t)| *t))
        .collect();
    let node = Collector { id, name, slots };
    match arguments.as_slice() {
        [a] => a.apply_op1(node),
        [a, b] => a.apply_op2(b, node),
        [a, b, c] => a.apply_op3(b, c, node),
        _ => candle_core::bail!("{name}: no input to collect"),
    }
}

impl CustomOp1 for Collector {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<Fresh> {
        Ok(token())
    }

    fn bwd(&self, a: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        self.gradient(0, a)
    }
}

impl CustomOp2 for Collector {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<Fresh> {
        Ok(token())
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        _: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((self.gradient(0, a)?, self.gradient(1, b)?))
    }
}

impl CustomOp3 for Collector {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<Fresh> {
        Ok(token())
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        _: &Tensor,
        _: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        Ok((
            self.gradient(0, a)?,
            self.gradient(1, b)?,
            self.gradient(2, c)?,
        ))
    }
}

/// Whether nothing is left of a backward pass on this thread.
#[cfg(test)]
pub(super) fn is_clean() -> bool {
    PENDING.with_borrow(|pending| pending.is_empty())
        && LEAVES.with_borrow(|leaves| leaves.is_none())
}

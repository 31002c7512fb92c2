//! Steps one after the other as one node, which keeps little of what lies between them: the backward pass has each step's argument
//! from its result, from a checkpoint before it, or kept, and differentiates one step at a time.

mod rows;
#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::kernels::graph::drift::{self, Near};
use crate::kernels::graph::node::{self, Fresh, Op, Reached};
use crate::kernels::machine::buffer::View;
use candle_core::{CpuStorage, DType, Tensor, Var, WithDType};
use std::collections::BTreeMap;

/// Steps, first to last. A state is one or more tensors, as many after each step.
pub(crate) trait Steps: Send + Sync + 'static {
    fn count(&self) -> usize;

    /// What step `i` makes of a state; `own` are its slices of the stacks.
    fn forward(&self, i: usize, state: &[Tensor], own: &[Tensor]) -> Result<Stepped>;

    /// The state before step `i` from that after it. Only [`Way::Rebuilt`] and [`Way::Checked`] ask.
    fn back(&self, i: usize, state: &[Tensor], own: &[Tensor]) -> Result<Vec<Tensor>>;

    /// How many dims of a state, from the first on, number rows that have nothing to do with each other.
    fn batch(&self) -> usize {
        0
    }
}

/// What a step makes.
pub(crate) struct Stepped {
    pub(crate) state: Vec<Tensor>,
    /// What is added over all steps, as log-dets are: of all steps or of none.
    pub(crate) term: Option<Tensor>,
}

/// Where the backward pass has the states from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Way {
    /// From [`Steps::back`].
    Rebuilt,
    /// From [`Steps::back`], with a few states kept along a long way. What was rebuilt is compared with them and with the
    /// argument: a drift beyond 1e-3 of a row's largest value in f32, 1e-8 in f64, is an error. Gradients of a row whose end is
    /// not finite are NaN.
    Checked,
    /// Recomputed from about as many kept states as the root of the number of steps.
    Checkpoints,
    /// All kept.
    States,
}

/// What steps are run on.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub(crate) state: &'a [Tensor],
    /// Each `[steps, ..]`: step `i` sees slice `i` alone.
    pub(crate) stacks: &'a [Tensor],
    /// All other variables that the steps use.
    pub(crate) variables: &'a [Tensor],
}

/// The last state, and after it the sum of the terms where there are any. Nothing where no node is to be had: elsewhere than on
/// the CPU, in half precision, for second derivatives, without steps.
pub(crate) fn run(
    op: &'static str,
    steps: impl Steps,
    inputs: Inputs,
    way: Way,
) -> Result<Option<Vec<Tensor>>> {
    let Inputs {
        state,
        stacks,
        variables,
    } = inputs;
    check_stacks(op, steps.count(), stacks)?;
    let kind = state.first().map(Tensor::dtype);
    let node = matches!(kind, Some(DType::F32 | DType::F64))
        && (state.iter().chain(stacks)).all(|t| t.device().is_cpu() && Some(t.dtype()) == kind);
    if !node || steps.count() == 0 || crate::kernels::graph::second_derivatives() {
        return Ok(None);
    }
    let all: Vec<&Tensor> = state.iter().chain(stacks).chain(variables).collect();
    let chain = Chain {
        op,
        steps,
        way,
        states: state.len(),
        stacks: stacks.len(),
        variables: variables.to_vec(),
        kept: BTreeMap::new(),
    };
    Ok(Some(node::apply(chain, &all)?))
}

fn check_stacks(op: &'static str, count: usize, stacks: &[Tensor]) -> Result<()> {
    match stacks.iter().find(|s| s.dims().first() != Some(&count)) {
        None => Ok(()),
        Some(stack) => {
            let expected = format!("{count} slices, one for each step");
            Err(Error::shape(op, "stack", expected, stack.dims()))
        }
    }
}

fn slices(stacks: &[Tensor], i: usize) -> candle_core::Result<Vec<Tensor>> {
    stacks.iter().map(|stack| stack.get(i)).collect()
}

fn add(total: Option<Tensor>, more: Option<Tensor>) -> candle_core::Result<Option<Tensor>> {
    match (total, more) {
        (Some(total), Some(more)) => (total + more).map(Some),
        (total, more) => Ok(total.or(more)),
    }
}

struct Chain<S> {
    op: &'static str,
    steps: S,
    way: Way,
    /// How many tensors a state has, and how many stacks there are.
    states: usize,
    stacks: usize,
    /// As the steps have them, not detached.
    variables: Vec<Tensor>,
    /// States by the number of the step that comes after them.
    kept: BTreeMap<usize, Vec<Tensor>>,
}

/// The data of a tensor on the CPU.
fn owned(x: &Tensor) -> candle_core::Result<Fresh> {
    fn data<T: WithDType>(x: &Tensor) -> candle_core::Result<CpuStorage> {
        Ok(T::to_cpu_storage(View::new(x)?.as_slice::<T>()?))
    }
    let shape = x.shape().clone();
    let x = x.contiguous()?;
    let storage = match x.dtype() {
        DType::F32 => data::<f32>(&x)?,
        DType::F64 => data::<f64>(&x)?,
        other => candle_core::bail!("chain: {other:?}"),
    };
    Ok((storage, shape))
}

impl<S: Steps> Chain<S> {
    /// How many steps lie between states that are kept.
    fn interval(&self) -> usize {
        let count = self.steps.count();
        match self.way {
            Way::Rebuilt => count,
            Way::Checked => drift::interval(count),
            Way::Checkpoints => count.isqrt().max(1),
            Way::States => 1,
        }
    }

    /// Step `i` without its graph, which is dropped with its results.
    fn step(&self, i: usize, state: &[Tensor], stacks: &[Tensor]) -> Result<Stepped> {
        let Stepped { state, term } = self.steps.forward(i, state, &slices(stacks, i)?)?;
        if state.len() != self.states {
            let expected = format!("a state of {} tensors", self.states);
            return Err(Error::value(self.op, "steps", expected, state.len()));
        }
        Ok(Stepped {
            state: state.iter().map(Tensor::detach).collect(),
            term: term.map(|t| t.detach()),
        })
    }

    /// The last state and the sum of the terms; `see` has each state with the number of the step after it.
    fn through(
        &self,
        inputs: &[Tensor],
        mut see: impl FnMut(usize, &[Tensor]),
    ) -> Result<(Vec<Tensor>, Option<Tensor>)> {
        let stacks = &inputs[self.states..][..self.stacks];
        let (mut state, mut total) = (inputs[..self.states].to_vec(), None);
        for i in 0..self.steps.count() {
            if i > 0 {
                see(i, &state);
            }
            let done = self.step(i, &state, stacks)?;
            state = done.state;
            total = add(total, done.term)?;
        }
        Ok((state, total))
    }

    /// Refuses a step with a variable that is not known: its gradient would be lost.
    fn check(&self, step: usize, loss: &Tensor, leaves: &[&Tensor]) -> Result<()> {
        let known = |t: &Tensor| {
            let mut all = leaves.iter().copied().chain(&self.variables);
            all.any(|v| v.id() == t.id())
        };
        let mut variables = loss.sorted_nodes().into_iter().filter(|t| t.is_variable());
        match variables.find(|t| !known(t)) {
            None => Ok(()),
            Some(other) => {
                let expected = "all that the steps use";
                let found = format!("none of shape {:?} that step {step} uses", other.dims());
                Err(Error::value(self.op, "variables", expected, found))
            }
        }
    }
}

/// The states, from the last step's argument to the first one's.
struct Back<'a, S> {
    chain: &'a Chain<S>,
    inputs: &'a [Tensor],
    /// The result of the step whose argument comes next, where it is rebuilt from that.
    result: Vec<Tensor>,
    /// The last of these that is known and not rebuilt, and the rows that matter.
    near: Near,
    asked: Near,
    /// Recomputed from the last checkpoint, the next one on top.
    recomputed: Vec<Vec<Tensor>>,
}

impl<'a, S: Steps> Back<'a, S> {
    /// With the gradients of the ends; `all` rows matter, or those with a gradient.
    fn new(
        chain: &'a Chain<S>,
        inputs: &'a [Tensor],
        ends: &[Option<Reached>],
        gradients: &mut [Option<Tensor>],
        all: bool,
    ) -> Result<Self> {
        let result = match chain.way {
            Way::Checkpoints | Way::States => vec![],
            Way::Rebuilt | Way::Checked => {
                let reached: Option<Vec<Tensor>> = (ends.iter())
                    .map(|end| end.as_ref().map(|end| end.value.clone()))
                    .collect();
                match reached.or_else(|| chain.kept.get(&chain.steps.count()).cloned()) {
                    Some(state) => state,
                    None => chain.through(inputs, |_, _| {})?.0,
                }
            }
        };
        let (mut near, mut asked) = (Near::default(), Near::default());
        if chain.way == Way::Checked {
            let rows = rows::count(&result, chain.steps.batch());
            asked = if all {
                Near::new(rows)
            } else {
                rows::asked(rows, gradients)?
            };
            near = rows::near(asked.clone(), &result)?;
            rows::spoil(&asked, &near, gradients)?;
        }
        Ok(Back {
            chain,
            inputs,
            near,
            asked,
            result,
            recomputed: vec![],
        })
    }

    fn stacks(&self) -> &'a [Tensor] {
        &self.inputs[self.chain.states..][..self.chain.stacks]
    }

    /// The last state before step `i` or an earlier one that is there, with that one's number.
    fn kept(&self, i: usize) -> (usize, &'a [Tensor]) {
        match self.chain.kept.range(..=i).next_back() {
            Some((from, state)) => (*from, state),
            None => (0, &self.inputs[..self.chain.states]),
        }
    }

    /// The argument of step `i`, after those of all later ones.
    fn argument(&mut self, i: usize) -> Result<Vec<Tensor>> {
        let chain = self.chain;
        if matches!(chain.way, Way::Checkpoints | Way::States) {
            if let Some(state) = self.recomputed.pop() {
                return Ok(state);
            }
            let (from, state) = self.kept(i);
            let mut state = state.to_vec();
            for j in from..i {
                let next = chain.step(j, &state, self.stacks())?.state;
                self.recomputed.push(std::mem::replace(&mut state, next));
            }
            return Ok(state);
        }
        let own = slices(self.stacks(), i)?;
        let rebuilt = chain.steps.back(i, &self.result, &own)?;
        let mut rebuilt: Vec<Tensor> = rebuilt.iter().map(Tensor::detach).collect();
        let (from, kept) = self.kept(i);
        if chain.way == Way::Checked && from == i {
            let limit = match kept.first().map(Tensor::dtype) {
                Some(DType::F64) => drift::DOUBLE,
                _ => drift::SINGLE,
            };
            let mut pairs = rebuilt.iter().zip(kept);
            if let Some((a, b)) = pairs.find(|(a, b)| a.dims() != b.dims()) {
                let expected = format!("{:?}", b.dims());
                return Err(Error::shape(chain.op, "state before", expected, a.dims()));
            }
            let worst = rows::worst(&self.near, &rebuilt, kept)?;
            worst.check(chain.op, i, limit)?;
            rebuilt = kept.to_vec();
            self.near = rows::near(self.asked.clone(), kept)?;
        }
        self.result = rebuilt.clone();
        Ok(rebuilt)
    }
}

/// A number whose gradients are these, whatever its argument.
struct Seed(Vec<Tensor>);

impl Op for Seed {
    const NAME: &'static str = "chain";

    fn forward(&mut self, _: &[Tensor], _: bool) -> candle_core::Result<Vec<Fresh>> {
        Ok(vec![node::fresh(vec![0.], ())])
    }

    fn backward(
        &self,
        _: &[Tensor],
        _: &[Option<Reached>],
        _: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        Ok(self.0.iter().cloned().map(Some).collect())
    }
}

/// The tensor as a variable of its own where its gradient is asked for.
fn leaf(x: &Tensor, needed: bool) -> candle_core::Result<Tensor> {
    match needed {
        true => Ok(Var::from_tensor(x)?.into_inner()),
        false => Ok(x.clone()),
    }
}

impl<S: Steps> Op for Chain<S> {
    const NAME: &'static str = "chain";

    fn name(&self) -> &'static str {
        self.op
    }

    fn forward(&mut self, inputs: &[Tensor], keep: bool) -> candle_core::Result<Vec<Fresh>> {
        let (interval, count) = (self.interval(), self.steps.count());
        let mut kept = BTreeMap::new();
        let (state, total) = self.through(inputs, |i, state| {
            if keep && i % interval == 0 {
                kept.insert(i, state.to_vec());
            }
        })?;
        // A loss may reach one tensor of the last state alone, and the way back begins with all of them.
        if keep && state.len() > 1 && matches!(self.way, Way::Rebuilt | Way::Checked) {
            kept.insert(count, state.clone());
        }
        self.kept = kept;
        state.iter().chain(&total).map(owned).collect()
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        needs: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let (ends, term) = outputs.split_at(self.states);
        let term = term.first().and_then(Option::as_ref);
        let stacks = &inputs[self.states..][..self.stacks];
        let (state_needs, stack_needs) = needs[..self.states + self.stacks].split_at(self.states);
        let mut gradients: Vec<Option<Tensor>> = (ends.iter())
            .map(|end| end.as_ref().map(|end| end.gradient.clone()))
            .collect();
        let of_stacks: Vec<Option<Tensor>> = (stacks.iter().zip(stack_needs))
            .map(|(stack, needed)| needed.then(|| stack.zeros_like()).transpose())
            .collect::<candle_core::Result<_>>()?;
        let mut totals = vec![None; self.variables.len()];
        let mut back = Back::new(self, inputs, ends, &mut gradients, term.is_some())?;
        for i in (0..self.steps.count()).rev() {
            let state: Vec<Tensor> = (back.argument(i)?.iter().zip(state_needs))
                .map(|(x, needed)| leaf(x, i > 0 || *needed))
                .collect::<candle_core::Result<_>>()?;
            let own: Vec<Tensor> = (slices(stacks, i)?.iter().zip(stack_needs))
                .map(|(x, needed)| leaf(x, *needed))
                .collect::<candle_core::Result<_>>()?;
            let done = self.steps.forward(i, &state, &own)?;
            let reached = done.state.into_iter().zip(&gradients);
            let (mut results, mut seeds): (Vec<Tensor>, Vec<Tensor>) = reached
                .filter_map(|(x, gradient)| Some((x, gradient.clone()?)))
                .unzip();
            if let (Some(x), Some(term)) = (done.term, term) {
                results.push(x);
                seeds.push(term.gradient.clone());
            }
            let results: Vec<&Tensor> = results.iter().collect();
            let loss = node::apply1(Seed(seeds), &results)?;
            let leaves: Vec<&Tensor> = state.iter().chain(&own).collect();
            self.check(i, &loss, &leaves)?;
            let mut found = node::backward(&loss)?;
            drop(loss);
            gradients = state.iter().map(|x| found.remove(x)).collect();
            for (total, own) in of_stacks.iter().zip(&own) {
                if let (Some(total), Some(gradient)) = (total, found.remove(own)) {
                    total.slice_set(&gradient.unsqueeze(0)?.contiguous()?, 0, i)?;
                }
            }
            for (variable, total) in self.variables.iter().zip(&mut totals) {
                *total = add(total.take(), found.remove(variable))?;
            }
        }
        Ok([gradients, of_stacks, totals].concat())
    }
}

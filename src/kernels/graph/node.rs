//! A fused operation with any number of inputs and outputs, as one place in candle's graph.
//!
//! Candle's custom operations take at most three tensors and return one. Splitting a packed output costs copies, and a
//! tensor that two operations use gets its gradient by a zero fill and two additions. Here an operation computes all
//! outputs at once and, in the backward pass, all input gradients at once:
//!
//! ```text
//!   inputs -> collector -> core -> output 0, output 1, ...
//! ```
//!
//! The arrows between collector, core and outputs carry a scalar that nobody reads; they exist so that candle visits the
//! nodes in the right order. In the backward pass each output leaves its gradient in a thread-local table, the core takes
//! them, calls [`Op::backward`] once and leaves the input gradients for the collectors, which hand them to candle.
//! Candle adds each of them to a buffer of zeros that it fills first; [`backward`] spares the variables' gradients both.
//!
//! Input gradients are numbers to candle: how they depend on the inputs it does not know. Where it differentiates twice
//! (`CANDLE_GRAD_DO_NOT_DETACH`) each is the result of an operation whose own backward pass is an error that names the node, so
//! that no second derivative is wrong in silence.

use super::{first_only, second_derivatives};
use candle_core::backprop::GradStore;
use candle_core::op::BackpropOp;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Device, Layout, Result, Shape, Storage,
    Tensor, WithDType,
};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A freshly computed output.
pub(crate) type Fresh = (CpuStorage, Shape);

/// A freshly computed f32 output.
pub(crate) fn fresh(data: Vec<f32>, shape: impl Into<Shape>) -> Fresh {
    (CpuStorage::F32(data), shape.into())
}

/// What a slope adds to a gradient: nothing where nobody asks for it, which 0 times an infinite slope or NaN would not say.
#[inline(always)]
pub(crate) fn weigh<T: WithDType>(upstream: T, slope: T) -> T {
    if upstream == T::zero() {
        upstream
    } else {
        upstream * slope
    }
}

/// [`weigh`] for products of matrices: the rows of `x` with zeros for those whose `gradient` is all 0, which may be anything.
pub(crate) fn asked<'a, T: WithDType>(x: &'a [T], gradient: &[T], rows: usize) -> Cow<'a, [T]> {
    let mut out = Cow::Borrowed(x);
    if rows == 0 || x.is_empty() || gradient.is_empty() {
        return out;
    }
    let (width, outputs) = (x.len() / rows, gradient.len() / rows);
    for (i, g) in gradient.chunks_exact(outputs).enumerate() {
        if g.iter().all(|g| *g == T::zero()) {
            out.to_mut()[i * width..(i + 1) * width].fill(T::zero());
        }
    }
    out
}

/// An output that reached the loss.
pub(crate) struct Reached {
    pub(crate) value: Tensor,
    /// Contiguous, shaped as `value`.
    pub(crate) gradient: Tensor,
}

/// A fused operation. Inputs arrive contiguous, detached and on the CPU.
pub(crate) trait Op: Send + Sync + Sized + 'static {
    const NAME: &'static str;

    /// What errors call it: of a node that many functions share, the function's name.
    fn name(&self) -> &'static str {
        Self::NAME
    }

    /// All outputs. What the backward pass needs beyond inputs and outputs may be kept in `self`; `keep` is false when
    /// there will be no backward pass.
    fn forward(&mut self, inputs: &[Tensor], keep: bool) -> Result<Vec<Fresh>>;

    /// One gradient for each input, shaped as the input; `None` where `needs[i]` is false (nobody will read it).
    /// `outputs[j]` is `None` when output `j` did not reach the loss; at least one did. Where an upstream gradient is 0 its
    /// part of the inputs' gradients is 0 too, whatever the slope there is ([`weigh`]).
    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        needs: &[bool],
    ) -> Result<Vec<Option<Tensor>>>;
}

/// Runs `op` on `inputs` and connects its outputs to the graph.
pub(crate) fn apply<O: Op>(mut op: O, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
    let tracked = inputs
        .iter()
        .map(|t| t.contiguous())
        .collect::<Result<Vec<_>>>()?;
    let inputs: Vec<Tensor> = tracked.iter().map(Tensor::detach).collect();
    let needs: Vec<bool> = tracked.iter().map(Tensor::track_op).collect();
    let outputs = op.forward(&inputs, needs.contains(&true))?;
    if !needs.contains(&true) {
        return Ok(outputs
            .into_iter()
            .map(|(storage, shape)| {
                Tensor::from_storage(Storage::Cpu(storage), shape, BackpropOp::none(), false)
            })
            .collect());
    }

    static NEXT: AtomicU64 = AtomicU64::new(0);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let live: Vec<(usize, &Tensor)> = tracked
        .iter()
        .enumerate()
        .filter(|(i, _)| needs[*i])
        .collect();
    // Collectors form a chain: the first takes up to three inputs, each further one the chain and two more.
    let (name, (first, rest)) = (op.name(), live.split_at(live.len().min(3)));
    let mut token = collect(name, id, None, first)?;
    for more in rest.chunks(2) {
        token = collect(name, id, Some(&token), more)?;
    }
    let count = outputs.len();
    let token = token.apply_op1(Core {
        id,
        op,
        inputs,
        needs,
        count,
    })?;
    outputs
        .into_iter()
        .enumerate()
        .map(|(index, fresh)| {
            token.apply_op1(Output {
                id,
                index,
                name,
                fresh: Mutex::new(Some(fresh)),
            })
        })
        .collect()
}

/// The one output of an operation that has one.
pub(crate) fn apply1<O: Op>(op: O, inputs: &[&Tensor]) -> Result<Tensor> {
    match apply(op, inputs)?.pop() {
        Some(output) => Ok(output),
        None => candle_core::bail!("{} returned no output", O::NAME),
    }
}

#[derive(Default)]
struct Pending {
    outputs: HashMap<usize, Reached>,
    inputs: HashMap<usize, Tensor>,
}

thread_local! {
    // A backward pass runs on one thread, so passes over the same graph on two threads do not meet here.
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

struct Output {
    id: u64,
    index: usize,
    name: &'static str,
    fresh: Mutex<Option<Fresh>>,
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

struct Core<O> {
    id: u64,
    op: O,
    inputs: Vec<Tensor>,
    needs: Vec<bool>,
    count: usize,
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

fn collect(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::machine::buffer::View;
    use candle_core::Var;

    /// Outputs (the sum of all inputs, the product of the first two).
    struct SumAndProduct;

    impl Op for SumAndProduct {
        const NAME: &'static str = "sum-and-product";

        fn forward(&mut self, inputs: &[Tensor], _: bool) -> Result<Vec<Fresh>> {
            let n = inputs[0].elem_count();
            let (mut sum, mut product) = (vec![0.; n], vec![1.; n]);
            for (i, input) in inputs.iter().enumerate() {
                for (j, x) in View::new(input)?.f32()?.iter().enumerate() {
                    sum[j] += x;
                    product[j] *= if i < 2 { *x } else { 1. };
                }
            }
            Ok(vec![
                fresh(sum, inputs[0].shape()),
                fresh(product, inputs[0].shape()),
            ])
        }

        fn backward(
            &self,
            inputs: &[Tensor],
            outputs: &[Option<Reached>],
            needs: &[bool],
        ) -> Result<Vec<Option<Tensor>>> {
            (0..inputs.len())
                .map(|i| {
                    if !needs[i] {
                        return Ok(None);
                    }
                    let mut total = inputs[i].zeros_like()?;
                    if let Some(sum) = &outputs[0] {
                        total = (total + &sum.gradient)?;
                    }
                    if let (Some(product), true) = (&outputs[1], i < 2) {
                        total = (total + (&product.gradient * &inputs[1 - i])?)?;
                    }
                    Ok(Some(total))
                })
                .collect()
        }
    }

    #[test]
    fn many_inputs_and_outputs_get_their_gradients() -> Result<()> {
        for inputs in 2..8usize {
            let vars: Vec<Var> = (0..inputs)
                .map(|i| Var::from_vec(vec![i as f32 + 1., 2.], 2, &Device::Cpu))
                .collect::<Result<_>>()?;
            let frozen = Tensor::new(&[5f32, 5.], &Device::Cpu)?;
            let mut arguments: Vec<&Tensor> = vars.iter().map(|v| v.as_tensor()).collect();
            arguments.push(&frozen);
            let outputs = apply(SumAndProduct, &arguments)?;
            // (weight of the sum, weight of the product): with both, with one, and twice over the same graph
            for (a, b) in [(1., 3.), (1., 0.), (0., 3.)] {
                let mut loss = Tensor::new(0f32, &Device::Cpu)?;
                if a != 0. {
                    loss = (loss + (outputs[0].sum_all()? * a)?)?;
                }
                if b != 0. {
                    loss = (loss + (outputs[1].sum_all()? * b)?)?;
                }
                for gradients in [loss.backward()?, backward(&loss)?] {
                    for (i, var) in vars.iter().enumerate() {
                        let got = gradients.get(var).map(|g| g.to_vec1::<f32>()).transpose()?;
                        let other = |j: usize| vars[1 - j].to_vec1::<f32>();
                        let mut want = vec![a as f32; 2];
                        if i < 2 {
                            for (w, o) in want.iter_mut().zip(other(i)?) {
                                *w += b as f32 * o;
                            }
                        }
                        assert_eq!(got, Some(want), "input {i} of {inputs}, weights {a} {b}");
                    }
                    assert!(gradients.get(&frozen).is_none());
                }
            }
            PENDING.with(|p| assert!(p.borrow().is_empty()));
            LEAVES.with_borrow(|l| assert!(l.is_none()));
        }
        Ok(())
    }

    /// A variable that several nodes, one node twice, and candle's own operations use.
    #[test]
    fn gradients_of_a_shared_variable_add_up() -> Result<()> {
        let x = Var::from_vec(vec![1f32, 2.], 2, &Device::Cpu)?;
        let y = Var::from_vec(vec![3f32, 4.], 2, &Device::Cpu)?;
        let twice = apply(SumAndProduct, &[&x, &x])?;
        let both = apply(SumAndProduct, &[&x, &twice[0], &y])?;
        let loss = ((&both[0] + &both[1])? + x.sqr()?)?.sum_all()?;
        // 3 x + y + 2 x^2 + x^2
        let gradients = backward(&loss)?;
        let gradient = |var: &Var| gradients.get(var).map(|g| g.to_vec1::<f32>()).transpose();
        assert_eq!(gradient(&x)?, Some(vec![9., 15.]));
        assert_eq!(gradient(&y)?, Some(vec![1., 1.]));
        Ok(())
    }
}

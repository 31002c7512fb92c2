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
//! How gradients pass from the outputs back to the inputs: `passing`.
//!
//! Input gradients are numbers to candle: how they depend on the inputs it does not know. Where it differentiates twice
//! (`CANDLE_GRAD_DO_NOT_DETACH`) each is the result of an operation whose own backward pass is an error that names the node, so
//! that no second derivative is wrong in silence.

use super::passing::{Core, Output, collect};
use candle_core::op::BackpropOp;
use candle_core::{Result, Storage, Tensor};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use super::op::{Fresh, Op, Reached, asked, fresh, weigh};
pub(crate) use super::passing::backward;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::graph::passing::is_clean;
    use crate::kernels::machine::buffer::View;
    use candle_core::{Device, Var};

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
            assert!(is_clean());
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

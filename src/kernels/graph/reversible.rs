//! A chain of invertible steps as one node that keeps no activation: the backward pass computes each step's argument again
//! from its result.

use crate::error::{Error, Result};
use crate::kernels::graph::node::{self, Fresh, Op, Reached};
use crate::kernels::machine::buffer::View;
use candle_core::{CpuStorage, DType, Tensor, Var, WithDType};

/// Invertible steps, first to last.
pub(crate) trait Steps: Send + Sync + 'static {
    fn count(&self) -> usize;

    /// The result and log-det of step `i`.
    fn forward(&self, i: usize, x: &Tensor) -> Result<[Tensor; 2]>;

    /// The argument of step `i`.
    fn back(&self, i: usize, y: &Tensor) -> Result<Tensor>;
}

/// The last step's result and the sum of all log-dets; `variables` are all those that the steps use. Nothing where no node
/// is to be had: elsewhere than on the CPU, in half precision, for second derivatives.
pub(crate) fn run(
    op: &'static str,
    steps: impl Steps,
    x: &Tensor,
    variables: &[Tensor],
) -> Result<Option<(Tensor, Tensor)>> {
    let kind = matches!(x.dtype(), DType::F32 | DType::F64);
    if !kind
        || !x.device().is_cpu()
        || steps.count() == 0
        || crate::kernels::graph::second_derivatives()
    {
        return Ok(None);
    }
    let inputs: Vec<&Tensor> = std::iter::once(x).chain(variables).collect();
    let chain = Chain {
        op,
        steps,
        variables: variables.to_vec(),
    };
    match node::apply(chain, &inputs)?.as_slice() {
        [y, log_det] => Ok(Some((y.clone(), log_det.clone()))),
        _ => Err(candle_core::Error::Msg("reversible: two outputs".into()).into()),
    }
}

struct Chain<S> {
    op: &'static str,
    steps: S,
    /// As the steps have them, not detached.
    variables: Vec<Tensor>,
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
        other => candle_core::bail!("reversible: {other:?}"),
    };
    Ok((storage, shape))
}

impl<S: Steps> Chain<S> {
    /// The last step's result, the sum of log-dets.
    fn through(&self, x: &Tensor) -> Result<[Tensor; 2]> {
        let mut y = x.clone();
        let mut total: Option<Tensor> = None;
        for i in 0..self.steps.count() {
            // What a step leaves in the graph is dropped with its results.
            let [next, log_det] = self.steps.forward(i, &y)?.map(|t| t.detach());
            y = next;
            total = Some(match total {
                Some(total) => (total + log_det)?,
                None => log_det,
            });
        }
        match total {
            Some(total) => Ok([y, total]),
            None => Err(Error::value(self.op, "steps", "at least 1", 0)),
        }
    }
}

impl<S: Steps> Chain<S> {
    /// Refuses a step with a variable that is not known: its gradient would be lost.
    fn check(&self, step: usize, loss: &Tensor, x: &Tensor) -> Result<()> {
        let known =
            |t: &Tensor| t.id() == x.id() || self.variables.iter().any(|v| v.id() == t.id());
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

impl<S: Steps> Op for Chain<S> {
    const NAME: &'static str = "reversible";

    fn forward(&mut self, inputs: &[Tensor], _: bool) -> candle_core::Result<Vec<Fresh>> {
        let outputs = self.through(&inputs[0])?;
        outputs.iter().map(owned).collect()
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        _: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let [reached, log_det] = outputs else {
            candle_core::bail!("reversible: two outputs");
        };
        let mut y = match reached {
            Some(reached) => reached.value.clone(),
            None => self.through(&inputs[0])?[0].clone(),
        };
        let mut gradient = reached.as_ref().map(|y| y.gradient.clone());
        let mut totals = vec![None; self.variables.len()];
        for i in (0..self.steps.count()).rev() {
            let x = Var::from_tensor(&self.steps.back(i, &y)?.detach())?;
            let [again, log] = self.steps.forward(i, &x)?;
            // The loss whose gradients are those of the whole, as far as this step goes.
            let mut loss = Tensor::zeros((), again.dtype(), again.device())?;
            if let Some(gradient) = &gradient {
                loss = (loss + (again * gradient)?.sum_all()?)?;
            }
            if let Some(reached) = log_det {
                loss = (loss + (log * &reached.gradient)?.sum_all()?)?;
            }
            self.check(i, &loss, &x)?;
            let mut found = node::backward(&loss)?;
            drop(loss);
            gradient = found.remove(&x);
            for (variable, total) in self.variables.iter().zip(&mut totals) {
                let Some(more) = found.remove(variable) else {
                    continue;
                };
                *total = Some(match total.take() {
                    Some(total) => (total + more)?,
                    None => more,
                });
            }
            y = x.as_tensor().clone();
        }
        Ok([vec![gradient], totals].concat())
    }
}

//! Chains that keep no activations.

use super::{Bijector, Sequence, check_rank};
use crate::error::Result;
use crate::kernels::graph::chain::{self, Inputs, Stepped, Steps, Way};
use candle_core::{Tensor, Var};
use std::sync::Arc;

/// A sequence of bijectors whose backward pass computes every member's argument again from its result, so that its memory
/// does not grow with their number.
///
/// Formula and shapes: those of the [`Sequence`]. On the CPU, in f32 and f64, the whole sequence is one node of the graph; a
/// backward pass goes through each member three times: inverse, forward, backward. Elsewhere it is the sequence itself.
///
/// Gradients: to the argument and to the variables that it was told of. They are those of the sequence but for the rounding
/// of its members' round trips.
///
/// Errors: those of the members; in the backward pass a member that uses a variable that is not among those told.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::VarMap;
/// use candle_prob::bijector::{Bijector, Reversible};
/// use candle_prob::flow::{NeuralSplineConfig, neural_spline};
/// use candle_prob::{init, optim};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let vb = init::seeded(&vars, 1, DType::F32, &Device::Cpu);
/// let flow = neural_spline(&NeuralSplineConfig::default(), vb)?;
/// let flow = Reversible::new(flow.layers()?, &vars.all_vars());
/// let x = Tensor::ones((100, 2), DType::F32, &Device::Cpu)?;
/// let (z, log_det) = flow.inverse_and_log_det(&x)?;
/// let loss = (z.sqr()?.sum_all()? - log_det.sum_all()?)?;
/// assert!(optim::backward(&loss)?.get(&vars.all_vars()[0]).is_some());
/// # Ok(())
/// # }
/// ```
///
/// Source: Gomez et al. (2017), The Reversible Residual Network, section 3.2.
#[derive(Clone)]
pub struct Reversible {
    sequence: Arc<Sequence>,
    variables: Vec<Tensor>,
}

impl Reversible {
    /// From the sequence and all variables that its members use, also by way of a context; more than those do no harm.
    pub fn new(sequence: Sequence, variables: &[Var]) -> Self {
        let variables = variables.iter().map(|v| v.as_tensor().clone()).collect();
        Reversible {
            sequence: Arc::new(sequence),
            variables,
        }
    }

    /// The sequence.
    pub fn sequence(&self) -> &Sequence {
        &self.sequence
    }

    fn apply(&self, op: &'static str, inverse: bool, x: &Tensor) -> Result<(Tensor, Tensor)> {
        check_rank([op, "argument"], x, self.event_rank())?;
        let walk = Walk {
            sequence: self.sequence.clone(),
            inverse,
        };
        let inputs = Inputs {
            state: std::slice::from_ref(x),
            stacks: &[],
            variables: &self.variables,
        };
        if let Some([y, log_det]) = chain::run(op, walk, inputs, Way::Rebuilt)?.as_deref() {
            return Ok((y.clone(), log_det.clone()));
        }
        match inverse {
            false => self.sequence.transform_and_log_det(x),
            true => self.sequence.inverse_and_log_det(x),
        }
    }
}

/// The members in one of both directions.
struct Walk {
    sequence: Arc<Sequence>,
    inverse: bool,
}

impl Walk {
    /// What comes at step `i`.
    fn member(&self, i: usize) -> &dyn Bijector {
        let members = self.sequence.members();
        match self.inverse {
            false => members[i].as_ref(),
            true => members[members.len() - 1 - i].as_ref(),
        }
    }
}

impl Steps for Walk {
    fn count(&self) -> usize {
        self.sequence.members().len()
    }

    fn forward(&self, i: usize, state: &[Tensor], _: &[Tensor]) -> Result<Stepped> {
        let (member, x) = (self.member(i), &state[0]);
        let (y, log_det) = match self.inverse {
            false => member.transform_and_log_det(x)?,
            true => member.inverse_and_log_det(x)?,
        };
        Ok(Stepped {
            state: vec![y],
            term: Some(self.sequence.summed(member, log_det)?),
        })
    }

    fn back(&self, i: usize, state: &[Tensor], _: &[Tensor]) -> Result<Vec<Tensor>> {
        let y = &state[0];
        Ok(vec![match self.inverse {
            false => self.member(i).inverse(y)?,
            true => self.member(i).transform(y)?,
        }])
    }
}

impl Bijector for Reversible {
    fn event_rank(&self) -> usize {
        self.sequence.event_rank()
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        self.apply("Reversible::transform", false, x)
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        self.apply("Reversible::inverse", true, y)
    }

    fn transformed_shape(&self, event: &[usize]) -> Result<Vec<usize>> {
        self.sequence.transformed_shape(event)
    }

    fn inverse_shape(&self, event: &[usize]) -> Result<Vec<usize>> {
        self.sequence.inverse_shape(event)
    }

    fn decreasing(&self) -> Result<Option<Tensor>> {
        self.sequence.decreasing()
    }
}

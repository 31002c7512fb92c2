//! A continuous flow with a dense velocity field, solved by the classical Runge-Kutta method, as one graph node.
//!
//! A chunk of rows goes through all steps on one thread. For the way back only the state at the beginning of each step is
//! kept; the four evaluations of a step are made again, and their derivatives taken in reverse.

mod field;
mod run;
#[cfg(test)]
mod tests;
mod trace;

use crate::error::Result;
use crate::kernels::graph::node::{self, Fresh, Op, Reached, fresh};
use crate::kernels::machine::buffer::{View, views};
use crate::kernels::network::activation::Activation;
use crate::kernels::network::dense::Layer;
use crate::kernels::network::dense::chain::{Sums, tensors, total};
use candle_core::Tensor;
use field::Field;
use rayon::prelude::*;
use run::{Chunk, Run, State};

/// The stages of the classical Runge-Kutta method, in a step of length 1: how far along the slope before it each lies, and its
/// own slope's weight in the step. `dynamics::Rk4` reads them too; here the loop over them is of slices.
pub(crate) const RK4: [(f64, f64); 4] =
    [(0., 1. / 6.), (0.5, 1. / 3.), (0.5, 1. / 3.), (1., 1. / 6.)];

/// What is integrated along the way besides the velocity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Along {
    Nothing,
    Trace,
    /// The trace, the squared velocity, the Jacobian's squared norm.
    All,
}

impl Along {
    fn count(self) -> usize {
        match self {
            Along::Nothing => 0,
            Along::Trace => 1,
            Along::All => 3,
        }
    }
}

/// Where to and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) steps: usize,
}

/// The end of `x` [N, D] and the integrals [N]; the network takes `[x, t, context]`. Traces are exact without `noise`,
/// estimated with it. `None` where there is no fused form.
pub(crate) fn rk4(
    x: &Tensor,
    context: Option<&Tensor>,
    noise: Option<&Tensor>,
    net: &[Layer],
    way: Way,
    along: Along,
) -> Result<Option<Vec<Tensor>>> {
    let Some((last, hidden)) = net.split_last() else {
        return Ok(None);
    };
    let smooth = hidden.iter().all(|l| field::supported(l.activation));
    // The noise moves nothing.
    let noise = noise.map(Tensor::detach);
    let mut inputs = vec![x];
    inputs.extend(context);
    inputs.extend(&noise);
    let first = inputs.len();
    for layer in net {
        inputs.push(layer.weight);
        inputs.extend(layer.bias);
    }
    if !smooth || last.activation != Activation::Identity || !crate::kernels::graph::fused(&inputs)
    {
        return Ok(None);
    }
    let steps = net.iter().map(|l| (l.activation, l.bias.is_some()));
    let op = Flow {
        way,
        along,
        context: context.is_some(),
        noise: noise.is_some(),
        first,
        steps: steps.collect(),
        kept: vec![],
    };
    Ok(Some(node::apply(op, &inputs)?))
}

/// Inputs: x, perhaps context and noise, then each layer's weight and perhaps bias. Outputs: the end and the integrals.
struct Flow {
    way: Way,
    along: Along,
    context: bool,
    noise: bool,
    first: usize,
    steps: Vec<(Activation, bool)>,
    /// By chunk: the state at the beginning of each step.
    kept: Vec<Vec<Vec<f32>>>,
}

impl Flow {
    fn field<'a>(&self, inputs: &[Tensor], views: &'a [View]) -> candle_core::Result<Field<'a>> {
        Field::new(&self.steps, self.first, inputs, views)
    }
}

impl Op for Flow {
    const NAME: &'static str = "continuous-flow";

    fn forward(&mut self, inputs: &[Tensor], keep: bool) -> candle_core::Result<Vec<Fresh>> {
        let views = views(inputs)?;
        let field = self.field(inputs, &views)?;
        let run = Run::new(self, &field, inputs, &views)?;
        let mut x = views[0].f32()?.to_vec();
        let mut integrals = vec![vec![0.; run.rows]; self.along.count()];
        let mut parts: Vec<_> = integrals
            .iter_mut()
            .map(|i| i.chunks_mut(run.step))
            .collect();
        let states = x.chunks_mut((run.step * run.width).max(1)).map(|x| State {
            x,
            integrals: parts.iter_mut().filter_map(Iterator::next).collect(),
        });
        let states: Vec<State> = states.collect();
        let states = states.into_par_iter().enumerate().with_max_len(1);
        let kept = states
            .map(|(i, state)| run.forward(i, state, keep))
            .collect::<candle_core::Result<_>>()?;
        self.kept = kept;
        let shape = inputs[0].dims();
        let batch = &shape[..shape.len().saturating_sub(1)];
        let mut outputs = vec![fresh(x, shape)];
        outputs.extend(integrals.into_iter().map(|integral| fresh(integral, batch)));
        Ok(outputs)
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        needs: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let views = views(inputs)?;
        let field = self.field(inputs, &views)?;
        let run = Run::new(self, &field, inputs, &views)?;
        let gradients = outputs
            .iter()
            .enumerate()
            .map(|(k, reached)| match reached {
                Some(reached) => Ok(View::new(&reached.gradient)?.f32()?.to_vec()),
                None if k == 0 => Ok(vec![0.; inputs[0].elem_count()]),
                None => Ok(vec![0.; run.rows]),
            });
        let mut gradients = gradients.collect::<candle_core::Result<Vec<Vec<f32>>>>()?;
        let mut g = std::mem::take(&mut gradients[0]);
        let wanted = self.context && needs[1];
        let mut context = vec![0.; if wanted { inputs[1].elem_count() } else { 0 }];
        let extra = run.field.inputs() - run.width - 1;
        let mut contexts = context.chunks_mut((run.step * extra).max(1));
        let (width, integrals) = (run.width, &gradients[1..]);
        let chunk = |(i, g)| {
            let rows = run.chunk(i);
            Chunk {
                i,
                g,
                integrals: integrals.iter().map(|g| &g[rows.clone()]).collect(),
                context: contexts.next(),
            }
        };
        let mut chunks: Vec<Chunk> = g
            .chunks_mut((run.step * width).max(1))
            .enumerate()
            .map(chunk)
            .collect();
        // At most sixteen partial sums: velocity networks are small.
        let part = chunks.len().div_ceil(16).max(1);
        let parts = chunks.par_chunks_mut(part).with_max_len(1).map(|chunks| {
            // The last is the trace's own.
            let mut sums = vec![None; inputs.len() + 1];
            for chunk in chunks {
                run.backward(&self.kept[chunk.i], chunk, needs, &mut sums)?;
            }
            Ok(sums)
        });
        let parts: Vec<Sums> = parts.collect::<candle_core::Result<_>>()?;
        let mut sums = total(parts, inputs.len() + 1);
        if let (Some(own), Some(trace)) = (sums.pop().flatten(), &run.trace) {
            trace.spread(&own, &mut sums)?;
        }
        sums[0] = needs[0].then_some(g);
        if self.context {
            sums[1] = needs[1].then_some(context);
        }
        tensors(sums, inputs, needs)
    }
}

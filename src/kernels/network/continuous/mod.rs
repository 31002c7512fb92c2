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
use crate::kernels::graph::node::{Fresh, Op, Reached};
use crate::kernels::machine::buffer::views;
use crate::kernels::network::activation::Activation;
use crate::kernels::network::dense::Layer;
use crate::kernels::network::dense::chain::{Step, steps};
use crate::kernels::network::inputs::Inputs;
use candle_core::Tensor;
use field::Field;
use run::Run;

/// Partial sums of the weights' gradients, at most: velocity networks are small.
const PARTS: usize = 16;

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
    let smooth = hidden.iter().all(|l| l.activation.curvature_from_output());
    // The noise moves nothing.
    let noise = noise.map(Tensor::detach);
    let mut inputs = Inputs::new(x);
    let op = Flow {
        way,
        along,
        context: context.map(|context| inputs.push(context)),
        noise: noise.as_ref().map(|noise| inputs.push(noise)),
        steps: steps(net, &mut inputs),
        kept: vec![],
    };
    if !smooth || last.activation != Activation::Identity || !inputs.fused() {
        return Ok(None);
    }
    Ok(Some(inputs.apply(op)?))
}

/// Inputs: x, perhaps context and noise, then each layer's weight and perhaps bias. Outputs: the end and the integrals.
struct Flow {
    way: Way,
    along: Along,
    /// Places among the inputs.
    context: Option<usize>,
    noise: Option<usize>,
    steps: Vec<Step>,
    /// By chunk: the state at the beginning of each step.
    kept: Vec<Vec<Vec<f32>>>,
}

impl Op for Flow {
    const NAME: &'static str = "continuous-flow";

    fn forward(&mut self, inputs: &[Tensor], keep: bool) -> candle_core::Result<Vec<Fresh>> {
        let views = views(inputs)?;
        let field = Field::new(&self.steps, inputs, &views)?;
        let run = Run::new(self, &field, inputs, &views)?;
        let along = self.along.count();
        let (outputs, kept) = run.batch.forward(along, |state| run.forward(state, keep))?;
        self.kept = kept;
        Ok(outputs)
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        needs: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let views = views(inputs)?;
        let field = Field::new(&self.steps, inputs, &views)?;
        let run = Run::new(self, &field, inputs, &views)?;
        let mut gradients = run.batch.gradients(outputs, needs)?;
        // The last is the trace's own.
        let mut sums = gradients.back(PARTS, inputs.len() + 1, |chunk, sums| {
            run.backward(&self.kept[chunk.i], chunk, sums)
        })?;
        if let (Some(own), Some(trace)) = (sums.pop().flatten(), &run.trace) {
            trace.spread(&own, &mut sums)?;
        }
        gradients.tensors(sums, inputs)
    }
}

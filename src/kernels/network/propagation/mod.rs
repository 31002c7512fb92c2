//! N layers of a dense propagation (Haber and Ruthotto 2017) as one graph node that keeps little of the way: Euler's method,
//! leapfrog in differences, Verlet.
//!
//! A chunk of rows goes through all layers on one thread. On the way back leapfrog and Verlet rebuild the states by the inverse
//! step, and what was rebuilt is compared with a few states that were kept; Euler's method recomputes them from about sqrt(N).
//! The layers go back in groups, so that the partial sums of the weights' gradients are those of a group alone.
//!
//! - `panels`: rows as the kernels want them. `product`: the loops. `layer`: one layer, there and back. `run`: chunks through
//!   all layers. `drift`: what was rebuilt beside what was.
//! - `images`: the same where K is a convolution.

mod drift;
mod images;
mod layer;
mod panels;
mod product;
mod run;
#[cfg(test)]
mod tests;

use crate::error::Result;
use crate::kernels::graph;
use crate::kernels::graph::node::{Fresh, Op, Reached};
use crate::kernels::machine::buffer::views;
use crate::kernels::network::activation::Activation;
use crate::kernels::network::inputs::Inputs;
use candle_core::Tensor;
use run::{Kept, Run};

/// The right-hand side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Force {
    /// `sigma(K y + b)`.
    Single,
    /// `-K^T sigma(K y + b)`.
    Double,
}

/// How a layer changes the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// `y += h f(y)`.
    Euler(Force),
    /// `z += h^2 f(y)`, then `y += z`.
    Leapfrog(Force),
    /// `z -= h sigma(K y + b_z)`, then `y += h sigma(K^T z + b)`.
    Verlet,
}

/// The law of all layers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Law {
    pub(crate) scheme: Scheme,
    pub(crate) activation: Activation,
    /// h.
    pub(crate) step: f64,
    /// Whether the state before each layer is kept for the way back.
    pub(crate) states: bool,
}

/// The weights of all layers, the layer first.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    /// `[N, m, s]`.
    pub(crate) kernel: &'a Tensor,
    /// `[N, s]`, `[N, m]` of the double force.
    pub(crate) bias: Option<&'a Tensor>,
    /// Verlet's `b_z`, `[N, m]`.
    pub(crate) second_bias: Option<&'a Tensor>,
}

/// Directions of state and weights; what is none stands still.
#[derive(Clone, Copy, Default)]
pub(crate) struct Along<'a> {
    pub(crate) y: Option<&'a Tensor>,
    pub(crate) z: Option<&'a Tensor>,
    pub(crate) kernel: Option<&'a Tensor>,
    pub(crate) bias: Option<&'a Tensor>,
    pub(crate) second_bias: Option<&'a Tensor>,
}

/// The state after the last layer, `y` [.., s] and, of all but Euler's method, `z`; without `z` that begins at 0. `op` is what
/// errors call it. `None` where there is no fused form.
pub(crate) fn forward(
    op: &'static str,
    law: Law,
    y: &Tensor,
    z: Option<&Tensor>,
    weights: Weights,
) -> Result<Option<Vec<Tensor>>> {
    if weights.kernel.rank() == 5 {
        return images::forward(op, law, y, z, weights);
    }
    let mut inputs = Inputs::new(y);
    let places = Places {
        z: z.map(|z| inputs.push(z)),
        kernel: inputs.push(weights.kernel),
        bias: weights.bias.map(|b| inputs.push(b)),
        second_bias: weights.second_bias.map(|b| inputs.push(b)),
    };
    if !fits(law, y, z, weights) || !inputs.fused() {
        return Ok(None);
    }
    let node = Propagation {
        op,
        law,
        places,
        kept: vec![],
    };
    Ok(Some(inputs.apply(node)?))
}

/// The derivative of [`forward`]'s results along a direction, beside a forward pass that keeps nothing. Constants. `None` where
/// there is no fused form.
pub(crate) fn tangent(
    law: Law,
    y: &Tensor,
    z: Option<&Tensor>,
    weights: Weights,
    along: Along,
) -> Result<Option<Vec<Tensor>>> {
    if weights.kernel.rank() == 5 {
        return images::tangent(law, y, z, weights, along);
    }
    let mut all = vec![];
    let mut push = |tensor: Option<&Tensor>| {
        tensor.map(|tensor| {
            all.push(tensor.clone());
            all.len() - 1
        })
    };
    let mut places =
        |y, z, kernel, bias, second_bias| (push(y), [z, kernel, bias, second_bias].map(&mut push));
    let Weights {
        kernel,
        bias,
        second_bias,
    } = weights;
    let (_, [at_z, _, at_bias, at_second]) = places(Some(y), z, Some(kernel), bias, second_bias);
    let own = Places {
        z: at_z,
        kernel: 1 + usize::from(z.is_some()),
        bias: at_bias,
        second_bias: at_second,
    };
    let (dy, [dz, dkernel, dbias, dsecond]) = places(
        along.y,
        along.z,
        along.kernel,
        along.bias,
        along.second_bias,
    );
    let same = |a: Option<&Tensor>, b: Option<&Tensor>| match (a, b) {
        (Some(a), Some(b)) => a.dims() == b.dims(),
        (None, _) => true,
        (Some(_), None) => false,
    };
    let fit = fits(law, y, z, weights)
        && same(along.y, Some(y))
        && same(along.kernel, Some(kernel))
        && (same(along.z, z) && same(along.bias, bias))
        && same(along.second_bias, second_bias);
    if !fit || !graph::fused(&all.iter().collect::<Vec<_>>()) {
        return Ok(None);
    }
    let contiguous = all.iter().map(|t| t.detach().contiguous());
    let all: Vec<Tensor> = contiguous.collect::<candle_core::Result<_>>()?;
    let views = views(&all)?;
    let run = Run::new(law, &own, &all, &views)?;
    let slice = |at: Option<usize>| at.map(|at| views[at].f32()).transpose();
    let directions = run::Directions {
        y: slice(dy)?,
        z: slice(dz)?,
        kernel: slice(dkernel)?,
        bias: slice(dbias)?,
        second_bias: slice(dsecond)?,
    };
    let parts = run.tangent(&directions)?.into_iter();
    let tensors = parts.map(|(storage, shape)| {
        Tensor::from_storage(
            candle_core::Storage::Cpu(storage),
            shape,
            candle_core::op::BackpropOp::none(),
            false,
        )
    });
    Ok(Some(tensors.collect()))
}

/// Whether there is a fused form of these sizes.
fn fits(law: Law, y: &Tensor, z: Option<&Tensor>, weights: Weights) -> bool {
    let &[layers, m, s] = weights.kernel.dims() else {
        return false;
    };
    let (square, inner, biased) = match law.scheme {
        Scheme::Verlet => (false, m, s),
        Scheme::Euler(Force::Single) | Scheme::Leapfrog(Force::Single) => (true, s, s),
        Scheme::Euler(Force::Double) | Scheme::Leapfrog(Force::Double) => (false, s, m),
    };
    let Some((width, batch)) = y.dims().split_last() else {
        return false;
    };
    let beside = |z: &Tensor| {
        let all = z.dims().split_last();
        all.is_some_and(|(width, rest)| *width == inner && rest == batch)
    };
    let stack = |b: Option<&Tensor>, width: usize| b.is_none_or(|b| b.dims() == [layers, width]);
    let euler = matches!(law.scheme, Scheme::Euler(_));
    layers > 0
        && m > 0
        && s > 0
        && *width == s
        && (m == s || !square)
        && z.is_none_or(|z| !euler && beside(z))
        && stack(weights.bias, biased)
        && stack(weights.second_bias, m)
        && (weights.second_bias.is_none() || law.scheme == Scheme::Verlet)
        && law.activation.slope_from_output()
}

/// Where the arguments stand among the inputs; y is the first.
struct Places {
    z: Option<usize>,
    kernel: usize,
    bias: Option<usize>,
    second_bias: Option<usize>,
}

struct Propagation {
    op: &'static str,
    law: Law,
    places: Places,
    /// By chunk.
    kept: Vec<Kept>,
}

impl Op for Propagation {
    const NAME: &'static str = "propagation";

    fn name(&self) -> &'static str {
        self.op
    }

    fn forward(&mut self, inputs: &[Tensor], keep: bool) -> candle_core::Result<Vec<Fresh>> {
        let views = views(inputs)?;
        let run = Run::new(self.law, &self.places, inputs, &views)?;
        let (outputs, kept) = run.forward(keep)?;
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
        let run = Run::new(self.law, &self.places, inputs, &views)?;
        run.backward(self.op, &self.kept, inputs, outputs, needs)
    }
}

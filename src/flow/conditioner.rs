//! The dense networks that say what a flow does.

use crate::error::Result;
use crate::kernels::network::activation::Activation;
use crate::net::{Dense, Mlp, dense};
use candle_core::{D, Tensor};
use candle_nn::{Init, VarBuilder};

/// Hidden layers of these widths, inputs first, and a last layer that is initialized to zero.
pub(super) fn conditioner(
    widths: &[usize],
    outputs: usize,
    activation: Activation,
    vb: VarBuilder,
) -> Result<Mlp> {
    let mut layers = vec![];
    for (i, pair) in widths.windows(2).enumerate() {
        layers.push(dense(pair[0], pair[1], activation, vb.pp(i))?);
    }
    let (last, zero) = (vb.pp(layers.len()), Init::Const(0.));
    let inputs = widths.last().copied().unwrap_or(0);
    let weight = last.get_with_hints((outputs, inputs), "weight", zero)?;
    let bias = last.get_with_hints(outputs, "bias", zero)?;
    layers.push(Dense::new(weight, Some(bias), Activation::Identity)?);
    Mlp::new(layers)
}

/// The argument of a conditioner: what passes, beside the context.
pub(super) fn beside(passing: &Tensor, context: Option<&Tensor>) -> Result<Tensor> {
    match context {
        Some(context) => Ok(Tensor::cat(&[passing, context], D::Minus1)?),
        None => Ok(passing.clone()),
    }
}

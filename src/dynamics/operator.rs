//! The operator K of a layer, dense or a convolution, with its transpose, on dual numbers.

use crate::dual::{Dual, images};
use crate::error::Result;
use crate::kernels::network::activation::Activation;
use crate::kernels::network::conv2d::{self, Kind, Order, Settings};
use crate::kernels::network::dense;
use candle_core::{D, Tensor};

/// Whether K or its transpose is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Plain,
    Transposed,
}

/// `activation(K x + b)`, or with `K^T`; K is `[m, s]` or `[m, s, k, k]`.
fn layer(
    kernel: &Tensor,
    side: Side,
    x: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    if kernel.rank() == 2 {
        let turned;
        let weight = match side {
            Side::Plain => kernel,
            Side::Transposed => {
                turned = kernel.t()?;
                &turned
            }
        };
        let layer = dense::Layer {
            weight,
            bias,
            activation,
        };
        return dense::mlp(x, &[layer]);
    }
    let padding = kernel.dim(D::Minus1)? / 2;
    let kind = match side {
        Side::Plain => Kind::Convolution,
        Side::Transposed => Kind::Transposed {
            output_padding: (0, 0),
        },
    };
    let settings = Settings {
        kind,
        stride: (1, 1),
        padding: (padding, padding),
        activation,
        input: Order::ChannelsFirst,
        output: Order::ChannelsFirst,
    };
    images(x, |x| conv2d::conv2d(x, kernel, bias, settings))
}

/// `activation(K x + b)`, or with `K^T`; the derivatives are those along whatever moves.
pub(super) fn affine(
    kernel: &Dual,
    side: Side,
    x: &Dual,
    bias: Option<&Dual>,
    activation: Activation,
) -> Result<Dual> {
    let moves = [Some(kernel), Some(x), bias];
    if moves.into_iter().flatten().all(|d| d.tangent().is_none()) {
        let bias = bias.map(Dual::value);
        let value = layer(kernel.value(), side, x.value(), bias, activation)?;
        return Ok(Dual::constant(&value));
    }
    let product = product(kernel, side, x)?;
    let argument = match bias {
        None => product,
        Some(bias) if kernel.value().rank() == 2 => product.add(bias)?,
        // One number for each channel.
        Some(bias) => product.add(&bias.linear(|t| {
            let dims = [t.dims(), &[1, 1]].concat();
            Ok(t.reshape(dims)?)
        })?)?,
    };
    argument.activation(activation)
}

/// `K x` by the product rule.
fn product(kernel: &Dual, side: Side, x: &Dual) -> Result<Dual> {
    let by = |kernel: &Tensor, x: &Tensor| layer(kernel, side, x, None, Activation::Identity);
    let product = x.linear(|t| by(kernel.value(), t))?;
    let Some(moved) = kernel.tangent() else {
        return Ok(product);
    };
    let mut tangent = by(moved, x.value())?;
    if let Some(rest) = product.tangent() {
        tangent = (tangent + rest)?;
    }
    Dual::new(product.value(), &tangent)
}

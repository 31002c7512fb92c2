//! Two-dimensional convolution, and its transpose, with bias and activation as one node.
//!
//! Inside, images lie channels-last and padded, so that a patch is a few contiguous stretches of its image. The forward
//! product reads patches where they lie; the weight's gradient reads the same patches with the pixels as summation index;
//! the input's gradient is, for each class of input pixels modulo the stride, a convolution of stride one over the
//! output's gradient. Nothing is scattered, so all sums have a fixed order. Where few results have a gradient, both are sums
//! over those alone. A transposed convolution is the same products with the roles changed: its result is that input's
//! gradient, its input's gradient is the convolution.

mod backward;
mod chain;
mod classes;
mod composed;
mod few;
mod forward;
mod geometry;
mod layout;
mod maps;
mod narrow;
mod residual;
mod step;
#[cfg(test)]
mod tests;
mod tile;
mod vector;

#[cfg(test)]
use chain::chain;
pub(crate) use chain::{Link, in_turn, links};
pub(crate) use geometry::{before, check_output_padding};
pub(crate) use residual::residual;

use crate::error::Result;
use crate::kernels::network::activation::Activation;
use candle_core::Tensor;
use std::cell::RefCell;

/// How the dimensions of a batch of images are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// `[N, C, H, W]`.
    ChannelsFirst,
    /// `[N, H, W, C]`.
    ChannelsLast,
}

/// A convolution or its transpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Convolution,
    /// The output padding is what the result has beyond the last row and column that the convolution reads.
    Transposed {
        output_padding: (usize, usize),
    },
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Convolution => "conv2d",
            Kind::Transposed { .. } => "conv_transpose2d",
        }
    }
}

/// Everything about a convolution but its tensors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) kind: Kind,
    /// Rows, columns.
    pub(crate) stride: (usize, usize),
    /// Zeros before and after, rows and columns.
    pub(crate) padding: (usize, usize),
    pub(crate) activation: Activation,
    /// Of the argument.
    pub(crate) input: Order,
    /// Of the result.
    pub(crate) output: Order,
}

/// `activation(bias[o] + sum over c, i, j of weight[o, c, i, j] x[n, c, y stride - padding + i, ..])`, where `x` is zero
/// outside its borders; a transposed convolution has `weight[c, o, i, j]`, and each `x[n, c, y, ..]` goes to `y stride -
/// padding + i`.
pub(crate) fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    settings: Settings,
) -> Result<Tensor> {
    // Where the slope needs the argument, the activation is a node of its own.
    let (inside, after) = match settings.activation {
        f if f.slope_from_output() => (f, Activation::Identity),
        f => (Activation::Identity, f),
    };
    let layer = Layer {
        weight,
        bias,
        settings: Settings {
            activation: inside,
            ..settings
        },
    };
    match chain::fused(x, &[layer])? {
        Some(y) => after.forward(&y),
        None => composed::conv2d(x, weight, bias, settings),
    }
}

/// One convolution of several.
#[derive(Clone, Copy)]
pub(crate) struct Layer<'a> {
    pub(crate) weight: &'a Tensor,
    pub(crate) bias: Option<&'a Tensor>,
    pub(crate) settings: Settings,
}

impl Layer<'_> {
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        conv2d(x, self.weight, self.bias, self.settings)
    }
}

/// Below this many multiply-adds a parallel region costs more than it saves.
const SERIAL_WORK: usize = 1 << 20;

/// Calls `f` with a buffer of `len` numbers (of any value) that this thread reuses: fresh pages cost more than arithmetic.
fn workspace<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! {
        static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(vec![]) };
    }
    // Taken out while in use, so that a nested call finds another one.
    let mut buffer = FREE
        .with(|free| free.borrow_mut().pop())
        .unwrap_or_default();
    if buffer.len() < len {
        buffer.resize(len, 0.);
    }
    let result = f(&mut buffer[..len]);
    FREE.with(|free| free.borrow_mut().push(buffer));
    result
}

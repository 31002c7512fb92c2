//! Two-dimensional convolution with bias and activation as one node.
//!
//! Inside, images lie channels-last and padded, so that a patch is a few contiguous stretches of its image. The forward
//! product reads patches where they lie; the weight's gradient reads the same patches with the pixels as summation index;
//! the input's gradient is, for each class of input pixels modulo the stride, a convolution of stride one over the
//! output's gradient. Nothing is scattered, so all sums have a fixed order.

mod backward;
mod chain;
mod composed;
mod forward;
mod layout;
mod residual;
mod tile;

pub(crate) use chain::{Layer, chain};
pub(crate) use residual::residual;

use crate::check;
use crate::error::{Error, Result};
use crate::kernels::graph::node::{self, Fresh, Op, Reached};
use crate::kernels::machine::simd::{Loop, dispatch};
use crate::kernels::network::activation::Activation;
use crate::shape;
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

/// Everything about a convolution but its tensors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
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
/// outside its borders.
pub(crate) fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    settings: Settings,
) -> Result<Tensor> {
    let geometry = Geometry::new(x, x.dims(), weight, bias, settings)?;
    let inputs: Vec<&Tensor> = [x, weight].into_iter().chain(bias).collect();
    if !crate::kernels::graph::fused(&inputs) {
        return composed::conv2d(x, weight, bias, settings, &geometry);
    }
    // Where the slope needs the argument, the activation is a node of its own.
    let (inside, after) = match settings.activation {
        f if f.slope_from_output() => (f, Activation::Identity),
        f => (Activation::Identity, f),
    };
    let op = Conv {
        geometry,
        settings: Settings {
            activation: inside,
            ..settings
        },
    };
    after.forward(&node::apply1(op, &inputs)?)
}

/// The sizes of one convolution.
#[derive(Debug, Clone)]
pub(super) struct Geometry {
    n: usize,
    c: usize,
    h: usize,
    w: usize,
    o: usize,
    kernel: (usize, usize),
    out: (usize, usize),
    stride: (usize, usize),
    padding: (usize, usize),
}

/// Input pixels that the same taps reach: those with one remainder of (row, column) by the stride.
struct Class {
    /// The remainders, of padded rows and columns.
    remainder: (usize, usize),
    /// Taps in each direction.
    reach: (usize, usize),
    /// Tap numbers `i * kernel width + j`, in the order of the output pixels that they come from.
    taps: Vec<usize>,
}

impl Geometry {
    /// For images of shape `dims`, of the kind of `x`.
    fn new(
        x: &Tensor,
        dims: &[usize],
        weight: &Tensor,
        bias: Option<&Tensor>,
        settings: Settings,
    ) -> Result<Self> {
        const OP: &str = "conv2d";
        shape::float(OP, "x", x)?;
        shape::parameter(OP, "weight", weight)?;
        shape::same_kind(OP, "weight", weight, x)?;
        let order = match settings.input {
            Order::ChannelsFirst => "[N, C, H, W]",
            Order::ChannelsLast => "[N, H, W, C]",
        };
        let (n, c, h, w) = match (settings.input, dims) {
            (Order::ChannelsFirst, &[n, c, h, w]) => (n, c, h, w),
            (Order::ChannelsLast, &[n, h, w, c]) => (n, c, h, w),
            _ => return Err(Error::shape(OP, "x", order, dims)),
        };
        let [o, wc, kh, kw] = shape::dims(OP, "weight", weight.dims(), "[O, C, kh, kw]")?;
        if h == 0 || w == 0 {
            let expected = format!("{order} with at least one row and column");
            return Err(Error::shape(OP, "x", expected, dims));
        }
        if wc != c {
            return Err(Error::shape(
                OP,
                "weight",
                format!("[O, {c}, kh, kw] for x {:?}", dims),
                weight.dims(),
            ));
        }
        if let Some(bias) = bias {
            shape::same_kind(OP, "bias", bias, x)?;
            shape::exactly(OP, "bias", bias.dims(), &[o])?;
        }
        let (stride, padding) = (settings.stride, settings.padding);
        check::at_least_one(OP, &[("stride", stride.0), ("stride", stride.1)])?;
        let out = |size: usize, padding: usize, kernel: usize, stride: usize| {
            let padded = padding.checked_mul(2)?.checked_add(size)?;
            // Sizes that a tensor can have at all.
            (padded <= u32::MAX as usize).then_some(())?;
            Some(padded.checked_sub(kernel)? / stride + 1)
        };
        let small = || {
            Error::shape(
                OP,
                "x",
                format!(
                    "padded by {padding:?} at least as large as the kernel {:?}",
                    (kh, kw)
                ),
                dims,
            )
        };
        let oh = out(h, padding.0, kh, stride.0).ok_or_else(small)?;
        let ow = out(w, padding.1, kw, stride.1).ok_or_else(small)?;
        Ok(Geometry {
            n,
            c,
            h,
            w,
            o,
            kernel: (kh, kw),
            out: (oh, ow),
            stride,
            padding,
        })
    }

    fn taps(&self) -> usize {
        self.kernel.0 * self.kernel.1
    }

    /// Output pixels of one image.
    fn pixels(&self) -> usize {
        self.out.0 * self.out.1
    }

    fn padded_w(&self) -> usize {
        self.w + 2 * self.padding.1
    }

    /// Elements of one padded image.
    fn padded(&self) -> usize {
        (self.h + 2 * self.padding.0) * self.padded_w() * self.c
    }

    fn image(&self) -> usize {
        self.c * self.h * self.w
    }

    /// Output channels, rounded up to whole lanes.
    fn wide_o(&self) -> usize {
        layout::wide(self.o)
    }

    fn wide_c(&self) -> usize {
        layout::wide(self.c)
    }

    fn out_dims(&self, order: Order) -> [usize; 4] {
        match order {
            Order::ChannelsFirst => [self.n, self.o, self.out.0, self.out.1],
            Order::ChannelsLast => [self.n, self.out.0, self.out.1, self.o],
        }
    }

    /// Offsets of the patches of `images` padded images, by output pixel.
    fn patches(&self, images: usize) -> Vec<usize> {
        let mut offsets = Vec::with_capacity(images * self.pixels());
        for i in 0..images {
            for y in 0..self.out.0 {
                for x in 0..self.out.1 {
                    let line = y * self.stride.0 * self.padded_w() + x * self.stride.1;
                    offsets.push(i * self.padded() + line * self.c);
                }
            }
        }
        offsets
    }

    fn classes(&self) -> Vec<Class> {
        let (sh, sw) = self.stride;
        let (kh, kw) = self.kernel;
        let mut classes = vec![];
        for ry in 0..sh {
            for rx in 0..sw {
                let reach = (
                    kh.saturating_sub(ry).div_ceil(sh),
                    kw.saturating_sub(rx).div_ceil(sw),
                );
                // A later output pixel meets the same input pixel at an earlier tap.
                let mut taps = vec![];
                for i in (0..reach.0).rev() {
                    for j in (0..reach.1).rev() {
                        taps.push((ry + i * sh) * kw + rx + j * sw);
                    }
                }
                classes.push(Class {
                    remainder: (ry, rx),
                    reach,
                    taps,
                });
            }
        }
        classes
    }
}

struct Conv {
    geometry: Geometry,
    settings: Settings,
}

impl Op for Conv {
    const NAME: &'static str = "conv2d";

    fn forward(&mut self, inputs: &[Tensor], _: bool) -> candle_core::Result<Vec<Fresh>> {
        Ok(vec![forward::run(&self.geometry, &self.settings, inputs)?])
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        needs: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let Some(Some(reached)) = outputs.first() else {
            return Ok(vec![None; needs.len()]);
        };
        backward::run(&self.geometry, &self.settings, inputs, reached, needs)
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

struct Activate<'a>(Activation, &'a mut [f32]);

impl Loop for Activate<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        self.0.apply_slice::<FMA>(self.1)
    }
}

struct Backprop<'a>(Activation, &'a [f32], &'a mut [f32]);

impl Loop for Backprop<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        self.0.backprop_slice::<FMA>(self.1, self.2)
    }
}

fn activate(activation: Activation, x: &mut [f32]) {
    dispatch(Activate(activation, x))
}

fn backprop(activation: Activation, y: &[f32], gradient: &mut [f32]) {
    dispatch(Backprop(activation, y, gradient))
}

#[cfg(test)]
mod tests;

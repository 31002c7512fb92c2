//! The sizes of a convolution.

use super::tile::LANES;
use super::{Order, Settings};
use crate::check;
use crate::error::{Error, Result};
use crate::shape;
use candle_core::Tensor;

/// The sizes of one convolution.
#[derive(Debug, Clone)]
pub(super) struct Geometry {
    pub(super) n: usize,
    pub(super) c: usize,
    pub(super) h: usize,
    pub(super) w: usize,
    pub(super) o: usize,
    pub(super) kernel: (usize, usize),
    pub(super) out: (usize, usize),
    pub(super) stride: (usize, usize),
    pub(super) padding: (usize, usize),
}

impl Geometry {
    /// For images of shape `dims`, of the kind of `x`.
    pub(super) fn new(
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

    pub(super) fn taps(&self) -> usize {
        self.kernel.0 * self.kernel.1
    }

    /// Output pixels of one image.
    pub(super) fn pixels(&self) -> usize {
        self.out.0 * self.out.1
    }

    pub(super) fn padded_w(&self) -> usize {
        self.w + 2 * self.padding.1
    }

    /// Elements of one padded image.
    pub(super) fn padded(&self) -> usize {
        (self.h + 2 * self.padding.0) * self.padded_w() * self.c
    }

    pub(super) fn image(&self) -> usize {
        self.c * self.h * self.w
    }

    /// Output channels, rounded up to whole lanes.
    pub(super) fn wide_o(&self) -> usize {
        self.o.next_multiple_of(LANES)
    }

    pub(super) fn wide_c(&self) -> usize {
        self.c.next_multiple_of(LANES)
    }

    pub(super) fn out_dims(&self, order: Order) -> [usize; 4] {
        match order {
            Order::ChannelsFirst => [self.n, self.o, self.out.0, self.out.1],
            Order::ChannelsLast => [self.n, self.out.0, self.out.1, self.o],
        }
    }

    /// Offsets of the patches of `images` padded images, by output pixel.
    pub(super) fn patches(&self, images: usize) -> Vec<usize> {
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
}

//! The sizes of a convolution or of its transpose.

use super::tile::LANES;
use super::{Kind, Order, Settings};
use crate::check;
use crate::error::{Error, Result};
use crate::shape;
use candle_core::Tensor;

/// The size of images on one side of a map.
#[derive(Clone, Copy)]
pub(super) struct Side {
    pub(super) channels: usize,
    pub(super) pixels: usize,
}

impl Side {
    pub(super) fn image(self) -> usize {
        self.channels * self.pixels
    }

    /// Channels, rounded up to whole lanes.
    pub(super) fn wide(self) -> usize {
        self.channels.next_multiple_of(LANES)
    }

    /// Whether images of this order are rows of channels.
    pub(super) fn rows(self, order: Order) -> bool {
        order == Order::ChannelsLast || self.channels == 1 || self.pixels == 1
    }
}

/// The sizes of one convolution, and of the transposed convolution that leads from its results back to its arguments.
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
    /// Whether arguments are images of `o` channels and `out` pixels, results those of `c` channels and `h x w` pixels.
    pub(super) transposed: bool,
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
        let op = settings.kind.name();
        shape::float(op, "x", x)?;
        shape::parameter(op, "weight", weight)?;
        shape::same_kind(op, "weight", weight, x)?;
        let order = match settings.input {
            Order::ChannelsFirst => "[N, C, H, W]",
            Order::ChannelsLast => "[N, H, W, C]",
        };
        let (n, channels, h, w) = match (settings.input, dims) {
            (Order::ChannelsFirst, &[n, c, h, w]) => (n, c, h, w),
            (Order::ChannelsLast, &[n, h, w, c]) => (n, c, h, w),
            _ => return Err(Error::shape(op, "x", order, dims)),
        };
        let layout = match settings.kind {
            Kind::Convolution => "[O, C, kh, kw]",
            Kind::Transposed { .. } => "[C, O, kh, kw]",
        };
        let [o, c, kh, kw] = shape::dims(op, "weight", weight.dims(), layout)?;
        if h == 0 || w == 0 {
            let expected = format!("{order} with at least one row and column");
            return Err(Error::shape(op, "x", expected, dims));
        }
        let (takes, gives) = match settings.kind {
            Kind::Convolution => (c, o),
            Kind::Transposed { .. } => (o, c),
        };
        if takes != channels {
            let layout = layout.replace('C', &channels.to_string());
            let expected = format!("{layout} for x {dims:?}");
            return Err(Error::shape(op, "weight", expected, weight.dims()));
        }
        if let Some(bias) = bias {
            shape::same_kind(op, "bias", bias, x)?;
            shape::exactly(op, "bias", bias.dims(), &[gives])?;
        }
        let (stride, padding) = (settings.stride, settings.padding);
        check::at_least_one(op, &[("stride", stride.0), ("stride", stride.1)])?;
        let kernel = (kh, kw);
        let g = Geometry {
            n,
            c,
            h,
            w,
            o,
            kernel,
            out: (h, w),
            stride,
            padding,
            transposed: settings.kind != Kind::Convolution,
        };
        match settings.kind {
            Kind::Convolution => {
                let small = || {
                    let expected =
                        format!("padded by {padding:?} at least as large as the kernel {kernel:?}");
                    Error::shape(op, "x", expected, dims)
                };
                let oh = after(h, padding.0, kh, stride.0).ok_or_else(small)?;
                let ow = after(w, padding.1, kw, stride.1).ok_or_else(small)?;
                let out = (oh, ow);
                Ok(Geometry { out, ..g })
            }
            Kind::Transposed { output_padding } => {
                check_output_padding(op, output_padding, stride)?;
                let small = || {
                    let expected = format!(
                        "a result of at least one row and column without the padding {padding:?}, \
                         and no larger than memory"
                    );
                    Error::shape(op, "x", expected, dims)
                };
                let more = output_padding;
                let h = before(h, padding.0, kh, stride.0, more.0).ok_or_else(small)?;
                let w = before(w, padding.1, kw, stride.1, more.1).ok_or_else(small)?;
                shape::draws(op, &[n, gives, h, w], &[]).map_err(|_| small())?;
                Ok(Geometry { h, w, ..g })
            }
        }
    }

    pub(super) fn taps(&self) -> usize {
        self.kernel.0 * self.kernel.1
    }

    /// Terms of one sum of the convolution.
    pub(super) fn depth(&self) -> usize {
        self.taps() * self.c
    }

    /// Multiply-adds.
    pub(super) fn work(&self) -> usize {
        self.n * self.pixels() * self.o * self.depth()
    }

    /// Arguments and results of the convolution.
    pub(super) fn sides(&self) -> (Side, Side) {
        let (channels, pixels) = (self.c, self.h * self.w);
        let from = Side { channels, pixels };
        let (channels, pixels) = (self.o, self.pixels());
        (from, Side { channels, pixels })
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

    /// The shape of the results.
    pub(super) fn out_dims(&self, order: Order) -> [usize; 4] {
        let (channels, (h, w)) = match self.transposed {
            false => (self.o, self.out),
            true => (self.c, (self.h, self.w)),
        };
        match order {
            Order::ChannelsFirst => [self.n, channels, h, w],
            Order::ChannelsLast => [self.n, h, w, channels],
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

/// Rows of a convolution's result for `size` rows.
fn after(size: usize, padding: usize, kernel: usize, stride: usize) -> Option<usize> {
    let padded = padding.checked_mul(2)?.checked_add(size)?;
    // Sizes that a tensor can have at all.
    (padded <= u32::MAX as usize).then_some(())?;
    Some(padded.checked_sub(kernel)? / stride + 1)
}

/// Rows of a transposed convolution's result for `size` rows, `more` of them beyond the last that a convolution reads.
pub(crate) fn before(
    size: usize,
    padding: usize,
    kernel: usize,
    stride: usize,
    more: usize,
) -> Option<usize> {
    let reached = size
        .checked_sub(1)?
        .checked_mul(stride)?
        .checked_add(kernel)?;
    let rows = reached
        .checked_add(more)?
        .checked_sub(padding.checked_mul(2)?)?;
    (rows > 0).then_some(rows)
}

/// A convolution with this stride leaves fewer rows and columns unread than its stride.
pub(crate) fn check_output_padding(
    op: &'static str,
    found: (usize, usize),
    stride: (usize, usize),
) -> Result<()> {
    if found.0 < stride.0 && found.1 < stride.1 {
        return Ok(());
    }
    let expected = format!("less than the stride {stride:?}");
    Err(Error::value(
        op,
        "output_padding",
        expected,
        format!("{found:?}"),
    ))
}

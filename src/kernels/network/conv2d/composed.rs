//! The convolution from candle operations, for other devices and element types and for second derivatives.
//!
//! Candle's own gradient takes the number of unread rows from the height alone: where the kernel leaves another number of
//! columns unread, it fails. Here the image is padded and cut to the rows and columns that the kernel reads, so
//! that none is left over, and strides that differ between rows and columns are composed from slices.

use super::geometry::Geometry;
use super::{Kind, Order, Settings};
use crate::error::Result;
use candle_core::Tensor;

pub(super) fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    settings: Settings,
) -> Result<Tensor> {
    let g = &Geometry::new(x, x.dims(), weight, bias, settings)?;
    let x = match settings.input {
        Order::ChannelsFirst => x.clone(),
        Order::ChannelsLast => x.permute((0, 3, 1, 2))?,
    };
    if g.transposed {
        let settings = Settings {
            kind: Kind::Convolution,
            stride: (1, 1),
            padding: (0, 0),
            input: Order::ChannelsFirst,
            ..settings
        };
        return conv2d(&spread(&x, g)?, &turned(weight)?, bias, settings);
    }
    let mut y = if g.n == 0 {
        // Candle has no matrix product of nothing.
        empty(&x, weight, g)?
    } else {
        let (sh, sw) = g.stride;
        let read = (
            (g.out.0 - 1) * sh + g.kernel.0,
            (g.out.1 - 1) * sw + g.kernel.1,
        );
        let mut x = x;
        for (dim, padding, read) in [(2, g.padding.0, read.0), (3, g.padding.1, read.1)] {
            if padding > 0 {
                x = x.pad_with_zeros(dim, padding, padding)?;
            }
            if x.dim(dim)? != read {
                x = x.narrow(dim, 0, read)?;
            }
        }
        if sh == sw {
            x.contiguous()?.conv2d(&weight.contiguous()?, 0, sh, 1, 1)?
        } else {
            unfolded(&x, weight, g)?
        }
    };
    if let Some(bias) = bias {
        y = y.broadcast_add(&bias.reshape((1, g.o, 1, 1))?)?;
    }
    let y = settings.activation.forward(&y)?;
    Ok(match settings.output {
        Order::ChannelsFirst => y,
        Order::ChannelsLast => y.permute((0, 2, 3, 1))?.contiguous()?,
    })
}

/// The argument of a transposed convolution with zeros between and around its pixels, so that it is a convolution of stride
/// one. Candle's own transposed convolution has one stride and one padding for both directions.
fn spread(x: &Tensor, g: &Geometry) -> Result<Tensor> {
    let (sh, sw) = g.stride;
    let mut x = x.contiguous()?;
    if sh > 1 || sw > 1 {
        let (h, w) = g.out;
        x = x
            .reshape(&[g.n, g.o, h, 1, w, 1])?
            .pad_with_zeros(3, 0, sh - 1)?
            .pad_with_zeros(5, 0, sw - 1)?
            .reshape((g.n, g.o, h * sh, w * sw))?;
    }
    let sides = [
        (2, g.out.0, sh, g.kernel.0, g.padding.0, g.h),
        (3, g.out.1, sw, g.kernel.1, g.padding.1, g.w),
    ];
    for (dim, out, stride, kernel, padding, size) in sides {
        // In these coordinates pixel `i` of the result reads `i .. i + kernel`, after `kernel - 1 - padding` zeros.
        let (before, cut) = (
            (kernel - 1).saturating_sub(padding),
            (padding + 1).saturating_sub(kernel),
        );
        let wide = before + out * stride;
        let read = cut + size + kernel - 1;
        x = x
            .pad_with_zeros(dim, before, read.saturating_sub(wide))?
            .narrow(dim, cut, size + kernel - 1)?;
    }
    Ok(x)
}

/// `[C, O, kh, kw]` with both directions reversed as `[O, C, kh, kw]`.
fn turned(weight: &Tensor) -> Result<Tensor> {
    let mut weight = weight.transpose(0, 1)?.contiguous()?;
    for dim in [2, 3] {
        let last = weight.dim(dim)? as u32;
        let order: Vec<u32> = (0..last).rev().collect();
        let order = Tensor::new(order, weight.device())?;
        weight = weight.index_select(&order, dim)?;
    }
    Ok(weight)
}

/// No images out of none; still connected to every argument.
fn empty(x: &Tensor, weight: &Tensor, g: &Geometry) -> Result<Tensor> {
    let rows = x.reshape((0, g.image()))?.sum(1)?.reshape((0, 1, 1, 1))?;
    let columns = weight.sum((1, 2, 3))?.reshape((1, g.o, 1, 1))?;
    let y = rows.broadcast_mul(&columns)?;
    Ok(y.broadcast_as((0, g.o, g.out.0, g.out.1))?.contiguous()?)
}

/// A convolution of an image that the kernel reads to its last row and column, one slice for each tap.
fn unfolded(x: &Tensor, weight: &Tensor, g: &Geometry) -> Result<Tensor> {
    let ((sh, sw), (oh, ow)) = (g.stride, g.out);
    // Rows and columns up to a whole number of strides, then split: [N, C, rows, sh, columns, sw].
    let (h, w) = (x.dim(2)?.div_ceil(sh), x.dim(3)?.div_ceil(sw));
    let x = x
        .pad_with_zeros(2, 0, h * sh - x.dim(2)?)?
        .pad_with_zeros(3, 0, w * sw - x.dim(3)?)?
        .contiguous()?
        .reshape(&[g.n, g.c, h, sh, w, sw])?;
    let mut patches = vec![];
    for i in 0..g.kernel.0 {
        for j in 0..g.kernel.1 {
            let tap = x
                .narrow(3, i % sh, 1)?
                .narrow(5, j % sw, 1)?
                .narrow(2, i / sh, oh)?
                .narrow(4, j / sw, ow)?;
            patches.push(tap.reshape((g.n, g.c, 1, oh * ow))?);
        }
    }
    let patches = Tensor::cat(&patches, 2)?.reshape((g.n, g.c * g.taps(), oh * ow))?;
    let weight =
        weight
            .reshape((1, g.o, g.c * g.taps()))?
            .broadcast_as((g.n, g.o, g.c * g.taps()))?;
    Ok(weight
        .contiguous()?
        .matmul(&patches)?
        .reshape((g.n, g.o, oh, ow))?)
}

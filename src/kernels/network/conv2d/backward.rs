//! The gradients of a convolution and of its transpose.

use super::few::Few;
use super::geometry::Geometry;
use super::maps::{self, Classes, Map, Patches};
use super::tile::{Packed, Product, Run, Start};
use super::{SERIAL_WORK, Settings, workspace};
use crate::kernels::graph::node::{Reached, asked};
use crate::kernels::machine::buffer::View;
use crate::kernels::network::activation::Activation;
use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

/// Output pixels of one product for the weight's gradient, at least: what a tile spends on loading and storing its sums.
const BATCH: usize = 192;

/// Partial sums of the weight's gradient, one for each group of images. Their number depends on the shapes only, never on
/// the threads, so neither do the bits.
fn groups(g: &Geometry) -> usize {
    let weights = g.taps() * g.c * g.wide_o();
    ((1 << 20) / weights).clamp(4, 16).min(g.n).max(1)
}

pub(super) fn run(
    g: &Geometry,
    settings: &Settings,
    inputs: &[Tensor],
    reached: &Reached,
    needs: &[bool],
) -> Result<Vec<Option<Tensor>>> {
    let (need_x, need_w) = (needs[0], needs[1]);
    let need_b = needs.get(2).copied().unwrap_or(false);
    let x = View::new(&inputs[0])?;
    let weight = View::new(&inputs[1])?;
    let (value, gradient) = (View::new(&reached.value)?, View::new(&reached.gradient)?);
    let (x, weight) = (x.f32()?, weight.f32()?);
    let (value, gradient) = (value.f32()?, gradient.f32()?);
    if let Some(few) = Few::find(g, settings, value, gradient) {
        return few.gradients(g, settings, (x, weight), inputs, needs);
    }
    let x = asked(x, gradient, g.n);
    let x = &*x;

    let (wide_o, depth) = (g.wide_o(), g.depth());
    let per_group = g.n.div_ceil(groups(g)).max(1);
    let count = g.n.div_ceil(per_group).max(1);
    let batch = BATCH.div_ceil(g.pixels()).min(per_group);
    let patches = Patches::new(g, batch, settings.input);
    let classes = Classes::new(
        g,
        batch,
        (need_x && !g.transposed).then_some(settings.input),
    );
    // The map that the layer is, and the one that its gradient goes back through.
    let (layer, back): (&dyn Map, &dyn Map) = match g.transposed {
        false => (&patches, &classes),
        true => (&classes, &patches),
    };
    let (side_x, side_y) = (back.to(), back.from());

    // The weight's gradient: rows are (tap, channel), the summation index is the pixel.
    let mut rows = Vec::with_capacity(depth);
    for i in 0..g.kernel.0 {
        for j in 0..g.kernel.1 {
            rows.extend((0..g.c).map(|c| (i * g.padded_w() + j) * g.c + c));
        }
    }
    let out_rows: Vec<usize> = (0..depth).map(|k| k * wide_o).collect();
    let frame = &classes.frame;
    let runs: Vec<Run> = (0..batch * g.out.0)
        .map(|line| (line / g.out.0, line % g.out.0))
        .map(|(image, y)| Run {
            a: image * g.padded() + y * g.stride.0 * g.padded_w() * g.c,
            b: image * frame.pixels + frame.at(y, 0),
            len: g.out.1,
        })
        .collect();
    let scratch = if need_x {
        maps::scratch(back, settings.input, batch)
    } else {
        0
    };

    // One group of images: sums into `sums` (rows of the weight's gradient, then one of the bias's) and gradients into `gx`.
    let group = |first: usize, sums: &mut [f32], gx: &mut [f32], packed: &[f32]| -> Result<()> {
        let images = per_group.min(g.n.saturating_sub(first));
        let (sums_w, sums_b) = sums.split_at_mut(if need_w { depth * wide_o } else { 0 });
        sums_b.fill(0.);
        if images == 0 {
            sums_w.fill(0.);
        }
        let laid_x = if need_w { batch * layer.laid() } else { 0 };
        let laid_y = batch * back.laid();
        let len = laid_x + laid_y + 2 * side_y.image() + side_x.image() + scratch;
        workspace(len, |space| {
            let (laid_x, rest) = space.split_at_mut(laid_x);
            let (laid_y, rest) = rest.split_at_mut(laid_y);
            let (slopes, rest) = rest.split_at_mut(side_y.image());
            let (turned, rest) = rest.split_at_mut(side_y.image());
            let (spare, scratch) = rest.split_at_mut(side_x.image());
            layer.clear(laid_x);
            back.clear(laid_y);
            let mut at = 0;
            while at < images {
                let live = batch.min(images - at);
                for i in 0..live {
                    let image = first + at + i;
                    let span = image * side_y.image()..(image + 1) * side_y.image();
                    let slopes = match settings.activation {
                        Activation::Identity => &gradient[span],
                        activation => {
                            slopes.copy_from_slice(&gradient[span.clone()]);
                            activation.backprop(&value[span], slopes);
                            &*slopes
                        }
                    };
                    let slopes = maps::rows(slopes, side_y, settings.output, turned);
                    back.lay(slopes, &mut laid_y[i * back.laid()..][..back.laid()]);
                    if need_b {
                        for pixel in slopes.chunks_exact(side_y.channels) {
                            for (sum, x) in sums_b.iter_mut().zip(pixel) {
                                *sum += x;
                            }
                        }
                    }
                    if need_w {
                        let image = &x[image * side_x.image()..][..side_x.image()];
                        let image = maps::rows(image, side_x, settings.input, spare);
                        layer.lay(image, &mut laid_x[i * layer.laid()..][..layer.laid()]);
                    }
                }
                if need_w {
                    let (padded, frames) = match g.transposed {
                        false => (&*laid_x, &*laid_y),
                        true => (&*laid_y, &*laid_x),
                    };
                    Product {
                        a: padded,
                        a_step: g.stride.1 * g.c,
                        rows: &rows,
                        runs: &runs[..live * g.out.0],
                        b: frames,
                        depth: batch * frame.pixels,
                        columns: wide_o,
                        panels: false,
                        start: match at {
                            0 => Start::Zero,
                            _ => Start::Output,
                        },
                    }
                    .run(sums_w, &out_rows, wide_o)?;
                }
                if need_x {
                    let to = &mut gx[at * side_x.image()..][..live * side_x.image()];
                    let packed = Packed {
                        laid: laid_y,
                        weight: packed,
                        start: Start::Zero,
                    };
                    let order = (Activation::Identity, settings.input);
                    maps::emit(back, &packed, live, order, to, scratch)?;
                }
                at += live;
            }
            Ok(())
        })
    };

    let len_x = if need_x { g.n * side_x.image() } else { 0 };
    let mut gx: Vec<f32> = Vec::with_capacity(len_x);
    // SAFETY: plain numbers; the products write every input pixel (where a pixel has no tap, zero).
    #[allow(clippy::uninit_vec)]
    unsafe {
        gx.set_len(len_x)
    };
    let len_w = if need_w { depth * wide_o } else { 0 };
    let len_sums = len_w + side_y.wide();
    let len_packed = if need_x { back.packed() } else { 0 };
    let serial = g.work() < SERIAL_WORK;
    workspace(count * len_sums + len_packed, |space| {
        let (sums, packed) = space.split_at_mut(count * len_sums);
        if need_x {
            back.pack(weight, packed);
        }
        let packed = &*packed;
        let mut parts_x = gx.chunks_mut((per_group * side_x.image()).max(1));
        let tasks: Vec<(usize, &mut [f32], &mut [f32])> = sums
            .chunks_exact_mut(len_sums)
            .enumerate()
            .map(|(i, sums)| (i * per_group, sums, parts_x.next().unwrap_or_default()))
            .collect();
        if serial {
            tasks
                .into_iter()
                .try_for_each(|(first, sums, gx)| group(first, sums, gx, packed))?;
        } else {
            tasks
                .into_par_iter()
                .try_for_each(|(first, sums, gx)| group(first, sums, gx, packed))?;
        }
        let sums = &*sums;
        let mut gradients = vec![None; needs.len()];
        if need_w {
            let gw = collect_weight(g, sums, len_sums, serial);
            gradients[1] = Some(Tensor::from_vec(gw, inputs[1].shape(), &Device::Cpu)?);
        }
        if need_b {
            let mut gb = vec![0.; side_y.channels];
            for sums in sums.chunks_exact(len_sums) {
                for (total, x) in gb.iter_mut().zip(&sums[len_w..]) {
                    *total += x;
                }
            }
            gradients[2] = Some(Tensor::from_vec(gb, side_y.channels, &Device::Cpu)?);
        }
        if need_x {
            let gx = std::mem::take(&mut gx);
            gradients[0] = Some(Tensor::from_vec(gx, inputs[0].shape(), &Device::Cpu)?);
        }
        Ok(gradients)
    })
}

/// The groups' sums, added in order and turned from rows (tap, channel) to `[O, C, tap]`.
fn collect_weight(g: &Geometry, sums: &[f32], len_sums: usize, serial: bool) -> Vec<f32> {
    const BLOCK: usize = 16;
    let (wide_o, depth) = (g.wide_o(), g.depth());
    let mut gw = vec![0.; g.o * depth];
    let block = |first: usize, out: &mut [f32]| {
        for row in 0..depth {
            let mut total = [0f32; BLOCK];
            for sums in sums.chunks_exact(len_sums) {
                let part = &sums[row * wide_o + first..][..BLOCK];
                for (total, x) in total.iter_mut().zip(part) {
                    *total += x;
                }
            }
            let (t, c) = (row / g.c, row % g.c);
            for (out, total) in out.chunks_exact_mut(depth).zip(total) {
                out[c * g.taps() + t] = total;
            }
        }
    };
    if serial {
        for (i, out) in gw.chunks_mut(BLOCK * depth).enumerate() {
            block(i * BLOCK, out);
        }
    } else {
        gw.par_chunks_mut(BLOCK * depth)
            .enumerate()
            .for_each(|(i, out)| block(i * BLOCK, out));
    }
    gw
}

//! The gradients of a convolution.

use super::classes::{Frame, class_plans};
use super::geometry::Geometry;
use super::tile::{Product, Run, Start};
use super::{Order, SERIAL_WORK, Settings, workspace};
use crate::kernels::graph::node::{Reached, asked};
use crate::kernels::machine::buffer::View;
use crate::kernels::network::transpose::transpose;
use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

/// Output pixels of one product for the weight's gradient, at least: what a tile spends on loading and storing its sums.
const BATCH: usize = 128;

/// Partial sums of the weight's gradient, one for each group of images. Their number depends on the shapes only, never on
/// the threads, so neither do the bits.
fn groups(g: &Geometry) -> usize {
    let weights = g.taps() * g.c * g.wide_o();
    ((1 << 21) / weights).clamp(4, 16).min(g.n).max(1)
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
    let x = asked(x, gradient, g.n);
    let x = &*x;

    let (pixels, wide_o, depth) = (g.pixels(), g.wide_o(), g.taps() * g.c);
    let in_last = settings.input == Order::ChannelsLast || g.c == 1;
    let out_last = settings.output == Order::ChannelsLast || g.o == 1 || pixels == 1;
    let frame = Frame::new(g, need_x);
    let batch = BATCH.div_ceil(pixels);
    let count = groups(g);
    let per_group = g.n.div_ceil(count).max(1);
    let count = g.n.div_ceil(per_group).max(1);
    let batch = batch.min(per_group);

    // The weight's gradient: rows are (tap, channel), the summation index is the pixel.
    let mut rows = Vec::with_capacity(depth);
    for i in 0..g.kernel.0 {
        for j in 0..g.kernel.1 {
            rows.extend((0..g.c).map(|c| (i * g.padded_w() + j) * g.c + c));
        }
    }
    let out_rows: Vec<usize> = (0..depth).map(|k| k * wide_o).collect();
    let runs: Vec<Run> = (0..batch * g.out.0)
        .map(|line| (line / g.out.0, line % g.out.0))
        .map(|(image, y)| Run {
            a: image * g.padded() + y * g.stride.0 * g.padded_w() * g.c,
            b: image * frame.pixels + frame.at(y, 0),
            len: g.out.1,
        })
        .collect();
    let stride_x = if in_last { g.c } else { g.wide_c() };
    let plans = if need_x {
        class_plans(g, &frame, batch, stride_x)
    } else {
        vec![]
    };
    let plane = g.h * g.w;
    let scratch_x = if in_last { 0 } else { batch * plane * stride_x };

    // One group of images: sums into `sums` (rows of the weight's gradient, then one of the bias's) and gradients into `gx`.
    let group = |first: usize, sums: &mut [f32], gx: &mut [f32], packed: &[f32]| -> Result<()> {
        let images = per_group.min(g.n.saturating_sub(first));
        sums.fill(0.);
        let (sums_w, sums_b) = sums.split_at_mut(if need_w { depth * wide_o } else { 0 });
        let padded = if need_w { g.padded() } else { 0 };
        let frames = batch * frame.pixels * wide_o;
        let image_out = pixels * g.o;
        let len = batch * padded + g.image() + frames + 2 * image_out + scratch_x;
        workspace(len, |space| {
            let (padded_x, rest) = space.split_at_mut(batch * padded);
            let (spare, rest) = rest.split_at_mut(g.image());
            let (frames, rest) = rest.split_at_mut(frames);
            let (slopes, rest) = rest.split_at_mut(image_out);
            let (turned, scratch_x) = rest.split_at_mut(image_out);
            // The frame itself stays zero; its inside is overwritten.
            frames.fill(0.);
            let mut at = 0;
            while at < images {
                let live = batch.min(images - at);
                for i in 0..live {
                    let image = first + at + i;
                    let span = image * image_out..(image + 1) * image_out;
                    slopes.copy_from_slice(&gradient[span.clone()]);
                    settings.activation.backprop(&value[span], slopes);
                    let slopes = if out_last {
                        &*slopes
                    } else {
                        transpose(slopes, pixels, g.o, pixels, turned, g.o);
                        &*turned
                    };
                    let to = &mut frames[i * frame.pixels * wide_o..][..frame.pixels * wide_o];
                    for y in 0..g.out.0 {
                        let line = &slopes[y * g.out.1 * g.o..][..g.out.1 * g.o];
                        let to = &mut to[frame.at(y, 0) * wide_o..][..g.out.1 * wide_o];
                        if g.o == wide_o {
                            to.copy_from_slice(line);
                        } else {
                            let to = to.chunks_exact_mut(wide_o);
                            for (to, from) in to.zip(line.chunks_exact(g.o)) {
                                to[..g.o].copy_from_slice(from);
                            }
                        }
                    }
                    if need_b {
                        for pixel in slopes.chunks_exact(g.o) {
                            for (sum, x) in sums_b.iter_mut().zip(pixel) {
                                *sum += x;
                            }
                        }
                    }
                    if need_w && padded > 0 {
                        let image = &x[image * g.image()..][..g.image()];
                        g.pad_image(image, in_last, &mut padded_x[i * padded..][..padded], spare);
                    }
                }
                if need_w {
                    Product {
                        a: padded_x,
                        a_step: g.stride.1 * g.c,
                        rows: &rows,
                        runs: &runs[..live * g.out.0],
                        b: frames,
                        depth: batch * frame.pixels,
                        columns: wide_o,
                        panels: false,
                        start: Start::Output,
                    }
                    .run(sums_w, &out_rows, wide_o)?;
                }
                if need_x {
                    let to = &mut gx[at * g.image()..][..live * g.image()];
                    let target = if in_last { &mut *to } else { &mut *scratch_x };
                    for plan in &plans {
                        let (start, len) = plan.packed;
                        let rows = plan.rows.len() / batch * live;
                        Product {
                            a: frames,
                            a_step: 1,
                            rows: &plan.rows[..rows],
                            runs: &plan.runs,
                            b: &packed[start..start + len],
                            depth: plan.depth,
                            columns: g.wide_c(),
                            panels: true,
                            start: Start::Zero,
                        }
                        .run(target, &plan.out_rows[..rows], g.c)?;
                    }
                    if !in_last {
                        let images = scratch_x.chunks_exact(plane * stride_x);
                        for (to, from) in to.chunks_exact_mut(g.image()).zip(images) {
                            transpose(from, stride_x, plane, g.c, to, plane);
                        }
                    }
                }
                at += live;
            }
            Ok(())
        })
    };

    let len_x = if need_x { g.n * g.image() } else { 0 };
    let mut gx: Vec<f32> = Vec::with_capacity(len_x);
    // SAFETY: plain numbers; every input pixel is in one class, and its product writes it (zero if no tap reaches it).
    #[allow(clippy::uninit_vec)]
    unsafe {
        gx.set_len(len_x)
    };
    let len_w = if need_w { depth * wide_o } else { 0 };
    let len_sums = len_w + wide_o;
    let len_packed = if need_x {
        g.taps() * wide_o * g.wide_c()
    } else {
        0
    };
    let serial = g.n * pixels * g.o * depth < SERIAL_WORK;
    workspace(count * len_sums + len_packed + depth, |space| {
        let (sums, rest) = space.split_at_mut(count * len_sums);
        let (packed, spare) = rest.split_at_mut(len_packed);
        if need_x {
            g.pack_backward(weight, packed, spare);
        }
        let packed = &*packed;
        let mut parts_x = gx.chunks_mut((per_group * g.image()).max(1));
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
            let mut gb = vec![0.; g.o];
            for sums in sums.chunks_exact(len_sums) {
                for (total, x) in gb.iter_mut().zip(&sums[len_w..]) {
                    *total += x;
                }
            }
            gradients[2] = Some(Tensor::from_vec(gb, g.o, &Device::Cpu)?);
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
    let (wide_o, depth) = (g.wide_o(), g.taps() * g.c);
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

//! The convolution: one product of patches and packed weights for each small group of images.

use super::geometry::Geometry;
use super::tile::{Product, Run, Start};
use super::{Order, SERIAL_WORK, Settings, workspace};
use crate::kernels::graph::node::{Fresh, fresh};
use crate::kernels::machine::buffer::View;
use crate::kernels::network::transpose::transpose;
use candle_core::{Result, Tensor};
use rayon::prelude::*;

/// Output pixels of one group of images, about: enough to fill tiles, few enough to stay in cache.
const GROUP: usize = 128;

pub(super) fn run(g: &Geometry, settings: &Settings, inputs: &[Tensor]) -> Result<Fresh> {
    let x = View::new(&inputs[0])?;
    let weight = View::new(&inputs[1])?;
    let bias = inputs.get(2).map(View::new).transpose()?;
    let (x, weight) = (x.f32()?, weight.f32()?);
    let bias = bias.as_ref().map(View::f32).transpose()?;

    let depth = g.taps() * g.c;
    let wide = g.wide_o();
    let images = GROUP.div_ceil(g.pixels()).min(g.n.max(1));
    let patches = g.patches(images);
    let runs: Vec<Run> = (0..g.kernel.0)
        .map(|i| Run {
            a: i * g.padded_w() * g.c,
            b: i * g.kernel.1 * g.c,
            len: g.kernel.1 * g.c,
        })
        .collect();
    let last = settings.output == Order::ChannelsLast || g.o == 1 || g.pixels() == 1;
    // Products write into the output itself where its rows are pixels, into the workspace otherwise.
    let stride = if last { g.o } else { wide };
    let rows: Vec<usize> = (0..patches.len()).map(|p| p * stride).collect();

    let group = |first: usize, out: &mut [f32], packed: &[f32], start: Start| -> Result<()> {
        let live = out.len() / (g.pixels() * g.o);
        let pixels = live * g.pixels();
        let scratch = if last { 0 } else { pixels * wide };
        workspace(live * g.padded() + g.image() + scratch, |space| {
            let (padded, rest) = space.split_at_mut(live * g.padded());
            let (spare, scratch) = rest.split_at_mut(g.image());
            if g.padded() > 0 {
                for (i, to) in padded.chunks_exact_mut(g.padded()).enumerate() {
                    let image = &x[(first + i) * g.image()..][..g.image()];
                    g.pad_image(image, settings.input == Order::ChannelsLast, to, spare);
                }
            }
            let product = Product {
                a: padded,
                a_step: 1,
                rows: &patches[..pixels],
                runs: &runs,
                b: packed,
                depth,
                columns: wide,
                panels: true,
                start,
            };
            if last {
                product.run(out, &rows[..pixels], g.o)?;
                settings.activation.apply(out);
            } else {
                product.run(scratch, &rows[..pixels], wide)?;
                settings.activation.apply(scratch);
                let images = out.chunks_exact_mut(g.pixels() * g.o);
                for (to, from) in images.zip(scratch.chunks_exact(g.pixels() * wide)) {
                    transpose(from, wide, g.pixels(), g.o, to, g.pixels());
                }
            }
            Ok(())
        })
    };

    let len = g.n * g.pixels() * g.o;
    let mut out: Vec<f32> = Vec::with_capacity(len);
    // SAFETY: plain numbers, and the products (or the transposition of their results) write every element.
    #[allow(clippy::uninit_vec)]
    unsafe {
        out.set_len(len)
    };
    workspace(2 * depth * wide + wide, |space| {
        let (packed, rest) = space.split_at_mut(depth * wide);
        let (spare, row) = rest.split_at_mut(depth * wide);
        g.pack_forward(weight, packed, spare);
        let start = match bias {
            Some(bias) => {
                row.fill(0.);
                row[..g.o].copy_from_slice(bias);
                Start::Row(row)
            }
            None => Start::Zero,
        };
        let chunk = images * g.pixels() * g.o;
        let packed = &*packed;
        if len * depth < SERIAL_WORK {
            out.chunks_mut(chunk)
                .enumerate()
                .try_for_each(|(i, out)| group(i * images, out, packed, start))
        } else {
            out.par_chunks_mut(chunk)
                .enumerate()
                .try_for_each(|(i, out)| group(i * images, out, packed, start))
        }
    })?;
    Ok(fresh(out, g.out_dims(settings.output).as_slice()))
}

//! The convolution or its transpose: products of laid-out images and the packed weight, a small group of images at a time.

use super::geometry::Geometry;
use super::maps::{self, Classes, Map, Patches};
use super::tile::{Packed, Start};
use super::{SERIAL_WORK, Settings, workspace};
use crate::kernels::graph::node::{Fresh, fresh};
use crate::kernels::machine::buffer::View;
use candle_core::{Result, Tensor};
use rayon::prelude::*;

/// Pixels of one group of images, about: enough to fill tiles, few enough to stay in cache.
const GROUP: usize = 128;

pub(super) fn run(g: &Geometry, settings: &Settings, inputs: &[Tensor]) -> Result<Fresh> {
    let images = GROUP.div_ceil(g.pixels()).min(g.n.max(1));
    let out = match g.transposed {
        false => {
            let map = Patches::new(g, images, settings.output);
            results(&map, images, g, settings, inputs)
        }
        true => {
            let map = Classes::new(g, images, Some(settings.output));
            results(&map, images, g, settings, inputs)
        }
    };
    Ok(fresh(out?, g.out_dims(settings.output).as_slice()))
}

/// For groups of `images` images, as `map` was made for.
fn results(
    map: &dyn Map,
    images: usize,
    g: &Geometry,
    settings: &Settings,
    inputs: &[Tensor],
) -> Result<Vec<f32>> {
    let x = View::new(&inputs[0])?;
    let weight = View::new(&inputs[1])?;
    let bias = inputs.get(2).map(View::new).transpose()?;
    let (x, weight) = (x.f32()?, weight.f32()?);
    let bias = bias.as_ref().map(View::f32).transpose()?;
    let (from, to) = (map.from(), map.to());

    let group = |first: usize, out: &mut [f32], packed: &[f32], start: Start| -> Result<()> {
        let live = out.len() / to.image();
        let scratch = maps::scratch(map, settings.output, live);
        workspace(live * map.laid() + from.image() + scratch, |space| {
            let (laid, rest) = space.split_at_mut(live * map.laid());
            let (spare, scratch) = rest.split_at_mut(from.image());
            map.clear(laid);
            for i in 0..live {
                let image = &x[(first + i) * from.image()..][..from.image()];
                let image = maps::rows(image, from, settings.input, spare);
                map.lay(image, &mut laid[i * map.laid()..][..map.laid()]);
            }
            let packed = Packed {
                laid,
                weight: packed,
                start,
            };
            let last = (settings.activation, settings.output);
            maps::emit(map, &packed, live, last, out, scratch)
        })
    };

    let len = g.n * to.image();
    let mut out: Vec<f32> = Vec::with_capacity(len);
    // SAFETY: plain numbers, and the products (or the transposition of their results) write every element: every pixel of a
    // transposed convolution is in one class, whose product writes it (from its start if no tap reaches it).
    #[allow(clippy::uninit_vec)]
    unsafe {
        out.set_len(len)
    };
    workspace(map.packed() + to.wide(), |space| {
        let (packed, row) = space.split_at_mut(map.packed());
        map.pack(weight, packed);
        let start = match bias {
            Some(bias) => {
                row.fill(0.);
                row[..to.channels].copy_from_slice(bias);
                Start::Row(row)
            }
            None => Start::Zero,
        };
        let chunk = images * to.image();
        let packed = &*packed;
        if g.work() < SERIAL_WORK {
            out.chunks_mut(chunk)
                .enumerate()
                .try_for_each(|(i, out)| group(i * images, out, packed, start))
        } else {
            out.par_chunks_mut(chunk)
                .enumerate()
                .try_for_each(|(i, out)| group(i * images, out, packed, start))
        }
    })?;
    Ok(out)
}

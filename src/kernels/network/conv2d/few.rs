//! The gradients of a convolution where few of its results have one, as under a maximum over positions: sums over those alone.
//!
//! The terms of the image's gradient are added in the order of the products that take all of them, so its bits are theirs.

use super::geometry::Geometry;
use super::maps;
use super::vector::{Level, Vector, level};
use super::{SERIAL_WORK, Settings, workspace};
use crate::kernels::machine::buffer::filled;
use crate::kernels::network::transpose::transpose;
use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

/// One of so many results has a gradient, at most: a term takes several times as long here as in a product of all.
const SHARE: usize = 8;

/// Output channels whose weights' gradients are one task.
const BLOCK: usize = 8;

/// The gradient of one result before its activation.
#[derive(Clone, Copy)]
struct Slope {
    pixel: usize,
    channel: usize,
    value: f32,
}

/// The results that have a gradient.
pub(super) struct Few {
    /// Of each image, in the order of pixels and then channels.
    images: Vec<Vec<Slope>>,
}

impl Few {
    /// `None` where they are more.
    pub(super) fn find(
        g: &Geometry,
        settings: &Settings,
        value: &[f32],
        gradient: &[f32],
    ) -> Option<Self> {
        let (_, side) = g.sides();
        if g.transposed || gradient.is_empty() {
            return None;
        }
        let (mut left, mut images) = (gradient.len() / SHARE, vec![]);
        let mut places = vec![0; side.image()];
        let both = gradient.chunks_exact(side.image());
        for (gradient, value) in both.zip(value.chunks_exact(side.image())) {
            let mut count = 0;
            for (i, x) in gradient.iter().enumerate() {
                places[count] = i;
                count += usize::from(*x != 0.);
            }
            left = left.checked_sub(count)?;
            let places = &places[..count];
            let at = |from: &[f32]| -> Vec<f32> { places.iter().map(|i| from[*i]).collect() };
            let mut slopes = at(gradient);
            settings.activation.backprop(&at(value), &mut slopes);
            let all = places.iter().zip(slopes).map(|(i, value)| {
                let (pixel, channel) = match side.rows(settings.output) {
                    true => (i / side.channels, i % side.channels),
                    false => (i % side.pixels, i / side.pixels),
                };
                Slope {
                    pixel,
                    channel,
                    value,
                }
            });
            let mut all: Vec<Slope> = all.filter(|slope| slope.value != 0.).collect();
            all.sort_unstable_by_key(|slope| (slope.pixel, slope.channel));
            images.push(all);
        }
        Some(Few { images })
    }

    /// For x, weight and bias, those that are needed.
    pub(super) fn gradients(
        &self,
        g: &Geometry,
        settings: &Settings,
        (x, weight): (&[f32], &[f32]),
        inputs: &[Tensor],
        needs: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let terms = self.images.iter().map(Vec::len).sum::<usize>();
        let serial = terms * g.depth() < SERIAL_WORK;
        let patches = g.patches(1);
        let mut gradients = vec![None; needs.len()];
        let mut keep = |i: usize, data: Vec<f32>| -> Result<()> {
            gradients[i] = Some(Tensor::from_vec(data, inputs[i].shape(), &Device::Cpu)?);
            Ok(())
        };
        if needs[0] {
            keep(0, self.of_images(g, settings, weight, &patches, serial)?)?;
        }
        if needs[1] {
            keep(1, self.of_weights(g, settings, x, &patches, serial)?)?;
        }
        if needs.get(2) == Some(&true) {
            let mut sums = vec![0.; g.o];
            for slope in self.images.iter().flatten() {
                sums[slope.channel] += slope.value;
            }
            keep(2, sums)?;
        }
        Ok(gradients)
    }

    fn of_images(
        &self,
        g: &Geometry,
        settings: &Settings,
        weight: &[f32],
        patches: &[usize],
        serial: bool,
    ) -> Result<Vec<f32>> {
        let (side, depth, line) = (g.sides().0, g.depth(), g.kernel.1 * g.c);
        // Rows by output channel, with columns (tap, channel), as a patch lies in its image.
        let image = |slopes: &[Slope], by_tap: &[f32], out: &mut [f32]| -> Result<()> {
            workspace(g.padded() + side.image(), |space| {
                let (padded, spare) = space.split_at_mut(g.padded());
                padded.fill(0.);
                let mut terms = vec![];
                for slopes in slopes.chunk_by(|a, b| a.pixel == b.pixel) {
                    terms.clear();
                    terms.extend(slopes.iter().map(|slope| Term {
                        at: slope.channel * depth,
                        factor: slope.value,
                    }));
                    for i in 0..g.kernel.0 {
                        let at = patches[slopes[0].pixel] + i * g.padded_w() * g.c;
                        add(&mut padded[at..at + line], &terms, &by_tap[i * line..])?;
                    }
                }
                let order = settings.input;
                let rows = match side.rows(order) {
                    true => &mut *out,
                    false => &mut *spare,
                };
                let first = g.padding.0 * g.padded_w() + g.padding.1;
                for (y, row) in rows.chunks_exact_mut(g.w * g.c).enumerate() {
                    let from = (first + y * g.padded_w()) * g.c;
                    row.copy_from_slice(&padded[from..from + g.w * g.c]);
                }
                if !side.rows(order) {
                    let (pixels, channels) = (side.pixels, side.channels);
                    transpose(spare, channels, pixels, channels, out, pixels);
                }
                Ok(())
            })
        };
        filled(g.n * side.image(), |out| {
            workspace(weight.len(), |by_tap| {
                for (to, from) in by_tap
                    .chunks_exact_mut(depth)
                    .zip(weight.chunks_exact(depth))
                {
                    transpose(from, g.taps(), g.c, g.taps(), to, g.c);
                }
                let by_tap = &*by_tap;
                tasks(out, side.image(), serial, |i, out| {
                    image(&self.images[i], by_tap, out)
                })
            })
        })
    }

    fn of_weights(
        &self,
        g: &Geometry,
        settings: &Settings,
        x: &[f32],
        patches: &[usize],
        serial: bool,
    ) -> Result<Vec<f32>> {
        let (side, depth, line) = (g.sides().0, g.depth(), g.kernel.1 * g.c);
        let mut channels = vec![vec![]; g.o];
        for (i, slopes) in self.images.iter().enumerate() {
            for slope in slopes {
                channels[slope.channel].push(Term {
                    at: i * g.padded() + patches[slope.pixel],
                    factor: slope.value,
                });
            }
        }
        let block = |first: usize, laid: &[f32], out: &mut [f32]| -> Result<()> {
            workspace(depth, |by_tap| {
                for (terms, out) in channels[first..].iter().zip(out.chunks_exact_mut(depth)) {
                    by_tap.fill(0.);
                    for (i, sums) in by_tap.chunks_exact_mut(line).enumerate() {
                        add(sums, terms, &laid[i * g.padded_w() * g.c..])?;
                    }
                    transpose(by_tap, g.c, g.taps(), g.c, out, g.taps());
                }
                Ok(())
            })
        };
        let laid = filled(g.n * g.padded(), |laid| {
            tasks(laid, g.padded(), serial, |i, laid| {
                workspace(side.image(), |spare| {
                    let image = &x[i * side.image()..][..side.image()];
                    g.pad_image(maps::rows(image, side, settings.input, spare), laid);
                    Ok(())
                })
            })
        })?;
        filled(g.o * depth, |out| {
            tasks(out, BLOCK * depth, serial, |i, out| {
                block(i * BLOCK, &laid, out)
            })
        })
    }
}

/// Calls `f` with the number of each chunk and the chunk.
fn tasks(
    out: &mut [f32],
    chunk: usize,
    serial: bool,
    f: impl Fn(usize, &mut [f32]) -> Result<()> + Sync,
) -> Result<()> {
    let f = |(i, out): (usize, &mut [f32])| f(i, out);
    match serial {
        true => out.chunks_mut(chunk).enumerate().try_for_each(f),
        false => out.par_chunks_mut(chunk).enumerate().try_for_each(f),
    }
}

/// A stretch of numbers that begins at `at`, times `factor`.
#[derive(Clone, Copy)]
struct Term {
    at: usize,
    factor: f32,
}

/// Adds the stretches of `from` to `out`, one after the other to each number.
fn add(out: &mut [f32], terms: &[Term], from: &[f32]) -> Result<()> {
    let last = terms.iter().map(|term| term.at).max();
    if last.is_some_and(|last| last + out.len() > from.len()) {
        candle_core::bail!("conv2d: a sum reaches outside its buffers");
    }
    // SAFETY: every read of `from` is below the last term's start and the length of `out`, checked above. The instruction
    // set was detected by `level`.
    unsafe {
        match level() {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => x86::avx512(out, terms, from),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => x86::avx2(out, terms, from),
            Level::Portable => add_with::<[f32; 4]>(out, terms, from),
        }
    }
    Ok(())
}

/// SAFETY: as in [`add`].
#[inline(always)]
unsafe fn add_with<V: Vector>(out: &mut [f32], terms: &[Term], from: &[f32]) {
    const MANY: usize = 8;
    let mut at = 0;
    // SAFETY: the caller's.
    unsafe {
        while at + MANY * V::LANES <= out.len() {
            stretch::<V, MANY>(out, terms, from, at);
            at += MANY * V::LANES;
        }
        while at + V::LANES <= out.len() {
            stretch::<V, 1>(out, terms, from, at);
            at += V::LANES;
        }
        let rest = out.len() - at;
        if rest > 0 {
            let mut edge = [0f32; 16];
            edge[..rest].copy_from_slice(&out[at..]);
            for term in terms {
                let mut right = [0f32; 16];
                right[..rest].copy_from_slice(&from[term.at + at..][..rest]);
                let sum =
                    V::splat(term.factor).mul_add(V::load(right.as_ptr()), V::load(edge.as_ptr()));
                sum.store(edge.as_mut_ptr());
            }
            out[at..].copy_from_slice(&edge[..rest]);
        }
    }
}

/// SAFETY: as in [`add`]; `out` has `N` vectors from `at` on.
#[inline(always)]
unsafe fn stretch<V: Vector, const N: usize>(
    out: &mut [f32],
    terms: &[Term],
    from: &[f32],
    at: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        let to = out.as_mut_ptr().add(at);
        let mut sums: [V; N] = std::array::from_fn(|v| V::load(to.add(v * V::LANES)));
        for term in terms {
            let right = from.as_ptr().add(term.at + at);
            let left = V::splat(term.factor);
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = left.mul_add(V::load(right.add(v * V::LANES)), *sum);
            }
        }
        for (v, sum) in sums.iter().enumerate() {
            sum.store(to.add(v * V::LANES));
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Term, add_with};
    use std::arch::x86_64::{__m256, __m512};

    #[target_feature(enable = "avx512f,avx2,fma")]
    pub(super) unsafe fn avx512(out: &mut [f32], terms: &[Term], from: &[f32]) {
        // SAFETY: the caller's.
        unsafe { add_with::<__m512>(out, terms, from) }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn avx2(out: &mut [f32], terms: &[Term], from: &[f32]) {
        // SAFETY: the caller's.
        unsafe { add_with::<__m256>(out, terms, from) }
    }
}

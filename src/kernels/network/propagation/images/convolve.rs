//! Convolutions of planes in registers: the weights are broadcast, so few channels fill the lanes as many do.

use super::planes::{Planes, WIDTH};
use crate::kernels::machine::lanes::{Lanes, Lanewise};
use crate::kernels::machine::simd::fma;
use crate::kernels::network::activation::Activation;

/// Lanes of [`WIDTH`].
const TILES: usize = WIDTH / 16;

/// Outputs that are computed at once, at most.
const MOST: usize = 6;

/// How many of `rest` outputs come next.
fn next(rest: usize) -> usize {
    match rest {
        0..=4 | 6 => rest,
        5 => 3,
        7 | 8 => 4,
        _ => MOST,
    }
}

/// The blocks of so many outputs: the first of each, and how many.
pub(super) fn blocks(outputs: usize) -> impl Iterator<Item = (usize, usize)> {
    let from = move |o: usize| (o < outputs).then(|| (o, next(outputs - o)));
    std::iter::successors(from(0), move |(o, size)| from(o + size))
}

/// The weights of one or two kernels `[m, s, k, k]` side by side, or of their transposes, as [`Convolve`] reads them: by blocks
/// of outputs, those of a block next to each other.
pub(super) fn pack(kernels: &[&[f32]], [m, s, k]: [usize; 3], transposed: bool) -> Vec<f32> {
    let (outputs, inputs) = if transposed { (s, m) } else { (m, s) };
    let mut packed = Vec::with_capacity(kernels.len() * m * s * k * k);
    for (first, size) in blocks(outputs) {
        for kernel in kernels {
            for (c, tap) in (0..inputs).flat_map(|c| (0..k * k).map(move |tap| (c, tap))) {
                // The transpose reads the kernel from its end.
                packed.extend((first..first + size).map(|o| match transposed {
                    false => kernel[(o * s + c) * k * k + tap],
                    true => kernel[(c * s + o) * k * k + k * k - 1 - tap],
                }));
            }
        }
    }
    packed
}

/// `out = f(scale * A x + bias)`, then `state += by * out`.
pub(super) struct Convolve<'a> {
    pub(super) planes: &'a Planes,
    /// From [`pack`].
    pub(super) weights: &'a [f32],
    pub(super) x: &'a [f32],
    /// Channels of x and of the result.
    pub(super) channels: [usize; 2],
    pub(super) scale: f32,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) activation: Activation,
    pub(super) out: Option<&'a mut [f32]>,
    pub(super) state: Option<(&'a mut [f32], f32)>,
}

impl Lanewise for Convolve<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Lanes, const FMA: bool>(self) {
        let Convolve {
            planes,
            weights,
            x,
            channels: [inputs, outputs],
            scale,
            bias,
            activation,
            mut out,
            mut state,
        } = self;
        let taps = planes.taps(inputs);
        let mut room = [0f32; MOST * WIDTH];
        for base in (0..planes.body).step_by(WIDTH) {
            let inside = &planes.inside[base..][..WIDTH];
            for (first, size) in blocks(outputs) {
                let weights = &weights[first * taps.len()..][..size * taps.len()];
                let room = &mut room[..size * WIDTH];
                match size {
                    1 => block::<V, 1>(x, base, taps, weights, room),
                    2 => block::<V, 2>(x, base, taps, weights, room),
                    3 => block::<V, 3>(x, base, taps, weights, room),
                    4 => block::<V, 4>(x, base, taps, weights, room),
                    _ => block::<V, MOST>(x, base, taps, weights, room),
                }
                for (n, values) in room.chunks_exact_mut(WIDTH).enumerate() {
                    let bias = bias.map_or(0., |bias| bias[first + n]);
                    values
                        .iter_mut()
                        .for_each(|v| *v = fma::<FMA>(scale, *v, bias));
                }
                activation.apply_slice::<FMA>(room);
                for (n, values) in room.chunks_exact_mut(WIDTH).enumerate() {
                    let at = planes.start(first + n) + base;
                    for (v, inside) in values.iter_mut().zip(inside) {
                        *v = if *inside == 0. { 0. } else { *v };
                    }
                    if let Some(out) = &mut out {
                        out[at..][..WIDTH].copy_from_slice(values);
                    }
                    if let Some((state, by)) = &mut state {
                        for (s, v) in state[at..][..WIDTH].iter_mut().zip(&*values) {
                            *s = fma::<FMA>(*by, *v, *s);
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn block<V: Lanes, const O: usize>(
    x: &[f32],
    base: usize,
    taps: &[usize],
    weights: &[f32],
    out: &mut [f32],
) {
    let mut sums = [[V::splat(0.); TILES]; O];
    for (tap, weights) in taps.iter().zip(weights.as_chunks::<O>().0) {
        let tiles = x[base + tap..][..WIDTH].as_chunks().0;
        let mut x = [V::splat(0.); TILES];
        for t in 0..TILES {
            x[t] = V::load(&tiles[t]);
        }
        for o in 0..O {
            let weight = V::splat(weights[o]);
            for t in 0..TILES {
                sums[o][t] = weight.fma(x[t], sums[o][t]);
            }
        }
    }
    let out = out.as_chunks_mut().0;
    for o in 0..O {
        for t in 0..TILES {
            sums[o][t].store(&mut out[o * TILES + t]);
        }
    }
}

//! Images through all layers, there and back: one after the other on a thread, so that an image's planes stay in its cache.

use super::super::Law;
use super::convolve::{Convolve, pack};
use super::outer::{Advance, Outer, Slopes, Source};
use super::planes::Planes;
use super::program::{Bias, Half, Program, Set};
use crate::kernels::machine::buffer::Aligned;
use crate::kernels::machine::{lanes, simd};
use crate::kernels::network::activation::Activation;
use std::mem::take;

type Channels = Aligned<f32>;

/// On the thread that asks, which is one of many that take parts of the batch.
fn zeros(len: usize) -> Channels {
    Aligned::build(len, len.max(1), |_, out| out.fill(0.))
}

/// Y, Z, V, U; what a layer does not have is empty.
pub(super) type Sets = [Channels; 4];

/// The biases of all layers, or directions of them.
#[derive(Clone, Copy)]
pub(super) struct Biases<'a> {
    pub(super) bias: Option<&'a [f32]>,
    pub(super) second_bias: Option<&'a [f32]>,
}

/// Sums of the weights' gradients, where they are asked for.
pub(super) struct Sums {
    pub(super) kernel: Option<Vec<f64>>,
    pub(super) bias: Option<Vec<f64>>,
    pub(super) second_bias: Option<Vec<f64>>,
}

impl Sums {
    fn bias(&mut self, bias: Bias) -> Option<&mut Vec<f64>> {
        match bias {
            Bias::First => self.bias.as_mut(),
            Bias::Second => self.second_bias.as_mut(),
        }
    }

    /// Those of another part of the batch too.
    pub(super) fn add(&mut self, other: &Sums) {
        let all = [
            (&mut self.kernel, &other.kernel),
            (&mut self.bias, &other.bias),
            (&mut self.second_bias, &other.second_bias),
        ];
        for (sum, more) in all {
            let pairs = sum.iter_mut().flatten().zip(more.iter().flatten());
            pairs.for_each(|(s, m)| *s += m);
        }
    }
}

/// All layers for images of one size.
pub(super) struct Run<'a> {
    program: Program,
    pub(super) planes: Planes,
    kernel: &'a [f32],
    biases: Biases<'a>,
    /// K and K^T of each layer.
    plain: Vec<Vec<f32>>,
    transposed: Vec<Vec<f32>>,
    pub(super) layers: usize,
    /// m, s.
    sizes: [usize; 2],
    /// k.
    size: usize,
    /// Pixels of a channel.
    pub(super) pixels: usize,
}

/// Layers whose states are kept on the way back at least.
const SEGMENT: usize = 16;

impl<'a> Run<'a> {
    /// Of kernels `[layers, m, s, k, k]`, images `[rows, columns]`.
    pub(super) fn new(
        law: Law,
        [layers, m, s, k]: [usize; 4],
        image: [usize; 2],
        kernel: &'a [f32],
        biases: Biases<'a>,
    ) -> Self {
        let packed = |transposed| {
            let each = kernel.chunks_exact(m * s * k * k);
            each.map(|kernel| pack(&[kernel], [m, s, k], transposed))
                .collect()
        };
        Run {
            program: Program::new(law),
            planes: Planes::new(image, k, 2 * m.max(s)),
            plain: packed(false),
            transposed: packed(true),
            layers,
            sizes: [m, s],
            size: k,
            pixels: image[0] * image[1],
            kernel,
            biases,
        }
    }

    /// Channels of a set, 0 if layers have none.
    pub(super) fn channels(&self, set: Set) -> usize {
        let [m, s] = self.sizes;
        let program = &self.program;
        match set {
            Set::Y | Set::U => s,
            Set::Z if program.verlet => m,
            Set::Z if program.slides => s,
            Set::V if program.halves.len() > 1 => m,
            Set::Z | Set::V => 0,
        }
    }

    /// Sets of zeros, of `times` as many channels.
    fn sets(&self, times: usize) -> Sets {
        [Set::Y, Set::Z, Set::V, Set::U].map(|set| self.zeros(times * self.channels(set)))
    }

    fn zeros(&self, channels: usize) -> Channels {
        match channels {
            0 => zeros(0),
            channels => zeros(self.planes.len(channels)),
        }
    }

    /// Channels of a half's input and result.
    fn ends(&self, half: &Half) -> [usize; 2] {
        [half.input, half.out].map(|set| self.channels(set))
    }

    fn weights(&self, j: usize, transposed: bool) -> &[f32] {
        match transposed {
            false => &self.plain[j],
            true => &self.transposed[j],
        }
    }

    /// The bias of a half of layer `j`.
    fn bias<'b>(&self, half: &Half, j: usize, stacks: &Biases<'b>) -> Option<&'b [f32]> {
        let width = self.channels(half.out);
        let stack = match half.bias {
            Bias::First => stacks.bias,
            Bias::Second => stacks.second_bias,
        };
        stack.map(|stack| &stack[j * width..][..width])
    }

    /// Layer `j`; `tape` gets what its way back reads.
    fn layer(&self, j: usize, sets: &mut Sets, mut tape: Option<&mut Sets>) {
        let copy = |set: Set, sets: &Sets, tape: &mut Option<&mut Sets>| {
            if let Some(tape) = tape {
                tape[set as usize].copy_from_slice(&sets[set as usize]);
            }
        };
        let swap = |sets: &mut Sets, tape: &mut Option<&mut Sets>| {
            if let Some(tape) = tape {
                let results = [Set::V, Set::U].map(|set| set as usize);
                for set in results {
                    std::mem::swap(&mut sets[set], &mut tape[set]);
                }
            }
        };
        copy(Set::Y, sets, &mut tape);
        swap(sets, &mut tape);
        for half in &self.program.halves {
            if half.input == Set::Z {
                copy(Set::Z, sets, &mut tape);
            }
            let x = take(&mut sets[half.input as usize]);
            let mut out = take(&mut sets[half.out as usize]);
            let early = half.target.filter(|_| half.advances());
            lanes::dispatch(Convolve {
                planes: &self.planes,
                weights: self.weights(j, half.transposed),
                x: &x,
                channels: self.ends(half),
                scale: half.scale,
                bias: self.bias(half, j, &self.biases),
                activation: half.activation,
                out: Some(&mut out),
                state: early.map(|(set, by)| (&mut sets[set as usize][..], by)),
            });
            sets[half.input as usize] = x;
            if let (Some((set, by)), None) = (half.target, early) {
                simd::dispatch(Advance(&mut sets[set as usize], by, &out));
            }
            sets[half.out as usize] = out;
        }
        swap(sets, &mut tape);
        self.slide(sets);
    }

    /// Layer `j` of values and, before them, their derivatives; `packs` are the kernels beside their directions.
    fn layer_along(&self, j: usize, sets: &mut Sets, moved: &Biases, packs: &[Vec<Vec<f32>>; 2]) {
        let values = |channels: usize| channels * self.planes.stride();
        for half in &self.program.halves {
            let x = take(&mut sets[half.input as usize]);
            let mut both = take(&mut sets[half.out as usize]);
            let [inputs, outputs] = self.ends(half);
            let (derivatives, out) = both.split_at_mut(values(outputs));
            let value = Convolve {
                planes: &self.planes,
                weights: self.weights(j, half.transposed),
                x: &x[values(inputs)..],
                channels: [inputs, outputs],
                scale: half.scale,
                bias: self.bias(half, j, &self.biases),
                activation: half.activation,
                out: Some(&mut out[..]),
                state: None,
            };
            lanes::dispatch(value);
            // A direction of K multiplies the values, which come after their derivatives.
            let (weights, inputs) = match packs[usize::from(half.transposed)].get(j) {
                Some(pair) => (&pair[..], 2 * inputs),
                None => (self.weights(j, half.transposed), inputs),
            };
            lanes::dispatch(Convolve {
                planes: &self.planes,
                weights,
                x: &x,
                channels: [inputs, outputs],
                scale: half.scale,
                bias: self.bias(half, j, moved),
                activation: Activation::Identity,
                out: Some(&mut derivatives[..]),
                state: None,
            });
            half.activation
                .backprop(&out[..derivatives.len()], derivatives);
            sets[half.input as usize] = x;
            if let Some((set, by)) = half.target {
                simd::dispatch(Advance(&mut sets[set as usize], by, &both));
            }
            sets[half.out as usize] = both;
        }
        self.slide(sets);
    }

    fn slide(&self, sets: &mut Sets) {
        if self.program.slides {
            let [y, z, ..] = sets;
            simd::dispatch(Advance(y, 1., z));
        }
    }

    /// From the gradients `g` of the results of layer `j` those of its arguments; `room` is one set for each half.
    fn back(&self, j: usize, tape: &Sets, g: &mut Sets, room: &mut [Channels], sums: &mut Sums) {
        if self.program.slides {
            let [y, z, ..] = g;
            simd::dispatch(Advance(z, 1., y));
        }
        for (half, t) in self.program.halves.iter().zip(room.iter_mut()).rev() {
            let (of, by) = half.target.unwrap_or((half.out, 1.));
            let [inputs, outputs] = self.ends(half);
            let bias = sums.bias(half.bias);
            simd::dispatch(Slopes {
                planes: &self.planes,
                activation: half.activation,
                y: &tape[half.out as usize],
                g: &g[of as usize],
                by: by * half.scale,
                out: t,
                bias: bias.map(|bias| {
                    // The scale is 1 or -1.
                    let scale = f64::from(half.scale);
                    (&mut bias[j * outputs..][..outputs], scale)
                }),
            });
            let mut into = take(&mut g[half.input as usize]);
            let (out, state) = match half.input {
                Set::V => (Some(&mut into[..]), None),
                _ => (None, Some((&mut into[..], 1.))),
            };
            lanes::dispatch(Convolve {
                planes: &self.planes,
                weights: self.weights(j, !half.transposed),
                x: t,
                channels: [outputs, inputs],
                scale: 1.,
                bias: None,
                activation: Activation::Identity,
                out,
                state,
            });
            g[half.input as usize] = into;
        }
        let Some(kernel) = &mut sums.kernel else {
            return;
        };
        let halves = self.program.halves.iter().zip(room.iter());
        let sources: Vec<Source> = halves
            .map(|(half, t)| match half.transposed {
                false => (&t[..], &tape[half.input as usize][..], false),
                true => (&tape[half.input as usize][..], &t[..], true),
            })
            .collect();
        let size = kernel.len() / self.layers;
        lanes::dispatch(Outer {
            planes: &self.planes,
            sources: &sources,
            channels: self.sizes,
            sums: &mut kernel[j * size..][..size],
        });
    }

    /// Numbers of an image's y and z.
    pub(super) fn image(&self) -> [usize; 2] {
        [Set::Y, Set::Z].map(|set| self.channels(set) * self.pixels)
    }

    fn write(&self, sets: &Sets, y: &mut [f32], z: &mut [f32]) {
        self.planes.write(&sets[0], y);
        self.planes.write(&sets[1], z);
    }

    /// The states of images after the last layer.
    pub(super) fn forward(&self, images: Images, [y, z]: [&mut [f32]; 2]) {
        let mut sets = self.sets(1);
        for i in 0..images.count {
            images.read(self, i, 0, &mut sets[0]);
            images.read(self, i, 1, &mut sets[1]);
            for j in 0..self.layers {
                self.layer(j, &mut sets, None);
            }
            let [at_y, at_z] = self.ranges(i);
            self.write(&sets, &mut y[at_y], &mut z[at_z]);
        }
    }

    /// Where y and z of image `i` are.
    fn ranges(&self, i: usize) -> [std::ops::Range<usize>; 2] {
        self.image().map(|len| i * len..(i + 1) * len)
    }

    /// From the gradients of the last states those of the first ones, in `gy` and `gz`, and sums of those of the weights.
    pub(super) fn backward(
        &self,
        images: Images,
        reached: Images,
        [gy, gz]: [&mut [f32]; 2],
        sums: &mut Sums,
    ) {
        // As many states kept as layers between them, unless a few layers are all.
        let segment = SEGMENT.max(self.layers.isqrt()).min(self.layers);
        let (mut sets, mut g) = (self.sets(1), self.sets(1));
        let mut tape: Vec<Sets> = (0..segment).map(|_| self.sets(1)).collect();
        // Those before all segments but the last one.
        let last = (self.layers - 1) / segment;
        let state = || [Set::Y, Set::Z].map(|set| self.zeros(self.channels(set)));
        let mut kept: Vec<[Channels; 2]> = (0..last).map(|_| state()).collect();
        let halves = self.program.halves.iter();
        let mut room: Vec<Channels> = halves
            .map(|half| self.zeros(self.channels(half.out)))
            .collect();
        let copy = |from: &[Channels], to: &mut [Channels]| {
            for (from, to) in from.iter().zip(to) {
                to.copy_from_slice(from);
            }
        };
        for i in 0..images.count {
            let [at_y, at_z] = self.ranges(i);
            // Nothing comes of an image that nobody asks for, whatever is in it.
            let asked = reached.states.iter().zip([&at_y, &at_z]).any(|(g, at)| {
                let g = g.map(|g| &g[at.clone()]);
                g.is_some_and(|g| g.iter().any(|g| *g != 0.))
            });
            if !asked {
                gy[at_y].fill(0.);
                gz[at_z].fill(0.);
                continue;
            }
            for set in 0..2 {
                reached.read(self, i, set, &mut g[set]);
                images.read(self, i, set, &mut sets[set]);
            }
            for (n, kept) in kept.iter_mut().enumerate() {
                copy(&sets, kept);
                for j in n * segment..(n + 1) * segment {
                    self.layer(j, &mut sets, None);
                }
            }
            for n in (0..=last).rev() {
                if let Some(kept) = kept.get(n) {
                    copy(kept, &mut sets);
                }
                let layers = n * segment..((n + 1) * segment).min(self.layers);
                for (j, tape) in layers.clone().zip(&mut tape) {
                    self.layer(j, &mut sets, Some(tape));
                }
                for (j, tape) in layers.clone().zip(&tape).rev() {
                    self.back(j, tape, &mut g, &mut room, sums);
                }
            }
            self.write(&g, &mut gy[at_y], &mut gz[at_z]);
        }
    }

    /// Kernels beside their directions: plain, transposed.
    pub(super) fn packs(&self, moved: Option<&[f32]>) -> [Vec<Vec<f32>>; 2] {
        let [m, s] = self.sizes;
        let size = m * s * self.size * self.size;
        [false, true].map(|transposed| {
            let pairs =
                (self.kernel.chunks_exact(size)).zip(moved.unwrap_or_default().chunks_exact(size));
            pairs
                .map(|(k, moved)| pack(&[k, moved], [m, s, self.size], transposed))
                .collect()
        })
    }

    /// The derivatives of the last states along directions of the first ones and of the weights.
    pub(super) fn tangent(
        &self,
        images: Images,
        along: Images,
        moved: &Biases,
        packs: &[Vec<Vec<f32>>; 2],
        [dy, dz]: [&mut [f32]; 2],
    ) {
        let mut sets = self.sets(2);
        let values = [Set::Y, Set::Z].map(|set| self.channels(set) * self.planes.stride());
        for i in 0..images.count {
            for (set, len) in values.into_iter().enumerate() {
                let (derivatives, states) = sets[set].split_at_mut(len);
                along.read(self, i, set, derivatives);
                images.read(self, i, set, states);
            }
            for j in 0..self.layers {
                self.layer_along(j, &mut sets, moved, packs);
            }
            let [at_y, at_z] = self.ranges(i);
            self.planes.write(&sets[0], &mut dy[at_y]);
            self.planes.write(&sets[1], &mut dz[at_z]);
        }
    }
}

/// Images one after the other: y, z; zeros where there is nothing.
#[derive(Clone, Copy)]
pub(super) struct Images<'a> {
    pub(super) count: usize,
    pub(super) states: [Option<&'a [f32]>; 2],
}

impl Images<'_> {
    /// Set 0 or 1 of image `i` into planes.
    fn read(&self, run: &Run, i: usize, set: usize, planes: &mut [f32]) {
        match self.states[set] {
            Some(states) => {
                let range = run.ranges(i)[set].clone();
                run.planes.read(&states[range], planes);
            }
            None => planes.fill(0.),
        }
    }
}

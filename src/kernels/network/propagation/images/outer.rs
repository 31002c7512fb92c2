//! Gradients of kernels, and of what an activation and a bias make.

use super::convolve::blocks;
use super::planes::Planes;
use crate::kernels::graph::node::weigh;
use crate::kernels::machine::lanes::{Lanes, Lanewise, Tile};
use crate::kernels::machine::simd::Loop;
use crate::kernels::machine::tiles::sum;
use crate::kernels::network::activation::Activation;

/// p, q; whether q is the gradient and p the input, as of transposed convolutions.
pub(super) type Source<'a> = (&'a [f32], &'a [f32], bool);

/// `sums[o, c, i, j] += sum over all pixels of p_o` times the `q_c` that the kernel's element `i, j` brings there, over all
/// sources.
pub(super) struct Outer<'a> {
    pub(super) planes: &'a Planes,
    pub(super) sources: &'a [Source<'a>],
    /// Channels of p and of q.
    pub(super) channels: [usize; 2],
    pub(super) sums: &'a mut [f64],
}

impl Lanewise for Outer<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Lanes, const FMA: bool>(mut self) {
        for (o, size) in blocks(self.channels[0]) {
            match size {
                1 => self.rows::<V, 1>(o),
                2 => self.rows::<V, 2>(o),
                3 => self.rows::<V, 3>(o),
                4 => self.rows::<V, 4>(o),
                _ => self.rows::<V, 6>(o),
            }
        }
    }
}

/// Elements of a kernel that are summed at once.
const TAPS: usize = 4;

/// Numbers of a plane that are added in single precision.
const BLOCK: usize = 2048;

impl Outer<'_> {
    /// Those of `O` channels of p.
    #[inline(always)]
    fn rows<V: Lanes, const O: usize>(&mut self, first: usize) {
        let (planes, taps) = (self.planes, self.planes.taps(self.channels[1]));
        for (n, some) in taps.chunks(TAPS).enumerate() {
            for from in (0..planes.body).step_by(BLOCK) {
                let len = BLOCK.min(planes.body - from);
                let mut totals = [[V::splat(0.); TAPS]; O];
                for (p, q, _) in self.sources {
                    let mut rows: [&[Tile]; O] = [&[]; O];
                    for o in 0..O {
                        rows[o] = p[planes.start(first + o) + from..][..len].as_chunks().0;
                    }
                    let mut columns: [&[Tile]; TAPS] = [&[]; TAPS];
                    for t in 0..TAPS {
                        // Beyond the last one the last one again, which nobody reads.
                        let tap = some[t.min(some.len() - 1)];
                        columns[t] = q[tap + from..][..len].as_chunks().0;
                    }
                    for i in 0..len / 16 {
                        let mut b = [V::splat(0.); TAPS];
                        for t in 0..TAPS {
                            b[t] = V::load(&columns[t][i]);
                        }
                        for o in 0..O {
                            let a = V::load(&rows[o][i]);
                            for t in 0..TAPS {
                                totals[o][t] = a.fma(b[t], totals[o][t]);
                            }
                        }
                    }
                }
                for (o, totals) in totals.iter().enumerate() {
                    let sums = &mut self.sums[(first + o) * taps.len() + n * TAPS..];
                    for (t, (sum, total)) in
                        sums.iter_mut().zip(totals).take(some.len()).enumerate()
                    {
                        let total = total.total();
                        *sum += match total.is_finite() {
                            true => f64::from(total),
                            false => asked(
                                self.sources,
                                planes.start(first + o) + from,
                                some[t] + from,
                                len,
                            ),
                        };
                    }
                }
            }
        }
    }
}

/// One sum by [`weigh`]: pixels that are not finite count where somebody asks for them, between the rows nobody does.
#[cold]
fn asked(sources: &[Source], p: usize, q: usize, len: usize) -> f64 {
    let sum = |(from, to, transposed): &Source| {
        let pairs = from[p..][..len].iter().zip(&to[q..][..len]);
        let products = pairs.map(|(p, q)| match transposed {
            false => weigh(*p, *q),
            true => weigh(*q, *p),
        });
        products.map(f64::from).sum::<f64>()
    };
    sources.iter().map(sum).sum()
}

/// `out = by * g` times the slope at the activation's results `y`; `bias` gets the sums over each channel.
pub(super) struct Slopes<'a> {
    pub(super) planes: &'a Planes,
    pub(super) activation: Activation,
    pub(super) y: &'a [f32],
    pub(super) g: &'a [f32],
    pub(super) by: f32,
    pub(super) out: &'a mut [f32],
    pub(super) bias: Option<(&'a mut [f64], f64)>,
}

impl Loop for Slopes<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (out, g) in self.out.iter_mut().zip(self.g) {
            *out = self.by * g;
        }
        self.activation.backprop_slice::<FMA>(self.y, self.out);
        if let Some((bias, scale)) = self.bias {
            for (c, bias) in bias.iter_mut().enumerate() {
                let body = &self.out[self.planes.start(c)..][..self.planes.body];
                *bias += scale * f64::from(sum(body));
            }
        }
    }
}

/// `y += by * x`.
pub(super) struct Advance<'a>(
    pub(super) &'a mut [f32],
    pub(super) f32,
    pub(super) &'a [f32],
);

impl Loop for Advance<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (y, x) in self.0.iter_mut().zip(self.2) {
            *y = crate::kernels::machine::simd::fma::<FMA>(self.1, *x, *y);
        }
    }
}

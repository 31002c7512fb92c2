//! Sums over a batch by channel: its moments, and what the way back needs. Blocks of the batch are summed in f32, and the blocks
//! in f64 and in their order, so that the number of threads changes no bit.

use crate::kernels::graph::node::weigh;
use crate::kernels::machine::buffer::SERIAL;
use crate::kernels::machine::simd::{Loop, dispatch, fma};
use crate::kernels::network::activation::Activation;
use rayon::prelude::*;

/// `n` times `c` channels of `s` values each; with `s` of 1 the rows of a matrix, or pixels of channels-last images.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) n: usize,
    pub(crate) c: usize,
    pub(crate) s: usize,
}

/// Elements of a block, about.
const BLOCK: usize = 8192;

/// Lanes of a sum.
const LANES: usize = 16;

/// Terms that a lane adds in f32 at most.
const LONG: usize = 512;

impl Layout {
    /// Values of one channel.
    pub(super) fn values(self) -> usize {
        self.n * self.s
    }

    /// Elements of one of `n`.
    fn each(self) -> usize {
        self.c * self.s
    }

    /// Elements of one block: whole ones of `n`.
    pub(super) fn block(self) -> usize {
        (BLOCK / self.each().max(1)).clamp(1, LONG) * self.each().max(1)
    }

    /// The results of `f` on the place and length of every block, in their order.
    fn blocks<R: Send>(self, f: impl Fn(usize, usize) -> R + Sync + Send) -> Vec<R> {
        let (all, block) = (self.n * self.each(), self.block());
        let one = |i: usize| f(i * block, block.min(all - i * block));
        let count = all.div_ceil(block);
        if all < SERIAL {
            (0..count).map(one).collect()
        } else {
            (0..count).into_par_iter().map(one).collect()
        }
    }
}

/// Means and variances of channels.
pub(crate) struct Moments {
    pub(crate) mean: Vec<f64>,
    /// Divided by the number of values.
    pub(crate) variance: Vec<f64>,
}

impl Moments {
    /// Those of a batch that is not empty.
    pub(super) fn of(x: &[f32], layout: Layout) -> Self {
        let c = layout.c;
        let blocks = layout.blocks(|at, len| {
            let x = &x[at..at + len];
            let values = (len / c) as f64;
            let about = |centre: &[f32]| {
                let mut sums = Sums::new(c);
                dispatch(Add {
                    terms: Terms::Powers,
                    x,
                    layout,
                    centre,
                    sums: &mut sums,
                });
                sums
            };
            // Differences from a value of the block keep their digits whatever the mean is. Where that value is an outlier, all
            // have its square, and the variance would be what few digits are left: then once more, from the mean.
            let mut centre: Vec<f32> = (0..c).map(|c| x[c * layout.s]).collect();
            let mut sums = about(&centre);
            let mut all = sums.first.iter().zip(&sums.second);
            if all.any(|(sum, squares)| squares - sum * sum / values < squares / 16.) {
                for (centre, sum) in centre.iter_mut().zip(&sums.first) {
                    *centre = (*centre as f64 + sum / values) as f32;
                }
                sums = about(&centre);
            }
            let (mut mean, mut spread) = (sums.first, sums.second);
            for ((mean, spread), centre) in mean.iter_mut().zip(&mut spread).zip(centre) {
                *spread = (*spread - *mean * *mean / values).max(0.);
                *mean = centre as f64 + *mean / values;
            }
            (values, mean, spread)
        });
        // Chan, Golub and LeVeque (1983), eq. 2.1: two parts as one.
        let (mut values, mut mean, mut spread) = (0., vec![0.; c], vec![0.; c]);
        for (more, other_mean, other_spread) in blocks {
            let all = values + more;
            for c in 0..c {
                let apart = other_mean[c] - mean[c];
                mean[c] += apart * (more / all);
                spread[c] += other_spread[c] + apart * apart * (values * more / all);
            }
            values = all;
        }
        spread.iter_mut().for_each(|s| *s /= values);
        Moments {
            mean,
            variance: spread,
        }
    }
}

/// Two sums for each channel.
pub(super) struct Sums {
    pub(super) first: Vec<f64>,
    pub(super) second: Vec<f64>,
}

impl Sums {
    fn new(c: usize) -> Self {
        Sums {
            first: vec![0.; c],
            second: vec![0.; c],
        }
    }

    /// Of `g slope` and `g slope (x - centre)` over the batch.
    pub(super) fn of_gradient(
        [x, y, g]: [&[f32]; 3],
        layout: Layout,
        centre: &[f32],
        activation: Activation,
    ) -> Self {
        let blocks = layout.blocks(|at, len| {
            let range = at..at + len;
            let mut slopes = g[range.clone()].to_vec();
            activation.backprop(&y[range.clone()], &mut slopes);
            let mut sums = Sums::new(layout.c);
            dispatch(Add {
                terms: Terms::Weighted(&slopes),
                x: &x[range],
                layout,
                centre,
                sums: &mut sums,
            });
            sums
        });
        let mut total = Sums::new(layout.c);
        for block in blocks {
            for (total, block) in [
                (&mut total.first, block.first),
                (&mut total.second, block.second),
            ] {
                total.iter_mut().zip(block).for_each(|(t, b)| *t += b);
            }
        }
        total
    }
}

/// What is summed, `d` being the difference from the centre.
enum Terms<'a> {
    /// `d` and `d d`.
    Powers,
    /// `g` and `g d`.
    Weighted(&'a [f32]),
}

/// Adds a block.
struct Add<'a> {
    terms: Terms<'a>,
    x: &'a [f32],
    layout: Layout,
    centre: &'a [f32],
    sums: &'a mut Sums,
}

impl Loop for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Layout { c, s, .. } = self.layout;
        let (x, centre) = (self.x, self.centre);
        match (s, self.terms) {
            (1, Terms::Powers) => columns::<Powers, FMA>([x, x], c, centre, self.sums),
            (1, Terms::Weighted(g)) => columns::<Weighted, FMA>([x, g], c, centre, self.sums),
            (_, Terms::Powers) => planes::<Powers, FMA>([x, x], [c, s], centre, self.sums),
            (_, Terms::Weighted(g)) => planes::<Weighted, FMA>([x, g], [c, s], centre, self.sums),
        }
    }
}

trait Term {
    /// Adds the terms of one element.
    fn add<const FMA: bool>(d: f32, g: f32, first: &mut f32, second: &mut f32);
}

struct Powers;

impl Term for Powers {
    #[inline(always)]
    fn add<const FMA: bool>(d: f32, _: f32, first: &mut f32, second: &mut f32) {
        *first += d;
        *second = fma::<FMA>(d, d, *second);
    }
}

struct Weighted;

impl Term for Weighted {
    #[inline(always)]
    fn add<const FMA: bool>(d: f32, g: f32, first: &mut f32, second: &mut f32) {
        *first += g;
        *second += weigh(g, d);
    }
}

/// Over the rows of a matrix.
#[inline(always)]
fn columns<T: Term, const FMA: bool>(
    [x, g]: [&[f32]; 2],
    c: usize,
    centre: &[f32],
    sums: &mut Sums,
) {
    let mut j = 0;
    while j + LANES <= c {
        let (mut a, mut b) = ([0f32; LANES], [0f32; LANES]);
        let mut k = [0f32; LANES];
        k.copy_from_slice(&centre[j..j + LANES]);
        for (x, g) in x.chunks_exact(c).zip(g.chunks_exact(c)) {
            let (x, g) = (&x[j..j + LANES], &g[j..j + LANES]);
            for l in 0..LANES {
                T::add::<FMA>(x[l] - k[l], g[l], &mut a[l], &mut b[l]);
            }
        }
        for l in 0..LANES {
            sums.first[j + l] += a[l] as f64;
            sums.second[j + l] += b[l] as f64;
        }
        j += LANES;
    }
    while j < c {
        let (mut a, mut b) = (0f32, 0f32);
        for (x, g) in x.chunks_exact(c).zip(g.chunks_exact(c)) {
            T::add::<FMA>(x[j] - centre[j], g[j], &mut a, &mut b);
        }
        sums.first[j] += a as f64;
        sums.second[j] += b as f64;
        j += 1;
    }
}

/// Over stretches of one channel each.
#[inline(always)]
fn planes<T: Term, const FMA: bool>(
    [x, g]: [&[f32]; 2],
    [c, s]: [usize; 2],
    centre: &[f32],
    sums: &mut Sums,
) {
    for (i, (x, g)) in x.chunks_exact(s).zip(g.chunks_exact(s)).enumerate() {
        let (j, k) = (i % c, centre[i % c]);
        for (x, g) in x.chunks(LONG * LANES).zip(g.chunks(LONG * LANES)) {
            let (mut a, mut b) = ([0f32; LANES], [0f32; LANES]);
            let (xs, gs) = (x.chunks_exact(LANES), g.chunks_exact(LANES));
            let rest = xs.remainder().iter().zip(gs.remainder());
            for (x, g) in xs.zip(gs) {
                for l in 0..LANES {
                    T::add::<FMA>(x[l] - k, g[l], &mut a[l], &mut b[l]);
                }
            }
            for (l, (x, g)) in rest.enumerate() {
                T::add::<FMA>(x - k, *g, &mut a[l], &mut b[l]);
            }
            sums.first[j] += a.iter().map(|a| *a as f64).sum::<f64>();
            sums.second[j] += b.iter().map(|b| *b as f64).sum::<f64>();
        }
    }
}

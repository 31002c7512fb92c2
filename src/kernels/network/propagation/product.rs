//! Products of one small matrix with panels of rows, in registers.
//!
//! A panel holds a few rows feature by feature: the numbers of one feature lie side by side, lanes of 16. The matrix's
//! elements are broadcast, so narrow networks fill the lanes as wide ones do, and the matrix and its transpose are both read
//! where they lie.

use crate::kernels::graph::node::weigh;
use crate::kernels::machine::lanes::{Lanes, Lanewise, Tile};
use crate::kernels::machine::simd::{Loop, fma};
use crate::kernels::network::activation::Activation;

/// A matrix [height, width], or its transpose, as an operator on features.
#[derive(Clone, Copy)]
pub(super) struct Operator<'a> {
    pub(super) k: &'a [f32],
    /// The stored width.
    pub(super) width: usize,
    pub(super) transposed: bool,
}

/// What a product begins with.
#[derive(Clone, Copy)]
pub(super) enum Start<'a> {
    Zero,
    /// One number for each feature of the result.
    Bias(&'a [f32]),
    /// What is there.
    Out,
}

impl<'a> Start<'a> {
    pub(super) fn of(bias: Option<&'a [f32]>) -> Self {
        match bias {
            Some(bias) => Start::Bias(bias),
            None => Start::Zero,
        }
    }
}

/// `out = f(start + A x)` on one panel, then `state += by * out`.
pub(super) struct Apply<'a> {
    pub(super) a: Operator<'a>,
    pub(super) x: &'a [f32],
    pub(super) start: Start<'a>,
    pub(super) activation: Activation,
    pub(super) out: &'a mut [f32],
    pub(super) state: Option<(&'a mut [f32], f32)>,
    /// Rows of the panel, whole lanes.
    pub(super) rows: usize,
}

/// Lanes that are multiplied at once.
pub(super) const WIDE: usize = 2;

impl Lanewise for Apply<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Lanes, const FMA: bool>(self) {
        let tiles = self.rows / 16;
        let (x, out) = (self.x.as_chunks().0, self.out.as_chunks_mut().0);
        product::<V>(self.a, x, self.start, out, tiles);
        self.activation.apply_slice::<FMA>(self.out);
        if let Some((state, by)) = self.state {
            for (s, out) in state.iter_mut().zip(&*self.out) {
                *s = fma::<FMA>(by, *out, *s);
            }
        }
    }
}

#[inline(always)]
fn product<V: Lanes>(a: Operator, x: &[Tile], start: Start, out: &mut [Tile], tiles: usize) {
    let height = out.len() / tiles.max(1);
    let mut v = 0;
    while v + WIDE <= tiles {
        let mut i = 0;
        while i + 8 <= height {
            block::<V, 8>(a, x, start, out, tiles, i, v);
            i += 8;
        }
        if i + 4 <= height {
            block::<V, 4>(a, x, start, out, tiles, i, v);
            i += 4;
        }
        if i + 2 <= height {
            block::<V, 2>(a, x, start, out, tiles, i, v);
            i += 2;
        }
        if i < height {
            block::<V, 1>(a, x, start, out, tiles, i, v);
        }
        v += WIDE;
    }
}

#[inline(always)]
fn block<V: Lanes, const I: usize>(
    a: Operator,
    x: &[Tile],
    start: Start,
    out: &mut [Tile],
    tiles: usize,
    i: usize,
    v: usize,
) {
    let mut sums = [[V::splat(0.); WIDE]; I];
    match start {
        Start::Zero => {}
        Start::Bias(bias) => {
            for (n, bias) in bias[i..][..I].iter().enumerate() {
                sums[n] = [V::splat(*bias); WIDE];
            }
        }
        Start::Out => {
            for n in 0..I {
                let row = &out[(i + n) * tiles + v..][..WIDE];
                for w in 0..WIDE {
                    sums[n][w] = V::load(&row[w]);
                }
            }
        }
    }
    let columns = x[v..].chunks(tiles);
    if a.transposed {
        for (column, a) in columns.zip(a.k[i..].chunks(a.width)) {
            let (a, column) = (&a[..I], &column[..WIDE]);
            let mut x = [V::splat(0.); WIDE];
            for w in 0..WIDE {
                x[w] = V::load(&column[w]);
            }
            for n in 0..I {
                let a = V::splat(a[n]);
                for w in 0..WIDE {
                    sums[n][w] = a.fma(x[w], sums[n][w]);
                }
            }
        }
    } else {
        let mut rows = [&a.k[..0]; I];
        for (n, row) in rows.iter_mut().enumerate() {
            *row = &a.k[(i + n) * a.width..][..a.width];
        }
        for (k, column) in columns.enumerate().take(a.width) {
            let column = &column[..WIDE];
            let mut x = [V::splat(0.); WIDE];
            for w in 0..WIDE {
                x[w] = V::load(&column[w]);
            }
            for n in 0..I {
                let a = V::splat(rows[n][k]);
                for w in 0..WIDE {
                    sums[n][w] = a.fma(x[w], sums[n][w]);
                }
            }
        }
    }
    for n in 0..I {
        for w in 0..WIDE {
            sums[n][w].store(&mut out[(i + n) * tiles + v + w]);
        }
    }
}

/// `sums[k][i] += by * sum of p_k q_i over all rows`, the gradient of a matrix; over the panels of a chunk.
pub(super) struct Outer<'a> {
    pub(super) p: &'a [f32],
    pub(super) q: &'a [f32],
    /// Features of `p` and of `q`.
    pub(super) shape: [usize; 2],
    pub(super) by: f32,
    pub(super) rows: usize,
    pub(super) sums: &'a mut [f32],
}

impl Lanewise for Outer<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Lanes, const FMA: bool>(self) {
        let tiles = self.rows / 16;
        let [height, width] = self.shape;
        let (p, q) = (self.p.as_chunks().0, self.q.as_chunks().0);
        let (p, q): (&[Tile], &[Tile]) = (p, q);
        for k in (0..height).step_by(4) {
            // Beyond the last row the last one again; what comes of it is not read.
            let ks: [usize; 4] = std::array::from_fn(|n| (k + n).min(height - 1) * tiles);
            for i in (0..width).step_by(4) {
                let is: [usize; 4] = std::array::from_fn(|n| (i + n).min(width - 1) * tiles);
                let mut sums = [[V::splat(0.); 4]; 4];
                let panels = p
                    .chunks_exact(height * tiles)
                    .zip(q.chunks_exact(width * tiles));
                for (p, q) in panels {
                    let p = [0, 1, 2, 3].map(|n| &p[ks[n]..][..tiles]);
                    let q = [0, 1, 2, 3].map(|n| &q[is[n]..][..tiles]);
                    for v in 0..tiles {
                        let mut b = [V::splat(0.); 4];
                        for m in 0..4 {
                            b[m] = V::load(&q[m][v]);
                        }
                        for n in 0..4 {
                            let a = V::load(&p[n][v]);
                            for m in 0..4 {
                                sums[n][m] = a.fma(b[m], sums[n][m]);
                            }
                        }
                    }
                }
                let totals = V::totals(sums);
                for (n, row) in totals.chunks_exact(4).enumerate().take(height - k) {
                    let sums = &mut self.sums[(k + n) * width + i..(k + n + 1) * width];
                    sums.iter_mut()
                        .zip(row)
                        .for_each(|(s, t)| *s += self.by * t);
                }
            }
        }
    }
}

/// The sum over all rows of each feature, over the panels of a chunk.
pub(super) struct Sum<'a> {
    pub(super) x: &'a [f32],
    pub(super) rows: usize,
    pub(super) sums: &'a mut [f32],
}

impl Lanewise for Sum<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Lanes, const FMA: bool>(self) {
        let tiles = self.rows / 16;
        let features = self.sums.len();
        let x: &[Tile] = self.x.as_chunks().0;
        for (f, total) in self.sums.iter_mut().enumerate() {
            let mut sum = V::splat(0.);
            for panel in x.chunks_exact(features * tiles) {
                for tile in &panel[f * tiles..][..tiles] {
                    sum = sum.add(V::load(tile));
                }
            }
            *total += sum.total();
        }
    }
}

/// `out = by * gradient * f'`, from f's values.
pub(super) struct Slopes<'a> {
    pub(super) activation: Activation,
    pub(super) values: &'a [f32],
    pub(super) gradient: &'a [f32],
    pub(super) by: f32,
    pub(super) out: &'a mut [f32],
}

impl Loop for Slopes<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (out, g) in self.out.iter_mut().zip(self.gradient) {
            *out = weigh(*g, self.by);
        }
        self.activation.backprop_slice::<FMA>(self.values, self.out);
    }
}

/// `x += by * d`.
pub(super) struct Advance<'a> {
    pub(super) x: &'a mut [f32],
    pub(super) by: f32,
    pub(super) d: &'a [f32],
}

impl Loop for Advance<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (x, d) in self.x.iter_mut().zip(self.d) {
            *x = fma::<FMA>(self.by, *d, *x);
        }
    }
}

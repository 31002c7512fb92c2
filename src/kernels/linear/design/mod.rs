//! Products with a design matrix that has a row for each feature: what selectors of features do all the time.
//!
//! Rows are padded with zeros to whole tiles, so that no loop has a rest. Sums are made in fixed blocks: the same bits for
//! any number of threads.

mod double;
mod single;
#[cfg(test)]
mod tests;

use crate::kernels::machine::buffer::{self, Aligned};
use crate::kernels::machine::simd::{self, Loop};
use rayon::prelude::*;

/// Numbers in a tile.
const TILE: usize = 16;
/// Features of a task.
const FEATURES: usize = 1024;
/// Features whose numbers stay in the second cache while they are used twice, at most, and of how many bytes. Those of the
/// next group are asked for meanwhile: memory is what these products wait for.
const GROUP: usize = 32;
const GROUP_BYTES: usize = 256 * 1024;

/// Features in rows, samples in columns.
#[derive(Debug)]
pub(crate) struct Design<T> {
    data: Aligned<T>,
    features: usize,
    stride: usize,
}

/// f32 or f64.
pub(crate) trait Number:
    Copy + Default + Send + Sync + Into<f64> + std::fmt::Debug + 'static
{
    /// The relative rounding of a sum of many products, with room.
    const ROUNDING: f64;

    fn of(x: f64) -> Self;

    /// `out[i, c] = sum_n x[rows[i], n] r[c, n]` for a group of rows; what there is to `fetch` is asked for meanwhile.
    fn correlate(x: &Design<Self>, rows: &[usize], fetch: &[Self], r: &[Self], out: &mut [Self]);

    /// `out[c, n] += sum_i w[i, c] x[rows[i], n]`, likewise.
    fn combine(x: &Design<Self>, rows: &[usize], fetch: &[Self], w: &[Self], out: &mut [Self]);
}

impl<T: Number> Design<T> {
    /// From samples in rows: the root of each sample's weight times `(x - mean) / scale` of each feature.
    pub(crate) fn centred(rows: &[T], [means, scales]: [&[f64]; 2], roots: &[f64]) -> Self {
        let features = means.len();
        let stride = roots.len().next_multiple_of(TILE);
        let data = Aligned::build(features * stride, (TILE * stride).max(1), |from, out| {
            let first = from / stride;
            simd::dispatch(Centre {
                rows,
                features,
                first,
                means: &means[first..],
                scales: &scales[first..],
                roots,
                out,
            });
        });
        Design {
            data,
            features,
            stride,
        }
    }

    pub(crate) fn features(&self) -> usize {
        self.features
    }

    /// The length of a row with its padding.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    pub(crate) fn row(&self, feature: usize) -> &[T] {
        &self.data[feature * self.stride..][..self.stride]
    }

    /// Features of a group.
    fn group(&self) -> usize {
        let most = GROUP_BYTES / (self.stride * size_of::<T>()).max(1);
        (most / 4 * 4).clamp(4, GROUP)
    }

    /// Groups of these rows, each with the numbers of the group after it, if these lie one after the other.
    fn groups<'a>(&'a self, rows: &'a [usize]) -> impl Iterator<Item = (&'a [usize], &'a [T])> {
        let size = self.group();
        let numbers = move |rows: &[usize]| match rows {
            [first, .., last] if last.checked_sub(*first) == Some(rows.len() - 1) => {
                &self.data[first * self.stride..(last + 1) * self.stride]
            }
            _ => &[],
        };
        let after = rows.chunks(size).skip(1).map(numbers).chain([&[][..]]);
        rows.chunks(size).zip(after)
    }

    /// The products of these features with each row of `r` [classes, stride]: [rows, classes].
    pub(crate) fn correlate(&self, rows: &[usize], r: &[T]) -> Vec<T> {
        let classes = r.len() / self.stride.max(1);
        let mut out = vec![T::default(); rows.len() * classes];
        let block = |from: usize, r: &[T], out: &mut [T]| {
            let rows = &rows[from / classes..][..out.len() / classes];
            let outs = out.chunks_mut(self.group() * classes);
            for ((group, after), out) in self.groups(rows).zip(outs) {
                T::correlate(self, group, after, r, out);
            }
        };
        if rows.len() <= FEATURES {
            block(0, r, &mut out);
        } else {
            let r = Aligned::copy(r);
            buffer::parallel(&mut out, FEATURES * classes, |from, out| {
                block(from, &r, out)
            });
        }
        out
    }

    /// `start + sum_i w[i] x[rows[i]]`, [classes, stride] for weights [rows, classes].
    pub(crate) fn combine(&self, rows: &[usize], w: &[T], start: &[T]) -> Vec<T> {
        let classes = (start.len() / self.stride.max(1)).max(1);
        let block = |rows: &[usize], w: &[T], out: &mut [T]| {
            let ws = w.chunks(self.group() * classes);
            for ((group, after), w) in self.groups(rows).zip(ws) {
                T::combine(self, group, after, w, out);
            }
        };
        if rows.len() <= FEATURES {
            let mut out = start.to_vec();
            block(rows, w, &mut out);
            return out;
        }
        let blocks = rows.par_chunks(FEATURES);
        let parts = blocks
            .zip(w.par_chunks(FEATURES * classes))
            .map(|(rows, w)| {
                let mut part = Aligned::zeros(start.len());
                block(rows, w, &mut part);
                part
            });
        sum(start, &parts.collect::<Vec<_>>())
    }

    /// The products of all features with `r`, the weights that `next` makes of a feature's products, if it says that there
    /// are any, and `start + sum_i w[i] x[rows[i]]`: all while the features pass by once.
    pub(crate) fn sweep(&self, r: &[T], start: &[T], next: &Next<T>) -> Swept<T> {
        let classes = (start.len() / self.stride.max(1)).max(1);
        let all: Vec<usize> = (0..self.features).collect();
        let mut products = vec![T::default(); self.features * classes];
        let (r, size) = (Aligned::copy(r), self.group());
        let blocks = all
            .par_chunks(FEATURES)
            .zip(products.par_chunks_mut(FEATURES * classes));
        let parts = blocks.map(|(rows, products)| {
            let mut part = Aligned::zeros(start.len());
            let (mut kept, mut w) = (Vec::with_capacity(rows.len()), vec![]);
            w.resize(rows.len() * classes, T::default());
            let outs = products.chunks_mut(size * classes);
            for ((group, after), products) in self.groups(rows).zip(outs) {
                // Half of what comes next with either product, so that neither waits for it alone.
                let (after, rest) = after.split_at(after.len() / 2 / TILE * TILE);
                T::correlate(self, group, after, &r, products);
                let before = kept.len();
                for (row, products) in group.iter().zip(products.chunks_exact(classes)) {
                    if next(*row, products, &mut w[kept.len() * classes..][..classes]) {
                        kept.push(*row);
                    }
                }
                let w = &w[before * classes..kept.len() * classes];
                T::combine(self, &kept[before..], rest, w, &mut part);
            }
            w.truncate(kept.len() * classes);
            (kept, w, part)
        });
        let (mut rows, mut weights, mut sums) = (vec![], vec![], vec![]);
        for (kept, w, part) in parts.collect::<Vec<_>>() {
            rows.extend(kept);
            weights.extend(w);
            sums.push(part);
        }
        Swept {
            products,
            rows,
            weights,
            sums: sum(start, &sums),
        }
    }
}

/// What comes of [`Design::sweep`].
pub(crate) struct Swept<T> {
    /// Of all features, [features, classes].
    pub(crate) products: Vec<T>,
    /// Features with weights, in order.
    pub(crate) rows: Vec<usize>,
    /// [rows, classes].
    pub(crate) weights: Vec<T>,
    /// [classes, stride].
    pub(crate) sums: Vec<T>,
}

/// Makes a feature's weights of its products; says whether they are not zero.
pub(crate) type Next<'a, T> = dyn Fn(usize, &[T], &mut [T]) -> bool + Sync + 'a;

/// In this order.
fn sum<T: Number>(start: &[T], parts: &[Aligned<T>]) -> Vec<T> {
    let mut out = start.to_vec();
    buffer::chunks(&mut out, buffer::CHUNK, |from, out| {
        for part in parts {
            for (out, x) in out.iter_mut().zip(&part[from..]) {
                *out = T::of((*out).into() + (*x).into());
            }
        }
    });
    out
}

/// Up to a tile of features of all samples, each to a row of its own.
struct Centre<'a, T> {
    rows: &'a [T],
    features: usize,
    first: usize,
    means: &'a [f64],
    scales: &'a [f64],
    roots: &'a [f64],
    out: &'a mut [T],
}

impl<T: Number> Loop for Centre<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let stride = self.roots.len().next_multiple_of(TILE);
        let width = self.out.len() / stride.max(1);
        let (mut means, mut scales) = ([0.; TILE], [1.; TILE]);
        means[..width].copy_from_slice(&self.means[..width]);
        scales[..width].copy_from_slice(&self.scales[..width]);
        let rows = self.rows.chunks_exact(self.features);
        for (n, (row, root)) in rows.zip(self.roots).enumerate() {
            let mut tile = [T::default(); TILE];
            tile[..width].copy_from_slice(&row[self.first..][..width]);
            let mut centred = [T::default(); TILE];
            for l in 0..TILE {
                let x: f64 = tile[l].into();
                centred[l] = T::of((x - means[l]) / scales[l] * root);
            }
            for (l, x) in centred[..width].iter().enumerate() {
                self.out[l * stride + n] = *x;
            }
        }
        for row in self.out.chunks_exact_mut(stride.max(1)) {
            row[self.roots.len()..].fill(T::default());
        }
    }
}

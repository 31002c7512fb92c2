//! Products with a design matrix that has a row for each feature: what selectors of features do all the time.
//!
//! Rows are padded with zeros to whole tiles, so that no loop has a rest. Sums are made in fixed blocks: the same bits for
//! any number of threads.

use super::buffer;
use super::lanes::{self, Lanes, Tile, Wide};
use rayon::prelude::*;

/// Numbers in a tile.
const TILE: usize = 16;
/// Features of a task.
const FEATURES: usize = 512;
/// Samples whose results stay in the fastest cache while the features of a task go by.
const SAMPLES: usize = 512;

/// Features in rows, samples in columns.
#[derive(Debug, Clone)]
pub(crate) struct Design<T> {
    data: Vec<T>,
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

    /// `out[i, c] = sum_n x[i, n] r[c, n]` for the features that begin at these places.
    fn correlate(x: &[Self], rows: &[usize], r: &[Self], stride: usize, out: &mut [Self]);

    /// `out[c, n] += sum_i w[i, c] x[i, n]` for some samples of the features `rows`, which begin at these places.
    fn combine(x: &[Self], rows: &[usize], w: &[Self], samples: usize, out: &mut [&mut [Self]]);
}

impl<T: Number> Design<T> {
    /// From a function of feature and sample.
    pub(crate) fn new(
        features: usize,
        samples: usize,
        value: impl Fn(usize, usize) -> T + Sync,
    ) -> Self {
        let stride = samples.next_multiple_of(TILE);
        let data = buffer::build(features * stride, stride.max(1), |offset, row| {
            let feature = offset / stride;
            for (n, x) in row.iter_mut().enumerate() {
                *x = if n < samples {
                    value(feature, n)
                } else {
                    T::default()
                };
            }
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

    /// The products of these features with each row of `r` [classes, stride]: [rows, classes].
    pub(crate) fn correlate(&self, rows: &[usize], r: &[T]) -> Vec<T> {
        let classes = r.len() / self.stride.max(1);
        let mut out = vec![T::default(); rows.len() * classes];
        let block = |from: usize, out: &mut [T]| {
            let rows = &rows[from / classes..][..out.len() / classes];
            let places: Vec<usize> = rows.iter().map(|i| i * self.stride).collect();
            T::correlate(&self.data, &places, r, self.stride, out);
        };
        if rows.len() <= FEATURES {
            block(0, &mut out);
        } else {
            buffer::parallel(&mut out, FEATURES * classes, block);
        }
        out
    }

    /// `start + sum_i w[i] x[rows[i]]`, [classes, stride] for weights [rows, classes].
    pub(crate) fn combine(&self, rows: &[usize], w: &[T], start: &[T]) -> Vec<T> {
        let classes = start.len() / self.stride.max(1);
        let block = |(rows, w): (&[usize], &[T]), out: &mut [T]| {
            for from in (0..self.stride).step_by(SAMPLES) {
                let samples = SAMPLES.min(self.stride - from);
                let places: Vec<usize> = rows.iter().map(|i| i * self.stride + from).collect();
                let mut parts: Vec<&mut [T]> = out
                    .chunks_exact_mut(self.stride)
                    .map(|row| &mut row[from..from + samples])
                    .collect();
                T::combine(&self.data, &places, w, samples, &mut parts);
            }
        };
        let blocks: Vec<_> = rows
            .chunks(FEATURES)
            .zip(w.chunks(FEATURES * classes.max(1)))
            .collect();
        let mut out = start.to_vec();
        if let [one] = blocks.as_slice() {
            block(*one, &mut out);
            return out;
        }
        let parts: Vec<Vec<T>> = blocks
            .into_par_iter()
            .map(|each| {
                let mut part = vec![T::default(); start.len()];
                block(each, &mut part);
                part
            })
            .collect();
        for part in parts {
            for (out, x) in out.iter_mut().zip(part) {
                *out = T::of((*out).into() + x.into());
            }
        }
        out
    }
}

impl Number for f32 {
    const ROUNDING: f64 = 1e-5;

    fn of(x: f64) -> f32 {
        x as f32
    }

    fn correlate(x: &[f32], rows: &[usize], r: &[f32], stride: usize, out: &mut [f32]) {
        lanes::dispatch(Correlate {
            x,
            rows,
            r: tiles(r),
            stride: stride / TILE,
            out,
        });
    }

    fn combine(x: &[f32], rows: &[usize], w: &[f32], samples: usize, out: &mut [&mut [f32]]) {
        lanes::dispatch(Combine {
            x,
            rows,
            w,
            samples,
            out,
        });
    }
}

/// Whole tiles.
fn tiles(x: &[f32]) -> &[Tile] {
    x.as_chunks().0
}

struct Correlate<'a> {
    x: &'a [f32],
    rows: &'a [usize],
    r: &'a [Tile],
    stride: usize,
    out: &'a mut [f32],
}

impl Correlate<'_> {
    /// F features from this one, C classes from that one: their sums stay in registers.
    #[inline(always)]
    fn part<V: Lanes, const F: usize, const C: usize>(
        &mut self,
        [feature, class]: [usize; 2],
        classes: usize,
    ) {
        let mut sums = [[V::splat(0.); C]; F];
        let length = self.stride * TILE;
        let xs: [&[Tile]; F] =
            std::array::from_fn(|f| tiles(&self.x[self.rows[feature + f]..][..length]));
        let rs: [&[Tile]; C] =
            std::array::from_fn(|c| &self.r[(class + c) * self.stride..][..self.stride]);
        for t in 0..self.stride {
            for c in 0..C {
                let r = V::load(&rs[c][t]);
                for f in 0..F {
                    sums[f][c] = V::load(&xs[f][t]).fma(r, sums[f][c]);
                }
            }
        }
        for (f, sums) in sums.into_iter().enumerate() {
            for (c, sum) in sums.into_iter().enumerate() {
                self.out[(feature + f) * classes + class + c] = sum.total();
            }
        }
    }

    #[inline(always)]
    fn classes<V: Lanes, const F: usize>(&mut self, feature: usize, classes: usize) {
        let mut class = 0;
        while class < classes {
            let at = [feature, class];
            match classes - class {
                1 => self.part::<V, F, 1>(at, classes),
                2 => self.part::<V, F, 2>(at, classes),
                3 => self.part::<V, F, 3>(at, classes),
                _ => self.part::<V, F, 4>(at, classes),
            }
            class += 4;
        }
    }
}

impl Wide for Correlate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes, const FMA: bool>(mut self) {
        if self.stride == 0 {
            self.out.fill(0.);
            return;
        }
        let (features, classes) = (self.rows.len(), self.r.len() / self.stride);
        let whole = features / 4 * 4;
        for feature in (0..whole).step_by(4) {
            self.classes::<V, 4>(feature, classes);
        }
        for feature in whole..features {
            self.classes::<V, 1>(feature, classes);
        }
    }
}

struct Combine<'a, 'b> {
    x: &'a [f32],
    rows: &'a [usize],
    w: &'a [f32],
    samples: usize,
    out: &'a mut [&'b mut [f32]],
}

impl Combine<'_, '_> {
    /// F features from this one into C classes from that one.
    #[allow(clippy::needless_range_loop)]
    #[inline(always)]
    fn part<V: Lanes, const F: usize, const C: usize>(
        &mut self,
        [from, class]: [usize; 2],
        classes: usize,
    ) {
        let xs: [&[Tile]; F] =
            std::array::from_fn(|f| tiles(&self.x[self.rows[from + f]..][..self.samples]));
        let ws: [[V; C]; F] = std::array::from_fn(|f| {
            std::array::from_fn(|c| V::splat(self.w[(from + f) * classes + class + c]))
        });
        for t in 0..self.samples / TILE {
            let x: [V; F] = std::array::from_fn(|f| V::load(&xs[f][t]));
            for c in 0..C {
                let tile = &mut self.out[class + c].as_chunks_mut::<TILE>().0[t];
                let mut sum = V::load(tile);
                for f in 0..F {
                    sum = x[f].fma(ws[f][c], sum);
                }
                sum.store(tile);
            }
        }
    }

    #[inline(always)]
    fn classes<V: Lanes, const F: usize>(&mut self, from: usize, classes: usize) {
        let mut class = 0;
        while class < classes {
            let at = [from, class];
            match classes - class {
                1 => self.part::<V, F, 1>(at, classes),
                2 => self.part::<V, F, 2>(at, classes),
                3 => self.part::<V, F, 3>(at, classes),
                _ => self.part::<V, F, 4>(at, classes),
            }
            class += 4;
        }
    }
}

impl Wide for Combine<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes, const FMA: bool>(mut self) {
        let classes = self.out.len();
        let whole = self.rows.len() / 4 * 4;
        for from in (0..whole).step_by(4) {
            self.classes::<V, 4>(from, classes);
        }
        for from in whole..self.rows.len() {
            self.classes::<V, 1>(from, classes);
        }
    }
}

impl Number for f64 {
    const ROUNDING: f64 = 1e-13;

    fn of(x: f64) -> f64 {
        x
    }

    fn correlate(x: &[f64], rows: &[usize], r: &[f64], stride: usize, out: &mut [f64]) {
        if stride == 0 {
            return out.fill(0.);
        }
        let classes = r.len() / stride;
        for (from, out) in rows.iter().zip(out.chunks_exact_mut(classes)) {
            let x = &x[*from..][..stride];
            for (r, out) in r.chunks_exact(stride).zip(out) {
                let mut sums = [0.; TILE];
                for (x, r) in x.as_chunks::<TILE>().0.iter().zip(r.as_chunks::<TILE>().0) {
                    for l in 0..TILE {
                        sums[l] += x[l] * r[l];
                    }
                }
                *out = sums.into_iter().sum();
            }
        }
    }

    fn combine(x: &[f64], rows: &[usize], w: &[f64], samples: usize, out: &mut [&mut [f64]]) {
        for (from, w) in rows.iter().zip(w.chunks_exact(out.len())) {
            let x = &x[*from..][..samples];
            for (out, w) in out.iter_mut().zip(w) {
                for (out, x) in out.iter_mut().zip(x) {
                    *out += w * x;
                }
            }
        }
    }
}

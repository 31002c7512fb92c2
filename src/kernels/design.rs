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
const FEATURES: usize = 1024;
/// Features whose numbers stay in the second cache while they are used twice. Those of the next group are asked for
/// meanwhile: memory is what these products wait for.
const GROUP: usize = 16;
/// Sums that a kernel keeps for each of four tiles.
const SUMS: usize = 5;

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

    /// `out[i, c] = sum_n x[rows[i], n] r[c, n]` for a group of rows; what of those to `fetch` is not in the caches yet is
    /// asked for.
    fn correlate(x: &Design<Self>, rows: &[usize], fetch: &[usize], r: &[Self], out: &mut [Self]);

    /// `out[c, n] += sum_i w[i, c] x[rows[i], n]`, likewise.
    fn combine(x: &Design<Self>, rows: &[usize], fetch: &[usize], w: &[Self], out: &mut [Self]);
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
            for ([group, next], out) in groups(rows).zip(out.chunks_mut(GROUP * classes)) {
                T::correlate(self, group, next, r, out);
            }
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
        let classes = (start.len() / self.stride.max(1)).max(1);
        let block = |rows: &[usize], w: &[T], out: &mut [T]| {
            for ([group, next], w) in groups(rows).zip(w.chunks(GROUP * classes)) {
                T::combine(self, group, next, w, out);
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
                let mut part = vec![T::default(); start.len()];
                block(rows, w, &mut part);
                part
            });
        sum(start, &parts.collect::<Vec<_>>())
    }

    /// The products of all features with `r`, and `start + sum_i w[i] x[i]` for the weights that `next` makes of a feature's
    /// products, if it says that there are any: both while the features pass by once.
    pub(crate) fn sweep(&self, r: &[T], start: &[T], next: &Next<T>) -> (Vec<T>, Vec<T>) {
        let classes = (start.len() / self.stride.max(1)).max(1);
        let all: Vec<usize> = (0..self.features).collect();
        let mut products = vec![T::default(); self.features * classes];
        let blocks = all
            .par_chunks(FEATURES)
            .zip(products.par_chunks_mut(FEATURES * classes));
        let parts = blocks.map(|(rows, products)| {
            let mut part = vec![T::default(); start.len()];
            let mut w = vec![T::default(); GROUP * classes];
            let mut kept = Vec::with_capacity(GROUP);
            for ([group, after], products) in groups(rows).zip(products.chunks_mut(GROUP * classes))
            {
                T::correlate(self, group, &[], r, products);
                kept.clear();
                for (row, products) in group.iter().zip(products.chunks_exact(classes)) {
                    if next(*row, products, &mut w[kept.len() * classes..][..classes]) {
                        kept.push(*row);
                    }
                }
                T::combine(self, &kept, after, &w, &mut part);
            }
            part
        });
        let parts: Vec<Vec<T>> = parts.collect();
        (products, sum(start, &parts))
    }
}

/// Makes a feature's weights of its products; says whether they are not zero.
pub(crate) type Next<'a, T> = dyn Fn(usize, &[T], &mut [T]) -> bool + Sync + 'a;

/// Groups of these rows, each with the group that comes after it.
fn groups(rows: &[usize]) -> impl Iterator<Item = [&[usize]; 2]> {
    let after = rows.chunks(GROUP).skip(1).chain([[].as_slice()]);
    rows.chunks(GROUP)
        .zip(after)
        .map(|(group, next)| [group, next])
}

/// In this order.
fn sum<T: Number>(start: &[T], parts: &[Vec<T>]) -> Vec<T> {
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

impl Number for f32 {
    const ROUNDING: f64 = 1e-5;

    fn of(x: f64) -> f32 {
        x as f32
    }

    fn correlate(x: &Design<f32>, rows: &[usize], fetch: &[usize], r: &[f32], out: &mut [f32]) {
        lanes::dispatch(Correlate {
            x,
            rows,
            fetch,
            r: tiles(r),
            out,
        });
    }

    fn combine(x: &Design<f32>, rows: &[usize], fetch: &[usize], w: &[f32], out: &mut [f32]) {
        lanes::dispatch(Combine {
            x,
            rows,
            fetch,
            w,
            out: out.as_chunks_mut().0,
        });
    }
}

/// Whole tiles.
fn tiles(x: &[f32]) -> &[Tile] {
    x.as_chunks().0
}

impl Design<f32> {
    /// The tiles of rows[i], if there are so many.
    #[inline(always)]
    fn tiles(&self, rows: &[usize], i: usize) -> &[Tile] {
        rows.get(i).map_or(&[], |row| tiles(self.row(*row)))
    }
}

/// As equal parts of so many classes as there can be, of [`SUMS`] at most: the size of the first.
#[inline(always)]
fn part(classes: usize) -> usize {
    classes.div_ceil(classes.div_ceil(SUMS))
}

struct Correlate<'a> {
    x: &'a Design<f32>,
    rows: &'a [usize],
    fetch: &'a [usize],
    r: &'a [Tile],
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
        let length = self.x.stride / TILE;
        let mut sums = [[V::splat(0.); C]; F];
        let xs: [&[Tile]; F] =
            std::array::from_fn(|f| &self.x.tiles(self.rows, feature + f)[..length]);
        let rs: [&[Tile]; C] = std::array::from_fn(|c| &self.r[(class + c) * length..][..length]);
        let fetch: [&[Tile]; F] = std::array::from_fn(|f| match class {
            0 => self.x.tiles(self.fetch, feature + f),
            _ => &[],
        });
        for t in 0..length {
            for fetch in fetch {
                if let Some(tile) = fetch.get(t) {
                    V::prefetch(tile);
                }
            }
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
            let size = part(classes - class);
            match size {
                1 => self.part::<V, F, 1>(at, classes),
                2 => self.part::<V, F, 2>(at, classes),
                3 => self.part::<V, F, 3>(at, classes),
                4 => self.part::<V, F, 4>(at, classes),
                _ => self.part::<V, F, SUMS>(at, classes),
            }
            class += size;
        }
    }
}

impl Wide for Correlate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes, const FMA: bool>(mut self) {
        let length = self.x.stride / TILE;
        if length == 0 {
            self.out.fill(0.);
            return;
        }
        let (features, classes) = (self.rows.len(), self.r.len() / length);
        let whole = features / 4 * 4;
        for feature in (0..whole).step_by(4) {
            self.classes::<V, 4>(feature, classes);
        }
        for feature in whole..features {
            self.classes::<V, 1>(feature, classes);
        }
    }
}

struct Combine<'a> {
    x: &'a Design<f32>,
    rows: &'a [usize],
    fetch: &'a [usize],
    w: &'a [f32],
    out: &'a mut [Tile],
}

impl Combine<'_> {
    /// N tiles from this one of C classes from that one: their sums stay in registers.
    #[allow(clippy::needless_range_loop)]
    #[inline(always)]
    fn part<V: Lanes, const N: usize, const C: usize>(
        &mut self,
        [tile, class]: [usize; 2],
        classes: usize,
    ) {
        let place = |c: usize| (class + c) * (self.x.stride / TILE) + tile;
        let mut sums: [[V; N]; C] = std::array::from_fn(|c| {
            let out = &self.out[place(c)..][..N];
            std::array::from_fn(|t| V::load(&out[t]))
        });
        for (i, row) in self.rows.iter().enumerate() {
            if class == 0 && i < self.fetch.len() {
                for tile in &self.x.tiles(self.fetch, i)[tile..tile + N] {
                    V::prefetch(tile);
                }
            }
            let x = &tiles(self.x.row(*row))[tile..tile + N];
            let x: [V; N] = std::array::from_fn(|t| V::load(&x[t]));
            let w = &self.w[i * classes + class..][..C];
            for c in 0..C {
                let w = V::splat(w[c]);
                for t in 0..N {
                    sums[c][t] = x[t].fma(w, sums[c][t]);
                }
            }
        }
        for c in 0..C {
            let out = &mut self.out[place(c)..][..N];
            for t in 0..N {
                sums[c][t].store(&mut out[t]);
            }
        }
    }

    #[inline(always)]
    fn classes<V: Lanes, const N: usize>(&mut self, tile: usize, classes: usize) {
        let mut class = 0;
        while class < classes {
            let at = [tile, class];
            let size = part(classes - class);
            match size {
                1 => self.part::<V, N, 1>(at, classes),
                2 => self.part::<V, N, 2>(at, classes),
                3 => self.part::<V, N, 3>(at, classes),
                4 => self.part::<V, N, 4>(at, classes),
                _ => self.part::<V, N, SUMS>(at, classes),
            }
            class += size;
        }
    }
}

impl Wide for Combine<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes, const FMA: bool>(mut self) {
        let tiles = self.x.stride / TILE;
        let classes = self.out.len() / tiles.max(1);
        let whole = tiles / 4 * 4;
        for tile in (0..whole).step_by(4) {
            self.classes::<V, 4>(tile, classes);
        }
        for tile in whole..tiles {
            self.classes::<V, 1>(tile, classes);
        }
    }
}

impl Number for f64 {
    const ROUNDING: f64 = 1e-13;

    fn of(x: f64) -> f64 {
        x
    }

    fn correlate(x: &Design<f64>, rows: &[usize], _: &[usize], r: &[f64], out: &mut [f64]) {
        if x.stride == 0 {
            return out.fill(0.);
        }
        let classes = r.len() / x.stride;
        for (row, out) in rows.iter().zip(out.chunks_exact_mut(classes)) {
            let x_row = x.row(*row).as_chunks::<TILE>().0;
            for (r, out) in r.chunks_exact(x.stride).zip(out) {
                let mut sums = [0.; TILE];
                for (x, r) in x_row.iter().zip(r.as_chunks::<TILE>().0) {
                    for l in 0..TILE {
                        sums[l] += x[l] * r[l];
                    }
                }
                *out = sums.into_iter().sum();
            }
        }
    }

    fn combine(x: &Design<f64>, rows: &[usize], _: &[usize], w: &[f64], out: &mut [f64]) {
        let classes = (out.len() / x.stride.max(1)).max(1);
        for (row, w) in rows.iter().zip(w.chunks_exact(classes)) {
            for (out, w) in out.chunks_exact_mut(x.stride).zip(w) {
                for (out, x) in out.iter_mut().zip(x.row(*row)) {
                    *out += w * x;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All products of a design of such a size, in the same way each time.
    fn products<T: Number>(
        [features, samples, classes]: [usize; 3],
    ) -> ([Vec<T>; 4], [Vec<f64>; 2]) {
        let number = |k: usize| ((k * 7919 + 13) % 1009) as f64 / 500. - 1.;
        let x = |i: usize, n: usize| number(i * samples + n);
        let design = Design::<T>::new(features, samples, |i, n| T::of(x(i, n)));
        let stride = design.stride();
        let mut r = vec![T::default(); classes * stride];
        for (c, r) in r.chunks_exact_mut(stride).enumerate() {
            for (n, r) in r[..samples].iter_mut().enumerate() {
                *r = T::of(number(31 * n + 17 * c));
            }
        }
        // Every third feature has no weights.
        let weights = |i: usize, products: &[f64]| -> Option<Vec<f64>> {
            let weight = |p: &f64| T::of(number(i) + 0.01 * p).into();
            (!i.is_multiple_of(3)).then(|| products.iter().map(weight).collect())
        };
        let next = |i: usize, products: &[T], w: &mut [T]| {
            let products: Vec<f64> = products.iter().map(|p| (*p).into()).collect();
            let own = weights(i, &products);
            for (w, own) in w.iter_mut().zip(own.iter().flatten()) {
                *w = T::of(*own);
            }
            own.is_some()
        };
        let all: Vec<usize> = (0..features).collect();
        let apart = design.correlate(&all, &r);
        let (swept, combined) = design.sweep(&r, &r, &next);
        let (mut rows, mut w) = (vec![], vec![T::default(); features * classes]);
        for (i, products) in apart.chunks_exact(classes).enumerate() {
            if next(i, products, &mut w[rows.len() * classes..][..classes]) {
                rows.push(i);
            }
        }
        let composed = design.combine(&rows, &w[..rows.len() * classes], &r);
        // The sums as they are written.
        let number = |r: &[T], c: usize, n: usize| -> f64 { r[c * stride + n].into() };
        let each = |i: usize| (0..classes).map(move |c| (i, c));
        let sums = (0..features).flat_map(each).map(|(i, c)| {
            (0..samples)
                .map(|n| Into::<f64>::into(T::of(x(i, n))) * number(&r, c, n))
                .sum()
        });
        let sums: Vec<f64> = sums.collect();
        let mut total: Vec<f64> = r.iter().map(|r| (*r).into()).collect();
        for (i, sums) in sums.chunks_exact(classes).enumerate() {
            for (c, w) in weights(i, sums).iter().flatten().enumerate() {
                for n in 0..samples {
                    total[c * stride + n] += w * x(i, n);
                }
            }
        }
        ([apart, swept, combined, composed], [sums, total])
    }

    fn agree<T: Number>(size: [usize; 3]) {
        let ([apart, swept, combined, composed], [sums, total]) = products::<T>(size);
        for (got, expected, terms) in [
            (&apart, &sums, size[1]),
            (&swept, &sums, size[1]),
            (&combined, &total, size[0]),
            (&composed, &total, size[0]),
        ] {
            let most = expected.iter().fold(1f64, |most, e| most.max(e.abs()));
            assert_eq!(got.len(), expected.len());
            for (got, expected) in got.iter().zip(expected) {
                let gap = (Into::<f64>::into(*got) - expected).abs();
                let bound = 0.1 * T::ROUNDING * most * (terms as f64).sqrt();
                assert!(gap <= bound, "{size:?}: {got:?} for {expected}");
            }
        }
    }

    #[test]
    fn products_are_their_sums() {
        for features in [1, 5, 16, 23, FEATURES + 18] {
            for samples in [1, 16, 90] {
                for classes in [1, 2, 3, 4, 5, 6, 7, 11] {
                    agree::<f32>([features, samples, classes]);
                    agree::<f64>([features, samples, classes]);
                }
            }
        }
    }

    #[test]
    fn the_same_bits_on_any_number_of_threads() {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.unwrap()
                .install(|| products::<f32>([5 * FEATURES, 20, 7]).0)
        };
        assert_eq!(run(1), run(3));
    }
}

//! The products in f32: sums of many features and classes stay in registers.

use super::{Design, GROUP, Number, TILE};
use crate::kernels::machine::lanes::{self, Lanes, Lanewise, Tile};

/// Sums that a kernel keeps for each of four tiles.
const SUMS: usize = 5;

impl Number for f32 {
    const ROUNDING: f64 = 1e-5;

    fn of(x: f64) -> f32 {
        x as f32
    }

    fn correlate(x: &Design<f32>, rows: &[usize], fetch: &[f32], r: &[f32], out: &mut [f32]) {
        lanes::dispatch(Correlate {
            x,
            rows,
            fetch: tiles(fetch),
            r: tiles(r),
            out,
        });
    }

    fn combine(x: &Design<f32>, rows: &[usize], fetch: &[f32], w: &[f32], out: &mut [f32]) {
        lanes::dispatch(Combine {
            x,
            rows,
            fetch: tiles(fetch),
            w,
            out: out.as_chunks_mut().0,
        });
    }
}

/// Asks for the next tile.
#[inline(always)]
fn fetch<V: Lanes>(tiles: &mut &[Tile]) {
    if let Some((next, rest)) = tiles.split_first() {
        V::prefetch(next);
        *tiles = rest;
    }
}

/// Whole tiles.
fn tiles(x: &[f32]) -> &[Tile] {
    x.as_chunks().0
}

impl Design<f32> {
    #[inline(always)]
    fn tiles(&self, row: usize) -> &[Tile] {
        tiles(self.row(row))
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
    fetch: &'a [Tile],
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
            std::array::from_fn(|f| &self.x.tiles(self.rows[feature + f])[..length]);
        let rs: [&[Tile]; C] = std::array::from_fn(|c| &self.r[(class + c) * length..][..length]);
        for t in 0..length {
            fetch::<V>(&mut self.fetch);
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

impl Lanewise for Correlate<'_> {
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
    fetch: &'a [Tile],
    w: &'a [f32],
    out: &'a mut [Tile],
}

impl Combine<'_> {
    /// N tiles from this one of C classes from that one: their sums stay in registers.
    #[allow(clippy::needless_range_loop)]
    #[inline(always)]
    fn part<V: Lanes, const N: usize, const C: usize>(
        &mut self,
        rows: &[&[Tile]],
        [tile, class]: [usize; 2],
        classes: usize,
    ) {
        let place = |c: usize| (class + c) * (self.x.stride / TILE) + tile;
        let mut sums = [[V::splat(0.); N]; C];
        for c in 0..C {
            let out = &self.out[place(c)..][..N];
            for t in 0..N {
                sums[c][t] = V::load(&out[t]);
            }
        }
        for (row, w) in rows.iter().zip(self.w.chunks_exact(classes)) {
            fetch::<V>(&mut self.fetch);
            let x = &row[tile..][..N];
            let mut tiles = [V::splat(0.); N];
            for t in 0..N {
                tiles[t] = V::load(&x[t]);
            }
            let w = &w[class..][..C];
            for c in 0..C {
                let w = V::splat(w[c]);
                for t in 0..N {
                    sums[c][t] = tiles[t].fma(w, sums[c][t]);
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
    fn classes<V: Lanes, const N: usize>(&mut self, rows: &[&[Tile]], tile: usize, classes: usize) {
        let mut class = 0;
        while class < classes {
            let at = [tile, class];
            let size = part(classes - class);
            match size {
                1 => self.part::<V, N, 1>(rows, at, classes),
                2 => self.part::<V, N, 2>(rows, at, classes),
                3 => self.part::<V, N, 3>(rows, at, classes),
                4 => self.part::<V, N, 4>(rows, at, classes),
                _ => self.part::<V, N, SUMS>(rows, at, classes),
            }
            class += size;
        }
    }
}

impl Lanewise for Combine<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes, const FMA: bool>(mut self) {
        let tiles = self.x.stride / TILE;
        let classes = self.out.len() / tiles.max(1);
        let whole = tiles / 4 * 4;
        let mut rows: [&[Tile]; GROUP] = [&[]; GROUP];
        for (tiles, row) in rows.iter_mut().zip(self.rows) {
            *tiles = self.x.tiles(*row);
        }
        let rows = &rows[..self.rows.len()];
        for tile in (0..whole).step_by(4) {
            self.classes::<V, 4>(rows, tile, classes);
        }
        for tile in whole..tiles {
            self.classes::<V, 1>(rows, tile, classes);
        }
    }
}

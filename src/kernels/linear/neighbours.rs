//! Exact nearest neighbours, by looking at every point.
//!
//! Points lie in blocks of eight, by coordinate, and a block meets four queries at a time: the distances of these
//! thirty-two pairs stay in registers. Every distance is a sum over the coordinates in their order, so it has the bits of
//! the plain loop, at any instruction set and any number of threads. A [`Screen`] says which blocks need not be looked at:
//! this is the one search for k-nearest-neighbour estimators and for the codes of a codebook.

use super::screen::{LANES, Screen};
use crate::kernels::machine::buffer::{self, Aligned};
use crate::kernels::machine::simd::{Loop, dispatch};
use std::cmp::Ordering;

/// Queries that meet a block at a time.
const GROUP: usize = 4;

/// Queries of a task: a block is read from memory once for all of them.
const QUERIES: usize = 32;

/// Coordinates that are looked at in a row: those of a block stay in the first cache meanwhile.
const DIMS: usize = 256;

/// A distance that adds up over coordinates; it may also take the largest.
pub(crate) trait Metric: Copy + Sync {
    /// The distance with a coordinate more, `#[inline(always)]`.
    fn add(sum: f64, a: f64, b: f64) -> f64;
}

/// `sum_i |a_i - b_i|`.
#[derive(Clone, Copy)]
pub(crate) struct Manhattan;

impl Metric for Manhattan {
    #[inline(always)]
    fn add(sum: f64, a: f64, b: f64) -> f64 {
        sum + (a - b).abs()
    }
}

/// `sum_i (a_i - b_i)^2`.
#[derive(Clone, Copy)]
pub(crate) struct SquaredEuclidean;

impl Metric for SquaredEuclidean {
    #[inline(always)]
    fn add(sum: f64, a: f64, b: f64) -> f64 {
        sum + (a - b) * (a - b)
    }
}

/// `max_i |a_i - b_i|`.
#[derive(Clone, Copy)]
pub(crate) struct Chebyshev;

impl Metric for Chebyshev {
    #[inline(always)]
    fn add(most: f64, a: f64, b: f64) -> f64 {
        let new = (a - b).abs();
        // NaN stays.
        if new <= most || most.is_nan() {
            most
        } else {
            new
        }
    }
}

/// A point and how far it is from the query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Neighbour {
    /// The number of the point.
    pub(crate) index: usize,
    pub(crate) distance: f64,
}

impl Neighbour {
    /// The nearest first, of equally near ones the first; NaN is farther than all.
    fn order(&self, other: &Self) -> Ordering {
        // Of NaN the sign says nothing: inf - inf is a negative one.
        let by_distance = self.distance.abs().total_cmp(&other.distance.abs());
        by_distance.then(self.index.cmp(&other.index))
    }
}

/// Points to look for neighbours in.
#[derive(Debug)]
pub(crate) struct Points {
    count: usize,
    dims: usize,
    /// `[blocks, dims, LANES]`, zero beyond the last point.
    blocks: Aligned<f64>,
}

impl Points {
    /// Rows of `dims` coordinates.
    pub(crate) fn new(dims: usize, rows: &[&[f64]]) -> Self {
        let block = dims * LANES;
        let fill = |from: usize, out: &mut [f64]| {
            let first = from / dims.max(1);
            for lane in 0..LANES {
                let row = rows.get(first + lane);
                for (i, out) in out.iter_mut().skip(lane).step_by(LANES).enumerate() {
                    *out = row.and_then(|row| row.get(i)).map_or(0., |x| *x);
                }
            }
        };
        let len = rows.len().div_ceil(LANES) * block;
        Points {
            count: rows.len(),
            dims,
            blocks: Aligned::build(len, block.max(1), fill),
        }
    }

    /// For each query its `k` nearest points, the nearest first, of equally near ones the first; fewer where there are
    /// fewer. `skip(n)` is a point that is no neighbour of query n: itself, say.
    ///
    /// Queries have `dims` coordinates. The time is that of all differences, the memory that of the results.
    pub(crate) fn nearest<M: Metric>(
        &self,
        _: M,
        queries: &[&[f64]],
        k: usize,
        skip: impl Fn(usize) -> Option<usize> + Sync,
    ) -> Vec<Vec<Neighbour>> {
        self.search::<M>(None, queries, k, skip)
    }

    /// As [`nearest`](Self::nearest) by squared Euclidean distance, with the screen of these points: the same bits in less time.
    pub(crate) fn screened(
        &self,
        screen: Option<&Screen>,
        queries: &[&[f64]],
        k: usize,
        skip: impl Fn(usize) -> Option<usize> + Sync,
    ) -> Vec<Vec<Neighbour>> {
        self.search::<SquaredEuclidean>(screen, queries, k, skip)
    }

    fn search<M: Metric>(
        &self,
        screen: Option<&Screen>,
        queries: &[&[f64]],
        k: usize,
        skip: impl Fn(usize) -> Option<usize> + Sync,
    ) -> Vec<Vec<Neighbour>> {
        let mut found = vec![vec![]; queries.len()];
        let k = k.min(self.count);
        if k == 0 {
            return found;
        }
        buffer::parallel(&mut found, QUERIES, |from, found| {
            let queries = &queries[from..][..found.len()];
            let mut nearest: Vec<Nearest> = queries.iter().map(|_| Nearest::new(k)).collect();
            let skip = |n: usize| skip(from + n);
            match screen {
                None => {
                    for block in 0..self.count.div_ceil(LANES) {
                        self.look::<M>(block, 0, queries, &mut nearest, skip);
                    }
                }
                Some(screen) => screen.pick(
                    queries,
                    |n| k + usize::from(skip(n).is_some()),
                    |n, block| {
                        let (query, nearest) = (&queries[n..][..1], &mut nearest[n..][..1]);
                        self.look::<M>(block, n, query, nearest, skip);
                    },
                ),
            }
            for (found, nearest) in found.iter_mut().zip(nearest) {
                *found = nearest.finish();
            }
        });
        found
    }

    /// For each query how many points are no farther than its limit; a point that `skip` names does not count.
    pub(crate) fn within<M: Metric>(
        &self,
        _: M,
        queries: &[&[f64]],
        limits: &[f64],
        skip: impl Fn(usize) -> Option<usize> + Sync,
    ) -> Vec<u32> {
        let mut counts = vec![0; queries.len()];
        buffer::parallel(&mut counts, QUERIES, |from, counts| {
            let queries = &queries[from..][..counts.len()];
            for block in 0..self.count.div_ceil(LANES) {
                let first = block * LANES;
                let mut sums = [[0.; LANES]; QUERIES];
                let sums = &mut sums[..queries.len()];
                dispatch(Block::<M> {
                    points: &self.blocks[first * self.dims..][..self.dims * LANES],
                    queries,
                    sums,
                    metric: std::marker::PhantomData,
                });
                let last = LANES.min(self.count - first);
                for (n, sums) in sums.iter().enumerate() {
                    let skip = skip(from + n);
                    for (lane, distance) in sums[..last].iter().enumerate() {
                        let near = *distance <= limits[from + n] && skip != Some(first + lane);
                        counts[n] += u32::from(near);
                    }
                }
            }
        });
        counts
    }

    /// Offers a block's points to up to [`QUERIES`] queries, of which the first is number `from`.
    fn look<M: Metric>(
        &self,
        block: usize,
        from: usize,
        queries: &[&[f64]],
        nearest: &mut [Nearest],
        skip: impl Fn(usize) -> Option<usize>,
    ) {
        let first = block * LANES;
        let mut sums = [[0.; LANES]; QUERIES];
        let sums = &mut sums[..queries.len()];
        dispatch(Block::<M> {
            points: &self.blocks[first * self.dims..][..self.dims * LANES],
            queries,
            sums,
            metric: std::marker::PhantomData,
        });
        let last = LANES.min(self.count - first);
        for (n, (nearest, sums)) in nearest.iter_mut().zip(sums).enumerate() {
            // Most blocks are too far away.
            let mut near = false;
            for distance in &*sums {
                near |= nearest.is_near(*distance);
            }
            if near {
                let skip = skip(from + n);
                for (lane, distance) in sums[..last].iter().enumerate() {
                    let (index, distance) = (first + lane, *distance);
                    if skip != Some(index) {
                        nearest.offer(Neighbour { index, distance });
                    }
                }
            }
        }
    }
}

/// Distances of a block's points from queries.
struct Block<'a, M> {
    /// `[dims, LANES]`.
    points: &'a [f64],
    queries: &'a [&'a [f64]],
    sums: &'a mut [[f64; LANES]],
    metric: std::marker::PhantomData<M>,
}

impl<M: Metric> Loop for Block<'_, M> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (groups, singles) = self.queries.as_chunks::<GROUP>();
        let (group_sums, single_sums) = self.sums.as_chunks_mut::<GROUP>();
        let (points, _) = self.points.as_chunks::<LANES>();
        let mut from = 0;
        for points in points.chunks(DIMS) {
            for (queries, sums) in groups.iter().zip(group_sums.iter_mut()) {
                let mut parts = [&[][..]; GROUP];
                for q in 0..GROUP {
                    parts[q] = &queries[q][from..][..points.len()];
                }
                add::<M, GROUP>(parts, points, sums);
            }
            for (query, sums) in singles.iter().zip(single_sums.iter_mut()) {
                let part = &query[from..][..points.len()];
                add::<M, 1>([part], points, std::array::from_mut(sums));
            }
            from += points.len();
        }
    }
}

/// Adds some coordinates to the distances of `Q` queries from a block's points.
#[inline(always)]
fn add<M: Metric, const Q: usize>(
    queries: [&[f64]; Q],
    points: &[[f64; LANES]],
    sums: &mut [[f64; LANES]; Q],
) {
    let mut own = *sums;
    for (i, point) in points.iter().enumerate() {
        for q in 0..Q {
            let x = queries[q][i];
            for lane in 0..LANES {
                own[q][lane] = M::add(own[q][lane], x, point[lane]);
            }
        }
    }
    *sums = own;
}

/// The nearest of the points that were offered in the order of their numbers.
struct Nearest {
    k: usize,
    /// The k nearest and some that may be none of them.
    kept: Vec<Neighbour>,
    /// The distance of the last of the k nearest, as far as is known; NaN before there are so many.
    limit: f64,
}

impl Nearest {
    fn new(k: usize) -> Self {
        Nearest {
            k,
            // Few are kept with one allocation, many as they come.
            kept: Vec::with_capacity((k + k.max(LANES)).min(4 * LANES)),
            limit: f64::NAN,
        }
    }

    /// Whether a point at this distance may be one of the nearest. An equally near one came before.
    #[inline(always)]
    fn is_near(&self, distance: f64) -> bool {
        // Also where one of them is NaN.
        !(distance >= self.limit)
    }

    fn offer(&mut self, new: Neighbour) {
        if !self.is_near(new.distance) {
            return;
        }
        self.kept.push(new);
        // Room for as many again, so that a point costs the same however large k is.
        if self.kept.len() >= self.k + self.k.max(LANES) {
            self.kept
                .select_nth_unstable_by(self.k - 1, Neighbour::order);
            self.kept.truncate(self.k);
            self.limit = self.kept[self.k - 1].distance;
        }
    }

    fn finish(mut self) -> Vec<Neighbour> {
        self.kept.sort_unstable_by(Neighbour::order);
        self.kept.truncate(self.k);
        self.kept.shrink_to_fit();
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers from -2 to 2 in steps of `1 / parts`: few parts, many ties.
    fn numbers(n: usize, seed: u64, parts: f64) -> Vec<f64> {
        let mut state = seed;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 11) as f64 / (1u64 << 53) as f64 * 4. - 2.
        };
        (0..n).map(|_| (next() * parts).round() / parts).collect()
    }

    /// All distances by the plain loop, sorted.
    fn plain<M: Metric>(
        _: M,
        query: &[f64],
        points: &[&[f64]],
        skip: Option<usize>,
    ) -> Vec<Neighbour> {
        let distance = |row: &[f64]| {
            query
                .iter()
                .zip(row)
                .fold(0., |s, (a, b)| M::add(s, *a, *b))
        };
        let all = points.iter().enumerate();
        let mut all: Vec<Neighbour> = all
            .map(|(index, row)| Neighbour {
                index,
                distance: distance(row),
            })
            .filter(|n| Some(n.index) != skip)
            .collect();
        all.sort_by(Neighbour::order);
        all
    }

    fn same(a: &[Neighbour], b: &[Neighbour]) -> bool {
        let bits = |n: &Neighbour| (n.index, n.distance.to_bits());
        a.iter().map(bits).eq(b.iter().map(bits))
    }

    fn check<M: Metric>(metric: M, rows: &[f64], queries: &[f64], dims: usize, own: bool) {
        let rows: Vec<&[f64]> = rows.chunks_exact(dims).collect();
        let queries: Vec<&[f64]> = queries.chunks_exact(dims).collect();
        let skip = |n: usize| own.then_some(n);
        let points = Points::new(dims, &rows);
        for k in [0, 1, 2, 9, 40, rows.len(), usize::MAX] {
            let found = points.nearest(metric, &queries, k, skip);
            assert_eq!(found.len(), queries.len());
            for (n, found) in found.iter().enumerate() {
                let mut want = plain(metric, queries[n], &rows, skip(n));
                want.truncate(k);
                assert!(same(found, &want), "{dims} {k} {n}: {found:?} {want:?}");
            }
        }
    }

    /// Sizes on both sides of lanes, groups, tasks and chunks of coordinates; ties; other points' queries and their own.
    #[test]
    fn neighbours_are_those_of_a_plain_loop_bit_for_bit() {
        for dims in [1, 3, 255, 257, 600] {
            for [count, asked] in [[1, 1], [8, 5], [9, 33], [130, 40]] {
                for parts in [1., 1e6] {
                    let rows = numbers(count * dims, 1, parts);
                    let queries = numbers(asked * dims, 2, parts);
                    check(Manhattan, &rows, &queries, dims, false);
                    check(SquaredEuclidean, &rows, &queries, dims, false);
                    check(Chebyshev, &rows, &queries, dims, false);
                    check(Manhattan, &rows, &rows, dims, true);
                }
            }
        }
    }

    /// Points near and far, many as near as each other for single precision, of all magnitudes, and what is not finite.
    #[test]
    fn a_screen_changes_no_bit() {
        for (dims, count, asked) in [(8, 64, 70), (17, 1100, 40), (64, 515, 33), (300, 70, 5)] {
            let clustered = |seed, n: usize| {
                let mut rows = numbers(n * dims, seed, 1e9);
                for (i, row) in rows.chunks_exact_mut(dims).enumerate() {
                    let to = (i % 3) as f64;
                    row.iter_mut().for_each(|x| *x = *x * 1e-4 + to);
                }
                rows
            };
            let spoilt = |seed, n: usize, odd: f64| {
                let mut rows = numbers(n * dims, seed, 1e9);
                rows[dims + 3] = odd;
                rows
            };
            let scaled = |seed, n: usize, by: f64, to: f64| -> Vec<f64> {
                let rows = numbers(n * dims, seed, 1e9);
                rows.iter().map(|x| x * by + to).collect()
            };
            let mut sets = vec![
                [numbers(count * dims, 1, 1.), numbers(asked * dims, 2, 1.)],
                [clustered(3, count), clustered(4, asked)],
                [vec![0.5; count * dims], vec![0.25; asked * dims]],
            ];
            for by in [1., 1e-12, 1e-30, 1e-160, 1e10, 1e18, 1e19, 1e30, 1e160] {
                for to in [0., 1e4 * by, 1e9 * by] {
                    sets.push([scaled(5, count, by, to), scaled(6, asked, by, to)]);
                }
                sets.push([scaled(7, count, 1., 0.), scaled(8, asked, by, by)]);
            }
            for odd in [f64::NAN, f64::INFINITY, f64::MAX, 1e38] {
                sets.push([spoilt(9, count, odd), numbers(asked * dims, 10, 1e9)]);
                sets.push([numbers(count * dims, 11, 1e9), spoilt(12, asked, odd)]);
                sets.push([spoilt(13, count, odd), spoilt(14, asked, odd)]);
            }
            for (set, [rows, queries]) in sets.iter().enumerate() {
                let rows: Vec<&[f64]> = rows.chunks_exact(dims).collect();
                let queries: Vec<&[f64]> = queries.chunks_exact(dims).collect();
                let points = Points::new(dims, &rows);
                let screen = Screen::new(dims, &rows);
                assert!(
                    screen.is_some() || rows.iter().flat_map(|r| *r).any(|x| !(x.abs() < 1e30))
                );
                for (k, own) in [
                    (1, false),
                    (1, true),
                    (3, true),
                    (20, false),
                    (count, false),
                ] {
                    let queries = if own { &rows } else { &queries };
                    let skip = |n: usize| own.then_some(n);
                    let found = points.screened(screen.as_ref(), queries, k, skip);
                    let want = points.nearest(SquaredEuclidean, queries, k, skip);
                    for (n, (found, want)) in found.iter().zip(&want).enumerate() {
                        assert!(
                            same(found, want),
                            "{dims} {set} {k} {n}: {found:?} {want:?}"
                        );
                    }
                }
            }
        }
    }

    /// Two points nearly as near, one of them twice as far from the centre: what is added to all lengths alike would part them.
    #[test]
    fn a_screen_keeps_the_nearer_of_two() {
        let dims = 8;
        for (set, drawn) in numbers(1200, 16, 1e15).chunks_exact(3).enumerate() {
            let uniform = |i: usize, lo: f64, up: f64| lo + (up - lo) * (drawn[i] + 2.) / 4.;
            let (t, scale) = (uniform(0, 0.26, 0.38), uniform(1, 1., 2.));
            let eps = 10f64.powf(uniform(2, -12., -8.6));
            let on = |axis: usize, x: f64| {
                let mut row = vec![0.; dims];
                row[axis] = x * scale;
                row
            };
            // Pairs about the origin, which stays the centre.
            let mut rows: Vec<Vec<f64>> = (0..124)
                .map(|n| on(1 + n / 2 % 7, if n % 2 == 0 { 0.9 } else { -0.9 }))
                .collect();
            rows.insert(0, on(0, 1. - eps));
            rows.insert(2 * LANES, on(0, 2. * t - 1.));
            rows.insert(4 * LANES, on(0, eps - 2. * t));
            let (rows, query) = (rows.concat(), on(0, t));
            let rows: Vec<&[f64]> = rows.chunks_exact(dims).collect();
            let (points, screen) = (Points::new(dims, &rows), Screen::new(dims, &rows));
            let found = points.screened(screen.as_ref(), &[&query], 1, |_| None);
            assert_eq!(found[0][0].index, 0, "{set}");
        }
    }

    /// Equal points are taken in their order, and what is not a number is farther than infinity.
    #[test]
    fn ties_and_what_is_not_finite() {
        let equal = vec![1.; 100];
        check(Manhattan, &equal, &equal[..10], 1, false);
        let mut rows = numbers(90, 5, 3.);
        for at in [0, 11, 30, 31, 77] {
            rows[at] = f64::NAN;
        }
        for at in [1, 40, 79] {
            rows[at] = f64::INFINITY;
        }
        check(Manhattan, &rows, &numbers(12, 6, 3.), 1, false);
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        check(Manhattan, &rows, &odd, 1, false);
        check(Chebyshev, &rows, &odd, 1, false);
        assert!(
            Chebyshev::add(f64::NAN, 0., 1.).is_nan() && Chebyshev::add(0., f64::NAN, 1.).is_nan()
        );
        // No coordinates, no points, no queries.
        let none: &[f64] = &[];
        let found = Points::new(0, &[none; 10]).nearest(Manhattan, &[none], 3, |_| Some(1));
        assert!(found[0].iter().map(|n| n.index).eq([0, 2, 3]));
        let empty = Points::new(2, &[]);
        assert_eq!(
            empty.nearest(Manhattan, &[&[0., 1.]], 3, |_| None),
            [vec![]]
        );
        assert!(empty.nearest(Manhattan, &[], 3, |_| None).is_empty());
    }
}

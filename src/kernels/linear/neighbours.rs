//! Exact nearest neighbours, by looking at every point or in a tree of boxes.
//!
//! Points of few coordinates lie in a [`Tree`], which says where to look. Others lie in blocks of eight, by coordinate, and a
//! block meets four queries at a time: the distances of these thirty-two pairs stay in registers. Every distance is a sum over the coordinates in their order, so it has the bits of
//! the plain loop, at any instruction set and any number of threads. A [`Screen`] says which blocks need not be looked at:
//! this is the one search for k-nearest-neighbour estimators and for the codes of a codebook.

use super::distance::{LANES, Metric, Neighbour, SquaredEuclidean, at_most, below, first};
use super::screen::Screen;
use super::tree::{self, Tree};
use crate::kernels::machine::buffer::{self, Aligned};
use crate::kernels::machine::simd::{Loop, dispatch};
use std::ops::Range;

/// Queries that meet a block at a time.
const GROUP: usize = 4;

/// Queries of a task: a block is read from memory once for all of them.
const QUERIES: usize = 32;

/// Queries of a task that meet a screen: its matrix products arrange a group of points once for all of them.
const SCREENED: usize = 128;

/// A tree pays where its levels outnumber the coordinates: where the logarithm of the number of points to base 2 is larger by so
/// much, or by so much where there is a screen instead.
const LEVELS: [usize; 2] = [4, 6];

/// Points of a tree that does not stay in the cache: it is asked by queries that are near each other in a row.
const LARGE: usize = 1 << 14;

/// Coordinates that are looked at in a row: those of a block stay in the first cache meanwhile.
const DIMS: usize = 256;

/// Points to look for neighbours in.
#[derive(Debug)]
pub(crate) struct Points {
    count: usize,
    dims: usize,
    /// `[blocks, dims, LANES]`, zero beyond the last point; none with a tree.
    blocks: Aligned<f64>,
    tree: Option<Tree>,
}

/// Neighbours of each query.
#[derive(Debug)]
pub(crate) struct Found {
    k: usize,
    /// `[queries, k]`, the last of a query [`Neighbour::NONE`] where it has fewer.
    all: Vec<Neighbour>,
}

impl Found {
    /// Of query n, the nearest first.
    pub(crate) fn of(&self, n: usize) -> &[Neighbour] {
        let all = &self.all[n * self.k..][..self.k];
        let count = all.partition_point(|found| found.index != usize::MAX);
        &all[..count]
    }
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
            tree: None,
        }
    }

    /// The same with a tree, where there are many points of few coordinates: what is asked has the same answer in less time.
    /// `screened` where otherwise there is a [`Screen`].
    pub(crate) fn planted(dims: usize, rows: &[&[f64]], screened: bool) -> Self {
        let levels = rows.len().checked_ilog2().unwrap_or(0) as usize;
        let is_finite = || rows.iter().all(|row| row.iter().all(|x| x.is_finite()));
        if dims > 0 && dims + LEVELS[usize::from(screened)] <= levels && is_finite() {
            return Self::in_tree(dims, rows);
        }
        Self::new(dims, rows)
    }

    /// Finite rows of one coordinate or more, at least one.
    fn in_tree(dims: usize, rows: &[&[f64]]) -> Self {
        Points {
            count: rows.len(),
            dims,
            blocks: Aligned::default(),
            tree: Some(Tree::new(dims, rows)),
        }
    }

    pub(crate) fn is_tree(&self) -> bool {
        self.tree.is_some()
    }

    /// For each query its `k` nearest points, the nearest first, of equally near ones the first; fewer where there are
    /// fewer. `skip(n)` is a point that is no neighbour of query n: itself, say.
    ///
    /// Queries have `dims` coordinates. The time is that of all differences, without a tree, the memory that of the results.
    pub(crate) fn nearest<M: Metric>(
        &self,
        _: M,
        queries: &[&[f64]],
        k: usize,
        skip: impl Fn(usize) -> Option<usize> + Sync,
    ) -> Found {
        self.search::<M>(None, queries, k, skip)
    }

    /// As [`nearest`](Self::nearest) by squared Euclidean distance, with the screen of these points: the same bits in less time.
    pub(crate) fn screened(
        &self,
        screen: Option<&Screen>,
        queries: &[&[f64]],
        k: usize,
        skip: impl Fn(usize) -> Option<usize> + Sync,
    ) -> Found {
        self.search::<SquaredEuclidean>(screen, queries, k, skip)
    }

    fn search<M: Metric>(
        &self,
        screen: Option<&Screen>,
        queries: &[&[f64]],
        k: usize,
        skip: impl Fn(usize) -> Option<usize> + Sync,
    ) -> Found {
        let k = k.min(self.count);
        let mut all = vec![Neighbour::NONE; queries.len() * k];
        if k == 0 {
            return Found { k, all };
        }
        if let Some(tree) = &self.tree {
            let turn = turn(tree, queries);
            let found = tree.nearest::<M>(&turn, queries, k, skip);
            for (n, found) in turn.iter().zip(found.chunks_exact(k)) {
                all[*n as usize * k..][..k].copy_from_slice(found);
            }
            return Found { k, all };
        }
        let task = match screen {
            None => QUERIES,
            Some(_) => SCREENED.min(queries.len().div_ceil(8)).max(QUERIES),
        };
        buffer::parallel(&mut all, task * k, |from, found| {
            let from = from / k;
            let queries = &queries[from..][..found.len() / k];
            let mut nearest: Vec<Nearest> = queries.iter().map(|_| Nearest::new(k)).collect();
            let skip = |n: usize| skip(from + n);
            let mut offer = |block: usize, n: usize, distances: &[f64; LANES]| {
                let (start, nearest, skip) = (block * LANES, &mut nearest[n], skip(n));
                let count = LANES.min(self.count - start);
                for (lane, distance) in distances[..count].iter().enumerate() {
                    let (index, distance) = (start + lane, *distance);
                    if skip != Some(index) {
                        nearest.offer(Neighbour { index, distance });
                    }
                }
                nearest.limit
            };
            let mut limits = vec![f64::NAN; queries.len()];
            match screen {
                None => self.scan::<M, false>(0..self.blocks(), queries, &mut limits, &mut offer),
                Some(screen) => screen.pick(
                    queries,
                    |n| k + usize::from(skip(n).is_some()),
                    |n, block| {
                        let (query, limit) = (&queries[n..][..1], &mut limits[n..][..1]);
                        let offer = |block, _, distances: &_| offer(block, n, distances);
                        self.scan::<M, false>(block..block + 1, query, limit, offer);
                    },
                ),
            }
            for (found, nearest) in found.chunks_exact_mut(k).zip(nearest) {
                let nearest = nearest.finish();
                found[..nearest.len()].copy_from_slice(&nearest);
            }
        });
        Found { k, all }
    }

    /// For each query how many points are no farther than its limit.
    pub(crate) fn within<M: Metric>(&self, _: M, queries: &[&[f64]], limits: &[f64]) -> Vec<u32> {
        let mut counts = vec![0; queries.len()];
        if let Some(tree) = &self.tree {
            let turn = turn(tree, queries);
            let found = tree.within::<M>(&turn, queries, limits);
            for (n, found) in turn.iter().zip(found) {
                counts[*n as usize] = found;
            }
            return counts;
        }
        buffer::parallel(&mut counts, QUERIES, |from, counts| {
            let queries = &queries[from..][..counts.len()];
            let own = &limits[from..][..counts.len()];
            let mut limits = own.to_vec();
            let count = |block: usize, n: usize, distances: &[f64; LANES]| {
                let inside = first(LANES.min(self.count - block * LANES));
                counts[n] += (at_most(distances, own[n]) & inside).count_ones();
                own[n]
            };
            self.scan::<M, true>(0..self.blocks(), queries, &mut limits, count);
        });
        counts
    }

    fn blocks(&self) -> usize {
        self.count.div_ceil(LANES)
    }

    /// Calls `near(block, n, distances)`, which says what query n's limit is from then on, for blocks that have a distance
    /// at it or below, `CLOSED`, or else one that is not at it or above: below it, or either is NaN. Of up to [`QUERIES`] queries.
    fn scan<M: Metric, const CLOSED: bool>(
        &self,
        blocks: Range<usize>,
        queries: &[&[f64]],
        limits: &mut [f64],
        near: impl FnMut(usize, usize, &[f64; LANES]) -> f64,
    ) {
        dispatch(Scan::<M, _, CLOSED> {
            points: self.blocks.as_chunks().0,
            blocks,
            dims: self.dims,
            queries,
            limits,
            near,
            metric: std::marker::PhantomData,
        });
    }
}

/// The order in which queries ask a tree.
fn turn(tree: &Tree, queries: &[&[f64]]) -> Vec<u32> {
    match tree.order().len() < LARGE {
        true => (0..queries.len() as u32).collect(),
        false => tree::order(queries),
    }
}

/// Blocks that are near queries.
struct Scan<'a, M, F, const CLOSED: bool> {
    /// `[blocks, dims]`.
    points: &'a [[f64; LANES]],
    blocks: Range<usize>,
    dims: usize,
    queries: &'a [&'a [f64]],
    limits: &'a mut [f64],
    near: F,
    metric: std::marker::PhantomData<M>,
}

impl<M: Metric, F, const CLOSED: bool> Loop for Scan<'_, M, F, CLOSED>
where
    F: FnMut(usize, usize, &[f64; LANES]) -> f64,
{
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(mut self) {
        let (groups, singles) = self.queries.as_chunks::<GROUP>();
        let grouped = groups.len() * GROUP;
        let mut sums = [[0.; LANES]; QUERIES];
        for block in self.blocks.clone() {
            let points = &self.points[block * self.dims..][..self.dims];
            sums.fill([0.; LANES]);
            let mut from = 0;
            loop {
                let part = &points[from..points.len().min(from + DIMS)];
                let is_last = from + part.len() == points.len();
                let (group_sums, _) = sums.as_chunks_mut::<GROUP>();
                for (g, (queries, sums)) in groups.iter().zip(group_sums).enumerate() {
                    let mut parts = [&[][..]; GROUP];
                    for q in 0..GROUP {
                        parts[q] = &queries[q][from..][..part.len()];
                    }
                    add::<M, GROUP>(parts, part, sums);
                    if is_last {
                        for (q, sums) in sums.iter().enumerate() {
                            self.visit(block, g * GROUP + q, sums);
                        }
                    }
                }
                for (n, query) in singles.iter().enumerate() {
                    let (n, query) = (grouped + n, &query[from..][..part.len()]);
                    add::<M, 1>([query], part, std::array::from_mut(&mut sums[n]));
                    if is_last {
                        self.visit(block, n, &sums[n]);
                    }
                }
                from += part.len();
                if is_last {
                    break;
                }
            }
        }
    }
}

impl<M, F: FnMut(usize, usize, &[f64; LANES]) -> f64, const CLOSED: bool> Scan<'_, M, F, CLOSED> {
    #[inline(always)]
    fn visit(&mut self, block: usize, n: usize, distances: &[f64; LANES]) {
        let limit = self.limits[n];
        // Most blocks are too far away.
        let near = match CLOSED {
            true => at_most(distances, limit),
            false => below(distances, limit),
        };
        if near != 0 {
            self.limits[n] = (self.near)(block, n, distances);
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
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::super::distance::{Chebyshev, Manhattan};
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
        let mut both = vec![Points::new(dims, &rows)];
        if rows.iter().all(|row| row.iter().all(|x| x.is_finite())) {
            both.push(Points::in_tree(dims, &rows));
        }
        for points in both {
            for k in [0, 1, 2, 9, 40, rows.len(), usize::MAX] {
                let found = points.nearest(metric, &queries, k, skip);
                for (n, query) in queries.iter().enumerate() {
                    let mut want = plain(metric, query, &rows, skip(n));
                    want.truncate(k);
                    let found = found.of(n);
                    assert!(same(found, &want), "{dims} {k} {n}: {found:?} {want:?}");
                }
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

    /// Trees of one to four levels beside the plain loop: ties, points at the same place, a lattice, magnitudes at which sums
    /// overflow and squares vanish, coordinates of different ranges, queries that are not finite, limits that are distances.
    #[test]
    fn a_tree_finds_and_counts_what_a_plain_loop_does() {
        for (dims, count) in [
            (1, 64),
            (1, 700),
            (2, 65),
            (2, 4800),
            (3, 512),
            (4, 513),
            (7, 900),
            (16, 300),
        ] {
            let draw = |seed, n: usize, parts| numbers(n * dims, seed, parts);
            let mut sets: Vec<[Vec<f64>; 2]> = vec![];
            for by in [1., 1e-160, 1e-308, 1e154, 1e300, 1e308] {
                for parts in [1., 1e9] {
                    let scaled =
                        |seed, n| draw(seed, n, parts).iter().map(|x| x / 2. * by).collect();
                    sets.push([scaled(1, count), scaled(2, 20)]);
                }
            }
            sets.push([vec![0.5; count * dims], draw(3, 20, 1.)]);
            let mut far = draw(4, count, 1e9);
            far.iter_mut().for_each(|x| *x += 1e12);
            sets.push([far.clone(), far[..20 * dims].to_vec()]);
            let mut stretched = draw(5, count, 1e9);
            for (i, x) in stretched.iter_mut().enumerate() {
                *x *= 10f64.powi((i % dims) as i32);
            }
            sets.push([stretched, draw(6, 20, 1e9)]);
            let mut odd = draw(7, 20, 4.);
            for (n, x) in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, -0.]
                .into_iter()
                .enumerate()
            {
                odd[n * dims] = x;
            }
            sets.push([draw(8, count, 4.), odd]);
            for [rows, queries] in &sets {
                let rows: Vec<&[f64]> = rows.chunks_exact(dims).collect();
                let queries: Vec<&[f64]> = queries.chunks_exact(dims).collect();
                let points = Points::in_tree(dims, &rows);
                same_as_plain(Manhattan, &points, &rows, &queries);
                same_as_plain(SquaredEuclidean, &points, &rows, &queries);
                same_as_plain(Chebyshev, &points, &rows, &queries);
            }
        }
    }

    fn same_as_plain<M: Metric>(metric: M, points: &Points, rows: &[&[f64]], queries: &[&[f64]]) {
        let own = &rows[..queries.len()];
        for (queries, own) in [(queries, false), (own, true)] {
            let skip = |n: usize| own.then_some(n);
            let want: Vec<Vec<Neighbour>> = (0..queries.len())
                .map(|n| plain(metric, queries[n], rows, skip(n)))
                .collect();
            for k in [1, 4, 17] {
                let found = points.nearest(metric, queries, k, skip);
                for (n, want) in want.iter().enumerate() {
                    let (found, want) = (found.of(n), &want[..k]);
                    assert!(same(found, want), "{k} {n}: {found:?} {want:?}");
                }
            }
            for place in [0, 3, rows.len() / 2, rows.len() - 2] {
                for next in [f64::next_down, |x| x, f64::next_up] {
                    let limits: Vec<f64> = want.iter().map(|w| next(w[place].distance)).collect();
                    let counts = points.within(metric, queries, &limits);
                    for (n, want) in want.iter().enumerate() {
                        let near = |found: &&Neighbour| found.distance <= limits[n];
                        let itself = own && limits[n] >= 0.;
                        let want = want.iter().filter(near).count() + usize::from(itself);
                        assert_eq!(counts[n] as usize, want, "{place} {n} {}", limits[n]);
                    }
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
                    for n in 0..queries.len() {
                        let (found, want) = (found.of(n), want.of(n));
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
            assert_eq!(found.of(0)[0].index, 0, "{set}");
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
        assert!(found.of(0).iter().map(|n| n.index).eq([0, 2, 3]));
        let empty = Points::new(2, &[]);
        let found = empty.nearest(Manhattan, &[&[0., 1.]], 3, |_| None);
        assert!(found.of(0).is_empty());
        assert!(empty.within(Manhattan, &[], &[]).is_empty());
    }
}

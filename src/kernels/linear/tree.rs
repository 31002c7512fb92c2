//! Exact nearest neighbours and counts in few dimensions: a tree of boxes, eight to a node.
//!
//! Points are cut at medians, along the longest side of their box, into runs of 8, 64, 512 and so on, so that a node's members
//! follow each other and are all full but the last. A query meets the eight boxes of a node at once, as it meets the eight
//! points of a block. The distance from a box is added up as that from a point is, from differences that are no larger, and
//! rounding keeps the order: a box that is farther than the k-th nearest holds none that is nearer, to the last bit.

use super::distance::{LANES, Metric, Neighbour, at_most, distances, lanes};
use crate::kernels::machine::buffer::{self, Aligned};
use crate::kernels::machine::simd::{Loop, dispatch};

/// Queries of a task.
const QUERIES: usize = 64;

/// Points from which on both halves are cut at the same time.
const PARALLEL: usize = 1024;

/// So many neighbours cost less by all distances.
const MOST: usize = 256;

#[derive(Debug)]
pub(super) struct Tree {
    dims: usize,
    /// The numbers of the points in the order of the tree.
    order: Vec<u32>,
    /// `[blocks, dims, LANES]`, NaN beyond the last point.
    blocks: Aligned<f64>,
    /// Those of blocks first; the last has one node.
    levels: Vec<Level>,
}

/// Nodes whose members are those of the level below.
#[derive(Debug)]
struct Level {
    /// Ends of the members' boxes, `[nodes, dims, 2, LANES]`, NaN beyond the last member.
    boxes: Aligned<f64>,
    /// The least number of a point in each member.
    first: Vec<[u32; LANES]>,
    /// Points of a member that is full.
    size: usize,
}

/// What may have to be looked at.
#[derive(Clone, Copy)]
struct Node {
    /// No point in it is nearer.
    bound: Neighbour,
    /// 0 for a block.
    level: usize,
    number: usize,
}

impl Tree {
    /// Of rows of `dims` finite coordinates, at least one of each.
    pub(super) fn new(dims: usize, rows: &[&[f64]]) -> Self {
        let order = order(rows);
        let fill = |from: usize, out: &mut [f64]| {
            let first = from / dims;
            for lane in 0..LANES {
                let row = order.get(first + lane).map(|n| rows[*n as usize]);
                for (i, out) in out.iter_mut().skip(lane).step_by(LANES).enumerate() {
                    *out = row.map_or(f64::NAN, |row| row[i]);
                }
            }
        };
        let block = dims * LANES;
        let blocks = Aligned::build(rows.len().div_ceil(LANES) * block, block, fill);
        let mut tree = Tree {
            dims,
            order,
            blocks,
            levels: vec![],
        };
        let mut members = rows.len().div_ceil(LANES);
        while members > 1 {
            let level = tree.level(members);
            tree.levels.push(level);
            members = members.div_ceil(LANES);
        }
        tree
    }

    /// The nodes above so many members.
    fn level(&self, members: usize) -> Level {
        let dims = self.dims;
        let below = self.levels.last();
        let ends = |member: usize, i: usize| {
            let (lows, highs) = match below {
                None => {
                    let points = &self.block(member)[i];
                    (points, points)
                }
                Some(below) => {
                    let [lows, highs] = &below.node(member, dims)[i];
                    (lows, highs)
                }
            };
            // NaN is passed over.
            let low = lows.iter().fold(f64::INFINITY, |a, b| a.min(*b));
            let high = highs.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
            [low, high]
        };
        let first = |member: usize| match below {
            None => self.numbers(member).iter().copied().min(),
            Some(below) => below.first[member].iter().copied().min(),
        };
        let nodes = members.div_ceil(LANES);
        let each = 2 * dims * LANES;
        let fill = |from: usize, out: &mut [f64]| {
            let start = from / each * LANES;
            for lane in 0..LANES {
                for (i, out) in out.chunks_exact_mut(2 * LANES).enumerate() {
                    let inside = start + lane < members;
                    let [low, high] = if inside {
                        ends(start + lane, i)
                    } else {
                        [f64::NAN; 2]
                    };
                    (out[lane], out[LANES + lane]) = (low, high);
                }
            }
        };
        let number = |member: usize| match member < members {
            true => first(member).unwrap_or(u32::MAX),
            false => u32::MAX,
        };
        Level {
            boxes: Aligned::build(nodes * each, each, fill),
            first: (0..nodes)
                .map(|node| std::array::from_fn(|lane| number(node * LANES + lane)))
                .collect(),
            size: below.map_or(LANES, |below| below.size * LANES),
        }
    }

    /// The numbers of the points in the order of the tree.
    pub(super) fn order(&self) -> &[u32] {
        &self.order
    }

    #[inline(always)]
    fn block(&self, number: usize) -> &[[f64; LANES]] {
        let (points, _) = self.blocks.as_chunks::<LANES>();
        &points[number * self.dims..][..self.dims]
    }

    #[inline(always)]
    fn numbers(&self, block: usize) -> &[u32] {
        let from = block * LANES;
        &self.order[from..self.order.len().min(from + LANES)]
    }

    fn root(&self) -> Node {
        Node {
            bound: Neighbour {
                index: 0,
                distance: 0.,
            },
            level: self.levels.len(),
            number: 0,
        }
    }

    /// For each query of `turn` its `k` nearest points, in the order of the turn, [`Neighbour::NONE`] where there are fewer.
    pub(super) fn nearest<M: Metric>(
        &self,
        turn: &[u32],
        queries: &[&[f64]],
        k: usize,
        skip: impl Fn(usize) -> Option<usize> + Sync,
    ) -> Vec<Neighbour> {
        let mut found = vec![Neighbour::NONE; turn.len() * k];
        buffer::parallel(&mut found, QUERIES * k, |from, found| {
            dispatch(Search::<M, _> {
                tree: self,
                turn: &turn[from / k..],
                queries,
                k,
                skip: &skip,
                found,
                metric: std::marker::PhantomData,
            });
        });
        found
    }

    /// For each query of `turn` how many points are no farther than its limit, in the order of the turn.
    pub(super) fn within<M: Metric>(
        &self,
        turn: &[u32],
        queries: &[&[f64]],
        limits: &[f64],
    ) -> Vec<u32> {
        let mut counts = vec![0; turn.len()];
        buffer::parallel(&mut counts, QUERIES, |from, counts| {
            dispatch(Count::<M> {
                tree: self,
                turn: &turn[from..],
                queries,
                limits,
                counts,
                metric: std::marker::PhantomData,
            });
        });
        counts
    }
}

impl Level {
    /// The ends of the boxes of a node's members.
    #[inline(always)]
    fn node(&self, number: usize, dims: usize) -> &[[[f64; LANES]; 2]] {
        let (ends, _) = self.boxes.as_chunks::<LANES>();
        let (ends, _) = ends.as_chunks::<2>();
        &ends[number * dims..][..dims]
    }
}

/// Rows in the order of a tree over them.
pub(super) fn order(rows: &[&[f64]]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..rows.len() as u32).collect();
    let mut size = LANES;
    while size < rows.len() {
        size *= LANES;
    }
    cut(rows, &mut order, size);
    order
}

/// Brings points into an order in which members of `size / 8` points, of `size / 64` and so on are near each other.
fn cut(rows: &[&[f64]], order: &mut [u32], mut size: usize) {
    while size > LANES && order.len() <= size / LANES {
        size /= LANES;
    }
    if order.len() <= LANES {
        return;
    }
    let member = size / LANES;
    let middle = order.len().div_ceil(member) / 2 * member;
    let dims = rows[order[0] as usize].len();
    let mut low = vec![f64::INFINITY; dims];
    let mut high = vec![f64::NEG_INFINITY; dims];
    for n in &*order {
        for ((low, high), x) in low.iter_mut().zip(&mut high).zip(rows[*n as usize]) {
            *low = if *x < *low { *x } else { *low };
            *high = if *x > *high { *x } else { *high };
        }
    }
    let mut longest = 0;
    for i in 0..dims {
        if high[i] - low[i] > high[longest] - low[longest] {
            longest = i;
        }
    }
    let mut keys: Vec<(f64, u32)> = order
        .iter()
        .map(|n| (rows[*n as usize][longest], *n))
        .collect();
    keys.select_nth_unstable_by(middle, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    for (n, key) in order.iter_mut().zip(keys) {
        *n = key.1;
    }
    let parallel = order.len() >= PARALLEL;
    let (left, right) = order.split_at_mut(middle);
    if parallel {
        rayon::join(|| cut(rows, left, size), || cut(rows, right, size));
    } else {
        cut(rows, left, size);
        cut(rows, right, size);
    }
}

/// Distances of a node's members from a query: no point of a member is nearer.
#[inline(always)]
fn bounds<M: Metric>(boxes: &[[[f64; LANES]; 2]], query: &[f64]) -> [f64; LANES] {
    let mut near = [0.; LANES];
    for ([low, high], x) in boxes.iter().zip(query) {
        for lane in 0..LANES {
            near[lane] = M::add(near[lane], gap(low[lane], high[lane], *x), 0.);
        }
    }
    near
}

/// And none is farther.
#[inline(always)]
fn far_bounds<M: Metric>(boxes: &[[[f64; LANES]; 2]], query: &[f64]) -> [f64; LANES] {
    let mut far = [0.; LANES];
    for ([low, high], x) in boxes.iter().zip(query) {
        for lane in 0..LANES {
            let (a, b) = (x - low[lane], high[lane] - x);
            far[lane] = M::add(far[lane], if a > b { a } else { b }, 0.);
        }
    }
    far
}

/// From an interval to a number; NaN stays.
#[inline(always)]
fn gap(low: f64, high: f64, x: f64) -> f64 {
    let (a, b) = (low - x, x - high);
    let gap = if a > b { a } else { b };
    if 0. > gap { 0. } else { gap }
}

#[inline(always)]
fn is_before(a: &Neighbour, b: &Neighbour) -> bool {
    a.distance < b.distance || (a.distance == b.distance && a.index < b.index)
}

/// The nearest points of some queries.
struct Search<'a, M, S> {
    tree: &'a Tree,
    turn: &'a [u32],
    queries: &'a [&'a [f64]],
    k: usize,
    skip: &'a S,
    found: &'a mut [Neighbour],
    metric: std::marker::PhantomData<M>,
}

impl<M: Metric, S: Fn(usize) -> Option<usize>> Loop for Search<'_, M, S> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let mut stack = vec![];
        let few = self.k <= MOST.min(self.tree.order.len() / 16);
        for (n, kept) in self.turn.iter().zip(self.found.chunks_exact_mut(self.k)) {
            let n = *n as usize;
            let (query, skip) = (self.queries[n], (self.skip)(n));
            if few && query.iter().all(|x| !x.is_nan()) {
                search::<M>(self.tree, query, skip, kept, &mut stack);
            } else {
                all::<M>(self.tree, query, skip, kept);
            }
        }
    }
}

#[inline(always)]
fn search<M: Metric>(
    tree: &Tree,
    query: &[f64],
    skip: Option<usize>,
    kept: &mut [Neighbour],
    stack: &mut Vec<Node>,
) {
    let last = kept.len() - 1;
    stack.push(tree.root());
    while let Some(node) = stack.pop() {
        if !is_before(&node.bound, &kept[last]) {
            continue;
        }
        let Some(below) = node.level.checked_sub(1) else {
            let near = distances::<M>(tree.block(node.number), query);
            let numbers = tree.numbers(node.number);
            for lane in lanes(at_most(&near, kept[last].distance)) {
                let index = numbers[lane] as usize;
                if skip != Some(index) {
                    let distance = near[lane];
                    insert(kept, Neighbour { index, distance });
                }
            }
            continue;
        };
        let level = &tree.levels[below];
        let near = bounds::<M>(level.node(node.number, tree.dims), query);
        let first = &level.first[node.number];
        let top = stack.len();
        for lane in lanes(at_most(&near, kept[last].distance)) {
            let bound = Neighbour {
                index: first[lane] as usize,
                distance: near[lane],
            };
            // The nearest is popped first, of equally near ones that of the first points: what is no better is then passed over.
            let mut at = stack.len();
            stack.push(Node {
                bound,
                level: below,
                number: node.number * LANES + lane,
            });
            while at > top && is_before(&stack[at - 1].bound, &bound) {
                stack.swap(at - 1, at);
                at -= 1;
            }
        }
    }
}

/// Puts a point in its place among the nearest so far, if it is one.
#[inline(always)]
fn insert(kept: &mut [Neighbour], new: Neighbour) {
    let mut at = kept.len();
    while at > 0 && is_before(&new, &kept[at - 1]) {
        at -= 1;
        if at + 1 < kept.len() {
            kept[at + 1] = kept[at];
        }
    }
    if at < kept.len() {
        kept[at] = new;
    }
}

/// The same by all distances: for many neighbours, and for queries with NaN, from which everything is NaN.
#[inline(always)]
fn all<M: Metric>(tree: &Tree, query: &[f64], skip: Option<usize>, kept: &mut [Neighbour]) {
    let mut all = Vec::with_capacity(tree.order.len());
    for block in 0..tree.order.len().div_ceil(LANES) {
        let near = distances::<M>(tree.block(block), query);
        for (n, distance) in tree.numbers(block).iter().zip(near) {
            let index = *n as usize;
            if skip != Some(index) {
                all.push(Neighbour { index, distance });
            }
        }
    }
    let count = kept.len().min(all.len());
    if let Some(last) = count.checked_sub(1) {
        all.select_nth_unstable_by(last, Neighbour::order);
        all.truncate(count);
        all.sort_unstable_by(Neighbour::order);
        kept[..count].copy_from_slice(&all);
    }
}

/// How many points are near some queries.
struct Count<'a, M> {
    tree: &'a Tree,
    turn: &'a [u32],
    queries: &'a [&'a [f64]],
    limits: &'a [f64],
    counts: &'a mut [u32],
    metric: std::marker::PhantomData<M>,
}

impl<M: Metric> Loop for Count<'_, M> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let mut stack = vec![];
        for (n, count) in self.turn.iter().zip(self.counts) {
            let n = *n as usize;
            let (query, limit) = (self.queries[n], self.limits[n]);
            *count = within::<M>(self.tree, query, limit, &mut stack);
        }
    }
}

#[inline(always)]
fn within<M: Metric>(tree: &Tree, query: &[f64], limit: f64, stack: &mut Vec<[usize; 2]>) -> u32 {
    let mut count = 0;
    let points = |number| at_most(&distances::<M>(tree.block(number), query), limit).count_ones();
    if tree.levels.is_empty() {
        return points(0);
    }
    stack.push([tree.levels.len(), 0]);
    while let Some([above, number]) = stack.pop() {
        let level = &tree.levels[above - 1];
        let boxes = level.node(number, tree.dims);
        let some = at_most(&bounds::<M>(boxes, query), limit);
        let whole = at_most(&far_bounds::<M>(boxes, query), limit);
        for lane in lanes(some & whole) {
            let from = (number * LANES + lane) * level.size;
            count += level.size.min(tree.order.len() - from) as u32;
        }
        for lane in lanes(some & !whole) {
            let member = number * LANES + lane;
            match above {
                1 => count += points(member),
                _ => stack.push([above - 1, member]),
            }
        }
    }
    count
}

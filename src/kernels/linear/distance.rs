//! How far points are from each other, eight at a time.
//!
//! Every distance is a sum over the coordinates in their order, so it has the bits of the plain loop at any instruction set.

use std::cmp::Ordering;

/// Points of a block.
pub(super) const LANES: usize = 8;

/// A distance that adds up over coordinates; it may also take the largest.
///
/// It does not fall where a difference grows, as it is rounded: what bounds the differences bounds the distance.
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
        // The bits of numbers without a sign have the order of the numbers, and those of NaN are above all: NaN stays.
        let bits = (a - b).abs().to_bits() as i64;
        f64::from_bits(bits.max(most.to_bits() as i64) as u64)
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
    /// Behind every point.
    pub(super) const NONE: Self = Neighbour {
        index: usize::MAX,
        distance: f64::INFINITY,
    };

    /// The nearest first, of equally near ones the first; NaN is farther than all.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        // Of NaN the sign says nothing: inf - inf is a negative one.
        let by_distance = self.distance.abs().total_cmp(&other.distance.abs());
        by_distance.then(self.index.cmp(&other.index))
    }
}

/// Distances of a block's points from a query.
#[inline(always)]
pub(super) fn distances<M: Metric>(points: &[[f64; LANES]], query: &[f64]) -> [f64; LANES] {
    let mut sums = [0.; LANES];
    for (point, x) in points.iter().zip(query) {
        for lane in 0..LANES {
            sums[lane] = M::add(sums[lane], *x, point[lane]);
        }
    }
    sums
}

/// Lanes of which something holds: a byte each, 1 or 0. LLVM makes one comparison of it, which it does not of single bits.
pub(super) type Mask = u64;

/// The lanes that hold no more than the limit.
#[inline(always)]
pub(super) fn at_most(numbers: &[f64; LANES], limit: f64) -> Mask {
    let mut mask = [0; LANES];
    for lane in 0..LANES {
        mask[lane] = u8::from(numbers[lane] <= limit);
    }
    Mask::from_le_bytes(mask)
}

/// The lanes that do not hold the limit or more: less, or one of them is NaN.
#[inline(always)]
#[allow(clippy::neg_cmp_op_on_partial_ord)]
pub(super) fn below(numbers: &[f64; LANES], limit: f64) -> Mask {
    let mut mask = [0; LANES];
    for lane in 0..LANES {
        mask[lane] = u8::from(!(numbers[lane] >= limit));
    }
    Mask::from_le_bytes(mask)
}

/// The first lanes, at least one.
#[inline(always)]
pub(super) fn first(lanes: usize) -> Mask {
    Mask::from_le_bytes([1; LANES]) >> (8 * (LANES - lanes))
}

/// The lanes of a mask, in their order.
#[inline(always)]
pub(super) fn lanes(mut mask: Mask) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = mask.trailing_zeros();
        mask &= mask.wrapping_sub(1);
        (place < Mask::BITS).then_some(place as usize / 8)
    })
}

//! Which blocks of points can hold the nearest ones, by matrix products in single precision.
//!
//! `1/2 |c|^2 - x . c` orders points c by their distance from x, and as a product of matrices it costs a fraction of the exact
//! distances. Its rounding errors have a bound, so a block of points whose least value lies further above the k-th least of
//! all blocks than twice the bound holds none of the k nearest. The others are looked at exactly: what a screen leaves out
//! changes no result. Both sides are centred, so that points far from the origin do not lose their digits.

use super::distance::LANES;
use crate::kernels::machine::buffer::Aligned;
use crate::kernels::machine::gemm::{Mat, Write, tiles};
use crate::kernels::machine::simd::{Loop, dispatch};

/// Blocks of a product: its columns stay in the cache until their minima are taken.
const BLOCKS: usize = 64;

/// Blocks whose minima are taken together, one of so many: their few least are found in a fraction of the time, and are no less
/// than those of all.
const STRIDE: usize = 128;

/// Fewer points or coordinates are looked at faster than they are screened.
const FEWEST: [usize; 2] = [64, 8];

/// The rounding error of a sum of d products is at most `d u / (1 - d u)`: up to so many coordinates that is under `1.1 d u`.
const MOST: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Screen {
    dims: usize,
    blocks: usize,
    centre: Vec<f64>,
    /// Centred points in groups of [`BLOCKS`] blocks, in a group `[LANES, blocks, dims]`: minima over lanes are elementwise.
    rows: Aligned<f32>,
    /// `1/2 |c|^2` in the same order, infinite beyond the last point.
    halves: Aligned<f32>,
    /// The largest `|c|`.
    radius: f64,
}

impl Screen {
    /// Of rows of `dims` coordinates; none where they are few, too long for a bound, or not finite.
    pub(crate) fn new(dims: usize, points: &[&[f64]]) -> Option<Self> {
        let [fewest, coordinates] = FEWEST;
        if points.len() < fewest || !(coordinates..=MOST).contains(&dims) {
            return None;
        }
        let mut centre = vec![0.; dims];
        for point in points {
            for (mean, x) in centre.iter_mut().zip(*point) {
                *mean += x / points.len() as f64;
            }
        }
        let blocks = points.len().div_ceil(LANES);
        let place = |n: usize| {
            let (block, lane) = (n / LANES, n % LANES);
            let first = block / BLOCKS * BLOCKS;
            first * LANES + lane * BLOCKS.min(blocks - first) + block - first
        };
        let mut rows = Aligned::zeros(blocks * LANES * dims);
        let mut halves = Aligned::zeros(blocks * LANES);
        halves.fill(f32::INFINITY);
        let mut radius = 0f64;
        for (n, point) in points.iter().enumerate() {
            let row = &mut rows[place(n) * dims..][..dims];
            let square = centred(point, &centre, row);
            // As it is: what the radius is rounded up by would be an error of its own here.
            halves[place(n)] = (0.5 * square) as f32;
            let length = rounded_up(square);
            // NaN stays.
            if !(length <= radius || radius.is_nan()) {
                radius = length;
            }
        }
        radius.is_finite().then_some(Screen {
            dims,
            blocks,
            centre,
            rows,
            halves,
            radius,
        })
    }

    /// Calls `look(n, block)` for the blocks that can hold one of the `k(n)` points nearest to query n, in their order.
    pub(super) fn pick(
        &self,
        queries: &[&[f64]],
        k: impl Fn(usize) -> usize,
        mut look: impl FnMut(usize, usize),
    ) {
        let (count, dims) = (queries.len(), self.dims);
        let mut rows = vec![0.; count * dims];
        let lengths: Vec<f64> = queries
            .iter()
            .zip(rows.chunks_exact_mut(dims))
            .map(|(query, row)| rounded_up(centred(query, &self.centre, row)))
            .collect();
        let mut minima = vec![f32::NAN; count * self.blocks];
        let mut products = vec![0.; count * BLOCKS.min(self.blocks) * LANES];
        for first in (0..self.blocks).step_by(BLOCKS) {
            let blocks = BLOCKS.min(self.blocks - first);
            let width = blocks * LANES;
            let products = &mut products[..count * width];
            let done = tiles(products, [count, width], [count, width], false, |mut t| {
                let points = &self.rows[first * LANES * dims..][..width * dims];
                let queries = Mat::new(&rows, count, dims)?;
                t.gemm(Write::Set, queries, Mat::new(points, width, dims)?.t())
            });
            // Minima that are not known stay NaN, and nothing is left out.
            if done.is_ok() {
                dispatch(Minima {
                    halves: &self.halves[first * LANES..][..width],
                    products,
                    blocks,
                    out: &mut minima[first..],
                    stride: self.blocks,
                });
            }
        }
        let mut sorted = vec![];
        for (n, minima) in minima.chunks_exact(self.blocks).enumerate() {
            let limit = match k(n) {
                1 => dispatch(Least(minima)),
                k if k <= STRIDE / 8 && self.blocks > STRIDE => {
                    let mut least = dispatch(Strided(minima));
                    *least.select_nth_unstable_by(k - 1, f32::total_cmp).1
                }
                k if k < self.blocks => {
                    sorted.clear();
                    sorted.extend_from_slice(minima);
                    *sorted.select_nth_unstable_by(k - 1, f32::total_cmp).1
                }
                _ => f32::INFINITY,
            };
            let limit = self.limit(limit, lengths[n]);
            for (block, least) in minima.iter().enumerate() {
                if !(*least > limit) {
                    look(n, block);
                }
            }
        }
    }

    /// What a block's least value may be, given the k-th least of all blocks and the query's length: infinity, where nothing
    /// can be left out.
    fn limit(&self, least: f32, length: f64) -> f32 {
        let (single, double) = (2f64.powi(-24), 2f64.powi(-52));
        let (d, r, x) = (self.dims as f64, self.radius, length);
        let far = (r + x).powi(2);
        // Products and sums may not overflow.
        if !(far < f64::from(f32::MAX)) {
            return f32::INFINITY;
        }
        // Both sides are rounded, products are added up in any order (Higham 2002, section 3.1), and the difference is
        // rounded; what underflows; the exact distances are themselves rounded.
        let error = 1.1 * single * ((d + 4.) * r * x + 2.5 * r * r)
            + d * f64::from(f32::MIN_POSITIVE) * (1. + r + x)
            + (d + 3.) * double * far;
        ((f64::from(least) + 2. * error) as f32).next_up()
    }
}

/// Writes `x - centre` and returns its squared length.
fn centred(x: &[f64], centre: &[f64], out: &mut [f32]) -> f64 {
    dispatch(Centred { x, centre, out })
}

/// The length for a bound: before its coordinates were rounded to single precision, the row was no longer.
fn rounded_up(square: f64) -> f64 {
    square.sqrt() * (1. + 1e-6)
}

struct Centred<'a> {
    x: &'a [f64],
    centre: &'a [f64],
    out: &'a mut [f32],
}

impl Loop for Centred<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> f64 {
        for ((out, x), centre) in self.out.iter_mut().zip(self.x).zip(self.centre) {
            *out = (x - centre) as f32;
        }
        let mut sums = [0.; 16];
        let (groups, rest) = self.out.as_chunks::<16>();
        for group in groups {
            for l in 0..16 {
                sums[l] += f64::from(group[l]) * f64::from(group[l]);
            }
        }
        let rest = rest.iter().map(|x| f64::from(*x) * f64::from(*x));
        sums.into_iter().chain(rest).sum()
    }
}

/// The least of `halves - products` of each block, for each query.
struct Minima<'a> {
    /// `[LANES, blocks]`.
    halves: &'a [f32],
    /// `[queries, LANES, blocks]`.
    products: &'a [f32],
    blocks: usize,
    /// `blocks` numbers for each query, `stride` from one to the next.
    out: &'a mut [f32],
    stride: usize,
}

impl Loop for Minima<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let width = self.halves.len();
        let each = self.products.chunks_exact(width);
        for (products, out) in each.zip(self.out.chunks_mut(self.stride)) {
            let out = &mut out[..self.blocks];
            out.fill(f32::INFINITY);
            let lanes = products.chunks_exact(self.blocks);
            for (products, halves) in lanes.zip(self.halves.chunks_exact(self.blocks)) {
                for ((out, product), half) in out.iter_mut().zip(products).zip(halves) {
                    let value = half - product;
                    *out = if value < *out { value } else { *out };
                }
            }
        }
    }
}

/// The least of every [`STRIDE`]-th number.
struct Strided<'a>(&'a [f32]);

impl Loop for Strided<'_> {
    type Output = [f32; STRIDE];

    #[inline(always)]
    fn run<const FMA: bool>(self) -> [f32; STRIDE] {
        let mut least = [f32::INFINITY; STRIDE];
        for numbers in self.0.chunks(STRIDE) {
            for (least, x) in least.iter_mut().zip(numbers) {
                *least = if *x < *least { *x } else { *least };
            }
        }
        least
    }
}

/// The least of some numbers.
struct Least<'a>(&'a [f32]);

impl Loop for Least<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> f32 {
        let mut least = [f32::INFINITY; 16];
        let (groups, rest) = self.0.as_chunks::<16>();
        for group in groups {
            for l in 0..16 {
                least[l] = if group[l] < least[l] {
                    group[l]
                } else {
                    least[l]
                };
            }
        }
        let all = least.iter().chain(rest);
        all.fold(
            f32::INFINITY,
            |least, x| if *x < least { *x } else { least },
        )
    }
}

//! Exact nearest neighbours among points in memory.

use crate::check;
use crate::error::{Error, Result};
use crate::kernels::linear::distance::{Chebyshev, Manhattan, Neighbour, SquaredEuclidean};
use crate::kernels::linear::neighbours::Points;
use crate::kernels::linear::screen::Screen;
use crate::kernels::machine::buffer::{self, CHUNK, View};
use crate::shape;
use candle_core::{DType, Device, Tensor};

/// How far two points are from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Metric {
    /// `(sum_i (a_i - b_i)^2)^(1/2)`.
    #[default]
    Euclidean,
    /// `sum_i |a_i - b_i|`.
    Manhattan,
    /// `max_i |a_i - b_i|`.
    Chebyshev,
}

/// Whether what is exactly as far as a radius lies within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// It does not: `distance < radius`.
    Open,
    /// It does: `distance <= radius`.
    Closed,
}

/// Points to find the nearest of, or to count those within a radius.
///
/// Formula: the k points of least distance, the nearest first; of equally near ones the first. A distance that is NaN is
/// longer than all.
///
/// Shapes: points `[N, d]` and queries `[M, d]`, of any floating-point dtypes. Results are on the CPU. Gradients: none.
///
/// Errors: no points or no coordinates; queries of another d; k of 0 or more than there are points.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::neighbours::{Metric, NearestNeighbours};
/// # fn main() -> candle_prob::Result<()> {
/// let points = Tensor::new(&[[0f32, 0.], [3., 4.], [1., 0.]], &Device::Cpu)?;
/// let points = NearestNeighbours::new(&points, Metric::Euclidean)?;
/// let found = points.nearest(&Tensor::new(&[[0f32, 0.]], &Device::Cpu)?, 3)?;
/// assert_eq!(found.index.to_vec2::<u32>()?, [[0, 2, 1]]);
/// assert_eq!(found.distance.to_vec2::<f64>()?, [[0., 1., 5.]]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: coordinates are f64, and a distance is a sum over them in their order: the same at any number of threads. The
/// memory is that of the points and of the result. Many finite points of few coordinates, up to 8 for 5000 points, lie in a tree
/// of boxes: those that are too far away are not looked at, nor, in counts, those that are near as a whole. Of Euclidean distances of 8 coordinates
/// or more most are not computed: a bound from products of matrices in single precision leaves out what cannot be near. Neither
/// changes a bit of the result. Otherwise, for points that are all equally far for single precision, and for more than 256
/// neighbours of few coordinates, the time is that of `M N d` differences, on all threads.
#[doc(alias = "neighbors")]
#[doc(alias = "NearestNeighbors")]
#[doc(alias = "knn")]
#[derive(Debug)]
pub struct NearestNeighbours {
    points: Points,
    screen: Option<Screen>,
    /// The points, [N, d].
    rows: Vec<f64>,
    dims: usize,
    metric: Metric,
}

/// Neighbours of each query, the nearest first.
#[derive(Debug, Clone)]
pub struct Neighbours {
    /// The numbers of the points, `[M, k]`, u32.
    pub index: Tensor,
    /// Their distances, `[M, k]`, f64.
    pub distance: Tensor,
}

impl NearestNeighbours {
    /// Of these points.
    pub fn new(points: &Tensor, metric: Metric) -> Result<Self> {
        let op = "NearestNeighbours::new";
        shape::parameter(op, "points", points)?;
        let [_, dims] = shape::dims(op, "points", points.dims(), "[N, d]")?;
        let rows = numbers(points)?;
        let each: Vec<&[f64]> = rows.chunks_exact(dims).collect();
        let screen = match metric {
            Metric::Euclidean => Screen::new(dims, &each),
            _ => None,
        };
        let points = Points::planted(dims, &each, screen.is_some());
        let screen = screen.filter(|_| !points.is_tree());
        Ok(NearestNeighbours {
            points,
            screen,
            rows,
            dims,
            metric,
        })
    }

    /// The `k` points nearest to each query.
    pub fn nearest(&self, queries: &Tensor, k: usize) -> Result<Neighbours> {
        let op = "NearestNeighbours::nearest";
        let queries = self.queries(op, queries)?;
        check::count_in(op, "k", k, 1..=self.rows.len() / self.dims, "points")?;
        self.find(&queries, k, |_| None)
    }

    /// The `k` nearest to each of the points among the others: `[N, k]`, k up to `N - 1`.
    pub fn nearest_others(&self, k: usize) -> Result<Neighbours> {
        let op = "NearestNeighbours::nearest_others";
        let others = self.rows.len() / self.dims - 1;
        check::count_in(op, "k", k, 1..=others, "points")?;
        self.find(&self.rows, k, Some)
    }

    /// How many points lie within each query's radius: u32 `[M]`, for queries `[M, d]` and radii `[M]`.
    ///
    /// A distance is the number that [`nearest`](Self::nearest) returns. Nothing lies within a radius that is negative or
    /// NaN, and a distance that is NaN lies within none.
    ///
    /// ```
    /// use candle_core::{Device, Tensor};
    /// use candle_prob::neighbours::{Bound, Metric, NearestNeighbours};
    /// # fn main() -> candle_prob::Result<()> {
    /// let points = Tensor::new(&[[0f32], [1.], [2.], [2.]], &Device::Cpu)?;
    /// let points = NearestNeighbours::new(&points, Metric::Chebyshev)?;
    /// let query = Tensor::new(&[[1f32]], &Device::Cpu)?;
    /// let radius = Tensor::new(&[1f64], &Device::Cpu)?;
    /// let open = points.count_within(&query, &radius, Bound::Open)?;
    /// let closed = points.count_within(&query, &radius, Bound::Closed)?;
    /// assert_eq!(open.to_vec1::<u32>()?, [1]);
    /// assert_eq!(closed.to_vec1::<u32>()?, [4]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn count_within(&self, queries: &Tensor, radius: &Tensor, bound: Bound) -> Result<Tensor> {
        let op = "NearestNeighbours::count_within";
        let queries = self.queries(op, queries)?;
        let limits = self.limits(op, radius, queries.len() / self.dims, bound)?;
        counts(self.within(&queries, &limits))
    }

    /// How many of the other points lie within each point's radius: u32 `[N]`, for radii `[N]`. A point does not count
    /// itself, but others at its place; the rest is as of [`count_within`](Self::count_within).
    pub fn count_others_within(&self, radius: &Tensor, bound: Bound) -> Result<Tensor> {
        let op = "NearestNeighbours::count_others_within";
        let limits = self.limits(op, radius, self.rows.len() / self.dims, bound)?;
        let mut found = self.within(&self.rows, &limits);
        let rows = self.rows.chunks_exact(self.dims);
        for ((found, row), limit) in found.iter_mut().zip(rows).zip(limits) {
            // What is not finite is at no distance from itself.
            let counted = limit >= 0. && row.iter().all(|x| x.is_finite());
            *found -= u32::from(counted);
        }
        counts(found)
    }

    /// The largest distances within the radii, or their squares.
    fn limits(
        &self,
        op: &'static str,
        radius: &Tensor,
        queries: usize,
        bound: Bound,
    ) -> Result<Vec<f64>> {
        shape::float(op, "radius", radius)?;
        shape::exactly(op, "radius", radius.dims(), &[queries])?;
        let mut limits = numbers(radius)?;
        for limit in &mut limits {
            if bound == Bound::Open {
                *limit = limit.next_down();
            }
            if self.metric == Metric::Euclidean {
                *limit = square_within(*limit);
            }
        }
        Ok(limits)
    }

    fn within(&self, queries: &[f64], limits: &[f64]) -> Vec<u32> {
        let queries: Vec<&[f64]> = queries.chunks_exact(self.dims).collect();
        match self.metric {
            Metric::Euclidean => self.points.within(SquaredEuclidean, &queries, limits),
            Metric::Manhattan => self.points.within(Manhattan, &queries, limits),
            Metric::Chebyshev => self.points.within(Chebyshev, &queries, limits),
        }
    }

    fn queries(&self, op: &'static str, queries: &Tensor) -> Result<Vec<f64>> {
        shape::float(op, "queries", queries)?;
        let [_, dims] = shape::dims(op, "queries", queries.dims(), "[M, d]")?;
        if dims != self.dims {
            let expected = format!("[M, {}]", self.dims);
            return Err(Error::shape(op, "queries", expected, queries.dims()));
        }
        numbers(queries)
    }

    fn find(
        &self,
        queries: &[f64],
        k: usize,
        skip: impl Fn(usize) -> Option<usize> + Sync,
    ) -> Result<Neighbours> {
        let queries: Vec<&[f64]> = queries.chunks_exact(self.dims).collect();
        let found = match self.metric {
            Metric::Euclidean => self
                .points
                .screened(self.screen.as_ref(), &queries, k, skip),
            Metric::Manhattan => self.points.nearest(Manhattan, &queries, k, skip),
            Metric::Chebyshev => self.points.nearest(Chebyshev, &queries, k, skip),
        };
        let distance = |n: &Neighbour| match self.metric {
            Metric::Euclidean => n.distance.sqrt(),
            _ => n.distance,
        };
        let all = || (0..queries.len()).flat_map(|n| found.of(n));
        let index = all().map(|n| n.index as u32).collect();
        let distance = all().map(distance).collect();
        let shape = (queries.len(), k);
        Ok(Neighbours {
            index: Tensor::from_vec::<_, u32>(index, shape, &Device::Cpu)?,
            distance: Tensor::from_vec::<_, f64>(distance, shape, &Device::Cpu)?,
        })
    }
}

fn counts(found: Vec<u32>) -> Result<Tensor> {
    let shape = found.len();
    Ok(Tensor::from_vec::<_, u32>(found, shape, &Device::Cpu)?)
}

/// The largest number whose square root, as it is rounded, is at most this; NaN where there is none.
fn square_within(most: f64) -> f64 {
    if !(most >= 0.) {
        return f64::NAN;
    }
    if most == f64::INFINITY {
        return most;
    }
    let mut square = (most * most).min(f64::MAX);
    while square.sqrt() > most {
        square = square.next_down();
    }
    while square.next_up().sqrt() <= most {
        square = square.next_up();
    }
    square
}

fn numbers(x: &Tensor) -> Result<Vec<f64>> {
    let x = x.detach().to_device(&Device::Cpu)?.contiguous()?;
    match x.dtype() {
        DType::F32 => {
            let view = View::new(&x)?;
            let x = view.f32()?;
            Ok(buffer::build(x.len(), CHUNK, |from, out| {
                for (out, x) in out.iter_mut().zip(&x[from..]) {
                    *out = f64::from(*x);
                }
            }))
        }
        _ => Ok(x.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?),
    }
}

//! What a selector asks of centred data, whatever holds them.

use crate::error::Result;
use crate::kernels::linear::design::{Design, Next, Number, Swept};
use crate::kernels::machine::buffer;
use std::fmt::Debug;

/// Features of a task.
pub(super) const FEATURES: usize = 512;

/// Centred features of samples times the roots of their weights, by feature.
pub(super) trait Matrix<T>: Debug + Send + Sync {
    /// The number of features.
    fn features(&self) -> usize;

    /// The number of samples, with padding.
    fn stride(&self) -> usize;

    /// Which part of a constant feature's mean its centring may leave.
    fn rounding(&self) -> f64 {
        1e-12
    }

    /// The length of each feature.
    fn lengths(&self) -> Result<Vec<f64>>;

    /// `sum_n x[i, n] r[c, n]`, [rows, C].
    fn correlate(&self, rows: &[usize], r: &[T]) -> Result<Vec<T>>;

    /// `start[c, n] + sum_i w[i, c] x[rows[i], n]`, [C, stride].
    fn combine(&self, rows: &[usize], w: &[T], start: &[T]) -> Result<Vec<T>>;

    /// `correlate` of all features with `r`, then `combine` of the rows that `next` makes of the products.
    fn sweep(&self, r: &[T], start: &[T], next: &Next<T>) -> Result<Swept<T>>;
}

/// [`Matrix::sweep`] where the data pass by twice.
pub(super) fn sweep_twice<T: Number>(
    x: &dyn Matrix<T>,
    r: &[T],
    start: &[T],
    next: &Next<T>,
) -> Result<Swept<T>> {
    let outputs = r.len() / x.stride();
    let all: Vec<usize> = (0..x.features()).collect();
    let products = x.correlate(&all, r)?;
    let (mut rows, mut weights) = (vec![], vec![]);
    let mut row = vec![T::default(); outputs];
    for (i, products) in products.chunks_exact(outputs).enumerate() {
        if next(i, products, &mut row) {
            rows.push(i);
            weights.extend(&row);
        }
    }
    Ok(Swept {
        sums: x.combine(&rows, &weights, start)?,
        products,
        rows,
        weights,
    })
}

/// Samples' weights with their roots and sum.
#[derive(Debug, Clone)]
pub(super) struct Weights {
    pub(super) weights: Vec<f64>,
    pub(super) roots: Vec<f64>,
    pub(super) total: f64,
}

impl Weights {
    pub(super) fn new(weights: Vec<f64>) -> Self {
        Weights {
            roots: weights.iter().map(|w| w.sqrt()).collect(),
            total: weights.iter().sum(),
            weights,
        }
    }

    pub(super) fn root(&self, n: usize) -> f64 {
        self.roots[n]
    }

    pub(super) fn mean(&self, value: impl Fn(usize) -> f64) -> f64 {
        let terms = self.weights.iter().enumerate();
        terms.map(|(n, w)| w * value(n)).sum::<f64>() / self.total
    }
}

/// Means of the features, and what they are divided by.
#[derive(Debug, Clone)]
pub(super) struct Moments {
    pub(super) means: Vec<f64>,
    pub(super) scales: Vec<f64>,
}

impl<T: Number> Matrix<T> for Design<T> {
    fn features(&self) -> usize {
        Design::features(self)
    }

    fn stride(&self) -> usize {
        Design::stride(self)
    }

    fn lengths(&self) -> Result<Vec<f64>> {
        let mut lengths = vec![0.; Design::features(self)];
        buffer::parallel(&mut lengths, FEATURES, |from, lengths| {
            for (i, length) in lengths.iter_mut().enumerate() {
                *length = squares(self.row(from + i)).sqrt();
            }
        });
        Ok(lengths)
    }

    fn correlate(&self, rows: &[usize], r: &[T]) -> Result<Vec<T>> {
        Ok(Design::correlate(self, rows, r))
    }

    fn combine(&self, rows: &[usize], w: &[T], start: &[T]) -> Result<Vec<T>> {
        Ok(Design::combine(self, rows, w, start))
    }

    fn sweep(&self, r: &[T], start: &[T], next: &Next<T>) -> Result<Swept<T>> {
        Ok(Design::sweep(self, r, start, next))
    }
}

/// The sum of squares, in f64.
pub(super) fn squares<T: Number>(x: &[T]) -> f64 {
    sum(x, x, |a, b| a * b)
}

/// The sum of products.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    sum(a, b, |a, b| a * b)
}

/// The squared distance, in f64.
pub(super) fn squared_gap<T: Number>(a: &[T], b: &[T]) -> f64 {
    sum(a, b, |a, b| (a - b) * (a - b))
}

/// Eight sums side by side, which do not wait for each other.
fn sum<T: Number>(a: &[T], b: &[T], f: impl Fn(f64, f64) -> f64) -> f64 {
    const SUMS: usize = 8;
    let term = |(a, b): (&T, &T)| f((*a).into(), (*b).into());
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<SUMS>(), b.as_chunks::<SUMS>());
    let mut sums = [0.; SUMS];
    for (a, b) in a.iter().zip(b) {
        for (sum, pair) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += term(pair);
        }
    }
    sums.into_iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(term).sum::<f64>()
}

//! Sparse data.

use super::checks::not_finite;
use super::matrix::{FEATURES, Matrix, Moments, Weights, squares, sweep_twice};
use crate::check;
use crate::error::{Error, Result};
use crate::kernels::linear::design::{Next, Number, Swept};
use crate::kernels::machine::buffer;

/// Sparse rows: of each sample the columns of the entries that are not zero, and their values.
///
/// Row n has the entries `offsets[n]..offsets[n + 1]` of `columns` and `values`, as in scipy's `csr_matrix`. Columns of a row
/// may have any order; entries of the same place add up.
///
/// Errors: offsets that do not begin at 0, fall, or end elsewhere than at the number of entries; a column beyond the last,
/// or more of them than a u32 counts.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::select::{Csr, Preparation, Problem};
/// # fn main() -> candle_prob::Result<()> {
/// let x = Csr::new(3, vec![0, 1, 1, 3], vec![2, 0, 1], vec![1., 5., 2.])?;
/// let labels = Tensor::new(&[0u32, 0, 1], &Device::Cpu)?;
/// let problem = Problem::classification(&x, &labels, &Preparation::default())?;
/// assert_eq!((problem.samples(), problem.features()), (3, 3));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Csr {
    features: usize,
    offsets: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f32>,
}

impl Csr {
    /// Rows of `features` columns.
    pub fn new(
        features: usize,
        offsets: Vec<usize>,
        columns: Vec<u32>,
        values: Vec<f32>,
    ) -> Result<Self> {
        let op = "Csr::new";
        check::at_most(op, "features", features, u32::MAX as usize)?;
        let entries = values.len();
        if columns.len() != entries {
            let expected = format!("{entries}, as there are values");
            return Err(Error::value(op, "columns", expected, columns.len()));
        }
        let rising = offsets.windows(2).all(|pair| pair[0] <= pair[1]);
        if !rising || offsets.first() != Some(&0) || offsets.last() != Some(&entries) {
            let expected = format!("numbers from 0 to {entries} that never fall");
            let found = format!("{} of them", offsets.len());
            return Err(Error::value(op, "offsets", expected, found));
        }
        if let Some(column) = columns.iter().find(|c| **c as usize >= features) {
            let expected = format!("numbers below {features}");
            return Err(Error::value(op, "columns", expected, column));
        }
        let rows = Csr {
            features,
            offsets,
            columns,
            values,
        };
        Ok(if rows.is_canonical() {
            rows
        } else {
            rows.merged()
        })
    }

    /// Whether every row's columns rise, so that no place has two entries.
    fn is_canonical(&self) -> bool {
        let mut rows = self.offsets.windows(2);
        rows.all(|ends| self.columns[ends[0]..ends[1]].is_sorted_by(|a, b| a < b))
    }

    /// One entry for each place, the columns of each row in order.
    fn merged(self) -> Self {
        let mut out = Csr {
            offsets: vec![0],
            columns: vec![],
            values: vec![],
            ..self
        };
        for ends in self.offsets.windows(2) {
            let entries = ends[0]..ends[1];
            let row = self.columns[entries.clone()].iter();
            let mut row: Vec<(u32, f32)> = row
                .copied()
                .zip(self.values[entries].iter().copied())
                .collect();
            row.sort_by_key(|entry| entry.0);
            for same in row.chunk_by(|a, b| a.0 == b.0) {
                out.columns.push(same[0].0);
                out.values.push(same.iter().map(|entry| entry.1).sum());
            }
            out.offsets.push(out.values.len());
        }
        out
    }

    pub(super) fn size(&self) -> [usize; 2] {
        [self.offsets.len() - 1, self.features]
    }

    /// Sample, column and value of every entry.
    fn entries(&self) -> impl Iterator<Item = (usize, usize, f64)> {
        let rows = self.offsets.windows(2).enumerate();
        rows.flat_map(move |(n, ends)| {
            (ends[0]..ends[1]).map(move |k| (n, self.columns[k] as usize, self.values[k].into()))
        })
    }

    pub(super) fn moments(
        &self,
        op: &'static str,
        weights: &Weights,
    ) -> Result<(Vec<f64>, Vec<f64>)> {
        // Of each feature: its first entry and what the others are beside it, so that a constant is exact; the weight of the
        // entries, and how many samples have none.
        let mut first = vec![None; self.features];
        let mut means = vec![0.; self.features];
        let mut present = vec![0.; self.features];
        let mut left = vec![weights.weights.len(); self.features];
        for (n, i, x) in self.entries() {
            if !x.is_finite() {
                return Err(not_finite(op, "x", x, [n, i]));
            }
            let w = weights.weights[n];
            means[i] += w * (x - *first[i].get_or_insert(x));
            present[i] += w;
            left[i] -= 1;
        }
        for (i, mean) in means.iter_mut().enumerate() {
            if left[i] == 0 {
                present[i] = weights.total;
            }
            // The share of all samples is 1 to the last digit.
            *mean = *mean / weights.total + first[i].unwrap_or(0.) * (present[i] / weights.total);
        }
        let mut spreads = vec![0.; self.features];
        for (n, i, x) in self.entries() {
            spreads[i] += weights.weights[n] * (x - means[i]).powi(2);
        }
        for (i, spread) in spreads.iter_mut().enumerate() {
            let zeros = (weights.total - present[i]).max(0.);
            *spread = ((*spread + zeros * means[i].powi(2)) / weights.total).sqrt();
        }
        Ok((means, spreads))
    }

    pub(super) fn centred<T: Number>(&self, weights: &Weights, moments: &Moments) -> Columns<T> {
        let mut offsets = vec![0; self.features + 1];
        for column in &self.columns {
            offsets[*column as usize + 1] += 1;
        }
        for i in 0..self.features {
            offsets[i + 1] += offsets[i];
        }
        let mut next = offsets.clone();
        let mut samples = vec![0; self.values.len()];
        let mut values = vec![T::default(); self.values.len()];
        for (n, i, x) in self.entries() {
            samples[next[i]] = n as u32;
            values[next[i]] = T::of(x / moments.scales[i] * weights.root(n));
            next[i] += 1;
        }
        let scaled = moments.means.iter().zip(&moments.scales);
        Columns {
            offsets,
            samples,
            values,
            means: scaled.map(|(mean, scale)| mean / scale).collect(),
            roots: weights.roots.clone(),
            exact: weights
                .roots
                .iter()
                .chain(&moments.scales)
                .all(|x| *x == 1.),
        }
    }
}

/// Entries by feature, not centred: the means come in where they do not vanish.
#[derive(Debug)]
pub(super) struct Columns<T> {
    offsets: Vec<usize>,
    samples: Vec<u32>,
    values: Vec<T>,
    means: Vec<f64>,
    roots: Vec<f64>,
    /// Whether the values are those that came.
    exact: bool,
}

impl<T: Number> Columns<T> {
    fn entries(&self, feature: usize) -> impl Iterator<Item = (usize, f64)> {
        let range = self.offsets[feature]..self.offsets[feature + 1];
        let samples = self.samples[range.clone()].iter();
        samples
            .zip(&self.values[range])
            .map(|(n, x)| (*n as usize, (*x).into()))
    }
}

impl<T: Number> Matrix<T> for Columns<T> {
    fn features(&self) -> usize {
        self.means.len()
    }

    fn stride(&self) -> usize {
        self.roots.len()
    }

    /// Values that were multiplied are rounded to f32 before their means are taken away.
    fn rounding(&self) -> f64 {
        if self.exact { 1e-12 } else { 1e-6 }
    }

    fn lengths(&self) -> Result<Vec<f64>> {
        let total = squares(&self.roots);
        let length = |i: usize| {
            let mean = self.means[i];
            let (mut sum, mut rest) = (0., total);
            for (n, x) in self.entries(i) {
                sum += (x - mean * self.roots[n]).powi(2);
                rest -= self.roots[n].powi(2);
            }
            (sum + rest.max(0.) * mean * mean).sqrt()
        };
        Ok((0..self.means.len()).map(length).collect())
    }

    fn correlate(&self, rows: &[usize], r: &[T]) -> Result<Vec<T>> {
        let stride = self.roots.len();
        let outputs = r.len() / stride;
        let sum = |r: &[T]| {
            let terms = r.iter().zip(&self.roots);
            terms.map(|(r, root)| Into::<f64>::into(*r) * root).sum()
        };
        let sums: Vec<f64> = r.chunks_exact(stride).map(sum).collect();
        let mut out = vec![T::default(); rows.len() * outputs];
        buffer::parallel(&mut out, FEATURES * outputs, |from, out| {
            for (i, out) in rows[from / outputs..]
                .iter()
                .zip(out.chunks_exact_mut(outputs))
            {
                let residuals = r.chunks_exact(stride).zip(&sums);
                for (out, (r, sum)) in out.iter_mut().zip(residuals) {
                    let terms = self.entries(*i).map(|(n, x)| x * r[n].into());
                    *out = T::of(terms.sum::<f64>() - self.means[*i] * sum);
                }
            }
        });
        Ok(out)
    }

    fn combine(&self, rows: &[usize], w: &[T], start: &[T]) -> Result<Vec<T>> {
        let stride = self.roots.len();
        let outputs = start.len() / stride;
        let mut sums: Vec<f64> = start.iter().map(|x| (*x).into()).collect();
        for (c, sums) in sums.chunks_exact_mut(stride).enumerate() {
            let mut shift = 0.;
            for (i, w) in rows.iter().zip(w.chunks_exact(outputs)) {
                let w: f64 = w[c].into();
                self.entries(*i).for_each(|(n, x)| sums[n] += w * x);
                shift += w * self.means[*i];
            }
            for (sum, root) in sums.iter_mut().zip(&self.roots) {
                *sum -= shift * root;
            }
        }
        Ok(sums.into_iter().map(T::of).collect())
    }

    fn sweep(&self, r: &[T], start: &[T], next: &Next<T>) -> Result<Swept<T>> {
        sweep_twice(self, r, start, next)
    }
}

//! The normal distribution of the observed elements of a vector.

use crate::kernels::linear::triangular::factor::{substitute, substitute_transposed};

/// Rows of one factor with the same elements observed.
pub(super) struct Pattern {
    pub(super) factor: usize,
    pub(super) observed: Vec<usize>,
    pub(super) missing: Vec<usize>,
    pub(super) rows: Vec<usize>,
}

/// The distribution of the observed elements of a pattern.
pub(super) struct Marginal<'a> {
    pub(super) d: usize,
    /// `[d, d]`; what is above the diagonal is not read.
    lower: &'a [f64],
    pub(super) pattern: &'a Pattern,
    /// The Cholesky factor of their covariance, `[n, n]`.
    pub(super) root: Vec<f64>,
}

impl<'a> Marginal<'a> {
    pub(super) fn new(lower: &'a [f64], d: usize, pattern: &'a Pattern) -> Self {
        let n = pattern.observed.len();
        let mut rows = vec![0.; n * d];
        for (row, i) in rows.chunks_exact_mut(d).zip(&pattern.observed) {
            row[..=*i].copy_from_slice(&lower[i * d..][..=*i]);
        }
        let mut mirror = vec![0.; d];
        for k in 0..n {
            let (done, left) = rows.split_at_mut((k + 1) * d);
            let own = &mut done[k * d + k..];
            let beyond = own[1..].iter().any(|x| *x != 0.);
            if !beyond && own[0] > 0. {
                continue;
            }
            let largest = own.iter().fold(0f64, |most, x| most.max(x.abs()));
            if largest == 0. {
                continue;
            }
            let mirror = &mut mirror[k..];
            mirror
                .iter_mut()
                .zip(&*own)
                .for_each(|(m, x)| *m = x / largest);
            let length = mirror.iter().map(|m| m * m).sum::<f64>().sqrt();
            // Away from zero, so that no digits are lost; the sign of the column is free.
            let sign = if mirror[0] > 0. { -1. } else { 1. };
            mirror[0] -= sign * length;
            let square: f64 = mirror.iter().map(|m| m * m).sum();
            own.fill(0.);
            own[0] = length * largest;
            for row in left.chunks_exact_mut(d) {
                let row = &mut row[k..];
                let product: f64 = row.iter().zip(&*mirror).map(|(x, m)| x * m).sum();
                let factor = 2. * product / square;
                row.iter_mut()
                    .zip(&*mirror)
                    .for_each(|(x, m)| *x -= factor * m);
                row[0] *= sign;
            }
        }
        Marginal {
            d,
            lower,
            pattern,
            root: rows
                .chunks_exact(d.max(1))
                .flat_map(|row| row[..n].to_vec())
                .collect(),
        }
    }

    /// Row `i` of the factor.
    pub(super) fn row(&self, i: usize) -> &[f64] {
        &self.lower[i * self.d..][..=i]
    }

    /// `S_oo^-1 x`.
    pub(super) fn precision(&self, x: &mut [f64]) {
        substitute(&self.root, x);
        substitute_transposed(&self.root, x);
    }

    /// The elements that are observed.
    pub(super) fn pick(&self, x: &[f64]) -> Vec<f64> {
        self.pattern.observed.iter().map(|i| x[*i]).collect()
    }

    /// `sum_k x_k L[elements_k]`, [d].
    pub(super) fn combine(&self, elements: &[usize], x: impl Iterator<Item = f64>) -> Vec<f64> {
        let mut sum = vec![0.; self.d];
        for (i, x) in elements.iter().zip(x) {
            sum.iter_mut()
                .zip(self.row(*i))
                .for_each(|(sum, l)| *sum += x * l);
        }
        sum
    }

    /// `L_o v`.
    pub(super) fn products(&self, v: &[f64]) -> Vec<f64> {
        let row = |i: &usize| self.row(*i).iter().zip(v).map(|(l, v)| l * v).sum();
        self.pattern.observed.iter().map(row).collect()
    }
}

/// Adds `scale v` to row `i` of a gradient to the factor, whose upper triangle stays 0.
pub(super) fn add(to_factor: &mut [f64], i: usize, scale: f64, v: &[f64]) {
    let row = &mut to_factor[i * v.len()..][..=i];
    row.iter_mut().zip(v).for_each(|(to, v)| *to += scale * v);
}

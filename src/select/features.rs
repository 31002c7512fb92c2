//! Where features come from: tensors, sparse rows, or blocks that are read again and again.

use super::checks::check_finite;
use super::matrix::{FEATURES, Matrix, Moments, Weights};
use super::{Blocks, Csr};
use crate::error::{Error, Result};
use crate::kernels::linear::design::{Design, Number};
use crate::kernels::machine::buffer::{self, View};
use crate::shape;
use candle_core::{DType, Device, Tensor, WithDType};
use std::sync::Arc;

/// The features of a [`Problem`](super::Problem).
#[derive(Debug, Clone)]
pub enum Features<'a> {
    /// A tensor `[N, d]`, f32 or f64.
    Dense(&'a Tensor),
    /// Rows of what is not zero.
    Sparse(&'a Csr),
    /// Data that do not fit into memory.
    Blocks(&'a Blocks),
}

impl<'a> From<&'a Tensor> for Features<'a> {
    fn from(x: &'a Tensor) -> Self {
        Features::Dense(x)
    }
}

impl<'a> From<&'a Csr> for Features<'a> {
    fn from(x: &'a Csr) -> Self {
        Features::Sparse(x)
    }
}

impl<'a> From<&'a Blocks> for Features<'a> {
    fn from(x: &'a Blocks) -> Self {
        Features::Blocks(x)
    }
}

impl Features<'_> {
    /// Samples and features, neither of them 0, in a dtype that is known.
    pub(super) fn size(&self, op: &'static str) -> Result<[usize; 2]> {
        let size = match self {
            Features::Dense(x) => shape::dims(op, "x", x.dims(), "[N, d]")?,
            Features::Sparse(x) => x.size(),
            Features::Blocks(x) => x.size(),
        };
        if size.contains(&0) {
            return Err(Error::shape(op, "x", "[N, d], neither of them 0", &size));
        }
        match self.dtype() {
            DType::F32 | DType::F64 => Ok(size),
            other => Err(Error::value(op, "x", "f32 or f64", format!("{other:?}"))),
        }
    }

    pub(super) fn dtype(&self) -> DType {
        match self {
            Features::Dense(x) => x.dtype(),
            Features::Sparse(_) => DType::F32,
            Features::Blocks(x) => x.dtype(),
        }
    }

    /// Means and, where asked for, standard deviations.
    pub(super) fn moments(
        &self,
        op: &'static str,
        weights: &Weights,
        standardize: bool,
    ) -> Result<Moments> {
        let (means, spreads) = match self {
            Features::Dense(x) => match x.dtype() {
                DType::F64 => dense_moments::<f64>(op, x, weights, standardize)?,
                _ => dense_moments::<f32>(op, x, weights, standardize)?,
            },
            Features::Sparse(x) => x.moments(op, weights)?,
            Features::Blocks(x) => x.moments(op, weights, standardize)?,
        };
        if !standardize {
            let scales = vec![1.; means.len()];
            return Ok(Moments { means, scales });
        }
        for (i, (scale, mean)) in spreads.iter().zip(&means).enumerate() {
            if !(scale.is_finite() && mean.is_finite()) {
                let expected = "features whose squares have finite sums";
                let found = format!("larger numbers in column {i}");
                return Err(Error::value(op, "x", expected, found));
            }
            // A feature without spread has no standard deviation to be divided by.
            if !(*scale > 1e-12 * mean.abs()) {
                let expected = "features that are not constant, to be standardized";
                let found = format!("{mean} in all of column {i}");
                return Err(Error::value(op, "x", expected, found));
            }
        }
        Ok(Moments {
            means,
            scales: spreads,
        })
    }

    pub(super) fn centred<T: Number + WithDType>(
        &self,
        weights: &Weights,
        moments: &Moments,
    ) -> Result<Arc<dyn Matrix<T>>> {
        Ok(match self {
            Features::Dense(x) => {
                let x = x.to_device(&Device::Cpu)?.contiguous()?;
                let view = View::new(&x)?;
                let Moments { means, scales } = moments;
                let rows = view.as_slice::<T>()?;
                Arc::new(Design::centred(rows, [means, scales], &weights.roots))
            }
            Features::Sparse(x) => Arc::new(x.centred(weights, moments)),
            Features::Blocks(x) => Arc::new(x.centred(weights, moments)),
        })
    }
}

fn dense_moments<T: Number + WithDType>(
    op: &'static str,
    x: &Tensor,
    weights: &Weights,
    spreads: bool,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let features = x.dim(1)?;
    let x = x.to_device(&Device::Cpu)?.contiguous()?;
    let view = View::new(&x)?;
    let values = view.as_slice::<T>()?;
    // Beside the first row, so that the mean of a constant is exact.
    let first: Vec<f64> = values[..features].iter().map(|x| (*x).into()).collect();
    let mut means = weighted_means(values, features, weights, |i, x| x - first[i]);
    means.iter_mut().zip(&first).for_each(|(m, f)| *m += f);
    // Every entry is in a mean, with weight 0 too, and none that is not finite leaves it finite.
    if means.iter().any(|mean| !mean.is_finite()) {
        let rows = values.chunks_exact(features);
        let number = |x: &T| -> f64 { (*x).into() };
        check_finite(op, "x", rows.map(|row| row.iter().map(number)), 0)?;
    }
    if !spreads {
        return Ok((means, vec![]));
    }
    let mut spreads = weighted_means(values, features, weights, |i, x| (x - means[i]).powi(2));
    spreads.iter_mut().for_each(|s| *s = s.sqrt());
    Ok((means, spreads))
}

/// Of each feature the mean of `f(feature, entry)`.
fn weighted_means<T: Number>(
    values: &[T],
    features: usize,
    weights: &Weights,
    f: impl Fn(usize, f64) -> f64 + Sync,
) -> Vec<f64> {
    let mut means = vec![0.; features];
    buffer::parallel(&mut means, FEATURES, |from, means| {
        for (row, w) in values.chunks_exact(features).zip(&weights.weights) {
            for (i, (mean, x)) in means.iter_mut().zip(&row[from..]).enumerate() {
                *mean += w * f(from + i, (*x).into());
            }
        }
        means.iter_mut().for_each(|mean| *mean /= weights.total);
    });
    means
}

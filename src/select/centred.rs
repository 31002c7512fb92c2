//! Centred data, in the dtype in which they are held.

use super::matrix::Matrix;
use crate::error::Result;
use crate::kernels::linear::design::Number;
use std::sync::Arc;

/// Features and targets without their means, each sample times the root of its weight.
#[derive(Debug, Clone)]
pub(super) struct Centred<T> {
    pub(super) x: Arc<dyn Matrix<T>>,
    /// `[C, stride]`, zero in the padding.
    pub(super) y: Vec<T>,
}

impl<T: Number> Centred<T> {
    /// With `outputs` targets, of which `y(n, c)` is one of sample n.
    pub(super) fn new(
        x: Arc<dyn Matrix<T>>,
        [samples, outputs]: [usize; 2],
        y: impl Fn(usize, usize) -> f64,
    ) -> Self {
        let stride = x.stride();
        let all = (0..outputs).flat_map(|c| (0..stride).map(move |n| (n, c)));
        let y = all.map(|(n, c)| if n < samples { y(n, c) } else { 0. });
        let y = y.map(T::of).collect();
        Centred { x, y }
    }
}

/// Centred data by dtype.
#[derive(Debug, Clone)]
pub(super) enum Data {
    F32(Centred<f32>),
    F64(Centred<f64>),
}

impl Data {
    /// For all but the steps of a path, which take the numbers as they are held.
    pub(super) fn wide(&self) -> &dyn Wide {
        match self {
            Data::F32(data) => data,
            Data::F64(data) => data,
        }
    }
}

/// Centred data that are asked and answered in f64, whatever they are held in.
pub(super) trait Wide: Send + Sync {
    /// The number of features.
    fn features(&self) -> usize;

    /// The number of samples, with padding.
    fn stride(&self) -> usize;

    /// The relative rounding of a sum of many products, with room.
    fn rounding(&self) -> f64;

    /// As [`Matrix::rounding`]: which part of a constant feature's mean its centring may leave.
    fn centring(&self) -> f64;

    /// The length of each feature.
    fn lengths(&self) -> Result<Vec<f64>>;

    /// The targets, [C, stride].
    fn targets(&self) -> Vec<f64>;

    /// As [`Matrix::correlate`], [rows, C].
    fn correlate(&self, rows: &[usize], r: &[f64]) -> Result<Vec<f64>>;

    /// As [`Matrix::combine`], [C, stride].
    fn combine(&self, rows: &[usize], w: &[f64], start: &[f64]) -> Result<Vec<f64>>;

    /// The numbers of these features, [features, stride].
    fn columns(&self, features: &[usize]) -> Result<Vec<f64>> {
        let k = features.len();
        let mut eye = vec![0.; k * k];
        eye.iter_mut().step_by(k + 1).for_each(|x| *x = 1.);
        self.combine(features, &eye, &vec![0.; k * self.stride()])
    }
}

impl<T: Number> Wide for Centred<T> {
    fn features(&self) -> usize {
        self.x.features()
    }

    fn stride(&self) -> usize {
        self.x.stride()
    }

    fn rounding(&self) -> f64 {
        T::ROUNDING
    }

    fn centring(&self) -> f64 {
        self.x.rounding()
    }

    fn lengths(&self) -> Result<Vec<f64>> {
        self.x.lengths()
    }

    fn targets(&self) -> Vec<f64> {
        self.y.iter().map(|y| (*y).into()).collect()
    }

    fn correlate(&self, rows: &[usize], r: &[f64]) -> Result<Vec<f64>> {
        Ok(wide(self.x.correlate(rows, &narrow(r))?))
    }

    fn combine(&self, rows: &[usize], w: &[f64], start: &[f64]) -> Result<Vec<f64>> {
        Ok(wide(self.x.combine(rows, &narrow(w), &narrow(start))?))
    }
}

fn narrow<T: Number>(x: &[f64]) -> Vec<T> {
    x.iter().map(|x| T::of(*x)).collect()
}

fn wide<T: Number>(x: Vec<T>) -> Vec<f64> {
    x.into_iter().map(T::into).collect()
}

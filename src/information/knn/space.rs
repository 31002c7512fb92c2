//! Samples of one variable, and the spaces that several are joined to.

use super::KnnConfig;
use crate::error::{Error, Result};
use crate::neighbours::{Metric, NearestNeighbours};
use crate::rng::Rng;
use crate::shape;
use candle_core::{DType, Device, Tensor};
use std::cmp::Ordering;

/// Samples in f64, a row each.
#[derive(Debug)]
pub(super) struct Samples {
    pub(super) rows: Vec<f64>,
    pub(super) dims: usize,
}

impl Samples {
    /// Of a tensor `[N, d]` with finite elements, with the noise that the config asks for.
    pub(super) fn new(
        op: &'static str,
        arg: &'static str,
        x: &Tensor,
        config: &KnnConfig,
        rng: &mut Rng,
    ) -> Result<Self> {
        shape::parameter(op, arg, x)?;
        let [_, dims] = shape::dims(op, arg, x.dims(), "[N, d]")?;
        let x = x.detach().to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
        let mut samples = Samples {
            rows: x.flatten_all()?.to_vec1()?,
            dims,
        };
        if let Some(bad) = samples.rows.iter().find(|x| !x.is_finite()) {
            return Err(Error::value(op, arg, "finite numbers", bad));
        }
        if config.jitter > 0. {
            let noise = rng.normal(samples.rows.len(), DType::F64, &Device::Cpu)?;
            samples.move_by(&noise.to_vec1()?, config.jitter);
        }
        Ok(samples)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len() / self.dims
    }

    pub(super) fn row(&self, n: usize) -> &[f64] {
        &self.rows[n * self.dims..][..self.dims]
    }

    /// Adds `noise` times `share` of each coordinate's standard deviation.
    fn move_by(&mut self, noise: &[f64], share: f64) {
        let n = self.len() as f64;
        for i in 0..self.dims {
            let column = || self.rows.iter().skip(i).step_by(self.dims);
            let mean = column().sum::<f64>() / n;
            let variance = column().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
            let scale = share * variance.sqrt();
            let moved = self.rows.iter_mut().zip(noise).skip(i).step_by(self.dims);
            moved.for_each(|(x, noise)| *x += scale * noise);
        }
    }

    /// Marks the samples that are equal to another one.
    pub(super) fn mark_ties(&self, tied: &mut [bool]) {
        // Finite numbers always compare, and -0 equals 0.
        let order = |a: &usize, b: &usize| {
            let order = self.row(*a).partial_cmp(self.row(*b));
            order.unwrap_or(Ordering::Equal)
        };
        let mut sorted: Vec<usize> = (0..self.len()).collect();
        sorted.sort_unstable_by(order);
        for pair in sorted.windows(2) {
            if order(&pair[0], &pair[1]).is_eq() {
                tied[pair[0]] = true;
                tied[pair[1]] = true;
            }
        }
    }

    /// These samples as they are, to look for neighbours among.
    pub(super) fn neighbours(&self, metric: Metric) -> Result<NearestNeighbours> {
        let shape = (self.len(), self.dims);
        NearestNeighbours::new(
            &Tensor::from_slice(&self.rows, shape, &Device::Cpu)?,
            metric,
        )
    }
}

/// The share of the samples that are equal to another one in some of the spaces.
pub(super) fn tie_share(spaces: &[&Samples]) -> f64 {
    let mut tied = vec![false; spaces.first().map_or(0, |x| x.len())];
    for space in spaces {
        space.mark_ties(&mut tied);
    }
    tied.iter().filter(|tied| **tied).count() as f64 / tied.len() as f64
}

/// As many samples of one variable as of another.
pub(super) fn same_count(
    op: &'static str,
    arg: &'static str,
    found: &Tensor,
    samples: usize,
) -> Result<()> {
    let dims = found.dims().get(1).copied().unwrap_or(0);
    shape::exactly(op, arg, found.dims(), &[samples, dims])
}

/// Row n holds what each variable has at the sample that its order puts there.
pub(super) fn joint(spaces: &[(&Samples, &[usize])]) -> Result<NearestNeighbours> {
    let dims: usize = spaces.iter().map(|(x, _)| x.dims).sum();
    let count = spaces.first().map_or(0, |(_, order)| order.len());
    let mut rows = Vec::with_capacity(count * dims);
    for n in 0..count {
        for (x, order) in spaces {
            rows.extend_from_slice(x.row(order[n]));
        }
    }
    let rows = Tensor::from_vec(rows, (count, dims), &Device::Cpu)?;
    NearestNeighbours::new(&rows, Metric::Chebyshev)
}

/// The largest difference of coordinates.
pub(super) fn chebyshev(a: &[f64], b: &[f64]) -> f64 {
    a.iter()
        .zip(b)
        .fold(0., |most, (a, b)| f64::max(most, (a - b).abs()))
}

/// A distance of spaces joined is the longest of their distances. In a space of one dimension all metrics are one.
pub(super) fn max_norm(op: &'static str, metric: Metric, spaces: &[&Samples]) -> Result<()> {
    let one = spaces.iter().all(|x| x.dims == 1);
    match metric {
        Metric::Chebyshev => Ok(()),
        _ if one => Ok(()),
        other => {
            let expected = "Chebyshev, where a space has several dimensions";
            Err(Error::value(op, "metric", expected, format!("{other:?}")))
        }
    }
}

//! Samples of one variable, and the spaces that several are joined to.

use super::KnnConfig;
use crate::error::{Error, Result};
use crate::neighbours::{Metric, NearestNeighbours};
use crate::rng::Rng;
use crate::shape;
use candle_core::{DType, Device, Tensor};
use std::cmp::Ordering;

const LARGEST: f64 = 1e150;

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
        // Squares of differences are finite.
        if let Some(bad) = samples.rows.iter().find(|x| !(x.abs() <= LARGEST)) {
            let expected = "finite numbers of at most 1e150 in magnitude";
            return Err(Error::value(op, arg, expected, bad));
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
        let first = |n: usize| (self.row(n)[0], n);
        let mut sorted: Vec<(f64, usize)> = (0..self.len()).map(first).collect();
        // -0 is put beside 0, which it equals.
        sorted.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let order = |a: &(f64, usize), b: &(f64, usize)| {
            // Finite numbers always compare.
            let order = self.row(a.1).partial_cmp(self.row(b.1));
            order.unwrap_or(Ordering::Equal)
        };
        for run in sorted.chunk_by_mut(|a, b| a.0 == b.0) {
            run.sort_unstable_by(order);
            for pair in run.windows(2) {
                if order(&pair[0], &pair[1]).is_eq() {
                    tied[pair[0].1] = true;
                    tied[pair[1].1] = true;
                }
            }
        }
    }

    /// To look for neighbours among.
    pub(super) fn neighbours(&self, metric: Metric) -> Result<NearestNeighbours> {
        NearestNeighbours::new(&self.tensor()?, metric)
    }

    /// `[N, d]`.
    pub(super) fn tensor(&self) -> Result<Tensor> {
        let shape = (self.len(), self.dims);
        Ok(Tensor::from_slice(&self.rows, shape, &Device::Cpu)?)
    }

    /// The samples of these numbers.
    pub(super) fn pick(&self, numbers: &[usize]) -> Self {
        let mut rows = Vec::with_capacity(numbers.len() * self.dims);
        for n in numbers {
            rows.extend_from_slice(self.row(*n));
        }
        Samples {
            rows,
            dims: self.dims,
        }
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

/// A tensor `[N, d]` for as many samples as another variable has.
pub(super) fn same_count(
    op: &'static str,
    arg: &'static str,
    found: &Tensor,
    samples: usize,
) -> Result<()> {
    match found.dims() {
        [n, _] if *n == samples => Ok(()),
        other => Err(Error::shape(op, arg, format!("[{samples}, d]"), other)),
    }
}

/// Row n holds what each variable has at the sample that its order puts there.
pub(super) fn joint(spaces: &[(&Samples, &[usize])]) -> Samples {
    let dims: usize = spaces.iter().map(|(x, _)| x.dims).sum();
    let count = spaces.first().map_or(0, |(_, order)| order.len());
    let mut rows = Vec::with_capacity(count * dims);
    for n in 0..count {
        for (x, order) in spaces {
            rows.extend_from_slice(x.row(order[n]));
        }
    }
    Samples { rows, dims }
}

/// As [`NearestNeighbours`] computes it.
pub(super) fn distance(metric: Metric, a: &[f64], b: &[f64]) -> f64 {
    let gaps = a.iter().zip(b).map(|(a, b)| a - b);
    match metric {
        Metric::Euclidean => gaps.fold(0., |sum, gap| sum + gap * gap).sqrt(),
        Metric::Manhattan => gaps.fold(0., |sum, gap| sum + gap.abs()),
        Metric::Chebyshev => gaps.fold(0., |most, gap| f64::max(most, gap.abs())),
    }
}

/// Refuses a metric that spaces of these variables joined do not have: their distance is the longest of those of the
/// variables, and in a space of one dimension all metrics are one.
pub(super) fn max_norm(op: &'static str, metric: Metric, variables: &[&Samples]) -> Result<()> {
    if metric == Metric::Chebyshev || variables.iter().all(|x| x.dims == 1) {
        return Ok(());
    }
    let expected = "Chebyshev, where a variable has several dimensions";
    Err(Error::value(op, "metric", expected, format!("{metric:?}")))
}

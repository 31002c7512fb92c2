//! Means over samples of functions of counts.

use crate::error::Result;
use crate::kernels::number;
use crate::neighbours::{Bound, NearestNeighbours};
use candle_core::{Device, Tensor};

/// How many others lie within each sample's radius.
pub(super) fn others_within(
    points: &NearestNeighbours,
    radius: Vec<f64>,
    bound: Bound,
) -> Result<Vec<u32>> {
    let radius = Tensor::new(radius, &Device::Cpu)?;
    Ok(points.count_others_within(&radius, bound)?.to_vec1()?)
}

/// The distances to the k nearest others, `[N, k]`.
pub(super) fn distances(points: &NearestNeighbours, k: usize) -> Result<Vec<f64>> {
    Ok(points
        .nearest_others(k)?
        .distance
        .flatten_all()?
        .to_vec1()?)
}

/// The distance to the k-th nearest other.
pub(super) fn radii(points: &NearestNeighbours, k: usize) -> Result<Vec<f64>> {
    let distances = distances(points, k)?;
    Ok(distances.into_iter().skip(k - 1).step_by(k).collect())
}

/// `<psi(n + more)>`. Equal counts are looked at once, whatever the order of the samples.
pub(super) fn mean_digamma(counts: &[u32], more: u32) -> f64 {
    let most = counts.iter().max().copied().unwrap_or(0) as usize;
    let mut times = vec![0u32; most + 1];
    counts.iter().for_each(|n| times[*n as usize] += 1);
    let terms = times.iter().enumerate().filter(|(_, times)| **times > 0);
    let sum: f64 = terms
        .map(|(n, times)| f64::from(*times) * digamma(n + more as usize))
        .sum();
    sum / counts.len() as f64
}

/// `psi(n)`, n at least 1.
pub(super) fn digamma(n: usize) -> f64 {
    number::digamma(n as f64)
}

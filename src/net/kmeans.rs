//! The starting codes of a codebook: k-means from rows of data.

use crate::error::Result;
use crate::neighbours::{Metric, NearestNeighbours};
use crate::rng::Rng;
use candle_core::{DType, Device, Tensor};

/// Lloyd's steps: the distortion hardly falls after so many, and training goes on from there.
const STEPS: usize = 10;

/// Centres `[k, d]` of the rows `[M, d]`, f64 on the CPU, and how many rows are nearest to each.
///
/// Seeding by k-means++ (Arthur and Vassilvitskii 2007): each next centre is a row, chosen with a probability proportional to
/// its squared distance from the nearest centre so far; any row where all distances are 0. Then Lloyd's steps, in which a
/// centre without rows stays where it is.
pub(super) fn kmeans(rows: &Tensor, k: usize, rng: &mut Rng) -> Result<[Tensor; 2]> {
    let mut centres = seeds(rows, k, rng)?;
    for _ in 0..STEPS {
        let [sums, counts] = sums(rows, &nearest(rows, &centres)?, k)?;
        let filled = counts.ge(1.)?.unsqueeze(1)?.broadcast_as(sums.shape())?;
        let means = sums.broadcast_div(&counts.maximum(1.)?.unsqueeze(1)?)?;
        centres = filled.where_cond(&means, &centres)?;
    }
    let [_, counts] = sums(rows, &nearest(rows, &centres)?, k)?;
    Ok([centres, counts])
}

fn nearest(rows: &Tensor, centres: &Tensor) -> Result<Tensor> {
    let found = NearestNeighbours::new(centres, Metric::Euclidean)?.nearest(rows, 1)?;
    Ok(found.index.flatten_all()?)
}

/// The sum of the rows `[M, d]` that have each index, `[k, d]`, and their number, `[k]`.
pub(super) fn sums(rows: &Tensor, index: &Tensor, k: usize) -> Result<[Tensor; 2]> {
    let zeros = Tensor::zeros((k, rows.dim(1)?), rows.dtype(), rows.device())?;
    let ones = Tensor::ones(rows.dim(0)?, rows.dtype(), rows.device())?;
    let none = Tensor::zeros(k, rows.dtype(), rows.device())?;
    Ok([
        zeros.index_add(index, &rows.contiguous()?, 0)?,
        none.index_add(index, &ones, 0)?,
    ])
}

fn seeds(rows: &Tensor, k: usize, rng: &mut Rng) -> Result<Tensor> {
    let (count, dims) = rows.dims2()?;
    let uniforms = rng.uniform(k, DType::F64, &Device::Cpu)?.to_vec1::<f64>()?;
    let data = rows.flatten_all()?.to_vec1::<f64>()?;
    let mut squares = vec![f64::INFINITY; count];
    let mut chosen = vec![];
    for uniform in uniforms {
        let total: f64 = squares.iter().sum();
        let at = match total > 0. && total.is_finite() {
            true => {
                let mut left = uniform * total;
                let passed = |square: &f64| {
                    left -= square;
                    left < 0.
                };
                // Rounding may leave something behind the last row; a row at a centre is never chosen.
                let last = || squares.iter().rposition(|square| *square > 0.);
                squares.iter().position(passed).or_else(last)
            }
            // The first centre, or no row that is not one.
            false => None,
        };
        let at = at.unwrap_or((uniform * count as f64) as usize);
        let centre = &data[at * dims..][..dims];
        for (square, row) in squares.iter_mut().zip(data.chunks_exact(dims)) {
            let gaps = row.iter().zip(centre).map(|(a, b)| (a - b) * (a - b));
            *square = square.min(gaps.sum());
        }
        chosen.push(at as u32);
    }
    let chosen = Tensor::new(chosen, &Device::Cpu)?;
    Ok(rows.index_select(&chosen, 0)?)
}

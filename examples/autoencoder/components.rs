//! Principal components: the best linear codes.

use crate::common::file_error;
use crate::common::images::Split;
use crate::train::images;
use candle_core::{DType, Device, Tensor};
use candle_prob::{Result, Rng};
use std::path::Path;

/// The mean of rows, [1, width], and their first principal components, [components, width].
pub struct Components {
    mean: Tensor,
    axes: Tensor,
}

const PART: usize = 1000;
/// Of the power iteration: what is between two variances v > w shrinks by w / v in each.
const ITERATIONS: usize = 100;

impl Components {
    /// Of these images; as many as there are pixels at most.
    pub fn of_images(data: &Split, indices: &[usize], count: usize, rng: &mut Rng) -> Result<Self> {
        let part = |part: &[usize]| images(data, part);
        Self::fit(indices.chunks(PART).map(part), count, rng)
    }

    /// Of rows that come in parts [n, width].
    pub fn fit(
        parts: impl Iterator<Item = Result<Tensor>>,
        count: usize,
        rng: &mut Rng,
    ) -> Result<Self> {
        let mut rows = 0.;
        let mut sums: Option<[Tensor; 2]> = None;
        for x in parts {
            let x = x?.to_dtype(DType::F64)?;
            rows += x.dim(0)? as f64;
            let own = [x.sum_keepdim(0)?, x.t()?.matmul(&x)?];
            sums = Some(match sums {
                None => own,
                Some([sum, squares]) => [(sum + &own[0])?, (squares + &own[1])?],
            });
        }
        let Some([sum, squares]) = sums else {
            return Err(file_error(Path::new("components"), "images", "none"));
        };
        let mean = (sum / rows)?;
        let covariance = ((squares / rows)? - mean.t()?.matmul(&mean)?)?;
        let width = mean.dim(1)?;
        let mut axes = rng.normal((count.min(width), width), DType::F64, &Device::Cpu)?;
        for _ in 0..ITERATIONS {
            axes = orthonormal(axes.matmul(&covariance)?.to_vec2()?)?;
        }
        Ok(Components {
            mean: mean.to_dtype(DType::F32)?,
            axes: axes.to_dtype(DType::F32)?,
        })
    }

    /// Coordinates [N, components] of rows [N, width].
    pub fn encode(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.broadcast_sub(&self.mean)?.matmul(&self.axes.t()?)?)
    }

    /// The nearest rows of the components' span.
    pub fn reconstruct(&self, x: &Tensor) -> Result<Tensor> {
        let projected = self.encode(x)?.matmul(&self.axes)?;
        Ok(projected.broadcast_add(&self.mean)?)
    }
}

/// The rows made orthogonal and of length 1, by Gram and Schmidt. Rows without a length of their own stay zero.
fn orthonormal(rows: Vec<Vec<f64>>) -> Result<Tensor> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut out: Vec<Vec<f64>> = vec![];
    for mut row in rows {
        let before = dot(&row, &row).sqrt();
        for other in &out {
            let along = dot(&row, other);
            row.iter_mut().zip(other).for_each(|(x, y)| *x -= along * y);
        }
        let length = dot(&row, &row).sqrt();
        let scale = if length > 1e-12 * before {
            1. / length
        } else {
            0.
        };
        row.iter_mut().for_each(|x| *x *= scale);
        out.push(row);
    }
    Ok(Tensor::new(out, &Device::Cpu)?)
}

//! Clusters.

use crate::common::file_error;
use crate::common::images::CLASSES;
use candle_core::Tensor;
use candle_prob::Result;
use linfa::DatasetBase;
use linfa::traits::{Fit, Predict};
use linfa_clustering::KMeans;
use ndarray::Array2;
use std::path::Path;

/// As many clusters as classes of the rows of `x`, the best of `restarts` runs of k-means.
pub fn k_means(x: &Tensor, restarts: usize) -> Result<Vec<usize>> {
    let (rows, columns) = x.dims2()?;
    let failed = |e: String| file_error(Path::new("k-means"), "clusters", e);
    if rows < CLASSES {
        return Err(failed(format!("{rows} images for {CLASSES} clusters")));
    }
    let numbers = x.flatten_all()?.to_vec1::<f32>()?;
    let array =
        Array2::from_shape_vec((rows, columns), numbers).map_err(|e| failed(e.to_string()))?;
    let data = DatasetBase::from(array);
    let model = KMeans::params(CLASSES)
        .n_runs(restarts)
        .fit(&data)
        .map_err(|e| failed(e.to_string()))?;
    Ok(model.predict(&data).to_vec())
}

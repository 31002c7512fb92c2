//! The rotation nearest to a matrix.

use crate::error::Result;
use candle_core::{DType, Tensor};
use rayon::prelude::*;

/// The orthogonal `Q = U V'` of `M = U S V'`, for each `d x d` matrix of the batch, f64, without a gradient: it is where
/// `tr(Q' M)` is largest, so that an expression which it makes extremal has the gradient of Q held fixed.
///
/// Singular values of 0 leave Q a partial isometry.
pub(crate) fn polar(matrices: &Tensor) -> Result<Tensor> {
    let x = matrices.detach().to_dtype(DType::F64)?;
    let d = x.dims().last().copied().unwrap_or(1);
    let mut data = x.flatten_all()?.to_vec1::<f64>()?;
    data.par_chunks_mut((d * d).max(1))
        .for_each(|m| rotate(m, d));
    Ok(Tensor::from_vec(data, x.shape(), x.device())?)
}

/// One-sided Jacobi (Hestenes 1958): the columns of M are rotated against each other until all are orthogonal,
/// `M V = W`; then Q is W with its columns scaled to 1, times V'.
fn rotate(m: &mut [f64], d: usize) {
    // Columns as rows.
    let mut w: Vec<Vec<f64>> = (0..d)
        .map(|j| (0..d).map(|i| m[i * d + j]).collect())
        .collect();
    let mut v: Vec<Vec<f64>> = (0..d)
        .map(|j| (0..d).map(|i| if i == j { 1. } else { 0. }).collect())
        .collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    // Convergence is quadratic; the bound is for NaN only.
    for _ in 0..60 {
        let mut turned = false;
        for j in 1..d {
            for i in 0..j {
                let (a, b, c) = (dot(&w[i], &w[i]), dot(&w[j], &w[j]), dot(&w[i], &w[j]));
                if c.abs() <= f64::EPSILON * (a * b).sqrt() {
                    continue;
                }
                turned = true;
                let z = (b - a) / (2. * c);
                let t = z.signum() / (z.abs() + z.hypot(1.));
                let cos = 1. / t.hypot(1.);
                for x in [&mut w, &mut v] {
                    let (head, tail) = x.split_at_mut(j);
                    turn(&mut head[i], &mut tail[0], cos, cos * t);
                }
            }
        }
        if !turned {
            break;
        }
    }
    m.fill(0.);
    for (w, v) in w.iter().zip(&v) {
        let length = dot(w, w).sqrt();
        if length == 0. {
            continue;
        }
        for (row, w) in m.chunks_exact_mut(d).zip(w) {
            for (q, v) in row.iter_mut().zip(v) {
                *q += w / length * v;
            }
        }
    }
}

fn turn(x: &mut [f64], y: &mut [f64], cos: f64, sin: f64) {
    for (x, y) in x.iter_mut().zip(y) {
        (*x, *y) = (cos * *x - sin * *y, sin * *x + cos * *y);
    }
}

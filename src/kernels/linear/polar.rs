//! The rotation nearest to a matrix.

use crate::error::Result;
use candle_core::{DType, Tensor};
use rayon::prelude::*;

/// The orthogonal `Q = U V'` of `M = U S V'`, for each `d x d` matrix of the batch, f64, without a gradient: it is where
/// `tr(Q' M)` is largest, so that an expression which it makes extremal has the gradient of Q held fixed.
///
/// Where singular values are 0 Q is one of many.
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
    for column in &mut w {
        let length = dot(column, column).sqrt();
        if length == 0. {
            column.fill(0.);
        } else {
            column.iter_mut().for_each(|x| *x /= length);
        }
    }
    complete(&mut w);
    m.fill(0.);
    for (w, v) in w.iter().zip(&v) {
        for (row, w) in m.chunks_exact_mut(d).zip(w) {
            for (q, v) in row.iter_mut().zip(v) {
                *q += w * v;
            }
        }
    }
}

/// Makes unit vectors of the zeros among orthonormal `rows`, orthogonal to all others: of the unit vectors of the axes one
/// keeps a d-th or more of its squared length outside of what the others span.
fn complete(rows: &mut [Vec<f64>]) {
    let d = rows.len();
    for j in 0..d {
        if rows[j].iter().any(|x| *x != 0.) {
            continue;
        }
        for axis in 0..d {
            let mut x = vec![0.; d];
            x[axis] = 1.;
            // Twice, against rounding.
            for _ in 0..2 {
                for row in rows.iter() {
                    let share = dot(row, &x);
                    x.iter_mut().zip(row).for_each(|(x, row)| *x -= share * row);
                }
            }
            let length = dot(&x, &x).sqrt();
            if length * length > 0.5 / d as f64 {
                x.iter_mut().for_each(|x| *x /= length);
                rows[j] = x;
                break;
            }
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn turn(x: &mut [f64], y: &mut [f64], cos: f64, sin: f64) {
    for (x, y) in x.iter_mut().zip(y) {
        (*x, *y) = (cos * *x - sin * *y, sin * *x + cos * *y);
    }
}

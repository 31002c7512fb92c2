//! The Frechet distance between samples of features.

use super::{gaussian_wasserstein2_squared, points};
use crate::error::Result;
use candle_core::{Device, Tensor};

/// The squared Frechet distance between the Gaussians that fit two samples of features: of Inception features it is the FID.
///
/// Formula: `|mu_x - mu_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2))` with the means and the covariances (over N - 1) of both
/// samples: [`gaussian_wasserstein2_squared`] of roots of the covariances, which keeps the digits of near-equal samples.
///
/// Shapes: `x` `[N, d]` and `y` `[M, d]`, of any floating-point dtypes. Units: those of the features, squared. Gradients: none.
///
/// Errors: fewer than two points on a side; points that do not fit or are not finite.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_prob::{Rng, divergence::frechet_distance};
/// # fn main() -> candle_prob::Result<()> {
/// // Fewer points than dimensions will do.
/// let x = Rng::new(0).normal((10, 16), DType::F32, &Device::Cpu)?;
/// assert!(frechet_distance(&x, &x)? < 1e-12);
/// assert!((frechet_distance(&x, &(&x + 0.5)?)? - 4.).abs() < 1e-5);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: in double precision. The roots are triangular factors of the centred samples by Householder reflections, so that
/// covariances may be singular and none is squared. The time is that of `2 (N + M) d^2` operations and of singular values of a
/// `d x d` matrix by Jacobi rotations, a second or so at 256 dimensions. Biased upwards in small samples, more so in more
/// dimensions: compare values of equal numbers of points.
///
/// Source: Heusel, Ramsauer, Unterthiner, Nessler and Hochreiter (2017), GANs trained by a two time-scale update rule converge
/// to a local Nash equilibrium, eq. 6.
pub fn frechet_distance(x: &Tensor, y: &Tensor) -> Result<f64> {
    let op = "divergence::frechet_distance";
    let [_, _, d] = points::both(op, [("x", x), ("y", y)], 2)?;
    let fit = |arg, points: &Tensor| -> Result<[Tensor; 2]> {
        let (mean, root) = gaussian(&points::numbers(op, arg, points)?, d);
        let cpu = &Device::Cpu;
        Ok([
            Tensor::from_vec(mean, d, cpu)?,
            Tensor::from_vec(root, (d, d), cpu)?,
        ])
    };
    let ([loc_x, root_x], [loc_y, root_y]) = (fit("x", x)?, fit("y", y)?);
    let squared = gaussian_wasserstein2_squared([&loc_x, &root_x], [&loc_y, &root_y])?;
    Ok(squared.to_scalar()?)
}

/// The mean of rows of d numbers, and a lower triangular root of their covariance `[d, d]`: R' of the centred rows `Q R`.
fn gaussian(rows: &[f64], d: usize) -> (Vec<f64>, Vec<f64>) {
    let n = rows.len() / d;
    let mut columns = vec![vec![]; d];
    for row in rows.chunks_exact(d) {
        for (column, x) in columns.iter_mut().zip(row) {
            column.push(*x);
        }
    }
    let scale = ((n - 1) as f64).sqrt();
    let centre = |column: &mut Vec<f64>| {
        // Twice: the first mean of large numbers is rounded.
        let mut all = 0.;
        for _ in 0..2 {
            let mean = column.iter().sum::<f64>() / n as f64;
            column.iter_mut().for_each(|x| *x -= mean);
            all += mean;
        }
        column.iter_mut().for_each(|x| *x /= scale);
        all
    };
    let mean = columns.iter_mut().map(centre).collect();
    for j in 0..d.min(n) {
        reflect(&mut columns[j..], j);
    }
    let mut root = vec![0.; d * d];
    for (j, (row, column)) in root.chunks_exact_mut(d).zip(&columns).enumerate() {
        for (out, x) in row.iter_mut().zip(column).take(j + 1) {
            *out = *x;
        }
    }
    (mean, root)
}

/// Reflects all columns so that of the first one nothing is left below element j.
fn reflect(columns: &mut [Vec<f64>], j: usize) {
    let Some((first, others)) = columns.split_first_mut() else {
        return;
    };
    let v = &mut first[j..];
    let length = dot(v, v).sqrt();
    if length == 0. {
        return;
    }
    // Away from the axis, so that nothing cancels.
    let end = if v[0] > 0. { -length } else { length };
    v[0] -= end;
    let squared = dot(v, v);
    for other in others {
        let other = &mut other[j..];
        let share = 2. * dot(v, other) / squared;
        other.iter_mut().zip(&*v).for_each(|(x, v)| *x -= share * v);
    }
    v.fill(0.);
    v[0] = end;
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

//! The largest eigenvalue of the second moments.

use crate::error::Result;
use crate::kernels::linear::design::Number;
use crate::rng::Rng;
use crate::select::matrix::{Matrix, dot, squares};
use candle_core::{DType, Device};

/// The most passes over the data.
const STEPS: usize = 50;
/// The relative length of a residual that is good enough: the value's own error is of the order of its square.
const RESIDUAL: f64 = 0.01;

/// The largest eigenvalue of `X X^T`, from below, by the iteration of Lanczos; not finite for data beyond their dtype.
///
/// Source: Lanczos (1950), An iteration method for the solution of the eigenvalue problem of linear differential and integral
/// operators; Parlett (1998), The Symmetric Eigenvalue Problem, chapter 13.
pub(super) fn largest<T: Number>(x: &dyn Matrix<T>) -> Result<f64> {
    let zeros = vec![T::default(); x.stride()];
    let itself = |_: usize, product: &[T], row: &mut [T]| {
        row.copy_from_slice(product);
        true
    };
    // A random sum of the features is at right angles to no eigenvector; it is the same however samples are held.
    let draws = Rng::new(0).normal(x.features(), DType::F64, &Device::Cpu)?;
    let draws = draws.to_vec1::<f64>()?.into_iter().map(T::of);
    let all: Vec<usize> = (0..x.features()).collect();
    let start = x.combine(&all, &draws.collect::<Vec<T>>(), &zeros)?;
    let mut next: Vec<f64> = start.into_iter().map(T::into).collect();
    let mut length = squares(&next).sqrt();
    if length == 0. {
        return Ok(0.);
    }
    if !length.is_finite() {
        return Ok(f64::NAN);
    }
    let mut basis: Vec<Vec<f64>> = vec![];
    let (mut diagonal, mut beside) = (vec![], vec![]);
    loop {
        next.iter_mut().for_each(|v| *v /= length);
        let v: Vec<T> = next.iter().map(|v| T::of(*v)).collect();
        basis.push(next);
        let product = x.sweep(&v, &zeros, &itself)?.sums;
        next = product.into_iter().map(T::into).collect();
        diagonal.push(basis.last().map_or(0., |v| dot(v, &next)));
        // Twice is enough for orthogonality to the last digit.
        for _ in 0..2 {
            for q in &basis {
                let share = dot(q, &next);
                next.iter_mut().zip(q).for_each(|(v, q)| *v -= share * q);
            }
        }
        length = squares(&next).sqrt();
        if !length.is_finite() {
            return Ok(f64::NAN);
        }
        let (value, last) = tridiagonal(&diagonal, &beside);
        let residual = length * last;
        let exhausted = length <= T::ROUNDING * value || basis.len() == STEPS;
        if residual <= RESIDUAL * value || exhausted {
            return Ok(value);
        }
        beside.push(length);
    }
}

/// The largest eigenvalue of a symmetric tridiagonal matrix, and the size of the last number of its unit eigenvector.
fn tridiagonal(diagonal: &[f64], beside: &[f64]) -> (f64, f64) {
    // All pivots of T - x are negative where x is above the spectrum.
    let is_above = |x: f64| {
        let mut pivot = diagonal[0] - x;
        let rest = diagonal[1..].iter().zip(beside);
        pivot < 0.
            && rest.into_iter().all(|(d, b)| {
                pivot = d - x - b * b / pivot;
                pivot < 0.
            })
    };
    let mut low = diagonal.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut high = low + 2. * beside.iter().copied().fold(0., f64::max);
    while high - low > 1e-14 * high.abs() {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        match is_above(middle) {
            true => high = middle,
            false => low = middle,
        }
    }
    let (mut before, mut number, mut total) = (0., 1., 1.);
    for (k, b) in beside.iter().enumerate() {
        let left = if k == 0 { 0. } else { beside[k - 1] * before };
        (before, number) = (number, ((low - diagonal[k]) * number - left) / b);
        total += number * number;
    }
    (low, number.abs() / total.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::linear::design::Design;
    use candle_core::Tensor;

    #[test]
    fn of_a_known_tridiagonal_matrix() {
        // 2 on the diagonal and -1 beside it: 2 + 2 cos(pi / (n + 1)).
        for n in [1usize, 2, 3, 10, 40] {
            let (value, last) = tridiagonal(&vec![2.; n], &vec![1.; n - 1]);
            let angle = std::f64::consts::PI / (n + 1) as f64;
            assert!((value - 2. - 2. * angle.cos()).abs() < 1e-12, "{n}");
            let expected = (2. / (n + 1) as f64).sqrt() * angle.sin();
            assert!((last - expected).abs() < 1e-5, "{n}: {last} {expected}");
        }
    }

    fn design<T: Number + candle_core::WithDType>(rows: &[f64], features: usize) -> Design<T> {
        let rows: Vec<T> = rows.iter().map(|x| T::of(*x)).collect();
        let samples = rows.len() / features;
        let (zeros, ones) = (vec![0.; features], vec![1.; features]);
        Design::centred(&rows, [&zeros, &ones], &vec![1.; samples])
    }

    #[test]
    fn of_designs() -> Result<()> {
        let normal = Rng::new(1).normal((60, 300), DType::F64, &Device::Cpu)?;
        let rows = normal.flatten_all()?.to_vec1::<f64>()?;
        let noise = largest(&design::<f64>(&rows, 300))?;
        // The edge of the spectrum of noise is at (60^(1/2) + 300^(1/2))^2 = 628.
        assert!((560. ..640.).contains(&noise), "{noise}");
        let single = largest(&design::<f32>(&rows, 300))?;
        assert!((single / noise - 1.).abs() < 1e-3, "{single} {noise}");
        // Columns and their negatives, which add up to nothing.
        let opposed = largest(&design::<f64>(&[1., -1., 2., -2.], 2))?;
        assert!((opposed - 10.).abs() < 1e-12, "{opposed}");
        assert_eq!(largest(&design::<f32>(&[0.; 6], 2))?, 0.);
        assert!(largest(&design::<f32>(&[1e30; 6], 2))?.is_nan());
        Ok(())
    }

    #[test]
    fn is_near_enough() -> Result<()> {
        for (samples, features) in [(40, 400), (200, 50), (3, 3), (1, 5)] {
            let x = Rng::new(7).normal((samples, features), DType::F64, &Device::Cpu)?;
            let rows = x.flatten_all()?.to_vec1::<f64>()?;
            let found = largest(&design::<f64>(&rows, features))?;
            // The power method, for long.
            let moments = x.matmul(&x.t()?)?;
            let mut v = Tensor::ones((samples, 1), DType::F64, &Device::Cpu)?;
            let mut value = 0.;
            for _ in 0..3000 {
                v = moments.matmul(&v)?;
                value = v.sqr()?.sum_all()?.sqrt()?.to_scalar::<f64>()?;
                v = (v / value)?;
            }
            let gap = 1. - found / value;
            assert!((-1e-9..5e-3).contains(&gap), "{samples}: {gap}");
        }
        Ok(())
    }
}

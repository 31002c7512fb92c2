//! Eigenvalues and condition numbers of small matrices.

use crate::error::{Error, Result};
use crate::shape;
use candle_core::{DType, Device, Tensor};
use nalgebra::{DMatrix, DVector, SVD, Schur};

/// Eigenvalues of matrices, in f64 and without gradient: largest real part first, and of a pair the positive imaginary part.
#[derive(Debug, Clone)]
pub struct Eigenvalues {
    /// Real parts, `[.., n]`.
    pub real: Tensor,
    /// Imaginary parts, `[.., n]`.
    pub imaginary: Tensor,
}

/// Steps for each number of a matrix, of which a few are needed.
const STEPS: usize = 100;

/// The eigenvalues of matrices.
///
/// Shapes: matrices `[.., n, n]`, n from 0 on; the eigenvalues are `[.., n]`.
///
/// Errors: matrices that are not square, whole numbers, elements that are not finite; no convergence after 100 n steps.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::dynamics::analysis::eigenvalues;
/// # fn main() -> candle_prob::Result<()> {
/// let turn = Tensor::new(&[[0f64, -1.], [1., 0.]], &Device::Cpu)?;
/// let found = eigenvalues(&turn)?;
/// assert_eq!(found.real.to_vec1::<f64>()?, [0., 0.]);
/// assert_eq!(found.imaginary.to_vec1::<f64>()?, [1., -1.]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: in f64 by the real Schur form, whose error is about 1e-15 of the largest element; eigenvalues of a matrix that is nearly
/// defective are as far off as such are sensitive.
pub fn eigenvalues(matrices: &Tensor) -> Result<Eigenvalues> {
    eigenvalues_of("dynamics::analysis::eigenvalues", "matrices", matrices)
}

/// [`eigenvalues`] of matrices that an operation of this name has from this argument.
pub(super) fn eigenvalues_of(
    op: &'static str,
    arg: &'static str,
    matrices: &Tensor,
) -> Result<Eigenvalues> {
    let (all, dims) = of(op, arg, matrices)?;
    let (mut real, mut imaginary) = (vec![], vec![]);
    for matrix in all {
        let mut found = spectrum(matrix).ok_or_else(|| unfinished(op, arg, "eigenvalues"))?;
        found.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1)));
        real.extend(found.iter().map(|e| e.0));
        imaginary.extend(found.iter().map(|e| e.1));
    }
    Ok(Eigenvalues {
        real: Tensor::from_vec(real, &dims[..dims.len() - 1], &Device::Cpu)?,
        imaginary: Tensor::from_vec(imaginary, &dims[..dims.len() - 1], &Device::Cpu)?,
    })
}

/// The condition numbers of matrices: their largest singular value over the smallest. Rounding makes some 1e16 of
/// most singular matrices, infinity where the smallest is found to be 0.
///
/// Shapes: matrices `[.., n, n]`, n from 1 on; the result is `[..]`, f64, without gradient. Of
/// [`propagation_jacobian`](super::propagation_jacobian) it says how ill-posed it is to learn from the propagated features.
///
/// Errors: those of [`eigenvalues`]; empty matrices.
pub fn condition_numbers(matrices: &Tensor) -> Result<Tensor> {
    const OP: &str = "dynamics::analysis::condition_numbers";
    const ARG: &str = "matrices";
    let (all, dims) = of(OP, ARG, matrices)?;
    if dims.ends_with(&[0]) {
        return Err(Error::shape(OP, ARG, "[.., n, n], n at least 1", &dims));
    }
    let mut conditions = vec![];
    for matrix in all {
        let most = STEPS * matrix.nrows();
        let found = SVD::try_new(matrix, false, false, f64::EPSILON, most)
            .ok_or_else(|| unfinished(OP, ARG, "singular values"))?;
        let (low, high) = (found.singular_values.min(), found.singular_values.max());
        conditions.push(if low > 0. { high / low } else { f64::INFINITY });
    }
    Ok(Tensor::from_vec(
        conditions,
        &dims[..dims.len() - 2],
        &Device::Cpu,
    )?)
}

fn unfinished(op: &'static str, arg: &'static str, what: &str) -> Error {
    Error::value(op, arg, format!("{what} after {STEPS} n steps"), "none")
}

/// Square matrices of finite numbers, with the dims of all.
fn of(
    op: &'static str,
    arg: &'static str,
    matrices: &Tensor,
) -> Result<(Vec<DMatrix<f64>>, Vec<usize>)> {
    shape::float(op, arg, matrices)?;
    let dims = matrices.dims().to_vec();
    let size = match dims[..] {
        [.., n, m] if n == m => n,
        _ => return Err(Error::shape(op, arg, "[.., n, n]", &dims)),
    };
    let data = matrices
        .detach()
        .to_device(&Device::Cpu)?
        .to_dtype(DType::F64)?;
    let data = data.flatten_all()?.to_vec1::<f64>()?;
    if let Some(bad) = data.iter().find(|x| !x.is_finite()) {
        return Err(Error::value(op, arg, "finite numbers", bad));
    }
    let count = dims[..dims.len() - 2].iter().product::<usize>();
    let one =
        |i: usize| DMatrix::from_row_slice(size, size, &data[i * size * size..][..size * size]);
    Ok(((0..count).map(one).collect(), dims))
}

/// Real and imaginary parts; none without convergence.
fn spectrum(matrix: DMatrix<f64>) -> Option<Vec<(f64, f64)>> {
    let size = matrix.nrows();
    if size == 0 {
        return Some(vec![]);
    }
    let most = STEPS * size;
    // Where the shifts of the iteration leave a matrix as it is, as they do a cyclic permutation, one that is similar has others.
    let found = Schur::try_new(matrix.clone(), f64::EPSILON, most)
        .or_else(|| Schur::try_new(reflected(matrix), f64::EPSILON, most))?;
    let values = found.complex_eigenvalues();
    Some(values.iter().map(|e| (e.re, e.im)).collect())
}

/// `H A H` with a reflection H that favours no axis.
fn reflected(matrix: DMatrix<f64>) -> DMatrix<f64> {
    let size = matrix.nrows();
    let axis = DVector::from_fn(size, |i, _| 1. / (1. + i as f64)).normalize();
    let reflection = DMatrix::identity(size, size) - &axis * axis.transpose() * 2.;
    &reflection * matrix * &reflection
}

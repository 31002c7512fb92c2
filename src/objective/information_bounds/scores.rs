//! A critic's scores of pairs.

use crate::error::{Error, Result};
use crate::kernels::reduce;
use crate::shape;
use candle_core::{DType, Tensor};

/// A critic's scores of what belongs together, and of draws of the marginals.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::objective::information_bounds::Scores;
/// # fn main() -> candle_prob::Result<()> {
/// let matrix = Tensor::arange(0f64, 9., &Device::Cpu)?.reshape((3, 3))?;
/// let scores = Scores::matrix(&matrix)?;
/// assert_eq!(scores.joint().to_vec1::<f64>()?, [0., 4., 8.]);
/// assert_eq!(scores.marginal().to_vec1::<f64>()?, [1., 2., 3., 5., 6., 7.]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Scores {
    joint: Tensor,
    marginal: Tensor,
}

impl Scores {
    /// The scores `f(x_i, y_j)` of N pairs, `[N, N]`: joint on the diagonal, marginal elsewhere, row by row.
    ///
    /// Errors: another shape, N below 2, a dtype that is not floating point.
    pub fn matrix(scores: &Tensor) -> Result<Self> {
        let n = square("Scores::matrix", scores)?;
        Ok(Scores {
            joint: diagonal(scores, n)?,
            marginal: off_diagonal(scores, n)?.flatten_all()?,
        })
    }

    /// Scores of pairs and of draws of the marginals, of any shapes; every number of each counts alike.
    ///
    /// Errors: none of a kind; a dtype that is not floating point; different dtypes or devices.
    pub fn apart(joint: &Tensor, marginal: &Tensor) -> Result<Self> {
        let op = "Scores::apart";
        shape::parameter(op, "joint", joint)?;
        shape::parameter(op, "marginal", marginal)?;
        shape::same_kind(op, "marginal", marginal, joint)?;
        Ok(Scores {
            joint: joint.flatten_all()?,
            marginal: marginal.flatten_all()?,
        })
    }

    /// Scores of pairs, `[N]`.
    pub fn joint(&self) -> &Tensor {
        &self.joint
    }

    /// Scores of draws of the marginals, `[M]`.
    pub fn marginal(&self) -> &Tensor {
        &self.marginal
    }
}

/// The N of scores `[N, N]` of at least 2 pairs.
pub(super) fn square(op: &'static str, scores: &Tensor) -> Result<usize> {
    shape::float(op, "scores", scores)?;
    match *scores.dims() {
        [rows, columns] if rows == columns && rows > 1 => Ok(rows),
        ref found => Err(Error::shape(op, "scores", "[N, N], N at least 2", found)),
    }
}

/// Rows of the matrix without its first element, each of which ends with an element of the diagonal.
fn shifted(matrix: &Tensor, n: usize) -> Result<Tensor> {
    let rest = matrix.flatten_all()?.narrow(0, 1, n * n - 1)?;
    Ok(rest.reshape((n - 1, n + 1))?)
}

/// `[N]`
pub(super) fn diagonal(matrix: &Tensor, n: usize) -> Result<Tensor> {
    let first = matrix.flatten_all()?.narrow(0, 0, 1)?;
    let others = shifted(matrix, n)?.narrow(1, n, 1)?.flatten_all()?;
    Ok(Tensor::cat(&[&first, &others], 0)?)
}

/// `[N, N - 1]`, the others of each row.
pub(super) fn off_diagonal(matrix: &Tensor, n: usize) -> Result<Tensor> {
    let others = shifted(matrix, n)?.narrow(1, 0, n)?.contiguous()?;
    Ok(others.reshape((n, n - 1))?)
}

/// The mean of all elements, a scalar, finite where it is a number of the dtype.
pub(super) fn mean(x: &Tensor) -> Result<Tensor> {
    let count = x.elem_count() as f64;
    let sum = reduce::sum(&(wide(&x.flatten_all()?)? / count)?)?;
    Ok(sum.to_dtype(x.dtype())?)
}

/// Half precision as f32.
pub(super) fn wide(x: &Tensor) -> Result<Tensor> {
    Ok(match x.dtype() {
        DType::F16 | DType::BF16 => x.to_dtype(DType::F32)?,
        _ => x.clone(),
    })
}

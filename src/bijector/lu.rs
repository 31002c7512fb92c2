//! Invertible matrices by their LU factors.

use super::{Bijector, Permutation, vectors};
use crate::Rng;
use crate::detach::Detach;
use crate::error::{Error, Result};
use crate::kernels::linear::triangular;
use crate::kernels::reduce;
use crate::shape;
use candle_core::{DType, Device, Tensor};

/// An invertible matrix by factors whose determinant is a product.
///
/// Formula: `W = P L (U + diag(sign e^log_diagonal))` with a fixed permutation P, L lower-triangular with ones on the
/// diagonal, U strictly upper-triangular and fixed signs; `ln |det W| = sum log_diagonal`. W is invertible whatever the
/// numbers are. Of `lower` only what lies below the diagonal is read, of `upper` only what lies above.
///
/// Shapes: `lower` and `upper` `[d, d]`, `log_diagonal` `[d]`. Gradients: to the three.
///
/// Errors: parts that do not fit each other; a sign other than 1 and -1; a singular matrix to decompose.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::bijector::Lu;
/// # fn main() -> candle_prob::Result<()> {
/// let w = Tensor::new(&[[0f64, 2.], [3., 1.]], &Device::Cpu)?;
/// let lu = Lu::decompose(&w)?;
/// assert!((lu.matrix()? - &w)?.abs()?.max_all()?.to_scalar::<f64>()? < 1e-15);
/// assert!((lu.log_det()?.to_scalar::<f64>()? - 6f64.ln()).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: matrix and inverse are computed in f64, whatever the dtype of the parts.
///
/// Source: Kingma and Dhariwal (2018), Glow, equation 10.
#[derive(Debug, Clone)]
pub struct Lu {
    permutation: Permutation,
    signs: Vec<f64>,
    lower: Tensor,
    upper: Tensor,
    log_diagonal: Tensor,
}

impl Lu {
    /// From the fixed permutation and signs and the three parts that learn.
    pub fn new(
        permutation: &Permutation,
        signs: &[f64],
        lower: &Tensor,
        upper: &Tensor,
        log_diagonal: &Tensor,
    ) -> Result<Self> {
        let op = "Lu::new";
        let d = vectors::square(op, "lower", lower)?;
        for (arg, tensor, dims) in [
            ("upper", upper, &[d, d][..]),
            ("log_diagonal", log_diagonal, &[d]),
        ] {
            shape::same_kind(op, arg, tensor, lower)?;
            shape::exactly(op, arg, tensor.dims(), dims)?;
        }
        if permutation.order().len() != d || permutation.event_rank() != 1 {
            let expected = format!("one of the elements of vectors of {d}");
            let found = format!("order {:?}", permutation.order());
            return Err(Error::value(op, "permutation", expected, found));
        }
        if signs.len() != d || signs.iter().any(|sign| sign.abs() != 1.) {
            let expected = format!("{d} numbers of 1 or -1");
            return Err(Error::value(op, "signs", expected, format!("{signs:?}")));
        }
        Ok(Lu {
            permutation: permutation.clone(),
            signs: signs.to_vec(),
            lower: lower.clone(),
            upper: upper.clone(),
            log_diagonal: log_diagonal.clone(),
        })
    }

    /// The factors of a matrix [d, d], as parts to learn from; without gradient. Row pivots, in f64.
    pub fn decompose(matrix: &Tensor) -> Result<Self> {
        let op = "Lu::decompose";
        let d = vectors::square(op, "matrix", matrix)?;
        let rows = matrix.detach().to_dtype(DType::F64)?.to_vec2::<f64>()?;
        // Row r of L U is row from[r] of the matrix; the rows become L below the diagonal and U from there on.
        let (mut rows, mut from) = (rows, (0..d).collect::<Vec<_>>());
        for k in 0..d {
            let size = |i: &usize| rows[*i][k].abs();
            let pivot = (k..d)
                .max_by(|a, b| size(a).total_cmp(&size(b)))
                .unwrap_or(k);
            rows.swap(k, pivot);
            from.swap(k, pivot);
            if !(rows[k][k].abs() > 0. && rows[k][k].is_finite()) {
                let expected = "an invertible matrix of finite numbers";
                return Err(Error::value(
                    op,
                    "matrix",
                    expected,
                    format!("pivot {}", rows[k][k]),
                ));
            }
            let (above, below) = rows.split_at_mut(k + 1);
            for row in below {
                row[k] /= above[k][k];
                let factor = row[k];
                for (x, p) in row[k + 1..].iter_mut().zip(&above[k][k + 1..]) {
                    *x -= factor * p;
                }
            }
        }
        let mut order = vec![0; d];
        from.iter().enumerate().for_each(|(r, i)| order[*i] = r);
        let diagonal: Vec<f64> = (0..d).map(|i| rows[i][i]).collect();
        let part = |keep: fn(usize, usize) -> bool| -> Result<Tensor> {
            let at = |at: usize| {
                if keep(at / d, at % d) {
                    rows[at / d][at % d]
                } else {
                    0.
                }
            };
            let part = Tensor::from_iter((0..d * d).map(at), &Device::Cpu)?;
            let part = part.reshape((d, d))?.to_dtype(matrix.dtype())?;
            Ok(part.to_device(matrix.device())?)
        };
        let log = Tensor::from_iter(diagonal.iter().map(|x| x.abs().ln()), &Device::Cpu)?;
        let signs: Vec<f64> = diagonal.iter().map(|x| x.signum()).collect();
        Lu::new(
            &Permutation::new(&order)?,
            &signs,
            &part(|i, j| j < i)?,
            &part(|i, j| j > i)?,
            &log.to_dtype(matrix.dtype())?.to_device(matrix.device())?,
        )
    }

    /// The factors of a random rotation or reflection of d dims, to which Glow is initialized.
    pub fn random_rotation(d: usize, dtype: DType, device: &Device, rng: &mut Rng) -> Result<Self> {
        let mut rows = rng
            .normal((d, d), DType::F64, &Device::Cpu)?
            .to_vec2::<f64>()?;
        for i in 0..d {
            let (before, row) = rows.split_at_mut(i);
            let row = &mut row[0];
            // Twice: the first leaves the rounding of nearly parallel rows.
            for _ in 0..2 {
                for other in before.iter() {
                    let share: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
                    row.iter_mut().zip(other).for_each(|(a, b)| *a -= share * b);
                }
                let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
                row.iter_mut().for_each(|x| *x /= length);
            }
        }
        let matrix = Tensor::from_iter(rows.into_iter().flatten(), &Device::Cpu)?;
        let matrix = matrix.reshape((d, d))?.to_dtype(dtype)?;
        Self::decompose(&matrix.to_device(device)?)
    }

    /// The permutation.
    pub fn permutation(&self) -> &Permutation {
        &self.permutation
    }

    /// The signs of the diagonal.
    pub fn signs(&self) -> &[f64] {
        &self.signs
    }

    /// What lies below the ones of L.
    pub fn lower(&self) -> &Tensor {
        &self.lower
    }

    /// What lies above the diagonal of U.
    pub fn upper(&self) -> &Tensor {
        &self.upper
    }

    /// The logarithm of the diagonal's absolute values.
    pub fn log_diagonal(&self) -> &Tensor {
        &self.log_diagonal
    }

    /// How many rows.
    pub fn size(&self) -> usize {
        self.signs.len()
    }

    /// L and U in f64.
    fn factors(&self) -> Result<[Tensor; 2]> {
        let (d, device) = (self.size(), self.lower.device());
        let wide = |x: &Tensor| x.to_dtype(DType::F64);
        let eye = Tensor::eye(d, DType::F64, device)?;
        let below = vectors::mask(d, &self.lower, |i, j| j < i)?;
        let above = vectors::mask(d, &self.lower, |i, j| j > i)?;
        let signs = Tensor::new(self.signs.as_slice(), device)?;
        let diagonal = eye.broadcast_mul(&(wide(&self.log_diagonal)?.exp()? * signs)?)?;
        let lower = below.where_cond(&wide(&self.lower)?, &eye)?;
        Ok([lower, above.where_cond(&wide(&self.upper)?, &diagonal)?])
    }

    /// W.
    pub fn matrix(&self) -> Result<Tensor> {
        let [lower, upper] = self.factors()?;
        let order = Tensor::new(self.permutation.order(), lower.device())?;
        let matrix = lower.matmul(&upper)?.index_select(&order, 0)?;
        Ok(matrix.to_dtype(self.lower.dtype())?)
    }

    /// The inverse of W, by substitution.
    pub fn inverse_matrix(&self) -> Result<Tensor> {
        let [lower, upper] = self.factors()?;
        // Rows of the identity are solved for: what comes back is the inverse transposed.
        let inverse = |lower: &Tensor| -> Result<Tensor> {
            let eye = Tensor::eye(self.size(), DType::F64, lower.device())?;
            let solved = triangular::solve(&lower.unsqueeze(0)?, &eye.unsqueeze(0)?)?;
            Ok(solved.squeeze(0)?.t()?.contiguous()?)
        };
        let upper = inverse(&upper.t()?.contiguous()?)?.t()?.contiguous()?;
        let order = Tensor::new(self.permutation.order(), lower.device())?;
        let matrix = upper.matmul(&inverse(&lower)?)?.index_select(&order, 1)?;
        Ok(matrix.to_dtype(self.lower.dtype())?)
    }

    /// `ln |det W|`.
    pub fn log_det(&self) -> Result<Tensor> {
        reduce::sum(&self.log_diagonal)
    }
}

impl Detach for Lu {
    fn detach(&self) -> Self {
        Lu {
            lower: self.lower.detach(),
            upper: self.upper.detach(),
            log_diagonal: self.log_diagonal.detach(),
            ..self.clone()
        }
    }
}

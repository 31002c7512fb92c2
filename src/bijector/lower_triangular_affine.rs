//! Shift and lower-triangular matrix.

use super::{Bijector, vectors};
use crate::detach::Detach;
use crate::error::{Error, Result};
use crate::kernels::linear::triangular;
use crate::kernels::reduce;
use crate::shape;
use candle_core::{D, Tensor};

/// A vector times a lower-triangular matrix, and a shift.
///
/// Formula: `y = loc + L x`; `ln |det dy/dx| = sum_i ln |L_ii|`. Only the lower triangle of `scale_tril` is read. The inverse
/// is a substitution. A standard normal vector becomes one of mean `loc` and covariance `L L^T`.
///
/// Shapes: `loc` is `batch ++ [d]`, `scale_tril` is `batch ++ [d, d]`, their batches broadcast together and with the
/// argument's, `S ++ batch ++ [d]`; the log-det is `S ++ batch`. Gradients: to argument and parameters.
///
/// Errors: parameters that do not fit each other, or with a zero on the diagonal; an argument that does not fit them.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::bijector::{Bijector, LowerTriangularAffine};
/// # fn main() -> candle_prob::Result<()> {
/// let loc = Tensor::new(&[1f64, 0.], &Device::Cpu)?;
/// let affine = LowerTriangularAffine::new(&loc, &Tensor::new(&[[2f64, 9.], [1., 3.]], &Device::Cpu)?)?;
/// let (y, log_det) = affine.transform_and_log_det(&Tensor::new(&[1f64, 2.], &Device::Cpu)?)?;
/// assert_eq!(y.to_vec1::<f64>()?, [3., 7.]);
/// assert!((log_det.to_scalar::<f64>()? - 6f64.ln()).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct LowerTriangularAffine {
    loc: Tensor,
    scale_tril: Tensor,
    shape: Vec<usize>,
}

impl LowerTriangularAffine {
    /// From shift and lower-triangular matrix.
    pub fn new(loc: &Tensor, scale_tril: &Tensor) -> Result<Self> {
        let op = "LowerTriangularAffine::new";
        for (arg, tensor) in [("loc", loc), ("scale_tril", scale_tril)] {
            shape::parameter(op, arg, tensor)?;
            shape::same_kind(op, arg, tensor, loc)?;
        }
        let shape = match (loc.dims(), scale_tril.dims()) {
            ([batch @ .., d], [own @ .., rows, columns]) if rows == d && columns == d => {
                shape::broadcast(batch, own).map(|batch| [&batch[..], &[*d]].concat())
            }
            _ => None,
        };
        let Some(shape) = shape else {
            let expected = format!("[.., d, d] for a loc of shape {:?}", loc.dims());
            return Err(Error::shape(op, "scale_tril", expected, scale_tril.dims()));
        };
        if !(vectors::least(&vectors::diagonal(scale_tril)?)? > 0.) {
            let expected = "a diagonal of numbers other than 0";
            return Err(Error::value(op, "scale_tril", expected, 0.));
        }
        Ok(LowerTriangularAffine {
            loc: loc.clone(),
            scale_tril: scale_tril.clone(),
            shape,
        })
    }

    /// The shift.
    pub fn loc(&self) -> &Tensor {
        &self.loc
    }

    /// The matrix; its upper triangle has no meaning.
    pub fn scale_tril(&self) -> &Tensor {
        &self.scale_tril
    }

    /// `f(matrices [n, d, d], vectors [n, m, d])` of every vector with its batch element's matrix.
    fn apply(
        &self,
        x: &Tensor,
        f: impl FnOnce(&Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let (d, lead) = (x.dim(D::Minus1)?, &x.dims()[..x.rank() - 1]);
        let own = &self.scale_tril.dims()[..self.scale_tril.rank() - 2];
        let ones = own.iter().take_while(|dim| **dim == 1).count();
        let own = &own[ones..];
        let own = if lead.ends_with(own) { own } else { lead };
        let matrices = self.scale_tril.broadcast_as([own, &[d, d]].concat());
        let matrices = match matrices {
            Ok(matrices) => matrices,
            // Leading ones only.
            Err(_) => self.scale_tril.reshape([own, &[d, d]].concat())?,
        };
        let count: usize = own.iter().product();
        let rows = lead.iter().product::<usize>() / count.max(1);
        let grouped = x.reshape((rows, count, d))?.transpose(0, 1)?.contiguous()?;
        let y = f(&matrices.reshape((count, d, d))?, &grouped)?;
        Ok(y.transpose(0, 1)?.contiguous()?.reshape(x.shape())?)
    }

    fn log_det(&self, x: &Tensor) -> Result<Tensor> {
        let log = vectors::diagonal(&self.scale_tril)?.abs()?.log()?;
        Ok(reduce::sum(&log)?.broadcast_as(&x.dims()[..x.rank() - 1])?)
    }
}

impl Bijector for LowerTriangularAffine {
    fn event_rank(&self) -> usize {
        1
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let op = "LowerTriangularAffine::transform";
        vectors::check(op, x, &self.loc, &self.shape)?;
        let y = self.apply(x, |matrices, x| {
            let mask = vectors::mask(x.dim(2)?, x, |i, j| j <= i)?;
            let mask = mask.broadcast_as(matrices.shape())?;
            let lower = mask.where_cond(matrices, &matrices.zeros_like()?)?;
            Ok(x.matmul(&lower.transpose(1, 2)?.contiguous()?)?)
        })?;
        Ok((y.broadcast_add(&self.loc)?, self.log_det(x)?))
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        let op = "LowerTriangularAffine::inverse";
        vectors::check(op, y, &self.loc, &self.shape)?;
        let x = self.apply(&y.broadcast_sub(&self.loc)?, triangular::solve)?;
        Ok((x, self.log_det(y)?.neg()?))
    }
}

impl Detach for LowerTriangularAffine {
    fn detach(&self) -> Self {
        LowerTriangularAffine {
            loc: self.loc.detach(),
            scale_tril: self.scale_tril.detach(),
            ..self.clone()
        }
    }
}

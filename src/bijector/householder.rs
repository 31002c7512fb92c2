//! Orthogonal maps.

use super::{Bijector, vectors, zeros};
use crate::detach::Detach;
use crate::error::{Error, Result};
use crate::shape;
use candle_core::{D, DType, Tensor};

/// A product of reflections: an orthogonal map of vectors.
///
/// Formula: `y = H_k .. H_2 H_1 x` with `H_i = I - 2 v_i v_i^T / |v_i|^2`; the log-det is 0. The inverse is the transpose.
/// As many reflections as dims make every orthogonal map.
///
/// Shapes: the vectors are [k, d]; `x` and `y` are `batch ++ [d]`, the log-det is `batch`. Gradients: to argument and
/// vectors.
///
/// Errors: vectors that are not [k, d], or one of length 0; an argument of other dtype or last dim.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::bijector::{Bijector, Householder};
/// # fn main() -> candle_prob::Result<()> {
/// let mirror = Householder::new(&Tensor::new(&[[1f64, -1.]], &Device::Cpu)?)?;
/// let y = mirror.transform(&Tensor::new(&[3f64, 4.], &Device::Cpu)?)?;
/// assert_eq!(y.to_vec1::<f64>()?, [4., 3.]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Tomczak and Welling (2016), Improving variational auto-encoders using Householder flow, equation 7.
#[derive(Debug, Clone)]
pub struct Householder {
    vectors: Tensor,
}

impl Householder {
    /// From one vector for each reflection, first to last.
    pub fn new(vectors: &Tensor) -> Result<Self> {
        let op = "Householder::new";
        shape::parameter(op, "vectors", vectors)?;
        shape::dims::<2>(op, "vectors", vectors.dims(), "[k, d]")?;
        let wide = vectors.detach().to_dtype(DType::F64)?;
        if !(vectors::least(&wide.sqr()?.sum(1)?)? > 0.) {
            let expected = "vectors that are not zero";
            return Err(Error::value(op, "vectors", expected, "one of length 0"));
        }
        Ok(Householder {
            vectors: vectors.clone(),
        })
    }

    /// The vectors.
    pub fn vectors(&self) -> &Tensor {
        &self.vectors
    }

    /// The orthogonal matrix, made in f64.
    pub fn matrix(&self) -> Result<Tensor> {
        let (k, d) = self.vectors.dims2()?;
        let wide = self.vectors.to_dtype(DType::F64)?;
        let units = wide.broadcast_div(&wide.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?)?;
        let mut matrix = Tensor::eye(d, DType::F64, wide.device())?;
        for i in 0..k {
            let unit = units.narrow(0, i, 1)?;
            let column = (unit.reshape((d, 1))? * 2.)?;
            matrix = (&matrix - column.matmul(&unit.matmul(&matrix)?)?)?;
        }
        Ok(matrix.to_dtype(self.vectors.dtype())?)
    }
}

impl Bijector for Householder {
    fn event_rank(&self) -> usize {
        1
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let event = &self.vectors.dims()[1..];
        vectors::check("Householder::transform", x, &self.vectors, event)?;
        Ok((vectors::product(&self.matrix()?, x)?, zeros(x, 1)?))
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        let event = &self.vectors.dims()[1..];
        vectors::check("Householder::inverse", y, &self.vectors, event)?;
        Ok((vectors::product(&self.matrix()?.t()?, y)?, zeros(y, 1)?))
    }
}

impl Detach for Householder {
    fn detach(&self) -> Self {
        Householder {
            vectors: self.vectors.detach(),
        }
    }
}

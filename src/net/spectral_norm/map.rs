//! The linear map whose norm is taken, and its power iteration.

use crate::error::Result;
use crate::kernels::network::conv2d::{self, Settings};
use candle_core::Tensor;

/// A layer without bias and activation.
pub struct Map {
    weight: Tensor,
    form: Form,
}

enum Form {
    /// A product with a matrix `[out, terms]`: of vectors `[terms]` to vectors `[out]`.
    Matrix,
    /// A convolution or its transpose, of images `[1, ..dims]`, and the way back.
    Images {
        there: Settings,
        back: Settings,
        dims: [usize; 3],
    },
}

impl Map {
    pub(super) fn matrix(weight: Tensor) -> Self {
        let form = Form::Matrix;
        Map { weight, form }
    }

    pub(super) fn images(
        weight: Tensor,
        there: Settings,
        back: Settings,
        dims: [usize; 3],
    ) -> Self {
        let form = Form::Images { there, back, dims };
        Map { weight, form }
    }

    /// A vector that it takes, of zeros.
    pub(super) fn zeros(&self) -> Result<Tensor> {
        let dims = match &self.form {
            Form::Matrix => vec![self.weight.dim(1)?],
            Form::Images { dims, .. } => [&[1], dims.as_slice()].concat(),
        };
        let (dtype, device) = (self.weight.dtype(), self.weight.device());
        Ok(Tensor::zeros(dims, dtype, device)?)
    }

    /// A x.
    pub(super) fn apply(&self, x: &Tensor) -> Result<Tensor> {
        match &self.form {
            Form::Matrix => Ok(self.weight.matmul(&x.unsqueeze(1)?)?.squeeze(1)?),
            Form::Images { there, .. } => conv2d::conv2d(x, &self.weight, None, *there),
        }
    }

    /// A^T y.
    fn transposed(&self, y: &Tensor) -> Result<Tensor> {
        match &self.form {
            Form::Matrix => Ok(y.unsqueeze(0)?.matmul(&self.weight)?.squeeze(0)?),
            Form::Images { back, .. } => conv2d::conv2d(y, &self.weight, None, *back),
        }
    }

    /// u^T A v.
    pub(super) fn between(&self, [u, v]: &[Tensor; 2]) -> Result<Tensor> {
        Ok((u * self.apply(v)?)?.sum_all()?)
    }

    /// `v = A^T u / |.|`, then `u = A v / |.|`, some times.
    pub(super) fn iterate(&self, [u, v]: &[Tensor; 2], times: usize) -> Result<[Tensor; 2]> {
        let (mut u, mut v) = (u.clone(), v.clone());
        for _ in 0..times {
            v = unit(&self.transposed(&u)?, &v)?;
            u = unit(&self.apply(&v)?, &u)?;
        }
        Ok([u, v])
    }
}

/// A vector of length 1 in the direction of x; `otherwise` where x has none, as 0, or is not finite: a state that is spoilt
/// once would stay so.
pub(super) fn unit(x: &Tensor, otherwise: &Tensor) -> Result<Tensor> {
    // Scaled first: squares of large and of small numbers are none.
    let largest = x.abs()?.flatten_all()?.max(0)?;
    let scaled = x.broadcast_div(&largest)?;
    let length = scaled.sqr()?.sum_all()?.sqrt()?;
    let direction = scaled.broadcast_div(&length)?;
    let usable = (largest.gt(0f64)? * largest.lt(f64::INFINITY)?)?;
    let usable = (usable * length.ge(1f64)?)?;
    Ok(usable
        .broadcast_as(x.shape())?
        .where_cond(&direction, otherwise)?)
}

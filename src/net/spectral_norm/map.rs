//! The linear map whose norm is taken, and its power iteration.

use crate::error::Result;
use crate::kernels::network::conv2d::{self, Settings};
use crate::kernels::network::spectral::{self, Sizes, unit};
use candle_core::{Shape, Tensor};

/// A layer without bias and activation.
pub struct Map {
    weight: Tensor,
    form: Form,
}

enum Form {
    /// A product with the weight as a matrix.
    Matrix(Sizes),
    /// A convolution or its transpose, of images `[1, ..dims]`, and the way back.
    Images {
        there: Settings,
        back: Settings,
        dims: [usize; 3],
    },
}

impl Map {
    pub(super) fn matrix(weight: Tensor, sizes: Sizes) -> Self {
        let form = Form::Matrix(sizes);
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
            Form::Matrix([groups, _, terms]) => vec![groups * terms],
            Form::Images { dims, .. } => [&[1], dims.as_slice()].concat(),
        };
        let (dtype, device) = (self.weight.dtype(), self.weight.device());
        Ok(Tensor::zeros(dims, dtype, device)?)
    }

    /// The shape of u.
    pub(super) fn results(&self) -> Result<Shape> {
        match &self.form {
            Form::Matrix([_, rows, _]) => Ok((*rows).into()),
            Form::Images { there, .. } => {
                let images = conv2d::conv2d(&self.zeros()?, &self.weight, None, *there)?;
                Ok(images.shape().clone())
            }
        }
    }

    /// `|u^T A v|`.
    pub(super) fn sigma(&self, [u, v]: &[Tensor; 2]) -> Result<Tensor> {
        let there = match &self.form {
            Form::Matrix(sizes) => {
                let matrix = spectral::matrix(&self.weight, *sizes)?;
                matrix.matmul(&v.unsqueeze(1)?)?.squeeze(1)?
            }
            Form::Images { there, .. } => conv2d::conv2d(v, &self.weight, None, *there)?,
        };
        Ok((u * there)?.sum_all()?.abs()?)
    }

    /// The weight over sigma, or the weight where that has no reciprocal.
    pub(super) fn normalized(&self, vectors: &[Tensor; 2]) -> Result<Tensor> {
        match &self.form {
            Form::Matrix(sizes) => spectral::divided(&self.weight, *sizes, vectors),
            Form::Images { .. } => spectral::over(&self.weight, &self.sigma(vectors)?),
        }
    }

    /// `v = A^T u / |.|`, then `u = A v / |.|`, some times.
    pub(super) fn iterate(&self, vectors: &[Tensor; 2], times: usize) -> Result<[Tensor; 2]> {
        let (there, back) = match &self.form {
            Form::Matrix(sizes) => return spectral::iterate(&self.weight, *sizes, vectors, times),
            Form::Images { there, back, .. } => (there, back),
        };
        let [mut u, mut v] = vectors.clone();
        for _ in 0..times {
            v = unit(&conv2d::conv2d(&u, &self.weight, None, *back)?, &v)?;
            u = unit(&conv2d::conv2d(&v, &self.weight, None, *there)?, &u)?;
        }
        Ok([u, v])
    }
}

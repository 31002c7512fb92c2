//! The linear map whose norm is taken, and its power iteration.

use crate::error::Result;
use crate::kernels::network::conv2d::{self, Settings};
use crate::kernels::network::spectral::{self, Sizes, unit};
use candle_core::{DType, Shape, Tensor};

/// The dtype of sums and vectors: in half precision they would be off by some percent.
pub(super) fn wide(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        other => other,
    }
}

/// A layer without bias and activation, the weight of the dtype [`wide`].
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
        results: [usize; 3],
    },
}

impl Map {
    pub(super) fn matrix(weight: Tensor, sizes: Sizes) -> Result<Self> {
        Map::new(weight, Form::Matrix(sizes))
    }

    pub(super) fn images(
        weight: Tensor,
        there: Settings,
        back: Settings,
        [dims, results]: [[usize; 3]; 2],
    ) -> Result<Self> {
        let form = Form::Images {
            there,
            back,
            dims,
            results,
        };
        Map::new(weight, form)
    }

    fn new(weight: Tensor, form: Form) -> Result<Self> {
        let weight = weight.to_dtype(wide(weight.dtype()))?;
        Ok(Map { weight, form })
    }

    /// The shapes of u and v.
    pub(super) fn shapes(&self) -> [Shape; 2] {
        match self.form {
            Form::Matrix([groups, rows, terms]) => [rows.into(), (groups * terms).into()],
            Form::Images { dims, results, .. } => {
                [results, dims].map(|[c, h, w]| (1, c, h, w).into())
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

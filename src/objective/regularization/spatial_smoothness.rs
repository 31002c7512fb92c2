//! Smoothness of the images that a linear classifier's weights are.

use super::{Quadratic, check_shift, differences, nothing, second_differences, square_norm};
use crate::check;
use crate::error::{Error, Result};
use crate::shape;
use candle_core::{D, DType, Device, Tensor};
use std::f64::consts::PI;

/// What [`SpatialSmoothness`] holds down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Derivative {
    /// Slopes: differences of neighbouring pixels.
    Gradient,
    /// Curvature: the sum of the second differences down and across.
    Laplacian,
}

/// Where a tensor of weights has its images. An image is `C rows cols` numbers: the flattened `[C, rows, cols]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Images {
    /// Rows, `[.., C rows cols]`: the weight `[K, features]` of a linear layer to K classes.
    Rows,
    /// Columns, `[.., C rows cols, K]`: the weight `[features, K]` that multiplies features from the right.
    Columns,
}

/// Smoothness in space of classification weights, as images: their slopes or their curvature.
///
/// Formula: `R(w) = alpha / 2 sum_k A |L w_k|^2` over classes k, with L the discretized derivative of each channel and A the
/// area of a pixel: for the gradient the differences of neighbours, over their distance, down and across; for the Laplacian the
/// sum of the second differences, over the squares of the distances. Nothing is outside of the image (Neumann borders). `A |L w|^2`
/// is the integral of `|grad w|^2` or `(lap w)^2` over the image: with `image` its size in fixed units, R hardly depends on
/// the resolution at which the function w is read. `H = alpha A L^T L`.
///
/// Shapes: as [`Images`] says; any dims before, any number of classes, also none. Gradients: of `value`, `H w`.
///
/// Errors: an alpha that is negative or not finite; a grid without channels, rows or columns, an image without extent; weights that
/// are not as many; whole numbers; for `solve`, a shift of 0, since constant images cost nothing.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::objective::regularization::{Derivative, Images, Quadratic, SpatialSmoothness};
/// # fn main() -> candle_prob::Result<()> {
/// // Two classes on images of one channel of 2 x 3 pixels, whose area is 1.
/// let penalty = SpatialSmoothness {
///     alpha: 1.,
///     derivative: Derivative::Gradient,
///     images: Images::Rows,
///     channels: 1,
///     grid: (2, 3),
///     extent: (2., 3.),
/// };
/// let weights = Tensor::new(&[[0f64, 1., 2., 0., 1., 2.], [5., 5., 5., 5., 5., 5.]], &Device::Cpu)?;
/// assert_eq!(penalty.value(&weights)?.to_scalar::<f64>()?, 2.);
/// let smoothed = penalty.solve(&weights, 1.)?; // a step of (H + I)^-1
/// assert!(penalty.value(&smoothed)?.to_scalar::<f64>()? < 1.);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: `solve` is exact to rounding: L^T L is diagonal in the cosine basis, whose products are taken in f64; O(rows + cols) for
/// each pixel.
///
/// Source: Haber and Ruthotto (2017), Stable architectures for deep neural networks, eq. 5.24 (areas) and 5.25; the basis: Strang (1999),
/// The discrete cosine transform, DCT-2.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpatialSmoothness {
    /// The weight, not negative.
    pub alpha: f64,
    /// L.
    pub derivative: Derivative,
    /// Where the images are.
    pub images: Images,
    /// Channels of an image, smoothed one by one.
    pub channels: usize,
    /// Rows and columns of pixels.
    pub grid: (usize, usize),
    /// Height and width of an image: `(1., 1.)` for the unit square, those of `grid` for pixels of area 1.
    pub extent: (f64, f64),
}

/// The images of a tensor as `[B, rows, cols, K]`, and the dims that it had.
struct Grid {
    images: Tensor,
    /// Distances of neighbours, down and across.
    distances: [f64; 2],
    /// `alpha` times the area of a pixel.
    weight: f64,
}

impl SpatialSmoothness {
    /// The area of a pixel. A score `sum_i y_i w_i` times it is the integral of `y w` over the image (eq. 5.24).
    ///
    /// Errors: those of the grid and the extent.
    pub fn area(&self) -> Result<f64> {
        self.distances("SpatialSmoothness::area")
            .map(|[h, w]| h * w)
    }

    fn distances(&self, op: &'static str) -> Result<[f64; 2]> {
        let ((rows, cols), (height, width)) = (self.grid, self.extent);
        check::at_least_one(op, &[("channels", self.channels), ("grid", rows.min(cols))])?;
        check::positive_finite(op, "extent", height)?;
        check::positive_finite(op, "extent", width)?;
        Ok([height / rows as f64, width / cols as f64])
    }

    fn grid(&self, op: &'static str, arg: &'static str, tensor: &Tensor) -> Result<Grid> {
        check::non_negative(op, "alpha", self.alpha)?;
        let distances = self.distances(op)?;
        shape::float(op, arg, tensor)?;
        let (rows, cols) = self.grid;
        let pixels = check::product(op, "grid", &[self.channels, rows, cols])?;
        let (dims, rank) = (tensor.dims(), tensor.rank());
        let columns = match self.images {
            Images::Rows => 1,
            Images::Columns => dims.last().copied().unwrap_or(0),
        };
        let (expected, size) = match self.images {
            Images::Rows => (format!("[.., {pixels}]"), dims.last()),
            Images::Columns => (format!("[.., {pixels}, K]"), dims.iter().nth_back(1)),
        };
        if size != Some(&pixels) {
            return Err(Error::shape(op, arg, expected, dims));
        }
        let before = match self.images {
            Images::Rows => &dims[..rank - 1],
            Images::Columns => &dims[..rank - 2],
        };
        let batch = before.iter().product::<usize>() * self.channels;
        let weight = self.alpha * distances[0] * distances[1];
        // The largest eigenvalue of the Hessian.
        let steepest: f64 = distances.iter().map(|h| 4. / (h * h)).sum();
        let largest = match self.derivative {
            Derivative::Gradient => weight * steepest,
            Derivative::Laplacian => weight * steepest * steepest,
        };
        check::finite(op, "alpha over powers of extent / grid", largest)?;
        Ok(Grid {
            images: tensor.reshape((batch, rows, cols, columns))?,
            distances,
            weight,
        })
    }

    /// `L^T L` of each pair of cosines, `[rows, cols]`.
    fn spectrum(&self, distances: [f64; 2]) -> Vec<f64> {
        let of = |size: usize, distance: f64| -> Vec<f64> {
            let of = |k| 2. * (PI * k as f64 / (2 * size) as f64).sin() / distance;
            (0..size).map(of).map(|root| root * root).collect()
        };
        let (down, across) = (of(self.grid.0, distances[0]), of(self.grid.1, distances[1]));
        let pairs = down.iter().flat_map(|a| across.iter().map(move |b| a + b));
        match self.derivative {
            Derivative::Gradient => pairs.collect(),
            Derivative::Laplacian => pairs.map(|sum| sum * sum).collect(),
        }
    }
}

impl Grid {
    /// The sum of the second differences, down and across, over the squares of the distances; negative.
    fn laplacian(&self) -> Result<Tensor> {
        let [down, across] = self.distances.map(|h| (h * h).recip());
        let (y, x) = (
            second_differences(&self.images, 1)?,
            second_differences(&self.images, 2)?,
        );
        Ok(((y * down)? + (x * across)?)?)
    }
}

impl Quadratic for SpatialSmoothness {
    fn value(&self, x: &Tensor) -> Result<Tensor> {
        let grid = self.grid("SpatialSmoothness::value", "x", x)?;
        let half = grid.weight / 2.;
        if self.derivative == Derivative::Laplacian {
            return Ok((square_norm(&grid.laplacian()?)? * half)?);
        }
        let mut value = nothing(x)?;
        for (dim, h) in [(1, grid.distances[0]), (2, grid.distances[1])] {
            if let Some(steps) = differences(&grid.images, dim)? {
                value = (value + (square_norm(&steps)? * (half / (h * h)))?)?;
            }
        }
        Ok(value)
    }

    fn product(&self, v: &Tensor) -> Result<Tensor> {
        let mut grid = self.grid("SpatialSmoothness::product", "v", v)?;
        let mut product = grid.laplacian()?;
        if self.derivative == Derivative::Laplacian {
            grid.images = product;
            product = grid.laplacian()?;
        }
        Ok((product * grid.weight)?.reshape(v.shape())?)
    }

    fn solve(&self, v: &Tensor, shift: f64) -> Result<Tensor> {
        let op = "SpatialSmoothness::solve";
        let grid = self.grid(op, "v", v)?;
        check_shift(op, shift, true)?;
        let images = grid
            .images
            .detach()
            .to_device(&Device::Cpu)?
            .to_dtype(DType::F64)?;
        let (rows, cols) = self.grid;
        let (down, across) = (cosines(rows)?, cosines(cols)?);
        let spectrum = self.spectrum(grid.distances);
        let factors = spectrum.iter().map(|s| (grid.weight * s + shift).recip());
        let factors = Tensor::from_vec(factors.collect(), (1, rows, cols, 1), &Device::Cpu)?;
        let x = product_along(&product_along(&images, 1, &down)?, 2, &across)?;
        let x = x.broadcast_mul(&factors)?;
        let x = product_along(&product_along(&x, 1, &down.t()?)?, 2, &across.t()?)?;
        Ok(x.reshape(v.shape())?
            .to_dtype(v.dtype())?
            .to_device(v.device())?)
    }
}

/// The orthonormal cosine basis of `size` points, a function in each row.
fn cosines(size: usize) -> Result<Tensor> {
    let of = |k: usize, i: usize| {
        let scale = if k == 0 { 1. } else { 2. };
        // Whole turns are left out, so that the angle keeps its digits.
        let turns = (k * (2 * i + 1)) % (4 * size);
        (scale / size as f64).sqrt() * (PI * turns as f64 / (2 * size) as f64).cos()
    };
    let basis = (0..size).flat_map(|k| (0..size).map(move |i| of(k, i)));
    Ok(Tensor::from_vec(
        basis.collect(),
        (size, size),
        &Device::Cpu,
    )?)
}

/// A matrix times the vectors along a dim.
fn product_along(x: &Tensor, dim: usize, matrix: &Tensor) -> Result<Tensor> {
    let last = x.transpose(dim, D::Minus1)?.contiguous()?;
    if last.elem_count() == 0 {
        return Ok(x.clone());
    }
    let rows = last.reshape(((), x.dim(dim)?))?.matmul(&matrix.t()?)?;
    Ok(rows.reshape(last.shape())?.transpose(dim, D::Minus1)?)
}

//! Pooling of images.

use super::conv::largest;
use crate::check;
use crate::detach::Detach;
use crate::dual::{Dual, DualModule};
use crate::error::{Error, Result};
use crate::kernels::network::max_positions::max_positions;
use crate::kernels::reduce;
use crate::shape;
use candle_core::{D, Tensor};
use candle_nn::Module;

/// What becomes of the pixels of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The first, at the top left: images are subsampled. No padding.
    Skip,
    /// Their mean; pixels of the padding are zeros that count.
    Average,
    /// The largest; pixels of the padding do not count. Of equal ones the first, row by row, has the gradient. NaN is the largest.
    Max,
}

/// Options of a [`Pool2d`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool2dConfig {
    /// What becomes of a window.
    pub pooling: Pooling,
    /// Rows and columns of a window.
    pub size: (usize, usize),
    /// Steps between windows, down and across.
    pub stride: (usize, usize),
    /// Rows above and below, columns left and right; at most half a window.
    pub padding: (usize, usize),
}

impl Default for Pool2dConfig {
    /// The largest of each 2 x 2 pixels.
    fn default() -> Self {
        Pool2dConfig {
            pooling: Pooling::Max,
            size: (2, 2),
            stride: (2, 2),
            padding: (0, 0),
        }
    }
}

/// Two-dimensional pooling: one number for each window of an image.
///
/// Formula: `y[.., i, j]` is the first, the mean or the largest of `x[.., i s - p + k, j t - q + l]` over `k < kh` and `l < kw`,
/// with windows of `(kh, kw)`, strides `(s, t)` and paddings `(p, q)`.
///
/// Shapes: x `[.., H, W]`, y `[.., (H + 2p - kh) / s + 1, (W + 2q - kw) / t + 1]` (divisions rounded down): all as torch's
/// `MaxPool2d` and `AvgPool2d` by default. The three ways of pooling lead to the same shape.
///
/// Gradients: for x, exact for every window, stride and padding.
///
/// Errors: fewer than two dims, whole numbers, images that are smaller than a window after padding.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use candle_nn::Module;
/// use candle_prob::net::{Pool2d, Pool2dConfig, Pooling};
/// # fn main() -> candle_prob::Result<()> {
/// let x = Var::new(&[[1f32, 2., 0., 3.], [4., 1., 3., 3.]], &Device::Cpu)?;
/// let largest = Pool2d::new(&Pool2dConfig::default())?.forward(&x)?;
/// assert_eq!(largest.to_vec2::<f32>()?, [[4., 3.]]);
/// let gradients = largest.sum_all()?.backward()?;
/// assert_eq!(gradients.get(&x).unwrap().to_vec2::<f32>()?, [[0., 0., 0., 1.], [1., 0., 0., 0.]]);
/// let average = Pool2dConfig { pooling: Pooling::Average, ..Default::default() };
/// assert_eq!(Pool2d::new(&average)?.forward(&x)?.to_vec2::<f32>()?, [[2., 2.25]]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Haber and Ruthotto (2017), Stable architectures for deep neural networks, section 5.2, for the three ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool2d {
    config: Pool2dConfig,
}

impl Pool2d {
    /// The layer, which has no parameters.
    ///
    /// Errors: a window or a stride of 0; a padding of more than half a window, or of skipped pixels.
    pub fn new(config: &Pool2dConfig) -> Result<Self> {
        const OP: &str = "Pool2d::new";
        let (size, stride, padding) = (config.size, config.stride, config.padding);
        let counts = [
            ("size", size.0.min(size.1)),
            ("stride", stride.0.min(stride.1)),
        ];
        check::at_least_one(OP, &counts)?;
        let most = match config.pooling {
            Pooling::Skip => (0, 0),
            _ => (size.0 / 2, size.1 / 2),
        };
        check::at_most(OP, "padding", padding.0, most.0)?;
        check::at_most(OP, "padding", padding.1, most.1)?;
        Ok(Pool2d { config: *config })
    }

    /// The options.
    pub fn config(&self) -> &Pool2dConfig {
        &self.config
    }

    /// Rows and columns of the result, for images of `[.., H, W]`.
    fn pooled(&self, x: &Tensor) -> Result<[usize; 2]> {
        const OP: &str = "Pool2d";
        shape::float(OP, "x", x)?;
        let c = &self.config;
        let [.., height, width] = *x.dims() else {
            return Err(Error::shape(OP, "x", "[.., H, W]", x.dims()));
        };
        let after = |n: usize, padding: usize, size: usize, stride: usize| {
            let padded = n.checked_add(padding.checked_mul(2)?)?;
            (n > 0 && padded >= size).then(|| (padded - size) / stride + 1)
        };
        let rows = after(height, c.padding.0, c.size.0, c.stride.0);
        let columns = after(width, c.padding.1, c.size.1, c.stride.1);
        match (rows, columns) {
            (Some(rows), Some(columns)) => Ok([rows, columns]),
            _ => {
                let expected = format!("images of at least {:?} after padding", c.size);
                Err(Error::shape(OP, "x", expected, x.dims()))
            }
        }
    }

    /// The pixels of the windows, linear in x: `[.., window, pixel]`, or the pixels first.
    fn windows(&self, x: &Tensor, [rows, columns]: [usize; 2], last: bool) -> Result<Tensor> {
        let c = &self.config;
        let zeros = c.pooling == Pooling::Average;
        let x = match zeros {
            true => x
                .pad_with_zeros(D::Minus2, c.padding.0, c.padding.0)?
                .pad_with_zeros(D::Minus1, c.padding.1, c.padding.1)?,
            false => x.clone(),
        };
        let (height, width) = (x.dim(D::Minus2)?, x.dim(D::Minus1)?);
        // Beyond the border stands the pixel at the border, which the window has as well: no maximum is another for it.
        let place = |at: usize, padding: usize, size: usize| match zeros {
            true => at,
            false => at.saturating_sub(padding).min(size - 1),
        };
        let (kh, kw) = match c.pooling {
            Pooling::Skip => (1, 1),
            _ => c.size,
        };
        let index = |window: usize, pixel: usize| {
            let (i, j) = (window / columns, window % columns);
            let (k, l) = (pixel / kw, pixel % kw);
            let row = place(i * c.stride.0 + k, c.padding.0, height);
            (row * width + place(j * c.stride.1 + l, c.padding.1, width)) as u32
        };
        let numbers = check::product("Pool2d", "size", &[rows, columns, kh, kw])?;
        let (count, pixels) = (rows * columns, kh * kw);
        let (indices, dims): (Vec<u32>, _) = match last {
            true => (
                (0..numbers)
                    .map(|n| index(n / pixels, n % pixels))
                    .collect(),
                [count, pixels],
            ),
            false => (
                (0..numbers).map(|n| index(n % count, n / count)).collect(),
                [pixels, count],
            ),
        };
        let indices = Tensor::from_vec(indices, numbers, x.device())?;
        let before = &x.dims()[..x.rank() - 2];
        let flat = x.flatten_from(D::Minus2)?.contiguous()?;
        let taken = flat.index_select(&indices, D::Minus1)?;
        Ok(taken.reshape([before, &dims].concat())?)
    }

    /// The means of windows, or what is not skipped: linear in x.
    fn linear(&self, x: &Tensor, size: [usize; 2]) -> Result<Tensor> {
        let windows = self.windows(x, size, true)?;
        let dims = [&x.dims()[..x.rank() - 2], &size].concat();
        let pixels = windows.dim(D::Minus1)?;
        let y = match pixels {
            1 => windows,
            _ => (reduce::sum(&windows)? / pixels as f64)?,
        };
        Ok(y.reshape(dims)?)
    }

    fn pool(&self, x: &Tensor) -> Result<Tensor> {
        let size = self.pooled(x)?;
        let before = &x.dims()[..x.rank() - 2];
        let dims = [before, &size].concat();
        if x.elem_count() == 0 {
            return Ok(Tensor::zeros(dims, x.dtype(), x.device())?);
        }
        if self.config.pooling != Pooling::Max {
            return self.linear(x, size);
        }
        let images = x.reshape([&[before.iter().product()], &x.dims()[before.len()..]].concat())?;
        let windows = self.windows(&images, size, false)?;
        Ok(max_positions(&windows)?.reshape(dims)?)
    }
}

impl Module for Pool2d {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        Ok(self.pool(x)?)
    }
}

impl DualModule for Pool2d {
    fn forward_dual(&self, x: &Dual) -> Result<Dual> {
        let size = self.pooled(x.value())?;
        let dims = [&x.value().dims()[..x.value().rank() - 2], &size].concat();
        if x.value().elem_count() == 0 {
            return x.linear(|t| {
                let directions = &t.dims()[..t.rank() - dims.len()];
                let dims = [directions, &dims].concat();
                Ok(Tensor::zeros(dims, t.dtype(), t.device())?)
            });
        }
        if self.config.pooling != Pooling::Max {
            return x.linear(|t| self.linear(t, size));
        }
        let y = largest(&x.linear(|t| self.windows(t, size, true))?)?;
        y.linear(|t| Ok(t.reshape([&t.dims()[..t.rank() - 1], &size].concat())?))
    }
}

impl Detach for Pool2d {
    fn detach(&self) -> Self {
        *self
    }
}

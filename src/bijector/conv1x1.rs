//! The invertible 1x1 convolution.

use super::{Bijector, Lu, vectors};
use crate::detach::Detach;
use crate::error::{Error, Result};
use crate::shape;
use candle_core::{D, Tensor};

/// The channels of each pixel times an invertible matrix.
///
/// Formula: `y_hw = W x_hw` with W as [`Lu`] gives it; `ln |det dy/dx| = H W ln |det W|`. Both directions cost a matrix
/// product and C^3 operations for W or its inverse.
///
/// Shapes: `x` and `y` are `batch ++ [C, H, W]`, the log-det is `batch`. Gradients: to argument and factors.
///
/// Errors: an argument of other dtype or number of channels.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::bijector::{Bijector, Conv1x1, Lu};
/// # fn main() -> candle_prob::Result<()> {
/// let swap = Lu::decompose(&Tensor::new(&[[0f64, 1.], [2., 0.]], &Device::Cpu)?)?;
/// let image = Tensor::new(&[[[3f64, 4.]], [[5., 6.]]], &Device::Cpu)?;
/// let (y, log_det) = Conv1x1::new(&swap).transform_and_log_det(&image)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f64>()?, [5., 6., 6., 8.]);
/// assert_eq!(log_det.to_scalar::<f64>()?, 2. * 2f64.ln());
/// # Ok(())
/// # }
/// ```
///
/// Source: Kingma and Dhariwal (2018), Glow, section 3.2.
#[derive(Debug, Clone)]
pub struct Conv1x1 {
    lu: Lu,
}

impl Conv1x1 {
    /// From the matrix's factors.
    pub fn new(lu: &Lu) -> Self {
        Conv1x1 { lu: lu.clone() }
    }

    /// The matrix's factors.
    pub fn lu(&self) -> &Lu {
        &self.lu
    }

    /// Refuses what has not the matrix's number of channels, and gives ln |det| of the whole image.
    fn log_det(&self, op: &'static str, x: &Tensor) -> Result<Tensor> {
        shape::same_kind(op, "image", x, self.lu.lower())?;
        match x.dims() {
            [lead @ .., c, h, w] if *c == self.lu.size() => {
                let log_det = (self.lu.log_det()? * (h * w) as f64)?;
                Ok(log_det.broadcast_as(lead)?)
            }
            dims => {
                let expected = format!("[.., {}, H, W]", self.lu.size());
                Err(Error::shape(op, "image", expected, dims))
            }
        }
    }
}

/// The matrix times the channels of every pixel.
fn mix(matrix: &Tensor, x: &Tensor) -> Result<Tensor> {
    let pixels = x.flatten_from(D::Minus2)?.transpose(D::Minus1, D::Minus2)?;
    let mixed = vectors::product(matrix, &pixels)?;
    let mixed = mixed.transpose(D::Minus1, D::Minus2)?;
    Ok(mixed.reshape(x.shape())?)
}

impl Bijector for Conv1x1 {
    fn event_rank(&self) -> usize {
        3
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let log_det = self.log_det("Conv1x1::transform", x)?;
        Ok((mix(&self.lu.matrix()?, x)?, log_det))
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        let log_det = self.log_det("Conv1x1::inverse", y)?.neg()?;
        Ok((mix(&self.lu.inverse_matrix()?, y)?, log_det))
    }
}

impl Detach for Conv1x1 {
    fn detach(&self) -> Self {
        Conv1x1 {
            lu: self.lu.detach(),
        }
    }
}

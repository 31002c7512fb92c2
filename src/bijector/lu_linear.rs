//! A linear map by its LU factors.

use super::{Bijector, Lu, vectors};
use crate::detach::Detach;
use crate::error::Result;
use crate::shape;
use candle_core::Tensor;

/// Vectors times an invertible matrix, and a shift.
///
/// Formula: `y = W x + bias` with W as [`Lu`] gives it; `ln |det dy/dx| = ln |det W|`. Both directions cost a matrix product
/// and d^3 operations for W or its inverse.
///
/// Shapes: `x` and `y` are `batch ++ [d]`, the log-det is `batch`. Gradients: to argument, factors and bias.
///
/// Errors: a bias that is not `[d]`; an argument of other dtype or last dim.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::bijector::{Bijector, Lu, LuLinear};
/// use candle_prob::Rng;
/// # fn main() -> candle_prob::Result<()> {
/// let rotation = Lu::random_rotation(2, DType::F64, &Device::Cpu, &mut Rng::new(0))?;
/// let y = LuLinear::new(&rotation, None)?.transform(&Tensor::new(&[3f64, 4.], &Device::Cpu)?)?;
/// assert!((y.sqr()?.sum_all()?.to_scalar::<f64>()? - 25.).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
///
/// Source: Oliva et al. (2018), Transformation autoregressive networks, section 3.2.
#[derive(Debug, Clone)]
pub struct LuLinear {
    lu: Lu,
    bias: Option<Tensor>,
}

impl LuLinear {
    /// From the matrix's factors and perhaps a shift `[d]`.
    pub fn new(lu: &Lu, bias: Option<&Tensor>) -> Result<Self> {
        if let Some(bias) = bias {
            let op = "LuLinear::new";
            shape::same_kind(op, "bias", bias, lu.lower())?;
            shape::exactly(op, "bias", bias.dims(), &[lu.size()])?;
        }
        Ok(LuLinear {
            lu: lu.clone(),
            bias: bias.cloned(),
        })
    }

    /// The matrix's factors.
    pub fn lu(&self) -> &Lu {
        &self.lu
    }

    fn log_det(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.lu.log_det()?.broadcast_as(&x.dims()[..x.rank() - 1])?)
    }
}

impl Bijector for LuLinear {
    fn event_rank(&self) -> usize {
        1
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        vectors::check("LuLinear::transform", x, self.lu.lower(), &[self.lu.size()])?;
        let mut y = vectors::product(&self.lu.matrix()?, x)?;
        if let Some(bias) = &self.bias {
            y = y.broadcast_add(bias)?;
        }
        Ok((y, self.log_det(x)?))
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        vectors::check("LuLinear::inverse", y, self.lu.lower(), &[self.lu.size()])?;
        let log_det = self.log_det(y)?.neg()?;
        let inverse = self.lu.inverse_matrix()?;
        let x = match &self.bias {
            Some(bias) => vectors::product(&inverse, &y.broadcast_sub(bias)?)?,
            None => vectors::product(&inverse, y)?,
        };
        Ok((x, log_det))
    }
}

impl Detach for LuLinear {
    fn detach(&self) -> Self {
        LuLinear {
            lu: self.lu.detach(),
            bias: self.bias.detach(),
        }
    }
}

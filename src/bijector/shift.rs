//! Shifts.

use super::{Bijector, zeros};
use crate::detach::Detach;
use crate::error::Result;
use crate::shape;
use candle_core::Tensor;

/// A shift, elementwise: the map of additive couplings.
///
/// Formula: `y = x + loc`; the log-det is 0.
///
/// Shapes: `loc` broadcasts with the last dims of the argument. Gradients: to argument and shift.
///
/// Errors: an argument that is not floating point, of another dtype or device, or with fewer dims than the shift has.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::bijector::{Bijector, Shift};
/// # fn main() -> candle_prob::Result<()> {
/// let x = Tensor::new(&[1f64, 2.], &Device::Cpu)?;
/// let shift = Shift::new(&Tensor::new(3f64, &Device::Cpu)?);
/// assert_eq!(shift.transform(&x)?.to_vec1::<f64>()?, [4., 5.]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Dinh, Krueger and Bengio (2015), NICE, section 3.2.
#[derive(Debug, Clone)]
pub struct Shift {
    loc: Tensor,
}

impl Shift {
    /// By `loc`, which may be empty, as networks' outputs for a batch of no rows are.
    pub fn new(loc: &Tensor) -> Self {
        Shift { loc: loc.clone() }
    }

    /// The shift.
    pub fn loc(&self) -> &Tensor {
        &self.loc
    }

    /// The shift in the argument's shape.
    fn full(&self, op: &'static str, x: &Tensor) -> Result<Tensor> {
        shape::float(op, "argument", x)?;
        shape::same_kind(op, "argument", x, &self.loc)?;
        shape::broadcast_from(op, "argument", x.dims(), self.loc.dims())?;
        Ok(self.loc.broadcast_as(x.shape())?)
    }
}

impl Bijector for Shift {
    fn event_rank(&self) -> usize {
        0
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let loc = self.full("Shift::transform", x)?;
        Ok(((x + loc)?, zeros(x, 0)?))
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        let loc = self.full("Shift::inverse", y)?;
        Ok(((y - loc)?, zeros(y, 0)?))
    }
}

impl Detach for Shift {
    fn detach(&self) -> Self {
        Shift {
            loc: self.loc.detach(),
        }
    }
}

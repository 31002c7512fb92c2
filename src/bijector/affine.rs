//! Shift and scale.

use super::Bijector;
use crate::error::{Error, Result};
use crate::kernels::pointwise::{Formula, Real, formula};
use crate::shape;
use candle_core::{DType, Tensor};

/// Shift and scale of each element.
///
/// Formula: `y = loc + scale x`; `ln |dy/dx| = ln |scale|`.
///
/// Shapes: `loc` and `scale` broadcast together and with the last dims of the argument. Gradients: to argument and
/// parameters, first derivatives only.
///
/// Errors: parameters that are empty, not floating point, of different dtype or device, or do not broadcast; a scale of 0;
/// an argument of another dtype or device, or with fewer dims than they have.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::bijector::{Affine, Bijector};
/// # fn main() -> candle_prob::Result<()> {
/// let affine = Affine::new(&Tensor::new(1f64, &Device::Cpu)?, &Tensor::new(-2f64, &Device::Cpu)?)?;
/// let (y, log_det) = affine.transform_and_log_det(&Tensor::new(&[3f64], &Device::Cpu)?)?;
/// assert_eq!((y.to_vec1::<f64>()?[0], log_det.to_vec1::<f64>()?[0]), (-5., 2f64.ln()));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Affine {
    loc: Tensor,
    scale: Tensor,
    shape: Vec<usize>,
}

impl Affine {
    /// From shift and scale.
    pub fn new(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        let op = "Affine::new";
        let [full, _] = shape::broadcast_parameters(op, [("loc", loc), ("scale", scale)])?;
        let least = scale.detach().abs()?.min_all()?.to_dtype(DType::F64)?;
        if !(least.to_scalar::<f64>()? > 0.) {
            return Err(Error::value(op, "scale", "numbers other than 0", 0.));
        }
        Ok(Affine {
            loc: loc.clone(),
            scale: scale.clone(),
            shape: full.dims().to_vec(),
        })
    }

    /// The shift.
    pub fn loc(&self) -> &Tensor {
        &self.loc
    }

    /// The scale.
    pub fn scale(&self) -> &Tensor {
        &self.scale
    }

    fn apply(&self, op: &'static str, inverse: bool, x: &Tensor) -> Result<(Tensor, Tensor)> {
        shape::same_kind(op, "argument", x, &self.loc)?;
        if shape::broadcast(x.dims(), &self.shape).as_deref() != Some(x.dims()) {
            let expected = format!("a shape to which {:?} broadcasts", self.shape);
            return Err(Error::shape(op, "argument", expected, x.dims()));
        }
        let y = formula(Shift { inverse }, [x, &self.loc, &self.scale])?;
        let log_det = formula(LogDet { inverse }, [&self.scale])?;
        Ok((y, log_det.broadcast_as(x.shape())?))
    }
}

#[derive(Clone, Copy)]
struct Shift {
    inverse: bool,
}

impl Formula<3> for Shift {
    const NAME: &'static str = "affine";

    #[inline(always)]
    fn at<R: Real>(self, [x, loc, scale]: [R; 3]) -> R {
        if self.inverse {
            (x - loc) / scale
        } else {
            loc + scale * x
        }
    }
}

#[derive(Clone, Copy)]
struct LogDet {
    inverse: bool,
}

impl Formula<1> for LogDet {
    const NAME: &'static str = "affine-log-det";

    #[inline(always)]
    fn at<R: Real>(self, [scale]: [R; 1]) -> R {
        let log = scale.abs().ln();
        if self.inverse { -log } else { log }
    }
}

/// The same numbers.
impl PartialEq for Affine {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &Tensor, b: &Tensor| -> candle_core::Result<bool> {
            let kind = a.dims() == b.dims() && a.dtype() == b.dtype();
            Ok(kind && a.eq(b)?.min_all()?.to_scalar::<u8>()? == 1)
        };
        let pairs = [(&self.loc, &other.loc), (&self.scale, &other.scale)];
        pairs.iter().all(|(a, b)| same(a, b).unwrap_or(false))
    }
}

impl Bijector for Affine {
    fn event_rank(&self) -> usize {
        0
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        self.apply("Affine::transform", false, x)
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        self.apply("Affine::inverse", true, y)
    }
}

//! Shift and scale.

use super::Bijector;
use crate::check;
use crate::detach::Detach;
use crate::error::{Error, Result};
use crate::kernels::elementwise::{Formula, named};
use crate::kernels::number::Real;
use crate::shape;
use candle_core::{DType, Tensor};

/// Shift and scale, elementwise.
///
/// Formula: `y = loc + scale x`; `ln |dy/dx| = ln |scale|`. The scale is given as it is, or softly clamped as the coupling
/// layers of flows want it: `ln scale = bound tanh(raw / bound)`, which is `raw` near 0 and never leaves +-bound.
///
/// Shapes: `loc` and `scale` broadcast together and with the last dims of the argument. Gradients: to argument and
/// parameters, first derivatives only.
///
/// Errors: parameters that are not floating point, of different dtype or device, or do not broadcast; an empty scale or one
/// of 0; a bound that is not positive; an argument of another dtype or device, or with fewer dims than they have.
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
    spread: Tensor,
    kind: Spread,
    shape: Vec<usize>,
}

/// What the second parameter is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Spread {
    Scale,
    /// `bound tanh(spread / bound)` is the logarithm of the scale.
    Soft {
        bound: f64,
    },
}

impl Affine {
    /// From shift and scale.
    pub fn new(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        let op = "Affine::new";
        let [full, _] = shape::broadcast_filled(op, [("loc", loc), ("scale", scale)])?;
        let least = scale.detach().abs()?.min_all()?.to_dtype(DType::F64)?;
        if !(least.to_scalar::<f64>()? > 0.) {
            return Err(Error::value(op, "scale", "numbers other than 0", 0.));
        }
        Ok(Affine {
            loc: loc.clone(),
            spread: scale.clone(),
            kind: Spread::Scale,
            shape: full.dims().to_vec(),
        })
    }

    /// From shift and unbounded `raw`, as networks give them: `ln scale = bound tanh(raw / bound)`. An infinite bound leaves
    /// `ln scale = raw`.
    pub fn soft_clamped(loc: &Tensor, raw: &Tensor, bound: f64) -> Result<Self> {
        let op = "Affine::soft_clamped";
        // Networks' outputs for a batch of no rows are empty.
        let shape = shape::broadcast_shape(op, [("loc", loc), ("raw", raw)])?;
        check::positive(op, "bound", bound)?;
        Ok(Affine {
            loc: loc.clone(),
            spread: raw.clone(),
            kind: Spread::Soft { bound },
            shape,
        })
    }

    /// The shift.
    pub fn loc(&self) -> &Tensor {
        &self.loc
    }

    /// What the argument is multiplied by.
    pub fn scale(&self) -> Result<Tensor> {
        match self.kind {
            Spread::Scale => Ok(self.spread.clone()),
            Spread::Soft { .. } => Ok(self.log_scale()?.exp()?),
        }
    }

    /// The logarithm of the scale's absolute value.
    pub fn log_scale(&self) -> Result<Tensor> {
        self.log_det("Affine::log_scale", false)
    }

    fn log_det(&self, op: &'static str, inverse: bool) -> Result<Tensor> {
        let kind = self.kind;
        named(op, LogDet { kind, inverse }, [&self.spread])
    }

    fn apply(&self, op: &'static str, inverse: bool, x: &Tensor) -> Result<(Tensor, Tensor)> {
        shape::same_kind(op, "argument", x, &self.loc)?;
        shape::broadcast_from(op, "argument", x.dims(), &self.shape)?;
        let kind = self.kind;
        let y = named(op, Shift { kind, inverse }, [x, &self.loc, &self.spread])?;
        Ok((y, self.log_det(op, inverse)?.broadcast_as(x.shape())?))
    }
}

#[derive(Clone, Copy)]
struct Shift {
    kind: Spread,
    inverse: bool,
}

impl Formula<3> for Shift {
    const QUICK: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [x, loc, spread]: [R; 3]) -> R {
        match (self.kind, self.inverse) {
            (Spread::Scale, false) => loc + spread * x,
            (Spread::Scale, true) => (x - loc) / spread,
            (Spread::Soft { bound }, false) => loc + soft(spread, bound).exp() * x,
            (Spread::Soft { bound }, true) => (x - loc) * (-soft(spread, bound)).exp(),
        }
    }
}

#[derive(Clone, Copy)]
struct LogDet {
    kind: Spread,
    inverse: bool,
}

impl Formula<1> for LogDet {
    const QUICK: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [spread]: [R; 1]) -> R {
        let log = match self.kind {
            Spread::Scale => spread.abs().ln(),
            Spread::Soft { bound } => soft(spread, bound),
        };
        if self.inverse { -log } else { log }
    }
}

#[inline(always)]
fn soft<R: Real>(raw: R, bound: f64) -> R {
    if bound == f64::INFINITY {
        return raw;
    }
    (raw / bound).tanh() * bound
}

/// The same numbers.
impl PartialEq for Affine {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &Tensor, b: &Tensor| -> candle_core::Result<bool> {
            let kind = a.dims() == b.dims() && a.dtype() == b.dtype();
            Ok(kind && (a.elem_count() == 0 || a.eq(b)?.min_all()?.to_scalar::<u8>()? == 1))
        };
        let pairs = [(&self.loc, &other.loc), (&self.spread, &other.spread)];
        self.kind == other.kind && pairs.iter().all(|(a, b)| same(a, b).unwrap_or(false))
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

    fn decreasing(&self) -> Result<Option<Tensor>> {
        match self.kind {
            Spread::Scale => Ok(Some(self.spread.detach().lt(0.)?)),
            Spread::Soft { .. } => Ok(None),
        }
    }
}

impl Detach for Affine {
    fn detach(&self) -> Self {
        Affine {
            loc: self.loc.detach(),
            spread: self.spread.detach(),
            ..self.clone()
        }
    }
}

//! The modified Bessel functions of the first kind, of order 0 and 1.

use crate::error::Result;
use crate::kernels::elementwise::{Formula, named};
use crate::kernels::number::Real;
use crate::shape;
use candle_core::Tensor;

#[derive(Clone, Copy)]
enum Bessel {
    LogI0,
    LogI1,
    I0e,
    I1e,
}

impl Formula<1> for Bessel {
    #[inline(always)]
    fn at<R: Real>(self, [x]: [R; 1]) -> R {
        match self {
            Bessel::LogI0 => x.log_i0(),
            Bessel::LogI1 => x.log_i1(),
            Bessel::I0e => x.i0e(),
            Bessel::I1e => x.i1e(),
        }
    }
}

fn bessel(op: &'static str, f: Bessel, x: &Tensor) -> Result<Tensor> {
    shape::float(op, "x", x)?;
    named(op, f, [x])
}

/// `ln I0(x)`, which is even: the logarithm of the norm of a von Mises density, less `ln(2 pi)`.
///
/// Gradients: `I1(x) / I0(x)`; first derivatives only. Errors: a dtype that is not floating point.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::special;
/// # fn main() -> candle_prob::Result<()> {
/// let x = Tensor::new(&[0f64, 1e4], &Device::Cpu)?;
/// let y = special::log_i0(&x)?.to_vec1::<f64>()?;
/// assert!(y[0] == 0. && (y[1] - 9994.475904).abs() < 1e-5);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: full relative precision, in value and gradient, from 0 to where x overflows.
///
/// Source: Abramowitz and Stegun, "Handbook of Mathematical Functions" (1964), eqs. 9.6.10, 9.7.1.
pub fn log_i0(x: &Tensor) -> Result<Tensor> {
    bessel("special::log_i0", Bessel::LogI0, x)
}

/// `ln I1(x)` of numbers of 0 or more; -inf at 0, NaN below.
///
/// Gradients: `I0(x) / I1(x) - 1 / x`; first derivatives only. Errors: a dtype that is not floating point.
pub fn log_i1(x: &Tensor) -> Result<Tensor> {
    bessel("special::log_i1", Bessel::LogI1, x)
}

/// `e^-|x| I0(x)`, which does not overflow.
///
/// Gradients: `i1e(x) - sign(x) i0e(x)`, 0 at the kink at 0; first derivatives only. Errors: a dtype that is not
/// floating point.
///
/// Numerics: full relative precision.
pub fn i0e(x: &Tensor) -> Result<Tensor> {
    bessel("special::i0e", Bessel::I0e, x)
}

/// `e^-|x| I1(x)`, which is odd and does not overflow.
///
/// Gradients: `i0e(x) - i1e(x) (1 / x + sign(x))`, 1/2 at 0; first derivatives only. Errors: a dtype that is not
/// floating point.
///
/// Numerics: full relative precision.
pub fn i1e(x: &Tensor) -> Result<Tensor> {
    bessel("special::i1e", Bessel::I1e, x)
}

//! Special functions of tensors, with gradients.
//!
//! All of them take f32 and f64 (fused on the CPU) and half precision, keep the shape unless they reduce a dimension,
//! return NaN for NaN, and refuse dtypes that are not floating point with an error.
//!
//! Accuracy: within 1e-12 in f64 and 2e-6 in f32, relative to the value (to the largest term where a value is a difference near
//! zero), against values of 50 digits in `tests/golden/special.json` over these ranges:
//!
//! | functions | arguments |
//! |---|---|
//! | `lgamma`, `digamma` | -18 to 1e30; their poles |
//! | `trigamma` | 1e-6 to 1e30 |
//! | `mvlgamma` | dimension 1 to 10, up to 1e4 |
//! | `lbeta` | 1e-20 to 1e10 |
//! | `gammainc` and its kin | a from 1e-3 to 1e4, x to 1.1e4 |
//! | `betainc` and its kin | a and b from 1e-3 to 1e4, x from 1e-10 to 1 - 1e-6 |
//! | `erf`, `erfc` | -27 to 27 |
//! | `erfinv`, `ndtri` | all, ends included |
//! | `ndtr`, `log_ndtr` | -1e4 (-1e7 for the logarithm) to 100 |
//! | `softplus`, `log_sigmoid`, `log_cosh` | -1e4 to 1e4 |
//! | `log1mexp` | 0 to 100 |
//! | `log_i0`, `log_i1`, `i0e`, `i1e` | to 1e6 |
//!
//! The inverses `erfinv` and `ndtri` start from the crate `statrs` and take a step of Newton's method; its `erfc`, off by up to
//! 5e-11, is not used.

mod bessel;
mod incomplete;

pub use bessel::{i0e, i1e, log_i0, log_i1};
pub use incomplete::{
    betainc, betaincc, betaincinv, gammainc, gammaincc, gammaincinv, lbeta, log_betainc,
    log_betaincc, log_gammainc, log_gammaincc,
};

use crate::check;
use crate::error::{Error, Result};
use crate::kernels::elementwise::{Formula, named};
use crate::kernels::elementwise::{log_gamma, map};
use crate::kernels::number::Real;
use crate::kernels::reduce;
use crate::shape;
use candle_core::{Tensor, shape::Dim};
use std::f64::consts::PI;

/// `ln(1 + e^x)`, the softplus function.
///
/// Gradients: the logistic function of x. Errors: a dtype that is not floating point.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::special;
/// # fn main() -> candle_prob::Result<()> {
/// let x = Tensor::new(&[-1000f64, 0., 1000.], &Device::Cpu)?;
/// assert_eq!(special::softplus(&x)?.to_vec1::<f64>()?, [0., 2f64.ln(), 1000.]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: full relative precision in the left tail.
pub fn softplus(x: &Tensor) -> Result<Tensor> {
    shape::float("special::softplus", "x", x)?;
    map::softplus(x)
}

/// `-ln(1 + e^-x)`, the logarithm of the logistic function.
///
/// Gradients: the logistic function of -x. Errors: a dtype that is not floating point.
///
/// Numerics: full relative precision in the right tail.
pub fn log_sigmoid(x: &Tensor) -> Result<Tensor> {
    shape::float("special::log_sigmoid", "x", x)?;
    map::log_sigmoid(x)
}

/// `ln(1 + x)`; -inf at -1, NaN below.
///
/// Gradients: `1 / (1 + x)`. Errors: a dtype that is not floating point.
///
/// Numerics: full relative precision near 0.
pub fn log1p(x: &Tensor) -> Result<Tensor> {
    shape::float("special::log1p", "x", x)?;
    map::log1p(x)
}

/// `e^x - 1`.
///
/// Gradients: `e^x`. Errors: a dtype that is not floating point.
///
/// Numerics: full relative precision near 0.
pub fn expm1(x: &Tensor) -> Result<Tensor> {
    shape::float("special::expm1", "x", x)?;
    map::expm1(x)
}

/// `ln(1 - e^-x)` for positive x; -inf at 0, NaN below.
///
/// Gradients: `1 / (e^x - 1)`. Errors: a dtype that is not floating point.
///
/// Numerics: full relative precision at both ends.
///
/// Source: M. Maechler, "Accurately computing log(1 - exp(-|a|))" (2012), eq. 7.
pub fn log1mexp(x: &Tensor) -> Result<Tensor> {
    shape::float("special::log1mexp", "x", x)?;
    map::log1mexp(x)
}

/// `ln cosh(x)`; infinite at both infinities.
///
/// Gradients: `tanh(x)`; first derivatives only. Errors: a dtype that is not floating point.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::special;
/// # fn main() -> candle_prob::Result<()> {
/// let x = Tensor::new(&[0f64, -1000.], &Device::Cpu)?;
/// assert_eq!(special::log_cosh(&x)?.to_vec1::<f64>()?, [0., 1000. - 2f64.ln()]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: full relative precision, also near 0.
pub fn log_cosh(x: &Tensor) -> Result<Tensor> {
    let op = "special::log_cosh";
    shape::float(op, "x", x)?;
    named(op, LogCosh, [x])
}

#[derive(Clone, Copy)]
struct LogCosh;

impl Formula<1> for LogCosh {
    #[inline(always)]
    fn at<R: Real>(self, [x]: [R; 1]) -> R {
        x.log_cosh()
    }
}

/// `ln |Gamma(x)|`; infinite at 0, at negative whole numbers and at both infinities.
///
/// Gradients: [`digamma`]. Errors: a dtype that is not floating point.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::special;
/// # fn main() -> candle_prob::Result<()> {
/// let x = Tensor::new(&[1f64, 5.], &Device::Cpu)?;
/// assert_eq!(special::lgamma(&x)?.to_vec1::<f64>()?[0], 0.);
/// assert!((special::lgamma(&x)?.to_vec1::<f64>()?[1] - 24f64.ln()).abs() < 1e-14);
/// # Ok(())
/// # }
/// ```
///
/// Source: Abramowitz and Stegun, "Handbook of Mathematical Functions" (1964), eqs. 6.1.17, 6.1.33, 6.1.40.
pub fn lgamma(x: &Tensor) -> Result<Tensor> {
    shape::float("special::lgamma", "x", x)?;
    log_gamma::lgamma_tensor(x)
}

/// The logarithm of the multivariate gamma function of dimension p,
/// `p (p - 1) / 4 ln(pi) + sum_(j = 1 .. p) ln Gamma(x + (1 - j) / 2)`, for x above `(p - 1) / 2`; infinite there, NaN
/// below.
///
/// Gradients: the sum of [`digamma`] at the same places; first derivatives only.
///
/// Errors: a dtype that is not floating point, a dimension of 0.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::special;
/// # fn main() -> candle_prob::Result<()> {
/// // Gamma_2(x) = sqrt(pi) Gamma(x) Gamma(x - 1/2), pi / 2 at 3/2.
/// let y = special::mvlgamma(&Tensor::new(1.5f64, &Device::Cpu)?, 2)?.to_scalar::<f64>()?;
/// assert!((y - std::f64::consts::FRAC_PI_2.ln()).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Source: Anderson, "An Introduction to Multivariate Statistical Analysis" (2003), section 7.2.
pub fn mvlgamma(x: &Tensor, p: usize) -> Result<Tensor> {
    let op = "special::mvlgamma";
    shape::float(op, "x", x)?;
    check::at_least_one(op, &[("p", p)])?;
    named(op, MultivariateLogGamma { p }, [x])
}

#[derive(Clone, Copy)]
struct MultivariateLogGamma {
    p: usize,
}

impl Formula<1> for MultivariateLogGamma {
    #[inline(always)]
    fn at<R: Real>(self, [x]: [R; 1]) -> R {
        let p = self.p as f64;
        if x.value() < 0.5 * (p - 1.) {
            return R::constant(f64::NAN);
        }
        let start = R::constant(0.25 * p * (p - 1.) * PI.ln());
        (0..self.p).fold(start, |sum, j| sum + (x - 0.5 * j as f64).lgamma())
    }
}

/// The derivative of [`lgamma`], also called psi; NaN at negative whole numbers.
///
/// Gradients: [`trigamma`]. Errors: a dtype that is not floating point.
///
/// Source: Abramowitz and Stegun, "Handbook of Mathematical Functions" (1964), eqs. 6.3.5, 6.3.7, 6.3.18.
pub fn digamma(x: &Tensor) -> Result<Tensor> {
    shape::float("special::digamma", "x", x)?;
    log_gamma::digamma_tensor(x)
}

/// The derivative of [`digamma`]; infinite at 0 and at negative whole numbers.
///
/// Gradients: its derivative, the tetragamma function. Errors: a dtype that is not floating point.
///
/// Source: Abramowitz and Stegun, "Handbook of Mathematical Functions" (1964), eqs. 6.4.6, 6.4.7, 6.4.12.
pub fn trigamma(x: &Tensor) -> Result<Tensor> {
    shape::float("special::trigamma", "x", x)?;
    log_gamma::trigamma_tensor(x)
}

/// `2 / sqrt(pi)` times the integral of `e^-t^2` from 0 to x, the error function.
///
/// Gradients: `2 / sqrt(pi) e^-x^2`; first derivatives only. Errors: a dtype that is not floating point.
///
/// Numerics: relative error below 1e-15 in f64.
pub fn erf(x: &Tensor) -> Result<Tensor> {
    integral("special::erf", Integral::Erf, x)
}

/// `1 - erf(x)`.
///
/// Gradients: `-2 / sqrt(pi) e^-x^2`; first derivatives only. Errors: a dtype that is not floating point.
///
/// Numerics: full relative precision in the right tail, as far as the rounding of `e^-x^2` allows.
pub fn erfc(x: &Tensor) -> Result<Tensor> {
    integral("special::erfc", Integral::Erfc, x)
}

/// The inverse of [`erf`]; infinite at -1 and 1, NaN beyond.
///
/// Gradients: `sqrt(pi) / 2 e^y^2`; first derivatives only. Errors: a dtype that is not floating point.
pub fn erfinv(x: &Tensor) -> Result<Tensor> {
    integral("special::erfinv", Integral::ErfInv, x)
}

/// `P(Z <= x)` for a standard normal Z.
///
/// Gradients: the density; first derivatives only. Errors: a dtype that is not floating point.
///
/// Numerics: full relative precision in the left tail, as far as the rounding of `e^(-x^2 / 2)` allows.
pub fn ndtr(x: &Tensor) -> Result<Tensor> {
    integral("special::ndtr", Integral::Ndtr, x)
}

/// `ln P(Z <= x)` for a standard normal Z.
///
/// Gradients: the density divided by the integral, about -x in the left tail; first derivatives only. Errors: a dtype
/// that is not floating point.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::special;
/// # fn main() -> candle_prob::Result<()> {
/// let x = Tensor::new(&[0f32, -40.], &Device::Cpu)?;
/// let y = special::log_ndtr(&x)?.to_vec1::<f32>()?;
/// assert_eq!(y, [0.5f32.ln(), -804.60844]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: full relative precision in both tails; beyond 10 standard deviations by the asymptotic series.
///
/// Source: Abramowitz and Stegun, "Handbook of Mathematical Functions" (1964), eq. 26.2.12.
pub fn log_ndtr(x: &Tensor) -> Result<Tensor> {
    integral("special::log_ndtr", Integral::LogNdtr, x)
}

/// The inverse of [`ndtr`], the quantile of the standard normal: -inf at 0, inf at 1, NaN beyond.
///
/// Gradients: one over the density at the quantile; first derivatives only. Errors: a dtype that is not floating point.
pub fn ndtri(x: &Tensor) -> Result<Tensor> {
    integral("special::ndtri", Integral::Ndtri, x)
}

/// The normal density's integrals and their inverses.
#[derive(Clone, Copy)]
enum Integral {
    Erf,
    Erfc,
    ErfInv,
    Ndtr,
    LogNdtr,
    Ndtri,
}

impl Formula<1> for Integral {
    #[inline(always)]
    fn at<R: Real>(self, [x]: [R; 1]) -> R {
        match self {
            Integral::Erf => x.erf(),
            Integral::Erfc => x.erfc(),
            Integral::ErfInv => x.erfinv(),
            Integral::Ndtr => x.ndtr(),
            Integral::LogNdtr => x.log_ndtr(),
            Integral::Ndtri => x.ndtri(),
        }
    }
}

fn integral(op: &'static str, f: Integral, x: &Tensor) -> Result<Tensor> {
    shape::float(op, "x", x)?;
    named(op, f, [x])
}

/// `ln sum e^x` over dimension `dim`, which is removed.
///
/// Shapes: `[.., n, ..]` to `[.., ..]`. An empty sum and a sum of nothing but `e^-inf` are -inf.
///
/// Gradients: [`softmax`]; zero where the value is -inf; where it is +inf, shared among the elements that are.
///
/// Errors: a dtype that is not floating point, no such dimension.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::special;
/// # fn main() -> candle_prob::Result<()> {
/// let x = Tensor::new(&[[1000f64, 1000.], [f64::NEG_INFINITY, f64::NEG_INFINITY]], &Device::Cpu)?;
/// let y = special::logsumexp(&x, 1)?.to_vec1::<f64>()?;
/// assert_eq!(y, [1000. + 2f64.ln(), f64::NEG_INFINITY]);
/// # Ok(())
/// # }
/// ```
pub fn logsumexp(x: &Tensor, dim: impl Dim) -> Result<Tensor> {
    let op = "special::logsumexp";
    shape::float(op, "x", x)?;
    let dim = index(op, x, dim)?;
    reduce::logsumexp(&last(x, dim)?)
}

/// `ln mean e^x` over dimension `dim`, which is removed.
///
/// Shapes: `[.., n, ..]` to `[.., ..]`, n of 1 or more. A mean of nothing but `e^-inf` is -inf.
///
/// Gradients: [`softmax`]; zero where the value is -inf; where it is +inf, shared among the elements that are.
///
/// Errors: a dtype that is not floating point, no such dimension, one without elements.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::special;
/// # fn main() -> candle_prob::Result<()> {
/// let x = Tensor::new(&[[1000f64, 1000.], [0., f64::NEG_INFINITY]], &Device::Cpu)?;
/// assert_eq!(special::logmeanexp(&x, 1)?.to_vec1::<f64>()?, [1000., -2f64.ln()]);
/// # Ok(())
/// # }
/// ```
pub fn logmeanexp(x: &Tensor, dim: impl Dim) -> Result<Tensor> {
    let op = "special::logmeanexp";
    shape::float(op, "x", x)?;
    let dim = index(op, x, dim)?;
    let count = x.dims()[dim];
    if count == 0 {
        let expected = format!("elements in dimension {dim}");
        return Err(Error::shape(op, "x", expected, x.dims()));
    }
    Ok((reduce::logsumexp(&last(x, dim)?)? - (count as f64).ln())?)
}

/// `x - logsumexp(x)` over dimension `dim`.
///
/// Where all elements are -inf the result is -inf; where some are +inf, these share the probability equally.
///
/// Gradients: of the finite case; zero where all elements are -inf.
///
/// Errors: a dtype that is not floating point, no such dimension.
pub fn log_softmax(x: &Tensor, dim: impl Dim) -> Result<Tensor> {
    let op = "special::log_softmax";
    shape::float(op, "x", x)?;
    let dim = index(op, x, dim)?;
    back(reduce::log_softmax(&last(x, dim)?)?, dim)
}

/// `e^(x - logsumexp(x))` over dimension `dim`: positive numbers that add up to 1.
///
/// Where all elements are -inf the result is 0; where some are +inf, these share the probability equally.
///
/// Errors: a dtype that is not floating point, no such dimension.
pub fn softmax(x: &Tensor, dim: impl Dim) -> Result<Tensor> {
    let op = "special::softmax";
    shape::float(op, "x", x)?;
    let dim = index(op, x, dim)?;
    back(reduce::softmax(&last(x, dim)?)?, dim)
}

fn index(op: &'static str, x: &Tensor, dim: impl Dim) -> Result<usize> {
    dim.to_index(x.shape(), op).map_err(|error| {
        let error = match error {
            candle_core::Error::WithBacktrace { inner, .. } => *inner,
            other => other,
        };
        match error {
            candle_core::Error::DimOutOfRange { dim, .. } => {
                Error::shape(op, "x", format!("a shape with dimension {dim}"), x.dims())
            }
            other => other.into(),
        }
    })
}

/// Dimension `dim` moved to the end, the others in their order.
fn last(x: &Tensor, dim: usize) -> Result<Tensor> {
    if dim + 1 == x.rank() {
        return Ok(x.clone());
    }
    let mut order: Vec<usize> = (0..x.rank()).filter(|d| *d != dim).collect();
    order.push(dim);
    Ok(x.permute(order)?)
}

/// Undoes [`last`].
fn back(x: Tensor, dim: usize) -> Result<Tensor> {
    if dim + 1 == x.rank() {
        return Ok(x);
    }
    let mut order: Vec<usize> = (0..x.rank() - 1).collect();
    order.insert(dim, x.rank() - 1);
    Ok(x.permute(order)?)
}

//! Functions of several arguments that broadcast: beta, and the regularized incomplete gamma and beta functions.

use crate::error::Result;
use crate::kernels::elementwise::{Formula, named};
use crate::kernels::number::Real;
use crate::shape;
use candle_core::Tensor;

fn of<F: Formula<K>, const K: usize>(
    op: &'static str,
    f: F,
    arguments: [(&'static str, &Tensor); K],
) -> Result<Tensor> {
    shape::broadcast_shape(op, arguments)?;
    named(op, f, arguments.map(|(_, tensor)| tensor))
}

#[derive(Clone, Copy)]
struct Lbeta;

impl Formula<2> for Lbeta {
    #[inline(always)]
    fn at<R: Real>(self, [a, b]: [R; 2]) -> R {
        a.lbeta(b)
    }
}

/// `ln B(a, b) = ln Gamma(a) + ln Gamma(b) - ln Gamma(a + b)` for positive arguments, NaN for others.
///
/// Shapes: the arguments broadcast. Gradients: `digamma(a) - digamma(a + b)` and the same for b; first derivatives only.
///
/// Errors: dtypes that are not floating point or differ, shapes that do not broadcast.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::special;
/// # fn main() -> candle_prob::Result<()> {
/// let (a, b) = (Tensor::new(1e10f64, &Device::Cpu)?, Tensor::new(2f64, &Device::Cpu)?);
/// // B(a, 2) = 1 / (a (a + 1)).
/// let want = -(1e10f64.ln() + (1e10f64 + 1.).ln());
/// assert!((special::lbeta(&a, &b)?.to_scalar::<f64>()? - want).abs() < 1e-13);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: the large terms are cancelled on paper, in the value and in the gradient, also where one argument is much
/// larger than the other.
///
/// Source: A. R. DiDonato and A. H. Morris, "Significant digit computation of the incomplete beta function ratios" (1992),
/// section 2.
pub fn lbeta(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    of("special::lbeta", Lbeta, [("a", a), ("b", b)])
}

/// A tail of the gamma or beta distribution, or its logarithm.
#[derive(Clone, Copy)]
struct Tail {
    upper: bool,
    log: bool,
}

impl Formula<2> for Tail {
    #[inline(always)]
    fn at<R: Real>(self, [a, x]: [R; 2]) -> R {
        if self.log {
            a.gamma_log_tail(x, self.upper)
        } else {
            a.gamma_tail(x, self.upper)
        }
    }
}

impl Formula<3> for Tail {
    #[inline(always)]
    fn at<R: Real>(self, [a, b, x]: [R; 3]) -> R {
        if self.log {
            a.beta_log_tail(b, x, 1. - x.value(), self.upper)
        } else {
            a.beta_tail(b, x, self.upper)
        }
    }
}

const fn tail(upper: bool, log: bool) -> Tail {
    Tail { upper, log }
}

/// The regularized lower incomplete gamma function `P(a, x) = int_0^x t^(a-1) e^-t dt / Gamma(a)`: the probability of a
/// gamma variable with concentration a and rate 1 to be at most x.
///
/// Shapes: the arguments broadcast. NaN where a is not positive and finite, or x is negative.
///
/// Gradients: to both arguments; first derivatives only.
///
/// Errors: dtypes that are not floating point or differ, shapes that do not broadcast.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use candle_prob::special;
/// # fn main() -> candle_prob::Result<()> {
/// let a = Var::new(&[1f64, 3.], &Device::Cpu)?;
/// let p = special::gammainc(&a, &Tensor::new(2f64, &Device::Cpu)?)?;
/// assert!((p.to_vec1::<f64>()?[0] - (1. - (-2f64).exp())).abs() < 1e-15);
/// assert!(p.sum_all()?.backward()?.get(&a).is_some());
/// # Ok(())
/// # }
/// ```
///
/// Numerics: relative precision in both tails; [`log_gammainc`] and [`log_gammaincc`] go on where they underflow.
///
/// Source: Figurnov, Mohamed and Mnih (2018), Implicit Reparameterization Gradients, for the derivative's use; the
/// integrals are stated in the source.
pub fn gammainc(a: &Tensor, x: &Tensor) -> Result<Tensor> {
    let arguments = [("a", a), ("x", x)];
    of("special::gammainc", tail(false, false), arguments)
}

/// The regularized upper incomplete gamma function `Q(a, x) = 1 - P(a, x)`; see [`gammainc`].
pub fn gammaincc(a: &Tensor, x: &Tensor) -> Result<Tensor> {
    let arguments = [("a", a), ("x", x)];
    of("special::gammaincc", tail(true, false), arguments)
}

/// The logarithm of [`gammainc`], finite where that underflows.
pub fn log_gammainc(a: &Tensor, x: &Tensor) -> Result<Tensor> {
    let arguments = [("a", a), ("x", x)];
    of("special::log_gammainc", tail(false, true), arguments)
}

/// The logarithm of [`gammaincc`], finite where that underflows.
pub fn log_gammaincc(a: &Tensor, x: &Tensor) -> Result<Tensor> {
    let arguments = [("a", a), ("x", x)];
    of("special::log_gammaincc", tail(true, true), arguments)
}

#[derive(Clone, Copy)]
struct Inverse;

impl Formula<2> for Inverse {
    #[inline(always)]
    fn at<R: Real>(self, [a, p]: [R; 2]) -> R {
        a.gamma_log_quantile(p, false).exp()
    }
}

impl Formula<3> for Inverse {
    #[inline(always)]
    fn at<R: Real>(self, [a, b, p]: [R; 3]) -> R {
        a.beta_quantile(b, p)
    }
}

/// x with `P(a, x) = p`, the inverse of [`gammainc`].
///
/// Shapes: the arguments broadcast. NaN where a is not positive and finite, or p outside of 0 to 1.
///
/// Gradients: to both arguments; first derivatives only.
///
/// Errors: dtypes that are not floating point or differ, shapes that do not broadcast.
pub fn gammaincinv(a: &Tensor, p: &Tensor) -> Result<Tensor> {
    of("special::gammaincinv", Inverse, [("a", a), ("p", p)])
}

/// The regularized incomplete beta function `I_x(a, b) = int_0^x t^(a-1) (1-t)^(b-1) dt / B(a, b)`: the probability of a
/// beta variable to be at most x.
///
/// Shapes: the arguments broadcast. NaN where a or b is not positive and finite, or x outside of 0 to 1.
///
/// Gradients: to all three arguments; first derivatives only.
///
/// Errors: dtypes that are not floating point or differ, shapes that do not broadcast.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::special;
/// # fn main() -> candle_prob::Result<()> {
/// let number = |x: f64| Tensor::new(x, &Device::Cpu);
/// let p = special::betainc(&number(3.)?, &number(1.)?, &number(0.5)?)?;
/// assert!((p.to_scalar::<f64>()? - 0.125).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: relative precision in both tails; [`log_betainc`] and [`log_betaincc`] go on where they underflow.
pub fn betainc(a: &Tensor, b: &Tensor, x: &Tensor) -> Result<Tensor> {
    let arguments = [("a", a), ("b", b), ("x", x)];
    of("special::betainc", tail(false, false), arguments)
}

/// The complement `1 - I_x(a, b)` of [`betainc`].
pub fn betaincc(a: &Tensor, b: &Tensor, x: &Tensor) -> Result<Tensor> {
    let arguments = [("a", a), ("b", b), ("x", x)];
    of("special::betaincc", tail(true, false), arguments)
}

/// The logarithm of [`betainc`], finite where that underflows.
pub fn log_betainc(a: &Tensor, b: &Tensor, x: &Tensor) -> Result<Tensor> {
    let arguments = [("a", a), ("b", b), ("x", x)];
    of("special::log_betainc", tail(false, true), arguments)
}

/// The logarithm of [`betaincc`], finite where that underflows.
pub fn log_betaincc(a: &Tensor, b: &Tensor, x: &Tensor) -> Result<Tensor> {
    let arguments = [("a", a), ("b", b), ("x", x)];
    of("special::log_betaincc", tail(true, true), arguments)
}

/// x with `I_x(a, b) = p`, the inverse of [`betainc`].
///
/// Shapes: the arguments broadcast. NaN where a or b is not positive and finite, or p outside of 0 to 1.
///
/// Gradients: to all three arguments; first derivatives only.
///
/// Errors: dtypes that are not floating point or differ, shapes that do not broadcast.
pub fn betaincinv(a: &Tensor, b: &Tensor, p: &Tensor) -> Result<Tensor> {
    let arguments = [("a", a), ("b", b), ("p", p)];
    of("special::betaincinv", Inverse, arguments)
}

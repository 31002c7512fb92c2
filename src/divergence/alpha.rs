//! The alpha-divergences.

use super::curve::{Curve, grow_m1};
use crate::error::{Error, Result};
use crate::kernels::number::{Elementary, Real};

/// `D_f = (integral of p^a q^(1-a) - 1) / (a (a - 1))`, f(u) = (u^a - 1 - a (u - 1)) / (a (a - 1)).
///
/// The activation is `1 / (1-a) - softplus(-v)` for a below 1 and v for a above; the conjugate, with t the activation, is
/// `((1 + (a-1) t)^(a/(a-1)) - 1) / a`, with the base taken as 0 where it is negative, as for [`Pearson`](super::Pearson).
///
/// At a = 2 it is half of [`Pearson`](super::Pearson), at -1 half of [`Neyman`](super::Neyman), at 1/2 twice
/// [`SquaredHellinger`](super::SquaredHellinger).
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::divergence::{Alpha, discrete};
/// # fn main() -> candle_prob::Result<()> {
/// let (p, q) = (Tensor::new(&[0.25f64, 0.75], &Device::Cpu)?, Tensor::new(&[0.5f64, 0.5], &Device::Cpu)?);
/// assert!((discrete(&Alpha::new(2.)?, &p, &q)?.to_scalar::<f64>()? - 0.125).abs() < 1e-15);
/// assert!(Alpha::new(1.).is_err());
/// # Ok(())
/// # }
/// ```
///
/// Source: Cressie and Read (1984), Multinomial Goodness-of-Fit Tests, whose order is a - 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alpha {
    alpha: f64,
}

impl Alpha {
    /// Any order but 0 and 1.
    ///
    /// Errors: an order that is not finite; 0, whose limit is [`ReverseKl`](super::ReverseKl); 1, whose limit is
    /// [`KullbackLeibler`](super::KullbackLeibler).
    pub fn new(alpha: f64) -> Result<Self> {
        if !alpha.is_finite() || alpha == 0. || alpha == 1. {
            let expected = "a finite number other than 0 (ReverseKl) and 1 (KullbackLeibler)";
            return Err(Error::value("Alpha::new", "alpha", expected, alpha));
        }
        Ok(Alpha { alpha })
    }

    /// The order.
    pub fn alpha(self) -> f64 {
        self.alpha
    }
}

/// ln softplus(x): softplus(x) itself underflows.
#[inline(always)]
fn log_softplus<R: Real>(x: R) -> R {
    if x.value() < -30. {
        x - x.exp() * 0.5
    } else {
        x.softplus().ln()
    }
}

impl Curve for Alpha {
    // Not SINGLE: powers by logarithms.

    fn generator<R: Real>(self, r: R) -> R {
        if r.value() > 0. {
            return r.exp() * self.reversed(-r);
        }
        let a = self.alpha;
        ((r * a).exp_m1() - r.exp_m1() * a) / (a * (a - 1.))
    }

    fn reversed<R: Real>(self, r: R) -> R {
        Alpha {
            alpha: 1. - self.alpha,
        }
        .generator(r)
    }

    #[inline(always)]
    fn activation<R: Real>(self, v: R, _: f64) -> R {
        if self.alpha > 1. {
            v
        } else {
            -(-v).softplus() + 1. / (1. - self.alpha)
        }
    }

    #[inline(always)]
    fn conjugate<R: Real>(self, v: R, ceiling: f64) -> R {
        let a = self.alpha;
        let log_base = if a < 1. {
            log_softplus(-v) + R::Functions::ln_1p(-a)
        } else if v.value() * (a - 1.) > -1. {
            (v * (a - 1.)).ln_1p()
        } else if v.value().is_nan() {
            v
        } else {
            return R::constant(-1. / a);
        };
        grow_m1(log_base * (a / (a - 1.)), ceiling) / a
    }
}

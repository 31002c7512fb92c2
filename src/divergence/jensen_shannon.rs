//! The Jensen-Shannon divergence in its normalizations.

use super::curve::Curve;
use crate::kernels::number::Real;
use std::f64::consts::LN_2;

/// `D_f = (KL(P || M) + KL(Q || M)) / 2` with `M = (P + Q) / 2`: between 0 and ln 2.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::divergence::{JensenShannon, discrete};
/// # fn main() -> candle_prob::Result<()> {
/// let new = |x: [f64; 2]| Tensor::new(&x, &Device::Cpu);
/// let (p, q) = (new([1., 0.])?, new([0., 1.])?);
/// let divergence = discrete(&JensenShannon, &p, &q)?.to_scalar::<f64>()?;
/// assert!((divergence - 2f64.ln()).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Source: Lin (1991), Divergence measures based on the Shannon entropy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JensenShannon;

/// `D_f = KL(P || M) + KL(Q || M)` with `M = (P + Q) / 2`: twice [`JensenShannon`], between 0 and 2 ln 2. This is the
/// row "Jensen-Shannon" of Nowozin, Cseke and Tomioka (2016).
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::divergence::{JensenShannonSum, discrete};
/// # fn main() -> candle_prob::Result<()> {
/// let new = |x: [f64; 2]| Tensor::new(&x, &Device::Cpu);
/// let (p, q) = (new([1., 0.])?, new([0., 1.])?);
/// let divergence = discrete(&JensenShannonSum, &p, &q)?.to_scalar::<f64>()?;
/// assert!((divergence - 4f64.ln()).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Source: Nowozin, Cseke and Tomioka (2016), f-GAN, table 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JensenShannonSum;

/// The divergence of the first generative adversarial networks: the same number as [`JensenShannonSum`], with f and the
/// activation shifted so that the critic's output is the logit of "from P". The constant ln 4, which the literature
/// often leaves out, makes f(1) = 0.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::divergence::{Gan, discrete};
/// # fn main() -> candle_prob::Result<()> {
/// let new = |x: [f64; 2]| Tensor::new(&x, &Device::Cpu);
/// let (p, q) = (new([1., 0.])?, new([0., 1.])?);
/// let divergence = discrete(&Gan, &p, &q)?.to_scalar::<f64>()?;
/// assert!((divergence - 4f64.ln()).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Source: Goodfellow et al. (2014), theorem 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gan;

/// ln((1 + e^x) / 2), relative near 0: of a positive x by its negative.
#[inline(always)]
fn log_mean_exp<R: Real>(x: R) -> R {
    let (line, fall) = if x.value() > 0. {
        (x, -x)
    } else {
        (R::constant(0.), x)
    };
    line + (fall.exp_m1() * 0.5).ln_1p()
}

impl Curve for JensenShannonSum {
    const SINGLE: bool = true;

    fn generator<R: Real>(self, r: R) -> R {
        if r.value() > 0. {
            return r.exp() * self.generator(-r);
        }
        if r.value() == f64::NEG_INFINITY {
            return R::constant(LN_2);
        }
        if r.value() < -1. {
            let u = r.exp();
            return u * r - (u + 1.) * log_mean_exp(r);
        }
        // ln((u + 1) / 2) = r/2 + ln cosh(r/2): what is left is of second order, and so are its terms.
        let sinh = (r * 0.25).exp_m1() - (r * -0.25).exp_m1();
        let log_cosh = (sinh.square() * 0.5).ln_1p();
        r.exp_m1() * r * 0.5 - (r.exp() + 1.) * log_cosh
    }

    fn reversed<R: Real>(self, r: R) -> R {
        self.generator(r)
    }

    #[inline(always)]
    fn activation<R: Real>(self, v: R, _: f64) -> R {
        -log_mean_exp(-v)
    }

    #[inline(always)]
    fn conjugate<R: Real>(self, v: R, _: f64) -> R {
        log_mean_exp(v)
    }
}

impl Curve for JensenShannon {
    const SINGLE: bool = true;

    fn generator<R: Real>(self, r: R) -> R {
        JensenShannonSum.generator(r) * 0.5
    }

    fn reversed<R: Real>(self, r: R) -> R {
        self.generator(r)
    }

    #[inline(always)]
    fn activation<R: Real>(self, v: R, ceiling: f64) -> R {
        JensenShannonSum.activation(v, ceiling) * 0.5
    }

    #[inline(always)]
    fn conjugate<R: Real>(self, v: R, ceiling: f64) -> R {
        JensenShannonSum.conjugate(v, ceiling) * 0.5
    }
}

impl Curve for Gan {
    const SINGLE: bool = true;

    fn generator<R: Real>(self, r: R) -> R {
        if r.value() <= 0. {
            return JensenShannonSum.generator(r) - r.exp_m1() * LN_2;
        }
        // (u + 1) ln(1 + 1/u), whose u overflows long after it is 1.
        let tail = if r.value() > 40. {
            R::constant(1.)
        } else {
            (r.exp() + 1.) * (-r).exp().ln_1p()
        };
        -r - tail + 2. * LN_2
    }

    fn reversed<R: Real>(self, r: R) -> R {
        self.generator(r) + r.exp_m1() * (2. * LN_2)
    }

    #[inline(always)]
    fn activation<R: Real>(self, v: R, _: f64) -> R {
        -(-v).softplus()
    }

    #[inline(always)]
    fn conjugate<R: Real>(self, v: R, _: f64) -> R {
        v.softplus() - 2. * LN_2
    }
}

//! Elementary functions as expressions of candle operations, for the devices and dtypes that no fused path serves.
//!
//! Each is accurate in value and gradient wherever it is finite. Candle's `where_cond` lets NaN through from the branch
//! that was not taken, so arguments are masked before each branch, not only results after it.

use crate::error::Result;
use candle_core::{DType, Tensor};

/// `x` where the mask holds, `other` elsewhere, gradients as well.
pub(crate) fn masked(mask: &Tensor, x: &Tensor, other: f64) -> Result<Tensor> {
    Ok(mask.where_cond(x, &x.detach().zeros_like()?.affine(0., other)?)?)
}

/// e^x - 1. Near zero by 2 t / (1 - t) with t = tanh(x / 2).
pub(crate) fn expm1(x: &Tensor) -> Result<Tensor> {
    let small = x.abs()?.lt(1.)?;
    let t = (masked(&small, x, 0.)? * 0.5)?.tanh()?;
    let near = (&t * 2.)?.div(&t.affine(-1., 1.)?)?;
    Ok(small.where_cond(&near, &(x.exp()? - 1.)?)?)
}

/// ln(1 + x). Near zero by the series of 2 artanh(x / (2 + x)).
pub(crate) fn log1p(x: &Tensor) -> Result<Tensor> {
    let small = (x.gt(-0.3)? * x.lt(0.5)?)?;
    let near = masked(&small, x, 0.)?;
    let s = near.div(&(&near + 2.)?)?;
    let z = s.sqr()?;
    // |s| <= 1/5: each term is worth more than four bits.
    let terms = if x.dtype() == DType::F64 { 12 } else { 6 };
    let mut p = z.affine(0., 2. / (2 * terms + 1) as f64)?;
    for k in (0..terms).rev() {
        p = ((p * &z)? + 2. / (2 * k + 1) as f64)?;
    }
    // NaN is not small and stays.
    let far = small.where_cond(&x.zeros_like()?, x)?;
    Ok(small.where_cond(&(s * p)?, &(far + 1.)?.log()?)?)
}

/// ln(1 + e^x).
pub(crate) fn softplus(x: &Tensor) -> Result<Tensor> {
    // Candle's slopes of relu and abs at 0 are 1: together with log1p's -1/2 that is right.
    Ok((x.relu()? + log1p(&x.abs()?.neg()?.exp()?)?)?)
}

//! Elementary functions as expressions of candle operations, for the devices and dtypes that no fused path serves.
//!
//! Each is accurate in value and gradient wherever it is finite. Candle's `where_cond` lets NaN through from the branch
//! that was not taken, so arguments are masked before each branch, not only results after it.

use crate::error::Result;
use crate::kernels::number::{EXPONENTIAL, series};
use candle_core::{D, DType, Device, Tensor};
use std::f64::consts::PI;

/// `x` where the mask holds, `other` elsewhere, gradients as well.
pub(crate) fn masked(mask: &Tensor, x: &Tensor, other: f64) -> Result<Tensor> {
    Ok(mask.where_cond(x, &x.detach().zeros_like()?.affine(0., other)?)?)
}

/// In double precision where the device has it: for terms that cancel.
pub(crate) fn double(x: &Tensor) -> Result<Tensor> {
    match x.device() {
        Device::Metal(_) => Ok(x.clone()),
        _ => Ok(x.to_dtype(DType::F64)?),
    }
}

/// e^x - 1. Near zero by 2 t / (1 - t) with t = tanh(x / 2).
pub(crate) fn expm1(x: &Tensor) -> Result<Tensor> {
    let small = x.abs()?.lt(1.)?;
    let t = (masked(&small, x, 0.)? * 0.5)?.tanh()?;
    let near = (&t * 2.)?.div(&t.affine(-1., 1.)?)?;
    Ok(small.where_cond(&near, &(x.exp()? - 1.)?)?)
}

/// e^x - 1 - x. Near zero by its series, as all three cancel.
pub(crate) fn exp_minus_line(x: &Tensor) -> Result<Tensor> {
    let small = x.abs()?.lt(0.35)?;
    let near = masked(&small, x, 0.)?;
    let mut p = near.affine(EXPONENTIAL[14], EXPONENTIAL[13])?;
    for k in (2..13).rev() {
        p = ((p * &near)? + EXPONENTIAL[k])?;
    }
    let far = small.where_cond(&x.detach().zeros_like()?, x)?;
    Ok(small.where_cond(&(p * near.sqr()?)?, &((far.exp()? - 1.)? - far)?)?)
}

/// d - ln r for r = 1 + d. Near zero by the series of 2 artanh(d / (2 + d)), as the two cancel.
pub(crate) fn line_minus_log(d: &Tensor, r: &Tensor) -> Result<Tensor> {
    let small = d.abs()?.lt(0.35)?;
    let near = masked(&small, d, 0.)?;
    let s = near.div(&(&near + 2.)?)?;
    let z = s.sqr()?;
    let mut p = z.affine(2. / 27., 2. / 25.)?;
    for k in (1..12).rev() {
        p = ((p * &z)? + 2. / f64::from(2 * k + 1))?;
    }
    let near = (&s * (near - (z * p)?)?)?;
    Ok(small.where_cond(&near, &(d - r.log()?)?)?)
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

/// ln(1 - e^-x) for positive x.
pub(crate) fn log1mexp(x: &Tensor) -> Result<Tensor> {
    let near = x.lt(std::f64::consts::LN_2)?;
    let low = expm1(&masked(&near, x, 0.5)?.neg()?)?.neg()?.log()?;
    let far = near.where_cond(&x.ones_like()?, x)?;
    Ok(near.where_cond(&low, &log1p(&far.neg()?.exp()?.neg()?)?)?)
}

/// In double precision where the device has it: the shifts below cost a few digits.
fn in_double(x: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    if x.dtype() == DType::F64 || x.device().is_metal() {
        return f(x);
    }
    Ok(f(&x.to_dtype(DType::F64)?)?.to_dtype(x.dtype())?)
}

/// An argument taken to [8, inf): reflected if it is not positive, then shifted by 8 if it is below 8.
struct Shifted {
    /// Not positive.
    negative: Tensor,
    /// x - round(x) where not positive, 1/2 elsewhere.
    near: Tensor,
    small: Tensor,
    /// The reflected argument where below 8, 1 elsewhere.
    low: Tensor,
    /// At least 8, or NaN.
    y: Tensor,
}

impl Shifted {
    fn new(x: &Tensor) -> Result<Self> {
        let negative = x.le(0.)?;
        let near = masked(&negative, &(x - x.detach().round()?)?, 0.5)?;
        let x = negative.where_cond(&x.affine(-1., 1.)?, x)?;
        let small = x.lt(8.)?;
        Ok(Shifted {
            low: masked(&small, &x, 1.)?,
            y: small.where_cond(&(&x + 8.)?, &x)?,
            negative,
            near,
            small,
        })
    }

    /// The sum of f(x + i) for i = 0, ..., 7 where shifted, 0 elsewhere.
    fn sum(&self, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let mut sum = f(&self.low)?;
        for i in 1..8 {
            sum = (sum + f(&(&self.low + i as f64)?)?)?;
        }
        masked(&self.small, &sum, 0.)
    }

    fn reflect(&self, positive: &Tensor, reflected: &Tensor) -> Result<Tensor> {
        Ok(self.negative.where_cond(reflected, positive)?)
    }
}

/// The sum of c[i] z^i.
fn polynomial(c: &[f64], z: &Tensor) -> Result<Tensor> {
    let mut p = z.zeros_like()?;
    for c in c.iter().rev() {
        p = ((p * z)? + *c)?;
    }
    Ok(p)
}

/// ln |Gamma(x)|.
pub(crate) fn lgamma(x: &Tensor) -> Result<Tensor> {
    in_double(x, |x| {
        let s = Shifted::new(x)?;
        let shift = s.sum(|x| Ok(x.log()?))?;
        let r = s.y.recip()?;
        let series = (polynomial(&series(0), &r.sqr()?)? * &r)?;
        // ln(2 pi) / 2 - 1/2
        let main = ((&s.y - 0.5)? * (s.y.log()? - 1.)?)?;
        let positive = ((main + 0.418_938_533_204_672_7)? + (series - shift)?)?;
        let sine = (&s.near * PI)?.sin()?.abs()?;
        let reflected = (sine.log()?.affine(-1., PI.ln())? - &positive)?;
        s.reflect(&positive, &reflected)
    })
}

/// The derivative of [`lgamma`].
pub(crate) fn digamma(x: &Tensor) -> Result<Tensor> {
    in_double(x, |x| {
        let s = Shifted::new(x)?;
        let shift = s.sum(|x| Ok(x.recip()?))?;
        let r = s.y.recip()?;
        let z = r.sqr()?;
        let tail = ((polynomial(&series(1), &z)? * z)? - (r * 0.5)?)?;
        let positive = ((s.y.log()? + tail)? - shift)?;
        let angle = (&s.near * PI)?;
        let cotangent = angle.cos()?.div(&angle.sin()?)?;
        let reflected = (&positive - (cotangent * PI)?)?;
        s.reflect(&positive, &reflected)
    })
}

/// The derivative of [`digamma`].
pub(crate) fn trigamma(x: &Tensor) -> Result<Tensor> {
    in_double(x, |x| {
        let s = Shifted::new(x)?;
        let shift = s.sum(|x| Ok(x.recip()?.sqr()?))?;
        let r = s.y.recip()?;
        let z = r.sqr()?;
        let tail = ((polynomial(&series(2), &z)? * (&z * &r)?)? + (z * 0.5)?)?;
        let positive = ((r + tail)? + shift)?;
        let sine = (&s.near * PI)?.sin()?;
        let reflected = (sine.sqr()?.recip()?.affine(PI * PI, 0.)? - &positive)?;
        s.reflect(&positive, &reflected)
    })
}

/// ln sum e^x over the last dimension, which is removed.
pub(crate) fn logsumexp(x: &Tensor) -> Result<Tensor> {
    let shape = &x.dims()[..x.rank() - 1];
    if x.elem_count() == 0 {
        return Ok((Tensor::zeros(shape, x.dtype(), x.device())? + f64::NEG_INFINITY)?);
    }
    let most = x.detach().max_keepdim(D::Minus1)?;
    let finite = most.abs()?.lt(f64::INFINITY)?;
    let shift = masked(&finite, &most, 0.)?;
    let sum = x.broadcast_sub(&shift)?.exp()?.sum_keepdim(D::Minus1)?;
    // ln has an infinite slope at the empty sum.
    let some = sum.ne(0.)?;
    let ln = masked(&some, &masked(&some, &sum, 1.)?.log()?, f64::NEG_INFINITY)?;
    Ok((shift + ln)?.squeeze(D::Minus1)?)
}

/// x - logsumexp(x) over the last dimension.
pub(crate) fn log_softmax(x: &Tensor) -> Result<Tensor> {
    if x.elem_count() == 0 {
        return Ok(x.clone());
    }
    let total = logsumexp(x)?.unsqueeze(D::Minus1)?;
    // Rows whose sum is infinite share it equally among their infinities; empty sums stay -inf.
    let top = x.detach().eq(f64::INFINITY)?.to_dtype(x.dtype())?;
    let count = top.sum_keepdim(D::Minus1)?;
    let share = (count
        .clamp(1., f64::MAX)?
        .log()?
        .neg()?
        .broadcast_as(x.shape()))?;
    let limit = masked(&top.ne(0.)?, &share, f64::NEG_INFINITY)?;
    let edge = total
        .detach()
        .abs()?
        .eq(f64::INFINITY)?
        .broadcast_as(x.shape())?;
    let inside = masked(&total.detach().abs()?.ne(f64::INFINITY)?, &total, 0.)?;
    Ok(edge.where_cond(&limit, &x.broadcast_sub(&inside)?)?)
}

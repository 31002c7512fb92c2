//! The spline in candle's operations: other devices and dtypes, second derivatives.

use super::{LEAST, OFFSET, Spline};
use crate::error::Result;
use crate::kernels::elementwise::composed::softplus;
use candle_core::{DType, Tensor};

/// Starts and sizes of the bins, [n, bins], from raw numbers [n, bins].
fn bins(raw: &Tensor, spline: Spline) -> Result<(Tensor, Tensor)> {
    let count = spline.bins;
    let most = raw.detach().max_keepdim(1)?;
    let e = raw.broadcast_sub(&most)?.exp()?;
    let shares = e.broadcast_div(&e.sum_keepdim(1)?)?;
    let sizes = shares.affine(1. - count as f64 * LEAST, LEAST)?;
    let before: Vec<f32> = (0..count * count)
        .map(|at| f32::from(u8::from(at / count < at % count)))
        .collect();
    let before = Tensor::from_vec(before, (count, count), raw.device())?.to_dtype(raw.dtype())?;
    let whole = spline.high - spline.low;
    let starts = sizes.matmul(&before)?.affine(whole, spline.low)?;
    Ok((starts, (sizes * whole)?))
}

/// Results and log-slopes. What is outside is clipped first, so that no gradient of it can become NaN.
pub(super) fn spline(x: &Tensor, raw: &Tensor, spline: Spline) -> Result<(Tensor, Tensor)> {
    if x.elem_count() == 0 {
        return Ok((x.clone(), x.clone()));
    }
    let (shape, count) = (x.shape(), spline.bins);
    let x = x.flatten_all()?;
    let zeros = x.zeros_like()?;
    // The elements that are no number stay as they are.
    let inside = match spline.tails {
        true => (x.gt(spline.low)? * x.lt(spline.high)?)?,
        false => (x.ge(spline.low)? * x.le(spline.high)?)?,
    };
    let number = x.eq(&x)?;
    let at = inside.where_cond(&x, &(&zeros + spline.low)?)?;
    let raw = raw.reshape((x.elem_count(), spline.parameters()))?;
    let (x0, width) = bins(&raw.narrow(1, 0, count)?, spline)?;
    let (y0, height) = bins(&raw.narrow(1, count, count)?, spline)?;

    let starts = if spline.inverse { &y0 } else { &x0 };
    let from = at.detach().unsqueeze(1)?.broadcast_ge(&starts.detach())?;
    let from = from.to_dtype(x.dtype())?;
    let next = from.narrow(1, 1, count - 1)?;
    let next = next.pad_with_zeros(1, 0, 1)?;
    let chosen = (from - next)?;
    let take = |of: &Tensor| -> Result<Tensor> { Ok((of * &chosen)?.sum(1)?) };
    let (x0, y0, width, height) = (take(&x0)?, take(&y0)?, take(&width)?, take(&height)?);
    let slopes = softplus(&(raw.narrow(1, 2 * count, spline.slopes())? + OFFSET)?)?;
    let mut slopes = (slopes + LEAST)?;
    if spline.tails {
        let one = Tensor::ones((x.elem_count(), 1), DType::F32, x.device())?.to_dtype(x.dtype())?;
        slopes = Tensor::cat(&[&one, &slopes, &one], 1)?;
    }
    let d0 = take(&slopes.narrow(1, 0, count)?)?;
    let d1 = take(&slopes.narrow(1, 1, count)?)?;
    let s = (&height / &width)?;

    let p = match spline.inverse {
        false => ((&at - &x0)? / &width)?,
        true => {
            let t = ((&at - &y0)? / &height)?;
            let u = t.affine(-1., 1.)?;
            let b = ((&u * &d0)? + (&t * ((&s * 2.)? - &d1)?)?)?;
            let gap = ((&u * &d0)? - (&t * &d1)?)?;
            let root = (gap.sqr()? + ((s.sqr()? * &t)? * (u * 4.)?)?)?.sqrt()?;
            let sum = (root + b.abs()?)?;
            let (down, up) = (b.lt(&zeros)?, ((&s * &t)? * 2.)?);
            let over = ((&s + b.abs()?)? * 2.)?;
            (down.where_cond(&sum, &up)? / down.where_cond(&over, &sum)?)?
        }
    };
    let q = p.affine(-1., 1.)?;
    let (pp, pq, qq) = (p.sqr()?, (&p * &q)?, q.sqr()?);
    let n = ((&s * &pp)? + (&d0 * &pq)?)?;
    let d = ((&s * (&pp + &qq)?)? + ((&d0 + &d1)? * &pq)?)?;
    let m = (((d1 * pp)? + ((&s * pq)? * 2.)?)? + (d0 * qq)?)?;
    let log = (m.log()? + ((s / &d)?.log()? * 2.)?)?;
    let (y, log) = match spline.inverse {
        false => ((y0 + (height * (n / d)?)?)?, log),
        true => ((x0 + (width * p)?)?, log.neg()?),
    };
    let y = match spline.tails {
        true => y,
        // Rounding leads nowhere beyond the ends, and changes no slope.
        false => {
            let (free, low, high) = (y.detach(), spline.low, spline.high);
            (y + (free.clamp(low, high)? - free)?)?
        }
    };
    let y = inside.where_cond(&y, &x)?;
    let outside = number.where_cond(&zeros, &x)?;
    let log = inside.where_cond(&log, &outside)?;
    Ok((y.reshape(shape)?, log.reshape(shape)?))
}

//! Batch normalization from candle operations, for other devices and element types and for second derivatives.

use super::{BatchMoments, Settings};
use crate::error::Result;
use candle_core::{DType, Tensor};

/// The dtype in which a batch of `dtype` is summed: half precision would stop adding after a few hundred values.
fn wide(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        other => other,
    }
}

/// `[N, C, ..]` as `[N, C, S]`, of a dtype that sums are good in.
fn planes(x: &Tensor) -> Result<Tensor> {
    let (n, c) = (x.dim(0)?, x.dim(1)?);
    let rest = x.dims()[2..].iter().product::<usize>();
    Ok(x.to_dtype(wide(x.dtype()))?.reshape((n, c, rest))?)
}

/// `[C]` as `[1, C, 1]`, of the dtype of `like`.
fn spread(t: &Tensor, like: &Tensor) -> Result<Tensor> {
    let t = t.to_dtype(like.dtype())?;
    Ok(t.reshape((1, t.elem_count(), 1))?)
}

pub(super) fn by_batch(x: &Tensor, settings: Settings) -> Result<(Tensor, BatchMoments)> {
    let p = planes(x)?;
    // The first mean of large numbers has lost digits; what it leaves is small, and its mean has not. As a constant it
    // changes no gradient.
    let rough = p.detach().mean_keepdim((0, 2))?;
    let near = p.broadcast_sub(&rough)?;
    let rest = near.mean_keepdim((0, 2))?;
    let centred = near.broadcast_sub(&rest)?;
    let variance = centred.sqr()?.mean_keepdim((0, 2))?;
    let y = finish(x, &centred, &variance, settings)?;
    let moment = |t: &Tensor| -> Result<Tensor> { Ok(t.detach().flatten_all()?) };
    let moments = BatchMoments {
        mean: moment(&(rough + rest)?)?,
        variance: moment(&variance)?,
        values: p.dim(0)? * p.dim(2)?,
    };
    Ok((y, moments))
}

pub(super) fn by_moments(x: &Tensor, moments: [&Tensor; 2], settings: Settings) -> Result<Tensor> {
    let p = planes(x)?;
    let [mean, variance] = moments;
    let centred = p.broadcast_sub(&spread(mean, &p)?)?;
    finish(x, &centred, &spread(variance, &p)?, settings)
}

fn finish(x: &Tensor, centred: &Tensor, variance: &Tensor, settings: Settings) -> Result<Tensor> {
    let mut y = centred.broadcast_div(&(variance + settings.epsilon)?.sqrt()?)?;
    if let Some((gain, shift)) = settings.affine {
        y = y.broadcast_mul(&spread(gain, &y)?)?;
        y = y.broadcast_add(&spread(shift, &y)?)?;
    }
    let y = settings.activation.forward(&y)?;
    Ok(y.to_dtype(x.dtype())?.reshape(x.shape())?)
}

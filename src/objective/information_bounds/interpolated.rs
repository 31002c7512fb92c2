//! Between InfoNCE and the tractable unnormalized bound.

use super::scores::{diagonal, off_diagonal, square};
use super::tuba::column;
use super::{LowerBound, Scores, nwj};
use crate::check;
use crate::error::Result;
use crate::special::{log1mexp, logmeanexp, logsumexp};
use candle_core::{D, Tensor};

/// The bound that interpolates between [`tuba`](super::tuba) and [`info_nce`](super::info_nce): less variance for more bias as
/// `alpha` grows.
///
/// Formula: `1 + E_p[f - ln b] - E_q[e^f / b]` with `b = alpha m + (1 - alpha) a(x)`, a baseline a and the mean m of e^f over
/// `K = N - 1` of the y: in the second expectation those that do not belong to x, in the first the one that does and all but one
/// of the others, with the mean over which is left out. With alpha = 0 it is `tuba`; with alpha = 1 the mean over n of `info_nce`
/// without the n-th pair, at most `ln(N - 1)`. Unbiased: a lower bound for every alpha, and never
/// above `1 + ln(K / alpha)`.
///
/// Shapes: scores `f(x_i, y_j)` `[N, N]`, `ln a(x_i)` `[N]` or a scalar. Units: nats. Gradients: exact, to both.
///
/// Errors: scores that are no matrix of at least two pairs; a baseline of another shape, dtype or device; alpha outside of
/// `[0, 1]`.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::objective::information_bounds::interpolated;
/// # fn main() -> candle_prob::Result<()> {
/// let sure = (Tensor::eye(9, DType::F64, &Device::Cpu)? * 100.)?;
/// let zero = Tensor::new(0f64, &Device::Cpu)?;
/// assert!((interpolated(&sure, &zero, 1.)?.nats()? - 8f64.ln()).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: means without one element are computed without a difference of near-equal numbers.
///
/// Source: Poole et al. (2019), section 2.3, nonlinearly interpolated lower bounds.
pub fn interpolated(scores: &Tensor, log_baseline: &Tensor, alpha: f64) -> Result<LowerBound> {
    let op = "information_bounds::interpolated";
    let n = square(op, scores)?;
    let log_baseline = column(op, log_baseline, scores, n)?;
    check::in_interval(op, "alpha", alpha, 0. ..=1.)?;
    let mixed = |log_mean: &Tensor| -> Result<Tensor> {
        let baseline = log_baseline.broadcast_as(log_mean.dims())?;
        match alpha {
            0. => Ok(baseline),
            1. => Ok(log_mean.clone()),
            _ => {
                let parts = [(log_mean + alpha.ln())?, (baseline + (1. - alpha).ln())?];
                logsumexp(&Tensor::stack(&parts, 2)?, 2)
            }
        }
    };
    let others = logmeanexp(&off_diagonal(scores, n)?, D::Minus1)?.unsqueeze(1)?;
    let marginal = ((&others - mixed(&others)?)? + 1.)?;
    let own = diagonal(scores, n)?.unsqueeze(1)?;
    let joint = (own.broadcast_sub(&mixed(&without_one(scores, n)?)?)? + 1.)?;
    nwj(&Scores::apart(&joint, &marginal)?)
}

/// `ln` of the mean of e^f over a row without one element, for each that is not on the diagonal: `[N, N - 1]`.
fn without_one(scores: &Tensor, n: usize) -> Result<Tensor> {
    let device = scores.device();
    // The largest of the others. A sum less anything else keeps at least half of it, so that nothing cancels; without the
    // largest the sum is made anew.
    let low = (Tensor::eye(n, scores.dtype(), device)? * f64::NEG_INFINITY)?;
    let low =
        Tensor::eye(n, candle_core::DType::U8, device)?.where_cond(&low, &scores.zeros_like()?)?;
    let largest = (scores.detach() + low)?.argmax_keepdim(D::Minus1)?;
    let places = Tensor::arange(0u32, n as u32, device)?.unsqueeze(0)?;
    let is_largest = places.broadcast_eq(&largest)?;
    let infinite = (scores.ones_like()? * f64::NEG_INFINITY)?;
    let anew = logsumexp(&is_largest.where_cond(&infinite, scores)?, D::Minus1)?;
    let all = logsumexp(scores, D::Minus1)?.unsqueeze(1)?;
    let gap = all.broadcast_sub(scores)?;
    let gap = is_largest.where_cond(&gap.ones_like()?, &gap)?;
    let less = all.broadcast_add(&log1mexp(&gap)?)?;
    let anew = anew.unsqueeze(1)?.broadcast_as((n, n))?.contiguous()?;
    let sums = off_diagonal(&is_largest.where_cond(&anew, &less)?, n)?;
    Ok((sums - ((n - 1) as f64).ln())?)
}

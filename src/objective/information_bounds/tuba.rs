//! The tractable unnormalized bound.

use super::scores::square;
use super::{LowerBound, Scores, nwj};
use crate::error::Result;
use crate::shape;
use candle_core::Tensor;

/// The tractable unnormalized bound in the form of Barber and Agakov, with a baseline a.
///
/// Formula: `1 + E_p[f - ln a] - E_q[e^f / a]` with `a = a(x) > 0`, for any a: it is [`nwj`] of `f - ln a + 1`, the form for scores
/// apart. The best a(x) is the partition function `E_y[e^f(x, y)]`, and the bound is the information then for
/// `f = ln p(y | x)` up to a function of x. A constant a of e is `nwj`.
///
/// Shapes: scores `f(x_i, y_j)` `[N, N]`, `ln a(x_i)` `[N]` or a scalar; a baseline of y comes with the transposed matrix. Units:
/// nats. Gradients: exact, to both.
///
/// Errors: scores that are no matrix of at least two pairs; a baseline of another shape, dtype or device.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::information_bounds::{Scores, nwj, tuba};
/// # fn main() -> candle_prob::Result<()> {
/// let scores = Tensor::new(&[[2f64, 0.], [-1., 3.]], &Device::Cpu)?;
/// let one = Tensor::new(1f64, &Device::Cpu)?;
/// assert_eq!(tuba(&scores, &one)?.nats()?, nwj(&Scores::matrix(&scores)?)?.nats()?);
/// # Ok(())
/// # }
/// ```
///
/// Source: Poole et al. (2019), section 2.1; Barber and Agakov (2003), The IM algorithm.
pub fn tuba(scores: &Tensor, log_baseline: &Tensor) -> Result<LowerBound> {
    let op = "information_bounds::tuba";
    let n = square(op, scores)?;
    let log_baseline = column(op, log_baseline, scores, n)?;
    let relative = scores.broadcast_sub(&(log_baseline - 1.)?)?;
    nwj(&Scores::matrix(&relative)?)
}

/// Logarithms of a baseline as `[N, 1]`.
pub(super) fn column(
    op: &'static str,
    log_baseline: &Tensor,
    scores: &Tensor,
    n: usize,
) -> Result<Tensor> {
    shape::same_kind(op, "log_baseline", log_baseline, scores)?;
    match log_baseline.rank() {
        0 => Ok(log_baseline.broadcast_as((n, 1))?),
        _ => {
            shape::exactly(op, "log_baseline", log_baseline.dims(), &[n])?;
            Ok(log_baseline.unsqueeze(1)?)
        }
    }
}

//! The marginal from the other examples.

use super::UpperBound;
use super::scores::{diagonal, mean, off_diagonal, square};
use crate::error::Result;
use crate::special::logmeanexp;
use candle_core::{D, Tensor};

/// The upper bound with the marginal that the conditionals of the other examples make.
///
/// Formula: `(1/N) sum_i [ln p(y_i | x_i) - ln (1/(N-1)) sum_(j != i) p(y_i | x_j)]`. With the conditional itself it is an upper
/// bound; with a q in its place it is one only as far as q is near, see [`Club`](super::Club). The mean with j = i included is a
/// lower bound, [`info_nce`](super::info_nce) of the transpose.
///
/// Shapes: `ln p(y_j | x_i)` in row i and column j, `[N, N]`. Units: nats. Gradients: exact.
///
/// Errors: no matrix, N below 2.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::information_bounds::leave_one_out;
/// # fn main() -> candle_prob::Result<()> {
/// let log_p = Tensor::new(&[[0f64, -3.], [-2., 0.]], &Device::Cpu)?;
/// assert_eq!(leave_one_out(&log_p)?.nats()?, 2.5);
/// # Ok(())
/// # }
/// ```
///
/// Source: Poole et al. (2019), section 2, the minibatch upper bound.
#[doc(alias = "l1out")]
pub fn leave_one_out(log_conditionals: &Tensor) -> Result<UpperBound> {
    let n = square("information_bounds::leave_one_out", log_conditionals)?;
    let others = off_diagonal(&log_conditionals.t()?.contiguous()?, n)?;
    let own = diagonal(log_conditionals, n)?;
    let terms = (own - logmeanexp(&others, D::Minus1)?)?;
    Ok(UpperBound::new(mean(&terms)?))
}

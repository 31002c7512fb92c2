//! The bound of Barber and Agakov.

use super::LowerBound;
use super::scores::mean;
use crate::check;
use crate::error::Result;
use crate::shape;
use candle_core::Tensor;

/// The bound of Barber and Agakov, from a decoder.
///
/// Formula: `H(X) + E_p[ln q(x | y)]`, below the information by `E_y KL(p(x | y) || q(x | y))`.
///
/// Shapes: `ln q(x_n | y_n)` of any shape, every number counts alike. Units: nats. Gradients: exact, to q.
///
/// Errors: no number; a dtype that is not floating point; an entropy that is not finite.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::information_bounds::barber_agakov;
/// # fn main() -> candle_prob::Result<()> {
/// // Four equal classes, guessed with probability 1/2.
/// let log_q = Tensor::new(&[0.5f64.ln(), 0.5f64.ln()], &Device::Cpu)?;
/// let bound = barber_agakov(4f64.ln(), &log_q)?;
/// assert!((bound.bits()? - 1.).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Source: Barber and Agakov (2003), The IM algorithm, eq. 3.
pub fn barber_agakov(entropy: f64, log_q: &Tensor) -> Result<LowerBound> {
    let op = "information_bounds::barber_agakov";
    check::finite(op, "entropy", entropy)?;
    shape::parameter(op, "log_q", log_q)?;
    Ok(LowerBound::new((mean(log_q)? + entropy)?))
}

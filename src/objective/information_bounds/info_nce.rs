//! Contrastive prediction.

use super::LowerBound;
use super::scores::{diagonal, mean, square};
use crate::error::Result;
use crate::special::log_softmax;
use candle_core::{D, Tensor};

/// InfoNCE: how well the score finds the y that belongs to x among N.
///
/// Formula: `ln N + (1/N) sum_i ln softmax_j(f(x_i, y_j))_i`; at most `ln N` up to rounding, whatever the scores: of an information beyond that it
/// says nothing more. Cross-entropy of N classes is its negative, plus `ln N`.
///
/// Shapes: scores `f(x_i, y_j)` `[N, N]`, which belong together on the diagonal; a row is compared with itself, so that the best
/// score is `ln p(y | x)` up to any function of x. Units: nats. Gradients: exact.
///
/// Errors: scores that are no matrix, N below 2: of a single pair the value is 0 and there is nothing to be learned.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::information_bounds::info_nce;
/// # fn main() -> candle_prob::Result<()> {
/// let sure = (Tensor::eye(8, candle_core::DType::F32, &Device::Cpu)? * 1e4)?;
/// assert_eq!(info_nce(&sure)?.nats()? as f32, 8f32.ln());
/// assert!(info_nce(&Tensor::zeros((1, 1), candle_core::DType::F32, &Device::Cpu)?).is_err());
/// # Ok(())
/// # }
/// ```
///
/// Source: van den Oord, Li and Vinyals (2018), Representation learning with contrastive predictive coding, eqs. 4 and 5; Poole et
/// al. (2019), section 2.3.
#[doc(alias = "cpc")]
pub fn info_nce(scores: &Tensor) -> Result<LowerBound> {
    let n = square("information_bounds::info_nce", scores)?;
    let found = diagonal(&log_softmax(scores, D::Minus1)?, n)?;
    Ok(LowerBound::new((mean(&found)? + (n as f64).ln())?))
}

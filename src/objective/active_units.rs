//! Latent dimensions that are used.

use crate::check;
use crate::error::{Error, Result};
use crate::shape;
use candle_core::{DType, Tensor};

/// Which latent dimensions depend on the data.
#[derive(Debug, Clone)]
pub struct ActiveUnits {
    /// `Var_x(E[z_d | x])`, shape `[D]`, f64.
    pub variance: Tensor,
    /// Dimensions whose variance is above the threshold.
    pub count: usize,
}

/// The threshold of Burda et al. (2016).
pub const ACTIVE_VARIANCE: f64 = 0.01;

/// Counts the latent dimensions whose posterior mean varies over the data: the others have collapsed to the prior.
///
/// Formula: dimension d is active where `Var_x(E[z_d | x]) > threshold`; the variance is divided by N - 1.
///
/// Shapes: posterior means `[N, D]` of N examples, of all batches one below the other. Gradients: none.
///
/// Errors: fewer than two examples; a threshold that is negative or not finite; means that are not floating point, or whose
/// variance is not finite.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::{ACTIVE_VARIANCE, active_units};
/// # fn main() -> candle_prob::Result<()> {
/// let means = Tensor::new(&[[1f32, 0.1], [-1., 0.], [0., 0.1]], &Device::Cpu)?;
/// assert_eq!(active_units(&means, ACTIVE_VARIANCE)?.count, 1);
/// # Ok(())
/// # }
/// ```
///
/// Source: Burda, Grosse and Salakhutdinov (2016), Importance weighted autoencoders, section 5.2.
pub fn active_units(means: &Tensor, threshold: f64) -> Result<ActiveUnits> {
    let op = "objective::active_units";
    check::non_negative(op, "threshold", threshold)?;
    shape::float(op, "means", means)?;
    let n = match *means.dims() {
        [n, _] if n > 1 => n,
        _ => {
            let expected = "[N, D], N at least 2";
            return Err(Error::shape(op, "means", expected, means.dims()));
        }
    };
    let means = means.detach().to_dtype(DType::F64)?;
    let spread = means.broadcast_sub(&means.mean_keepdim(0)?)?.sqr()?;
    let variance = (spread.sum(0)? / (n - 1) as f64)?;
    let above = variance.to_vec1::<f64>()?;
    if let Some(found) = above.iter().find(|v| !v.is_finite()) {
        let expected = "numbers of a finite variance";
        return Err(Error::value(
            op,
            "means",
            expected,
            format!("variance {found}"),
        ));
    }
    Ok(ActiveUnits {
        variance,
        count: above.iter().filter(|v| **v > threshold).count(),
    })
}

//! Bounds on the entropy of codes, by the Gaussian of the same moments.

use crate::error::{Error, Result};
use crate::kernels::linear::triangular::cholesky;
use crate::kernels::reduce;
use crate::kernels::reduce::range::{End, first_outside};
use crate::{check, shape};
use candle_core::{DType, Tensor};
use std::f64::consts::{E, PI};

/// A bound on the entropy of codes by their covariance.
///
/// Formula: `H[Z] <= ln det(2 pi e Cov[Z]) / 2 <= sum_i ln(2 pi e Var[Z_i]) / 2`, equal to the second where the elements are not
/// correlated: [`Surrogate::LogVariance`](super::Surrogate::LogVariance), which is cheaper. Moments are those of the sample,
/// divided by `N - 1`.
///
/// Shapes: codes `[N, K]`, N above K, to a scalar. Units: nats. Gradients: to the codes.
///
/// Errors: no more codes than dimensions; codes whose covariance has not full rank, or that are not finite.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::covariance_entropy_bound;
/// # fn main() -> candle_prob::Result<()> {
/// let z = Tensor::new(&[[1f64, 0.], [-1., 0.], [0., 3.], [0., -3.]], &Device::Cpu)?;
/// // Variances 2/3 and 6.
/// let want = (2. * std::f64::consts::PI).ln() + 1. + 4f64.ln() / 2.;
/// assert!((covariance_entropy_bound(&z)?.to_scalar::<f64>()? - want).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: in f64, by a Cholesky factor of the correlations, so that scales of elements do not matter.
///
/// Source: Kirsch, Lyle and Gal (2020), Unpacking information bottlenecks, appendix A.6, theorem 2.
pub fn covariance_entropy_bound(codes: &Tensor) -> Result<Tensor> {
    let (op, arg) = ("objective::covariance_entropy_bound", "codes");
    shape::float(op, arg, codes)?;
    let (count, dims) = match *codes.dims() {
        [count, dims] if dims > 0 && count > dims => (count, dims),
        _ => {
            let expected = "[N, K], N above K, K at least 1";
            return Err(Error::shape(op, arg, expected, codes.dims()));
        }
    };
    let rows = codes.to_dtype(DType::F64)?;
    let centred = rows.broadcast_sub(&rows.mean_keepdim(0)?)?;
    // Scales that are constants: what they take off is added again.
    let scales = centred.detach().sqr()?.mean_keepdim(0)?.sqrt()?;
    let centred = centred.broadcast_div(&scales)?;
    let covariance = (centred.t()?.matmul(&centred)? / (count - 1) as f64)?;
    let factor = cholesky(&covariance.unsqueeze(0)?)?.squeeze(0)?;
    let eye = Tensor::eye(dims, DType::F64, codes.device())?;
    let diagonal = (factor * eye)?.sum(1)?;
    // Of a rank that is not full rounding may leave a little.
    let least = End::Closed(1e-7);
    if first_outside(&diagonal, least, End::Closed(f64::MAX))?.is_some() {
        let expected = "finite codes whose covariance has full rank";
        return Err(Error::value(op, arg, expected, "others"));
    }
    let logs = (diagonal.log()? + scales.flatten_all()?.log()?)?;
    let bound = (reduce::sum(&logs)? + dims as f64 / 2. * (2. * PI * E).ln())?;
    Ok(bound.to_dtype(codes.dtype())?)
}

/// A bound on the entropy of codes of `dims` dimensions by their mean squared norm.
///
/// Formula: `E |Z|^2 <= C'` gives `H[Z] <= C = (K/2) ln(2 pi e C' / K)`: no law of this norm has more entropy than the isotropic
/// Gaussian.
///
/// Shapes: any, which is kept: the norms of [`Surrogate::SquaredNorm`](super::Surrogate::SquaredNorm). Units: nats.
///
/// Gradients: `K / (2 C')`. Errors: no dimension; norms that are negative or NaN; a dtype that is not floating point.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::{norm_entropy_bound, norm_of_entropy};
/// # fn main() -> candle_prob::Result<()> {
/// // N(0, I) in 10 dimensions.
/// let bound = norm_entropy_bound(&Tensor::new(10f64, &Device::Cpu)?, 10)?.to_scalar::<f64>()?;
/// assert!((bound - 5. * ((2. * std::f64::consts::PI).ln() + 1.)).abs() < 1e-12);
/// assert!((norm_of_entropy(bound, 10)? - 10.).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
///
/// Source: Kirsch, Lyle and Gal (2020), Unpacking information bottlenecks, section 6.2, which gives it for one dimension.
pub fn norm_entropy_bound(squared_norm: &Tensor, dims: usize) -> Result<Tensor> {
    let (op, arg) = ("objective::norm_entropy_bound", "squared_norm");
    check::at_least_one(op, &[("dims", dims)])?;
    shape::float(op, arg, squared_norm)?;
    if let Some(found) = first_outside(squared_norm, End::Closed(0.), End::Closed(f64::INFINITY))? {
        return Err(Error::value(op, arg, "norms of 0 or more", found));
    }
    let k = dims as f64;
    let constant = (2. * PI * E / k).ln();
    Ok(((squared_norm.log()? + constant)? * (k / 2.))?)
}

/// The mean squared norm at which [`norm_entropy_bound`] is this entropy: `C' = K e^(2 C / K) / (2 pi e)`.
///
/// Errors: no dimension; an entropy that is not finite.
///
/// Example: [`norm_entropy_bound`].
pub fn norm_of_entropy(entropy: f64, dims: usize) -> Result<f64> {
    let op = "objective::norm_of_entropy";
    check::at_least_one(op, &[("dims", dims)])?;
    check::finite(op, "entropy", entropy)?;
    let k = dims as f64;
    Ok(k * (2. * entropy / k).exp() / (2. * PI * E))
}

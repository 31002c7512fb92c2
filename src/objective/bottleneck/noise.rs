//! Noise of no entropy, which keeps the entropies of continuous codes from falling below 0.

use crate::distribution::MultivariateNormalDiag;
use crate::error::{Error, Result};
use crate::rng::Rng;
use crate::shape;
use candle_core::Tensor;
use std::f64::consts::{E, PI};

/// `1 / (2 pi e)`, about 0.0585: the variance at which a Gaussian has entropy 0, for each dimension.
pub const ZERO_ENTROPY_VARIANCE: f64 = 1. / (2. * PI * E);

/// Codes with zero-entropy noise, `z + e` with `e ~ N(0, 1 / (2 pi e))` in each element.
///
/// Formula: `H[z + e] >= H[e] = 0`. For a deterministic encoder `H[Z|X] = 0`, and then `I[X;Z|Y] = H[Z|Y] <= H[Z]`, so that the
/// entropies are what a bottleneck of discrete codes has. Without noise they fall without end as codes are scaled down, which
/// costs a network nothing.
///
/// Shapes: any, which is kept. Gradients: those of the codes as they are. Errors: a dtype that is not floating point.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::{Rng, objective::{ZERO_ENTROPY_VARIANCE, zero_entropy_noise}};
/// # fn main() -> candle_prob::Result<()> {
/// let codes = Tensor::zeros((1000, 10), DType::F64, &Device::Cpu)?;
/// let noisy = zero_entropy_noise(&codes, &mut Rng::new(0))?;
/// let variance = noisy.sqr()?.mean_all()?.to_scalar::<f64>()?;
/// assert!((variance / ZERO_ENTROPY_VARIANCE - 1.).abs() < 0.05);
/// # Ok(())
/// # }
/// ```
///
/// Source: Kirsch, Lyle and Gal (2020), Unpacking information bottlenecks, observation 6 and appendix A.5.
pub fn zero_entropy_noise(codes: &Tensor, rng: &mut Rng) -> Result<Tensor> {
    shape::float("objective::zero_entropy_noise", "codes", codes)?;
    let noise = rng.normal(codes.shape(), codes.dtype(), codes.device())?;
    Ok((codes + (noise * ZERO_ENTROPY_VARIANCE.sqrt())?)?)
}

/// The law of codes with zero-entropy noise, `N(codes, I / (2 pi e))`: a posterior for the objectives of the family.
///
/// Shapes: codes `batch ++ [K]` to batch `batch` and event `[K]`. Its entropy is 0 for every K.
///
/// Gradients: draws have those of the codes as they are.
///
/// Errors: codes without a dim, with K = 0, not floating point or not finite.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::distribution::Entropy;
/// use candle_prob::objective::zero_entropy_posterior;
/// # fn main() -> candle_prob::Result<()> {
/// let codes = Tensor::zeros((4, 100), DType::F64, &Device::Cpu)?;
/// let entropy = zero_entropy_posterior(&codes)?.entropy()?.to_vec1::<f64>()?;
/// assert!(entropy.iter().all(|h| h.abs() < 1e-12));
/// # Ok(())
/// # }
/// ```
///
/// Source: as [`zero_entropy_noise`].
pub fn zero_entropy_posterior(codes: &Tensor) -> Result<MultivariateNormalDiag> {
    let op = "objective::zero_entropy_posterior";
    shape::float(op, "codes", codes)?;
    if codes.dims().last().is_none_or(|dims| *dims == 0) {
        let expected = "batch ++ [K], K at least 1";
        return Err(Error::shape(op, "codes", expected, codes.dims()));
    }
    let scale = Tensor::new(ZERO_ENTROPY_VARIANCE.sqrt(), codes.device())?;
    let scale = scale.to_dtype(codes.dtype())?.broadcast_as(codes.shape())?;
    MultivariateNormalDiag::new(codes, &scale).map_err(|error| error.of(op))
}

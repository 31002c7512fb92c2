//! The penalties of the DIP-VAE: codes whose covariance is the identity.

use crate::check;
use crate::distribution::{Distribution, Factorized, Moments};
use crate::error::{Error, Result};
use candle_core::{D, Tensor};

/// Which covariance [`dip`] compares with the identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DipCovariance {
    /// Of the posterior means over the batch: DIP-VAE-I.
    Means,
    /// Of codes: that of the means and the mean posterior variance: DIP-VAE-II.
    Codes,
}

/// Settings of [`dip`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DipConfig {
    /// The covariance that is penalized.
    pub covariance: DipCovariance,
    /// Weight of the squares off its diagonal.
    pub off_diagonal: f64,
    /// Weight of the squared differences of its diagonal from 1.
    pub diagonal: f64,
}

impl DipConfig {
    /// DIP-VAE-I with this weight off the diagonal, and ten times as much on it.
    pub fn means(off_diagonal: f64) -> Self {
        DipConfig {
            covariance: DipCovariance::Means,
            off_diagonal,
            diagonal: 10. * off_diagonal,
        }
    }

    /// DIP-VAE-II with this weight off the diagonal and on it.
    pub fn codes(weight: f64) -> Self {
        DipConfig {
            covariance: DipCovariance::Codes,
            off_diagonal: weight,
            diagonal: weight,
        }
    }
}

/// Parts of the penalty of a DIP-VAE: numbers of the batch, not of examples.
#[derive(Debug, Clone)]
pub struct Dip {
    /// The covariance `[D, D]`.
    pub covariance: Tensor,
    /// The sum of the squares off its diagonal, a scalar.
    pub off_diagonal: Tensor,
    /// The sum of `(C_dd - 1)^2`, a scalar.
    pub diagonal: Tensor,
    /// Both with their weights, a scalar: the loss is the mean of [`elbo`](super::elbo())'s total and this.
    pub total: Tensor,
}

/// The penalty of a DIP-VAE: how far the covariance of codes is from the identity.
///
/// Formula: `total = off_diagonal * sum_{i != j} C_ij^2 + diagonal * sum_i (C_ii - 1)^2`, where C is the covariance of `E[z | x]`
/// over the batch (I), or of z (II): that plus the mean of `Var[z | x]`. Covariances are divided by the number of examples.
///
/// Shapes: a posterior of any batch of at least two examples, whose event has D independent elements. Gradients: to its
/// parameters.
///
/// Errors: fewer examples; weights that are negative or not finite.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::distribution::MultivariateNormalDiag;
/// use candle_prob::objective::{DipConfig, dip};
/// # fn main() -> candle_prob::Result<()> {
/// // Two dimensions that say the same.
/// let loc = Tensor::new(&[[-1f64, -1.], [1., 1.]], &Device::Cpu)?;
/// let posterior = MultivariateNormalDiag::new(&loc, &loc.ones_like()?)?;
/// let parts = dip(&posterior, &DipConfig::codes(10.))?;
/// assert_eq!(parts.covariance.to_vec2::<f64>()?, [[2., 1.], [1., 2.]]);
/// assert_eq!(parts.total.to_scalar::<f64>()?, 40.);
/// # Ok(())
/// # }
/// ```
///
/// Source: Kumar, Sattigeri and Balakrishnan (2018), Variational inference of disentangled latent concepts from unlabeled
/// observations, eq. 6 (I) and eq. 7 (II).
pub fn dip<P: Factorized + Moments>(posterior: &P, config: &DipConfig) -> Result<Dip> {
    let op = "objective::dip";
    check::non_negative(op, "off_diagonal", config.off_diagonal)?;
    check::non_negative(op, "diagonal", config.diagonal)?;
    // Of parts that are vectors the variances are not all of the covariance.
    let part = posterior.factors();
    if !part.event_shape().is_empty() {
        let (expected, found) = ("parts that are numbers", part.event_shape());
        return Err(Error::shape(op, "posterior", expected, found));
    }
    let batch = posterior.batch_shape();
    let (rows, dims) = (batch.iter().product::<usize>(), posterior.event_shape());
    let dims: usize = dims.iter().product();
    if rows < 2 {
        return Err(Error::shape(
            op,
            "posterior",
            "a batch of at least 2",
            batch,
        ));
    }
    let means = posterior.mean()?.reshape((rows, dims))?;
    let centred = means.broadcast_sub(&means.mean_keepdim(0)?)?;
    let mut covariance = (centred.t()?.matmul(&centred)? / rows as f64)?;
    let identity = Tensor::eye(dims, means.dtype(), means.device())?;
    if config.covariance == DipCovariance::Codes {
        let within = posterior
            .variance()?
            .reshape((rows, dims))?
            .mean_keepdim(0)?;
        covariance = (covariance + identity.broadcast_mul(&within)?)?;
    }
    let on = (&covariance * &identity)?;
    let off_diagonal = (&covariance - &on)?.sqr()?.sum_all()?;
    let diagonal = (on.sum(D::Minus1)? - 1.)?.sqr()?.sum_all()?;
    let total = ((&off_diagonal * config.off_diagonal)? + (&diagonal * config.diagonal)?)?;
    Ok(Dip {
        covariance,
        off_diagonal,
        diagonal,
        total,
    })
}

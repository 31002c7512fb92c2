//! Divergences between distributions beyond the closed forms of KL, which are [`Kl`](crate::distribution::Kl).
//!
//! - [`FDivergence`]: the f-divergences as a critic needs them (generator, output activation, conjugate), one type each.
//! - [`f_gan`]: their lower bound from a critic's scores.
//! - [`discrete`] and [`categorical`]: any of them exactly, between distributions over K values.
//! - [`Renyi`]: the Renyi divergence in closed form, with Bhattacharyya distance and Hellinger distance from it.
//! - [`Wasserstein2`]: the optimal transport distance between Gaussians; [`gaussian_wasserstein2_squared`] from any roots of
//!   covariances.
//! - [`mmd_squared`]: the maximum mean discrepancy between samples, of laws that have no density. [`sliced_wasserstein`]: the
//!   optimal transport distance between them, direction by direction. [`frechet_distance`]: between the Gaussians that fit them.
//! - [`precision_recall`], with density and coverage, and [`mode_coverage`]: what of the data a generator's samples reach.
//! - [`estimate`]: Monte-Carlo estimates with their standard errors, for pairs without a closed form.
//!
//! | type | f(u) | activation(v) | conjugate: f*(activation(v)) |
//! |---|---|---|---|
//! | [`KullbackLeibler`] | u ln u | v | e^(v-1) |
//! | [`ReverseKl`] | -ln u | -e^-v | v - 1 |
//! | [`Jeffreys`] | (u - 1) ln u | v | w + 1/w + v - 2, w e^w = e^(1-v) |
//! | [`JensenShannon`] | (u ln u - (u+1) ln((u+1)/2)) / 2 | (ln 2 - softplus(-v)) / 2 | (softplus(v) - ln 2) / 2 |
//! | [`JensenShannonSum`] | u ln u - (u+1) ln((u+1)/2) | ln 2 - softplus(-v) | softplus(v) - ln 2 |
//! | [`Gan`] | u ln u - (u+1) ln(u+1) + ln 4 | -softplus(-v) | softplus(v) - ln 4 |
//! | [`SquaredHellinger`] | (sqrt(u) - 1)^2 | 1 - e^-v | e^v - 1 |
//! | [`Pearson`] | (u - 1)^2 | v | v^2/4 + v; -1 below v = -2 |
//! | [`Neyman`] | (1 - u)^2 / u | 1 - e^-v | 2 - 2 e^(-v/2) |
//! | [`TotalVariation`] | abs(u - 1) / 2 | tanh(v) / 2 | tanh(v) / 2 |
//! | [`Alpha`] | (u^a - 1 - a (u-1)) / (a (a-1)) | see there | ((1 + (a-1) t)^(a/(a-1)) - 1) / a |

use crate::error::Result;
use crate::kernels::elementwise::mean::{Identity, Scaled, with_mean};
use crate::shape;
use candle_core::Tensor;

mod alpha;
mod chi_squared;
mod curve;
mod discrete;
pub mod estimate;
mod frechet;
mod hellinger;
mod jensen_shannon;
mod kullback_leibler;
mod mmd;
mod mode_coverage;
mod points;
mod precision_recall;
mod renyi;
mod sliced;
mod total_variation;
mod variational;
mod wasserstein;

pub use alpha::Alpha;
pub use chi_squared::{Neyman, Pearson};
pub use discrete::{categorical, discrete};
pub use frechet::frechet_distance;
pub use hellinger::SquaredHellinger;
pub use jensen_shannon::{Gan, JensenShannon, JensenShannonSum};
pub use kullback_leibler::{Jeffreys, KullbackLeibler, ReverseKl};
pub use mmd::{MmdKernel, MmdStatistic, median_distance, mmd_squared};
pub use mode_coverage::{ModeCoverage, mode_coverage};
pub use precision_recall::{PrecisionRecall, precision_recall};
pub use renyi::Renyi;
pub use sliced::{SlicedWasserstein, sliced_wasserstein};
pub use total_variation::TotalVariation;
pub use variational::{FGanBound, f_gan};
pub use wasserstein::{Wasserstein2, gaussian_wasserstein2_squared};

/// An f-divergence `D_f(P || Q) = E_Q[f(p/q)]`, f convex with f(1) = 0, and its variational form
/// `D_f(P || Q) = sup_v E_P[rho(v(x))] - E_Q[f*(rho(v(x)))]`, where a critic's output v is any real number, rho maps it
/// into the domain of the conjugate `f*(t) = sup_u (u t - f(u))`, and rho increases in v.
///
/// Shapes: elementwise. Units: nats, where f has a logarithm.
///
/// Gradients: exact first derivatives. For the types of this crate activation, conjugate and their gradients are finite
/// for scores within 1e4 in f32 and f64: where an exponential would leave the range of the dtype (from e^75 in f32, from
/// e^650 in f64) it goes on as a straight line.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::divergence::{FDivergence, JensenShannonSum};
/// # fn main() -> candle_prob::Result<()> {
/// let critic = Tensor::new(&[-1e4f32, 0., 1e4], &Device::Cpu)?;
/// let conjugate = JensenShannonSum.conjugate(&critic)?.to_vec1::<f32>()?;
/// assert_eq!(conjugate, [-2f32.ln(), 0., 1e4 - 2f32.ln()]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Nowozin, Cseke and Tomioka (2016), f-GAN, tables 1, 2 and 6, with D_f read as E_Q[f(p/q)].
pub trait FDivergence {
    /// `f(e^r)` at log-ratios `r = ln p - ln q`; its limit f(0) at -inf.
    fn generator(&self, log_ratio: &Tensor) -> Result<Tensor>;

    /// `e^r f(e^-r)`, the generator of `D_f(Q || P)`; its limit at -inf is that of f(u)/u for large u, which is what
    /// values that only P has are counted with.
    fn reversed(&self, log_ratio: &Tensor) -> Result<Tensor>;

    /// `rho(v)`: a critic's output in the domain of the conjugate.
    fn activation(&self, score: &Tensor) -> Result<Tensor>;

    /// `f*(rho(v))` as one expression.
    fn conjugate(&self, score: &Tensor) -> Result<Tensor>;

    /// `factor * rho(v)` of each score, and the mean of all, a scalar; terms are added in double precision. The types of
    /// this crate compute both at once.
    ///
    /// Errors: no scores.
    fn activation_with_mean(&self, score: &Tensor, factor: f64) -> Result<[Tensor; 2]> {
        averaged(
            "FDivergence::activation_with_mean",
            &self.activation(score)?,
            factor,
        )
    }

    /// As [`activation_with_mean`](FDivergence::activation_with_mean), of `factor * f*(rho(v))`.
    fn conjugate_with_mean(&self, score: &Tensor, factor: f64) -> Result<[Tensor; 2]> {
        averaged(
            "FDivergence::conjugate_with_mean",
            &self.conjugate(score)?,
            factor,
        )
    }
}

fn averaged(op: &'static str, terms: &Tensor, factor: f64) -> Result<[Tensor; 2]> {
    shape::parameter(op, "score", terms)?;
    let f = Identity;
    with_mean(op, Scaled { f, factor }, terms)
}

/// A divergence chosen as the program runs.
impl FDivergence for Box<dyn FDivergence + '_> {
    fn generator(&self, log_ratio: &Tensor) -> Result<Tensor> {
        (**self).generator(log_ratio)
    }

    fn reversed(&self, log_ratio: &Tensor) -> Result<Tensor> {
        (**self).reversed(log_ratio)
    }

    fn activation(&self, score: &Tensor) -> Result<Tensor> {
        (**self).activation(score)
    }

    fn conjugate(&self, score: &Tensor) -> Result<Tensor> {
        (**self).conjugate(score)
    }

    fn activation_with_mean(&self, score: &Tensor, factor: f64) -> Result<[Tensor; 2]> {
        (**self).activation_with_mean(score, factor)
    }

    fn conjugate_with_mean(&self, score: &Tensor, factor: f64) -> Result<[Tensor; 2]> {
        (**self).conjugate_with_mean(score, factor)
    }
}

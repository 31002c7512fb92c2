//! The variational lower bound of an f-divergence, from the scores of a critic.

use super::FDivergence;
use crate::error::Result;
use crate::shape;
use candle_core::Tensor;

/// What [`f_gan`] returns.
#[derive(Debug, Clone)]
pub struct FGanBound {
    /// `rho(v)` of the scores of P, in their shape.
    pub real: Tensor,
    /// `f*(rho(v))` of the scores of Q, in their shape.
    pub fake: Tensor,
    bound: Tensor,
}

impl FGanBound {
    /// `mean(real) - mean(fake)`, a scalar with gradients to all scores: what a critic maximizes.
    pub fn bound(&self) -> &Tensor {
        &self.bound
    }
}

/// The variational lower bound of an f-divergence.
///
/// Formula: `D_f(P || Q) >= E_P[rho(v(x))] - E_Q[f*(rho(v(x)))]` with a critic's scores v of draws of P (`real`) and of Q
/// (`fake`), equal where `rho(v) = f'(p/q)`. Of [`KullbackLeibler`](super::KullbackLeibler) it is the bound of Nguyen,
/// Wainwright and Jordan, `E_P[v] - E_Q[e^(v-1)]`; the shift v + 1 makes it `1 + E_P[v] - E_Q[e^v]`.
///
/// Shapes: any, which need not agree; every number of `real` counts alike in the mean, and of `fake`. Units: nats, where f
/// has a logarithm.
///
/// Gradients: exact, to both.
///
/// Errors: no scores; dtypes that are not floating point; different dtypes or devices.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::divergence::{JensenShannon, discrete, f_gan};
/// # fn main() -> candle_prob::Result<()> {
/// // Draws in the proportions 1 : 3 and 3 : 1, and the best critic, ln(p/q).
/// let (low, high) = (-3f64.ln(), 3f64.ln());
/// let real = Tensor::new(&[low, high, high, high], &Device::Cpu)?;
/// let fake = Tensor::new(&[low, low, low, high], &Device::Cpu)?;
/// let bound = f_gan(&JensenShannon, &real, &fake)?.bound().to_scalar::<f64>()?;
/// let (p, q) = (Tensor::new(&[0.25, 0.75], &Device::Cpu)?, Tensor::new(&[0.75, 0.25], &Device::Cpu)?);
/// let divergence = discrete(&JensenShannon, &p, &q)?.to_scalar::<f64>()?;
/// assert!((bound - divergence).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: means of terms added in double precision; with scores within 1e4 they are finite in f32 and f64.
///
/// Source: Nowozin, Cseke and Tomioka (2016), f-GAN, eq. 6; Nguyen, Wainwright and Jordan (2010), Estimating divergence
/// functionals and the likelihood ratio by convex risk minimization.
pub fn f_gan<F: FDivergence + ?Sized>(f: &F, real: &Tensor, fake: &Tensor) -> Result<FGanBound> {
    let op = "f_gan";
    shape::parameter(op, "real", real)?;
    shape::parameter(op, "fake", fake)?;
    shape::same_kind(op, "fake", fake, real)?;
    let [real, gain] = f.activation_with_mean(real, 1.)?;
    let [fake, cost] = f.conjugate_with_mean(fake, 1.)?;
    Ok(FGanBound {
        real,
        fake,
        bound: (gain - cost)?,
    })
}

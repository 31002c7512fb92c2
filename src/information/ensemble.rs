//! What an ensemble does not know, and what its members do not.

use super::{check, terms};
use crate::error::{Error, Result};
use crate::kernels::reduce;
use candle_core::Tensor;

/// The entropies of each sample's code under an ensemble: [`ensemble_uncertainty`].
#[derive(Debug, Clone)]
pub struct EnsembleUncertainty {
    /// `H[Z|x]`, of the members' mean.
    pub total: Tensor,
    /// `I[Z;omega|x]`, what the member would tell of the code: how far they disagree.
    pub members: Tensor,
    /// `H[Z|x,omega]`, the mean of the members' entropies: noise that they agree upon.
    pub noise: Tensor,
}

/// The split of an encoding's uncertainty into that of the weights omega and that of noise.
///
/// Formula: `H[Z|x] = I[Z;omega|x] + H[Z|x,omega]`, with M members that are equally likely (draws of the weights' posterior,
/// masks of a dropout): `I[Z;omega|x] = 1/M sum_omega KL(p(z|x,omega) || p(z|x))`. Their means over samples are `H[Z|X]`,
/// `I[Z;omega|X]` and `H[Z|X,omega]`. With labels in the place of codes the middle one is the score of active learning by
/// disagreement.
///
/// Shapes: `p` is `[M, ..., C]`; the results have what is between. Units: nats. Gradients: to `p`; 0 at probabilities of 0.
///
/// Errors: no members or codes; rows that are no probabilities.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::information::ensemble_uncertainty;
/// # fn main() -> candle_prob::Result<()> {
/// // Two members that are sure of different codes, and two that toss a coin.
/// let p = Tensor::new(&[[[1f64, 0.], [0.5, 0.5]], [[0., 1.], [0.5, 0.5]]], &Device::Cpu)?;
/// let split = ensemble_uncertainty(&p)?;
/// let bit = 2f64.ln();
/// let close = |x: &Tensor, y: [f64; 2]| -> candle_prob::Result<bool> {
///     Ok(x.to_vec1::<f64>()?.iter().zip(y).all(|(x, y)| (x - y).abs() < 1e-15))
/// };
/// assert!(close(&split.total, [bit, bit])?);
/// assert!(close(&split.members, [bit, 0.])?);
/// assert!(close(&split.noise, [0., bit])?);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: in double precision inside; each part is a sum of terms that are not negative.
///
/// Source: Houlsby et al. (2011), Bayesian active learning for classification and preference learning; Kirsch, Lyle and Gal
/// (2020), Unpacking Information Bottlenecks, section 3.2.
pub fn ensemble_uncertainty(p: &Tensor) -> Result<EnsembleUncertainty> {
    let op = "ensemble_uncertainty";
    if p.rank() < 2 {
        return Err(Error::shape(op, "p", "[M, ..., C]", p.dims()));
    }
    let wide = check::probabilities(op, "p", p, p.rank() - 1)?;
    let members = p.dims()[0] as f64;
    let mean = (wide.sum(0)? / members)?;
    let over_members = |rows: Tensor| -> Result<Tensor> {
        let last = rows.rank() - 1;
        let members_last: Vec<usize> = (1..=last).chain([0]).collect();
        let sum = reduce::sum(&rows.permute(members_last)?.contiguous()?)?;
        Ok((sum / members)?.to_dtype(p.dtype())?)
    };
    let each = mean.unsqueeze(0)?.broadcast_as(wide.shape())?;
    Ok(EnsembleUncertainty {
        total: terms::entropies(op, &mean)?.to_dtype(p.dtype())?,
        members: over_members(terms::divergences(op, &wide, &each)?)?,
        noise: over_members(terms::entropies(op, &wide)?)?,
    })
}

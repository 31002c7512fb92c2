//! What codes say about their examples.

use crate::distribution::Distribution;
use crate::error::{Error, Result};
use crate::shape;
use crate::special::logsumexp;
use candle_core::{D, Tensor};

/// Densities in memory at once.
const BLOCK: usize = 1 << 20;

/// How many codes may be scored under `rows` laws of `size` numbers at once.
pub(super) fn codes_at_once(rows: usize, size: usize) -> usize {
    (BLOCK / (rows * size).max(1)).max(1)
}

/// The mutual information of code and example under the encoder, `I(x; z) = E[ln q(z | x) - ln q(z)]`.
///
/// Formula: for the code of each example, `ln q(z_i | x_i) - ln (mean_j q(z_i | x_j))`: the aggregated posterior is that of the
/// given examples, all of them. The mean of the result is the estimate, exact but for the draws where the examples are the data
/// set; it is never above `ln N`, and so is no estimate of more where the examples are a part of it.
///
/// The mean rate less this is the divergence `KL(q(z) || p(z))` of the aggregated posterior from the prior.
///
/// Shapes: a posterior of batch `[N]` and event `E`, and one code of each example, `[N] ++ E`; the result is `[N]`. Units: nats.
/// Time is that of `N^2` densities; about a million numbers are in memory at once. Gradients: none.
///
/// Errors: a posterior whose batch has not one dim or is empty; codes of another shape; what the posterior refuses.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::Rng;
/// use candle_prob::distribution::{Distribution, MultivariateNormalDiag};
/// use candle_prob::objective::mutual_information;
/// # fn main() -> candle_prob::Result<()> {
/// // Four examples far from each other: the code says which.
/// let loc = Tensor::new(&[[0f64, 0.], [0., 9.], [9., 0.], [9., 9.]], &Device::Cpu)?;
/// let posterior = MultivariateNormalDiag::new(&loc, &(loc.ones_like()? * 0.5)?)?;
/// let codes = posterior.sample(&[], &mut Rng::new(0))?;
/// let estimate = mutual_information(&posterior, &codes)?.mean_all()?;
/// assert!((estimate.to_scalar::<f64>()? - 4f64.ln()).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
///
/// Source: Hoffman and Johnson (2016), ELBO surgery, section 2; as a sum over the data: Dieng et al. (2019), Avoiding latent
/// variable collapse with generative skip models, eq. 9.
pub fn mutual_information<P: Distribution>(posterior: &P, codes: &Tensor) -> Result<Tensor> {
    let op = "objective::mutual_information";
    let (n, event) = examples(op, posterior)?;
    shape::exactly(op, "codes", codes.dims(), &[&[n], event].concat())?;
    let codes = codes.detach();
    let own = posterior.log_prob(&codes)?.detach();
    let at_once = codes_at_once(n, event.iter().product());
    let mut aggregated = vec![];
    for start in (0..n).step_by(at_once) {
        let some = codes.narrow(0, start, at_once.min(n - start))?;
        let under_all = posterior.log_prob(&some.unsqueeze(1)?)?.detach();
        aggregated.push(logsumexp(&under_all, D::Minus1)?);
    }
    Ok((own - (Tensor::cat(&aggregated, 0)? - (n as f64).ln())?)?)
}

/// The number of examples of a posterior with a batch of one dim, which is not empty, and its event.
pub(super) fn examples<'a, P: Distribution>(
    op: &'static str,
    posterior: &'a P,
) -> Result<(usize, &'a [usize])> {
    match *posterior.batch_shape() {
        [n] if n > 0 => Ok((n, posterior.event_shape())),
        _ => {
            let (expected, batch) = ("a batch [N], N at least 1", posterior.batch_shape());
            Err(Error::shape(op, "posterior", expected, batch))
        }
    }
}

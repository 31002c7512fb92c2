//! What a model of the label costs, given a code and given the input.

use crate::error::{Error, Result};
use crate::kernels::reduce::range::{End, first_outside};
use crate::objective::importance::check_weights;
use crate::objective::rate::mean_of_draws;
use crate::{shape, special};
use candle_core::Tensor;

/// The decoder cross-entropy, `H_theta[Y|Z]`, from log-likelihoods under K draws of each code.
///
/// Formula: `-E_{p(z|x)}[ln q(y | z)]`, estimated by the mean over draws: unbiased for every K, one dropout mask included. It is
/// the distortion of all objectives of the family.
///
/// Shapes: `[K] ++ batch` to `batch`, the cross-entropies of examples; their mean is `H_theta[Y|Z] >= H[Y|Z]`. Units: nats.
///
/// Gradients: `-1/K` to each draw. Errors: no draw; a dtype that is not floating point.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::{decoder_cross_entropy, prediction_cross_entropy};
/// # fn main() -> candle_prob::Result<()> {
/// // Two draws of one code: the label is certain under one and a coin under the other.
/// let log_likelihood = Tensor::new(&[[0f64], [0.5f64.ln()]], &Device::Cpu)?;
/// let decoder = decoder_cross_entropy(&log_likelihood)?.to_vec1::<f64>()?;
/// let prediction = prediction_cross_entropy(&log_likelihood)?.to_vec1::<f64>()?;
/// assert!((decoder[0] - 2f64.ln() / 2.).abs() < 1e-15 && (prediction[0] + 0.75f64.ln()).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Source: Kirsch, Lyle and Gal (2020), Unpacking information bottlenecks, section 5 and observation 5; several dropout masks:
/// Inoue (2019), Multi-sample dropout.
pub fn decoder_cross_entropy(log_likelihood: &Tensor) -> Result<Tensor> {
    let op = "objective::decoder_cross_entropy";
    check_weights(op, "log_likelihood", log_likelihood)?;
    Ok(mean_of_draws(log_likelihood)?.neg()?)
}

/// The prediction cross-entropy, `H_theta[Y|X]`, from log-likelihoods under K draws of each code.
///
/// Formula: `-ln E_{p(z|x)}[q(y | z)]`, estimated by the logarithm of the mean over draws. It is at most the
/// [`decoder_cross_entropy`] of the same draws, and equal to it where the code is deterministic. The estimate is too high in
/// expectation, for K = 1 by all of the difference, and falls to the value as K grows.
///
/// Shapes: `[K] ++ batch` to `batch`, the cross-entropies of examples; their mean is `H_theta[Y|X]`. Units: nats.
///
/// Gradients: minus the likelihoods, normalized over K; zero where all are 0. Errors: no draw; a dtype that is not floating
/// point.
///
/// Example: [`decoder_cross_entropy`].
///
/// Numerics: in logarithms; no likelihood is too small.
///
/// Source: Kirsch, Lyle and Gal (2020), Unpacking information bottlenecks, eq. 4 and observation 5; the estimate: Burda, Grosse
/// and Salakhutdinov (2016); as an objective: Noh et al. (2017), Regularizing deep neural networks by noise.
pub fn prediction_cross_entropy(log_likelihood: &Tensor) -> Result<Tensor> {
    let op = "objective::prediction_cross_entropy";
    check_weights(op, "log_likelihood", log_likelihood)?;
    Ok(special::logmeanexp(log_likelihood, 0)?.neg()?)
}

/// A bound on the probability that a label drawn from the model is wrong.
///
/// Formula: `p(wrong) <= 1 - e^-H`, where H is the mean of the cross-entropies, [of the decoder](decoder_cross_entropy) or
/// [of predictions](prediction_cross_entropy), which is tighter. It is of labels that are drawn, `E[1 - q(y | x)]`, and of the
/// data that the cross-entropies are of.
///
/// Shapes: any with an element, to a scalar. Gradients: `e^-H` to the mean.
///
/// Errors: no element; cross-entropies that are negative, as those of densities may be, or NaN.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::error_bound;
/// # fn main() -> candle_prob::Result<()> {
/// let cross_entropies = Tensor::new(&[0f64, 2f64.ln() * 2.], &Device::Cpu)?;
/// assert!((error_bound(&cross_entropies)?.to_scalar::<f64>()? - 0.5).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
///
/// Source: Kirsch, Lyle and Gal (2020), Unpacking information bottlenecks, observation 3 and footnote 11.
pub fn error_bound(cross_entropies: &Tensor) -> Result<Tensor> {
    let (op, arg) = ("objective::error_bound", "cross_entropies");
    shape::parameter(op, arg, cross_entropies)?;
    let ends = [0., f64::INFINITY].map(End::Closed);
    if let Some(found) = first_outside(cross_entropies, ends[0], ends[1])? {
        let expected = "cross-entropies of discrete labels, 0 or more";
        return Err(Error::value(op, arg, expected, found));
    }
    let mean = mean_of_draws(&cross_entropies.flatten_all()?)?;
    Ok(special::expm1(&mean.neg()?)?.neg()?)
}

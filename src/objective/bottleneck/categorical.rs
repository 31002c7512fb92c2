//! Bottlenecks of categorical codes, in which nothing is drawn.

use super::labels::numbers;
use crate::error::{Error, Result};
use crate::objective::DistortionRate;
use crate::special::logsumexp;
use crate::{check, shape};
use candle_core::{D, DType, Tensor};

/// What a categorical code costs, over the examples of a batch; on average:
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CategoricalRate {
    /// `I[X;Z]`: the information bottleneck, of weight `beta''`.
    Preserved,
    /// `I[X;Z|Y]`: the information bottleneck, of weight `beta'`; at 1 the conditional entropy bottleneck.
    Redundant,
    /// `H[Z]`: the deterministic information bottleneck, of weight `beta''`.
    Encoding,
    /// `H[Z|Y]`: the deterministic information bottleneck, of weight `beta'`.
    ReverseDecoder,
}

/// Settings of [`categorical_bottleneck`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CategoricalConfig {
    /// The rate.
    pub rate: CategoricalRate,
    /// Its weight, 0 or more: one of a [`Tradeoff`](super::Tradeoff). At 0 it is reported and has no influence.
    pub weight: f64,
}

/// Parts of the bottleneck of categorical codes, in nats.
#[derive(Debug, Clone)]
pub struct CategoricalBottleneck {
    /// Decoder cross-entropy, rate and total, shape `[B]`.
    pub parts: DistortionRate,
    /// The prediction cross-entropy, shape `[B]`: at most the distortion.
    pub prediction: Tensor,
}

/// The information bottleneck, or the deterministic one, of a code of C categories.
///
/// Formula, for example i with the label y: the distortion is `-sum_z p(z|x_i) ln q(y|z)`, the prediction cross-entropy
/// `-ln sum_z p(z|x_i) q(y|z)`, and the rate, with means over the batch in `p(z)` and `p(z|y)`,
///
/// ```text
///   Preserved   sum_z p(z|x_i) ln(p(z|x_i) / p(z))       Encoding         -sum_z p(z|x_i) ln p(z)
///   Redundant   sum_z p(z|x_i) ln(p(z|x_i) / p(z|y))     ReverseDecoder   -sum_z p(z|x_i) ln p(z|y)
/// ```
///
/// Shapes: `encoder` log-probabilities `[B, C]`, `decoder` log-probabilities `[C, L]`, labels `[B]` below L (u8, u32 or i64).
///
/// Gradients: to both, exact, through `p(z)` and `p(z|y)` too. A category of probability 0 has none.
///
/// Errors: shapes and dtypes that do not fit; labels that are no class; a weight that is negative or not finite.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::{CategoricalConfig, CategoricalRate, categorical_bottleneck};
/// # fn main() -> candle_prob::Result<()> {
/// let encoder = Tensor::new(&[[1f64, 0.], [1., 0.], [0., 1.], [0., 1.]], &Device::Cpu)?.log()?;
/// let decoder = Tensor::new(&[[0.5f64, 0.5], [0., 1.]], &Device::Cpu)?.log()?;
/// let labels = Tensor::new(&[0u32, 1, 1, 1], &Device::Cpu)?;
/// let config = CategoricalConfig { rate: CategoricalRate::Preserved, weight: 0.1 };
/// let objective = categorical_bottleneck(&encoder, &decoder, &labels, &config)?;
/// let mean = |x: &Tensor| x.mean_all()?.to_scalar::<f64>();
/// // H[Y|Z] of the best decoder, and I[X;Z] = H[Z].
/// assert!((mean(&objective.parts.distortion)? - 2f64.ln() / 2.).abs() < 1e-12);
/// assert!((mean(&objective.parts.rate)? - 2f64.ln()).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
///
/// Source: Kirsch, Lyle and Gal (2020), Unpacking information bottlenecks, observation 1 and section 5.4; Tishby, Pereira and
/// Bialek (2000); Strouse and Schwab (2017), The deterministic information bottleneck.
pub fn categorical_bottleneck(
    encoder: &Tensor,
    decoder: &Tensor,
    labels: &Tensor,
    config: &CategoricalConfig,
) -> Result<CategoricalBottleneck> {
    let op = "objective::categorical_bottleneck";
    check::non_negative(op, "weight", config.weight)?;
    shape::float(op, "encoder", encoder)?;
    shape::same_kind(op, "decoder", decoder, encoder)?;
    let [batch, codes] = shape::dims(op, "encoder", encoder.dims(), "[B, C]")?;
    let [rows, classes] = shape::dims(op, "decoder", decoder.dims(), "[C, L]")?;
    if rows != codes || codes == 0 || classes == 0 {
        let expected = format!("[{codes}, L], a row for each of at least one category");
        return Err(Error::shape(op, "decoder", expected, decoder.dims()));
    }
    let labels = numbers(op, labels, batch, classes)?;
    let index = Tensor::from_iter(labels.iter().map(|y| *y as u32), encoder.device())?;
    // In f64, whose smallest numbers a category is rarely under.
    let dtype = encoder.dtype();
    let encoder = &encoder.to_dtype(DType::F64)?;
    let decoder = decoder.to_dtype(DType::F64)?;
    let likelihood = decoder.t()?.contiguous()?.index_select(&index, 0)?;
    let probs = encoder.exp()?;
    // Terms of probability 0 are 0 and have no slope: what is infinite there is replaced before it is multiplied.
    let possible = probs.detach().gt(0f64)?;
    let zeros = encoder.zeros_like()?.detach();
    let mean = |log: &Tensor| -> Result<Tensor> {
        Ok((&probs * possible.where_cond(log, &zeros)?)?.sum(D::Minus1)?)
    };
    let distortion = mean(&likelihood)?.neg()?;
    let prediction = logsumexp(&(&likelihood + encoder)?, D::Minus1)?.neg()?;
    let (sums, log_sizes) = match config.rate {
        CategoricalRate::Preserved | CategoricalRate::Encoding => sums(&probs, &vec![0; batch], 1)?,
        CategoricalRate::Redundant | CategoricalRate::ReverseDecoder => {
            sums(&probs, &labels, classes)?
        }
    };
    let log_marginal = possible
        .where_cond(&sums, &zeros.ones_like()?)?
        .log()?
        .broadcast_sub(&log_sizes)?;
    let rate = match config.rate {
        CategoricalRate::Preserved | CategoricalRate::Redundant => {
            mean(&(encoder - log_marginal)?)?
        }
        CategoricalRate::Encoding | CategoricalRate::ReverseDecoder => {
            mean(&log_marginal)?.neg()?
        }
    };
    let (distortion, rate) = (distortion.to_dtype(dtype)?, rate.to_dtype(dtype)?);
    Ok(CategoricalBottleneck {
        parts: DistortionRate::new(distortion, rate, config.weight)?,
        prediction: prediction.to_dtype(dtype)?,
    })
}

/// For each row the sum of the rows of its group, `[B, C]`, and the logarithm of their number, `[B, 1]`. A sum is 0 where all its
/// terms are: their mean could be without that.
fn sums(probs: &Tensor, groups: &[usize], count: usize) -> Result<(Tensor, Tensor)> {
    let rows = groups.len();
    let mut sizes = vec![0usize; count];
    groups.iter().for_each(|group| sizes[*group] += 1);
    let mut members = vec![0f64; count * rows];
    for (row, group) in groups.iter().enumerate() {
        members[group * rows + row] = 1.;
    }
    let members = Tensor::from_vec(members, (count, rows), probs.device())?;
    let index = Tensor::from_iter(groups.iter().map(|g| *g as u32), probs.device())?;
    let logs = groups.iter().map(|group| (sizes[*group] as f64).ln());
    let logs = Tensor::from_iter(logs, probs.device())?.unsqueeze(1)?;
    Ok((members.matmul(probs)?.index_select(&index, 0)?, logs))
}

//! Regularizers in the place of the entropies of codes.

use super::labels::numbers;
use crate::conditional::Conditional;
use crate::distribution::{Distribution, Reparameterized};
use crate::error::{Error, Result};
use crate::kernels::reduce;
use crate::kernels::reduce::log_variance::{Groups, mean_log_variance};
use crate::kernels::reduce::range::{End, first_outside};
use crate::objective::DistortionRate;
use crate::objective::elbo::log_likelihood;
use crate::objective::rate::mean_of_draws;
use crate::rng::Rng;
use crate::{check, shape};
use candle_core::{DType, Tensor};
use std::f64::consts::{E, PI};

/// What stands in the place of the entropy of codes with zero-entropy noise: a number of a batch that bounds it from above, or
/// holds it down.
///
/// Shapes: codes `S ++ [B, K]`, S several draws of the codes of B examples or nothing, and labels `[B]` (u8, u32 or i64), to a
/// scalar: draws count as examples. Units: nats, but for the squared norm.
///
/// Variances are those of the sample, divided by one less than the number of codes. They add up in f64.
///
/// Source: Kirsch, Lyle and Gal (2020), Unpacking information bottlenecks, observations 7 and 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surrogate {
    /// `E |Z|^2`, the mean squared norm, in units of the codes: its weight has no relation to beta.
    SquaredNorm,
    /// `sum_i ln(2 pi e Var[Z_i]) / 2`, at least `H[Z]`.
    LogVariance,
    /// `E_y sum_i ln(2 pi e Var[Z_i | y]) / 2`, at least `H[Z|Y]` for classes of many codes. The variance of n codes is unbiased, its
    /// logarithm is not: the number is short by `(ln((n - 1) / 2) - psi((n - 1) / 2)) / 2` a dimension, 0.635 for n = 2, 0.289 for 3,
    /// 0.06 for 10.
    ConditionalLogVariance {
        /// How many classes there are: labels are below it.
        classes: usize,
    },
}

/// The value of a [`Surrogate`] on a batch, and which classes it is of.
#[derive(Debug, Clone)]
pub struct SurrogateRate {
    /// The regularizer, a scalar.
    pub value: Tensor,
    /// Codes it is of: all, or those of classes that have two or more in the batch.
    pub codes: usize,
    /// Classes of two or more codes; 0 of a surrogate that looks at no class, as those below.
    pub classes: usize,
    /// Classes of one code, which has no variance: left out.
    pub single: usize,
    /// Classes without a code in the batch: left out.
    pub absent: usize,
}

impl Surrogate {
    /// The value on a batch.
    ///
    /// Classes without two codes in the batch are left out, and the others have the weights `n_y` of their codes.
    ///
    /// Gradients: to the codes; `w_y (z_n - mean_y) / ((n_y - 1) Var_y)` for the conditional variances.
    ///
    /// Errors: codes that are not `S ++ [B, K]`, B and K at least 1; labels of another shape than `[B]`, not whole numbers, or not
    /// below `classes`; no class with two codes; a dimension in which all codes of a class are equal: its entropy is minus
    /// infinity, as [zero-entropy noise](super::zero_entropy_noise) prevents.
    ///
    /// ```
    /// use candle_core::{Device, Tensor};
    /// use candle_prob::objective::Surrogate;
    /// # fn main() -> candle_prob::Result<()> {
    /// let z = Tensor::new(&[[0f64], [2.], [10.], [14.], [100.]], &Device::Cpu)?;
    /// let labels = Tensor::new(&[0u32, 0, 2, 2, 3], &Device::Cpu)?;
    /// let rate = Surrogate::ConditionalLogVariance { classes: 4 }.regularizer(&z, &labels)?;
    /// // Variances 2 and 8 of the classes 0 and 2.
    /// let want = ((2. * std::f64::consts::PI).ln() + 1. + 16f64.ln() / 2.) / 2.;
    /// assert!((rate.value.to_scalar::<f64>()? - want).abs() < 1e-15);
    /// assert_eq!((rate.codes, rate.classes, rate.single, rate.absent), (4, 2, 1, 1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn regularizer(&self, codes: &Tensor, labels: &Tensor) -> Result<SurrogateRate> {
        self.of("Surrogate::regularizer", codes, labels)
    }

    fn of(&self, op: &'static str, codes: &Tensor, labels: &Tensor) -> Result<SurrogateRate> {
        shape::float(op, "codes", codes)?;
        let (batch, dims) = match codes.dims() {
            [.., batch, dims] if codes.elem_count() > 0 => (*batch, *dims),
            found => {
                let expected = "draws ++ [B, K], with an element";
                return Err(Error::shape(op, "codes", expected, found));
            }
        };
        let rows = codes.reshape(((), dims))?;
        let count = rows.dim(0)?;
        let all = |value: Tensor| SurrogateRate {
            value,
            codes: count,
            classes: 0,
            single: 0,
            absent: 0,
        };
        match *self {
            Surrogate::SquaredNorm => {
                let wide = match rows.dtype() {
                    DType::F16 | DType::BF16 => rows.to_dtype(DType::F32)?,
                    _ => rows.clone(),
                };
                let mean = (reduce::sum(&wide.flatten_all()?.sqr()?)? / count as f64)?;
                Ok(all(mean.to_dtype(rows.dtype())?))
            }
            Surrogate::LogVariance => {
                check::at_least(op, "codes", count, 2)?;
                let (of, sizes) = (vec![Some(0); count], vec![count]);
                Ok(all(entropies(op, &rows, Groups { of, sizes })?))
            }
            Surrogate::ConditionalLogVariance { classes } => {
                let labels = numbers(op, labels, batch, classes)?;
                let labels: Vec<usize> = labels.into_iter().cycle().take(count).collect();
                conditional(op, &rows, &labels, classes)
            }
        }
    }
}

/// `E_y sum_i ln(2 pi e Var[Z_i | y]) / 2` over the classes with two codes.
fn conditional(
    op: &'static str,
    rows: &Tensor,
    labels: &[usize],
    classes: usize,
) -> Result<SurrogateRate> {
    // Classes after the last label are absent: there may be more of them than memory holds.
    let last = labels.iter().max().map_or(0, |last| last + 1);
    let mut counts = vec![0; last];
    labels.iter().for_each(|label| counts[*label] += 1);
    // The number of each class among those with two codes.
    let mut sizes = vec![];
    let number = |count: &usize| {
        (*count > 1).then(|| {
            sizes.push(*count);
            sizes.len() - 1
        })
    };
    let numbers: Vec<Option<usize>> = counts.iter().map(number).collect();
    if sizes.is_empty() {
        let expected = "a class with two codes in the batch";
        return Err(Error::value(op, "labels", expected, "none"));
    }
    let of_size = |size: usize| counts.iter().filter(|count| **count == size).count();
    let (all, codes, classes) = (classes, sizes.iter().sum(), sizes.len());
    let of = labels.iter().map(|label| numbers[*label]).collect();
    Ok(SurrogateRate {
        value: entropies(op, rows, Groups { of, sizes })?,
        codes,
        classes,
        single: of_size(1),
        absent: of_size(0) + (all - last),
    })
}

/// The mean over rows `[N, K]` of `sum_i ln(2 pi e Var[Z_i]) / 2` of their groups.
fn entropies(op: &'static str, rows: &Tensor, groups: Groups) -> Result<Tensor> {
    let log_variance = mean_log_variance(rows, groups)?;
    if first_outside(
        &log_variance,
        End::Open(f64::NEG_INFINITY),
        End::Closed(f64::INFINITY),
    )? == Some(f64::NEG_INFINITY)
    {
        let expected = "codes that differ in every dimension within a class (zero-entropy noise)";
        return Err(Error::value(
            op,
            "codes",
            expected,
            "equal ones in a dimension",
        ));
    }
    let constant = rows.dim(1)? as f64 * (2. * PI * E).ln();
    Ok(((log_variance + constant)? / 2.)?.to_dtype(rows.dtype())?)
}

/// Settings of [`surrogate_bottleneck`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SurrogateConfig {
    /// The regularizer.
    pub surrogate: Surrogate,
    /// Its weight, 0 or more. At 0 it is reported and has no influence.
    pub gamma: f64,
    /// Monte-Carlo samples of the code for each example, at least 1.
    pub samples: usize,
}

impl SurrogateConfig {
    /// One sample, which the paper has found to be enough.
    pub fn new(surrogate: Surrogate, gamma: f64) -> Self {
        SurrogateConfig {
            surrogate,
            gamma,
            samples: 1,
        }
    }
}

/// Parts of a surrogate objective.
#[derive(Debug, Clone)]
pub struct SurrogateBottleneck {
    /// Decoder cross-entropy, regularizer and total, of the shape of the posterior's batch. The regularizer is a number of the
    /// batch, which stands beside each example: the mean of the total is the loss.
    pub parts: DistortionRate,
    /// The regularizer, with the classes that it is of.
    pub regularizer: SurrogateRate,
}

/// An information bottleneck by cross-entropy and a [`Surrogate`] of the entropy of codes.
///
/// Formula: `total = H_theta[Y|Z] + gamma * regularizer(Z)`.
///
/// Shapes: `posterior` has batch `B`, its last dim that of the examples, and event `[K]`: [`zero_entropy_posterior`] of what a
/// network makes of its input, or any other. Codes `[samples] ++ B ++ [K]` go through `decoder`, whose distribution scores
/// `target`, whole numbers, into `[samples] ++ B`; the parts have shape `B`. Units: nats.
///
/// Gradients: pathwise through the codes.
///
/// Errors: zero samples; a negative or non-finite `gamma`; those of [`Surrogate::regularizer`], an empty batch included; what the
/// posterior and the decoder refuse.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::distribution::Categorical;
/// use candle_prob::objective::{Surrogate, SurrogateConfig, surrogate_bottleneck, zero_entropy_posterior};
/// use candle_prob::Rng;
/// # fn main() -> candle_prob::Result<()> {
/// let mut rng = Rng::new(0);
/// let codes = rng.normal((6, 3), DType::F32, &Device::Cpu)?;
/// let labels = Tensor::new(&[0u32, 1, 2, 0, 1, 2], &Device::Cpu)?;
/// let decoder = |z: &Tensor| Categorical::new(z);
/// let config = SurrogateConfig::new(Surrogate::ConditionalLogVariance { classes: 3 }, 1e-2);
/// let objective = surrogate_bottleneck(&zero_entropy_posterior(&codes)?, &decoder, &labels, &config, &mut rng)?;
/// assert_eq!(objective.parts.total.dims(), &[6]);
/// let loss = objective.parts.total.mean_all()?;
/// # Ok(())
/// # }
/// ```
///
/// Source: Kirsch, Lyle and Gal (2020), Unpacking information bottlenecks, observation 8.
///
/// [`zero_entropy_posterior`]: super::zero_entropy_posterior
pub fn surrogate_bottleneck<P, C>(
    posterior: &P,
    decoder: &C,
    target: &Tensor,
    config: &SurrogateConfig,
    rng: &mut Rng,
) -> Result<SurrogateBottleneck>
where
    P: Reparameterized,
    C: Conditional<Output: Distribution>,
{
    let op = "objective::surrogate_bottleneck";
    check::at_least_one(op, &[("samples", config.samples)])?;
    check::non_negative(op, "gamma", config.gamma)?;
    let batch = posterior.batch_shape();
    let codes = posterior.sample(&[config.samples], rng)?;
    let regularizer = config.surrogate.of(op, &codes, target)?;
    let likelihood = log_likelihood(op, decoder, &codes, target, config.samples, batch)?;
    let distortion = mean_of_draws(&likelihood)?.neg()?;
    let rate = regularizer.value.to_dtype(distortion.dtype())?;
    let rate = rate.broadcast_as(distortion.shape())?;
    Ok(SurrogateBottleneck {
        parts: DistortionRate::new(distortion, rate, config.gamma)?,
        regularizer,
    })
}

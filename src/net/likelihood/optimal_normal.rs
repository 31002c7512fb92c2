//! Real numbers with Gaussian noise of the best variance.

use super::Likelihood;
use super::layout::{Layout, finite};
use crate::conditional::Conditional;
use crate::detach::Detach;
use crate::distribution::{Distribution, Independent, Mode, Normal};
use crate::error::{Error, Result};
use crate::kernels::reduce;
use crate::rng::Rng;
use crate::{check, shape};
use candle_core::{DType, Tensor};

/// What has a standard deviation in common, in [`OptimalNormal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharedBy {
    /// All elements of all observations that are scored at once, the samples among them: as one trained number would be.
    Batch,
    /// The elements of one observation: rows do not know of each other, and parts of a batch score as the whole does.
    Observation,
}

/// Independent normal elements with the standard deviation that is best for the value that is scored.
///
/// Formula: `s^2 = max(MSE, floor^2)` with the mean squared error of value and `loc` over what shares it; the log-density is that of
/// [`Normal`] at scale s. Above the floor the mean of `-ln p` over what shares s is `D / 2 (ln(2 pi MSE) + 1)`, D the number of
/// elements. It is the least negative log-likelihood that any scale of `floor` or more has, and not a density of values:
/// it does not integrate to 1.
///
/// Shapes: `loc` is `batch ++ event`. Units: nats. Gradients: to `loc` and the value at s held fixed. As s is the best, those of a
/// sum over what shares it are exact; single rows of a batch that shares it have no slope through the others' errors.
///
/// A draw has no value to be best for: [`sample`](Distribution::sample) is `loc` without noise.
/// [`at`](OptimalNormal::at) is the normal distribution with the scale of a value, to draw from.
///
/// Errors: a `loc` that is not floating point, a floor that is not positive and finite, events without elements.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::Distribution;
/// use candle_prob::net::{OptimalNormal, SharedBy};
/// # fn main() -> candle_prob::Result<()> {
/// let x = Tensor::new(&[[1f64, 3.]], &Device::Cpu)?;
/// let normal = OptimalNormal::new(&x.zeros_like()?, 1, 1e-3, SharedBy::Observation)?;
/// // The mean squared error is 5.
/// let log_prob = normal.log_prob(&x)?.to_vec1::<f64>()?[0];
/// assert!((log_prob + (10. * std::f64::consts::PI).ln() + 1.).abs() < 1e-14);
/// # Ok(())
/// # }
/// ```
///
/// Source: Rybkin, Daniilidis and Levine (2021), Simple and effective VAE training with calibrated decoders, section 3.2.
#[derive(Debug, Clone)]
pub struct OptimalNormal {
    loc: Tensor,
    /// Dims of the event.
    rank: usize,
    floor: f64,
    shared: SharedBy,
}

impl OptimalNormal {
    /// Around `loc`, whose last `dims` dims are the event.
    pub fn new(loc: &Tensor, dims: usize, floor: f64, shared: SharedBy) -> Result<Self> {
        let op = "OptimalNormal::new";
        check::positive_finite(op, "floor", floor)?;
        shape::float(op, "loc", loc)?;
        let event = loc.rank().checked_sub(dims).map(|at| &loc.dims()[at..]);
        if event.is_none_or(|event| event.contains(&0)) {
            let expected = format!("batch ++ event of {dims} dims, each at least 1");
            return Err(Error::shape(op, "loc", expected, loc.dims()));
        }
        Ok(OptimalNormal {
            loc: loc.clone(),
            rank: dims,
            floor,
            shared,
        })
    }

    /// The means, `batch ++ event`.
    pub fn loc(&self) -> &Tensor {
        &self.loc
    }

    /// The normal distribution with the best standard deviation for this value, which is a constant. Its batch is `S ++ batch` of
    /// the value, so that it scores the value as this does.
    ///
    /// Errors: a value of another dtype, device or shape.
    pub fn at(&self, value: &Tensor) -> Result<Independent<Normal>> {
        self.fitted("OptimalNormal::at", value)
    }

    fn fitted(&self, op: &'static str, value: &Tensor) -> Result<Independent<Normal>> {
        shape::same_kind(op, "value", value, &self.loc)?;
        let event = self.event_shape();
        let batch = shape::value_shape(op, value, self.batch_shape(), event)?;
        let rows: usize = batch.iter().product();
        let per_row = event.iter().product::<usize>();
        let error = value.detach().broadcast_sub(&self.loc.detach())?;
        // Squares of half precision overflow soon.
        let error = match error.dtype() {
            DType::F64 => error,
            _ => error.to_dtype(DType::F32)?,
        };
        let sums = reduce::sum(&error.sqr()?.reshape((rows, per_row))?)?.to_dtype(DType::F64)?;
        let mean = match self.shared {
            SharedBy::Observation => (sums / per_row as f64)?,
            SharedBy::Batch if rows == 0 => sums,
            SharedBy::Batch => (sums.mean(0)? / per_row as f64)?.broadcast_as(rows)?,
        };
        let scale = mean.maximum(self.floor.powi(2))?.sqrt()?;
        let scale = scale.to_dtype(value.dtype())?;
        let scale = scale.reshape([&batch[..], &vec![1; self.rank]].concat())?;
        let loc = self.loc.broadcast_as([&batch[..], event].concat())?;
        Normal::new_unchecked(&loc, &scale)?.to_event(self.rank)
    }
}

impl Detach for OptimalNormal {
    fn detach(&self) -> Self {
        OptimalNormal {
            loc: self.loc.detach(),
            ..self.clone()
        }
    }
}

impl Distribution for OptimalNormal {
    fn batch_shape(&self) -> &[usize] {
        &self.loc.dims()[..self.loc.rank() - self.rank]
    }

    fn event_shape(&self) -> &[usize] {
        &self.loc.dims()[self.loc.rank() - self.rank..]
    }

    /// `loc`, without noise and without gradients.
    fn sample(&self, shape: &[usize], _rng: &mut Rng) -> Result<Tensor> {
        let dims = shape::draws("OptimalNormal::sample", shape, self.loc.dims())?;
        Ok(self.loc.detach().broadcast_as(dims)?.contiguous()?)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.fitted("OptimalNormal::log_prob", value)?
            .log_prob(value)
    }
}

impl Mode for OptimalNormal {
    fn mode(&self) -> Result<Tensor> {
        Ok(self.loc.clone())
    }
}

/// [`OptimalNormal`] elements around the raw output: Gaussian noise whose variance needs neither choice nor training.
///
/// Formula: `s^2 = max(MSE, floor^2)`, and above the floor a mean of `-ln p` of `D / 2 (ln(2 pi MSE) + 1)`.
///
/// Shapes: raw output and data are `batch ++ event`. Units, gradients: those of [`OptimalNormal`].
///
/// With [`SharedBy::Batch`], as in the paper, s is a statistic of the batch and stands for the one number that a data set has.
/// Bounds of many draws and evaluation in chunks want rows that do not know of each other: [`SharedBy::Observation`].
///
/// Errors: an event without dims or elements, a floor that is not positive and finite. [`check_data`](Likelihood::check_data)
/// refuses numbers that are not finite.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::distribution::Distribution;
/// use candle_prob::{Conditional, net::{OptimalNormalLikelihood, SharedBy}};
/// # fn main() -> candle_prob::Result<()> {
/// let likelihood = OptimalNormalLikelihood::new(&[784], OptimalNormalLikelihood::FLOOR, SharedBy::Batch)?;
/// let x = Tensor::ones((16, 784), DType::F32, &Device::Cpu)?;
/// assert_eq!(likelihood.given(&x.zeros_like()?)?.log_prob(&x)?.dims(), [16]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Rybkin, Daniilidis and Levine (2021), Simple and effective VAE training with calibrated decoders, section 3.2.
#[derive(Debug, Clone)]
pub struct OptimalNormalLikelihood {
    layout: Layout,
    floor: f64,
    shared: SharedBy,
}

impl OptimalNormalLikelihood {
    /// The smallest standard deviation of the paper's code, `e^-6`.
    pub const FLOOR: f64 = 0.0024787521766663585;

    /// For an observation of shape `event`.
    pub fn new(event: &[usize], floor: f64, shared: SharedBy) -> Result<Self> {
        let op = "OptimalNormalLikelihood::new";
        check::positive_finite(op, "floor", floor)?;
        Ok(OptimalNormalLikelihood {
            layout: Layout::new(op, event, 1)?,
            floor,
            shared,
        })
    }
}

/// It has no variables.
impl Detach for OptimalNormalLikelihood {
    fn detach(&self) -> Self {
        self.clone()
    }
}

impl Conditional for OptimalNormalLikelihood {
    type Output = OptimalNormal;

    fn given(&self, raw: &Tensor) -> Result<OptimalNormal> {
        let loc = self.layout.only("OptimalNormalLikelihood::given", raw)?;
        OptimalNormal::new(&loc, self.layout.rank(), self.floor, self.shared)
    }
}

impl Likelihood for OptimalNormalLikelihood {
    fn event_shape(&self) -> &[usize] {
        self.layout.event()
    }

    fn parameters(&self) -> usize {
        self.layout.count()
    }

    fn mean(&self, raw: &Tensor) -> Result<Tensor> {
        self.layout.only("OptimalNormalLikelihood::mean", raw)
    }

    fn check_data(&self, data: &Tensor) -> Result<()> {
        let op = "OptimalNormalLikelihood::check_data";
        self.layout.check_data(op, data, finite(), "finite numbers")
    }
}

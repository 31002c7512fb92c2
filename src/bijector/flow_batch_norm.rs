//! Batch normalization as a layer of a flow.

use super::{Affine, Axis, Bijector};
use crate::check;
use crate::detach::Detach;
use crate::error::{Error, Result};
use crate::kernels::reduce;
use crate::kernels::reduce::range::{End, first_outside};
use crate::shape;
use candle_core::Tensor;

/// RealNVP's batch normalization: running statistics in value and log-det, a gradient through the current batch's.
///
/// Formula: the inverse, from data to latents, is `x = (y - mean) / sqrt(variance + epsilon)`, with log-det
/// `-1/2 sum ln(variance + epsilon)`, times H W for images; `y = mean + sqrt(variance + epsilon) x` leads back. In training
/// [`observe`](FlowBatchNorm::observe) gives the layer for this batch, whose statistics are
/// `momentum running + (1 - momentum) batch`; in evaluation the layer stays as it is. There are no other parameters. It is a
/// value and writes nothing: whoever owns the running statistics keeps the observed layer's, as
/// [`ImageFlow::inverse_and_log_det_t`](crate::flow::ImageFlow::inverse_and_log_det_t) does.
///
/// Shapes: the statistics hold one number for each part; `x` and `y` are `batch ++ [d]` or `batch ++ [C, H, W]`, the log-det
/// is `batch`. Gradients: to the argument and, of an observed batch, through its own mean and variance, but not to what ran
/// before. The log-det does not count what the statistics themselves owe to the batch.
///
/// Errors: statistics of other dims than one or of different kind, a negative variance, an epsilon that is not positive, a
/// momentum outside [0, 1], a batch to observe that is empty or not finite, an argument of another number of parts.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::bijector::{Bijector, FlowBatchNorm, Axis};
/// # fn main() -> candle_prob::Result<()> {
/// let data = Tensor::new(&[[1f64], [5.]], &Device::Cpu)?;
/// let fresh = Tensor::zeros(1, data.dtype(), &Device::Cpu)?;
/// let norm = FlowBatchNorm::new(&fresh, &fresh.ones_like()?, 1e-5, Axis::Feature)?;
/// let training = norm.observe(&data, 0.9)?;
/// assert!((training.mean().to_vec1::<f64>()?[0] - 0.3).abs() < 1e-12);
/// let latents = training.inverse(&data)?;
/// # assert_eq!(latents.dims(), [2, 1]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Dinh, Sohl-Dickstein and Bengio (2017), Density estimation using Real NVP, section 3.7 and appendix E.
#[derive(Debug, Clone)]
pub struct FlowBatchNorm {
    affine: Affine,
    mean: Tensor,
    variance: Tensor,
    epsilon: f64,
    axis: Axis,
}

impl FlowBatchNorm {
    /// The layer of evaluation, from running statistics; they get no gradient.
    pub fn new(mean: &Tensor, variance: &Tensor, epsilon: f64, axis: Axis) -> Result<Self> {
        let op = "FlowBatchNorm::new";
        check::positive(op, "epsilon", epsilon)?;
        let parameters = [("mean", mean), ("variance", variance)];
        let [mean, variance] = shape::broadcast_filled(op, parameters)?;
        let far = End::Open(f64::INFINITY);
        if let Some(found) = first_outside(&variance, End::Closed(0.), far)? {
            let expected = "numbers of 0 or more";
            return Err(Error::value(op, "variance", expected, found));
        }
        Self::with(mean.detach(), variance.detach(), epsilon, axis)
    }

    fn with(mean: Tensor, variance: Tensor, epsilon: f64, axis: Axis) -> Result<Self> {
        let op = "FlowBatchNorm::new";
        let affine = Affine::new(
            &axis.spread(op, "mean", &mean)?,
            &axis.spread(op, "variance", &(&variance + epsilon)?.sqrt()?)?,
        )?;
        Ok(FlowBatchNorm {
            affine,
            mean,
            variance,
            epsilon,
            axis,
        })
    }

    /// The layer of training on this batch of data: its statistics are these, moved towards the batch's. Keep it, or its
    /// statistics, as the next step's.
    pub fn observe(&self, data: &Tensor, momentum: f64) -> Result<Self> {
        let op = "FlowBatchNorm::observe";
        shape::same_kind(op, "data", data, &self.mean)?;
        check::in_interval(op, "momentum", momentum, 0. ..=1.)?;
        let [mean, variance] = self.axis.moments(op, data)?;
        if mean.dims() != self.mean.dims() {
            let expected = format!("data of {} parts", self.mean.elem_count());
            return Err(Error::shape(op, "data", expected, data.dims()));
        }
        let blend = |running: &Tensor, batch: Tensor| -> Result<Tensor> {
            Ok(((running.detach() * momentum)? + (batch * (1. - momentum))?)?)
        };
        Self::with(
            blend(&self.mean, mean)?,
            blend(&self.variance, variance)?,
            self.epsilon,
            self.axis,
        )
    }

    /// The mean of each part.
    pub fn mean(&self) -> &Tensor {
        &self.mean
    }

    /// The variance of each part.
    pub fn variance(&self) -> &Tensor {
        &self.variance
    }
}

impl Bijector for FlowBatchNorm {
    fn event_rank(&self) -> usize {
        self.axis.event_rank()
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        self.axis
            .check(["FlowBatchNorm::transform", "x"], x, &self.mean)?;
        let (y, log_det) = self.affine.transform_and_log_det(x)?;
        Ok((y, reduce::sum_last(&log_det, self.event_rank())?))
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        self.axis
            .check(["FlowBatchNorm::inverse", "y"], y, &self.mean)?;
        let (x, log_det) = self.affine.inverse_and_log_det(y)?;
        Ok((x, reduce::sum_last(&log_det, self.event_rank())?))
    }
}

impl Detach for FlowBatchNorm {
    fn detach(&self) -> Self {
        FlowBatchNorm {
            affine: self.affine.detach(),
            mean: self.mean.detach(),
            variance: self.variance.detach(),
            ..self.clone()
        }
    }
}

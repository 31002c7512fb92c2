//! Scale and shift of each feature or channel, initialized from data.

use super::{Affine, Axis, Bijector};
use crate::detach::Detach;
use crate::error::Result;
use crate::kernels::reduce;
use crate::shape;
use candle_core::Tensor;

/// The least standard deviation that data are taken to have.
const FLOOR: f64 = 1e-3;

/// A scale and a shift for each feature or channel.
///
/// Formula: `y = loc + e^log_scale x`; `ln |det dy/dx|` is the sum of the log-scales, times H W for images. Initialized
/// [from data](ActNorm::from_data), the inverse gives these data mean 0 and standard deviation 1: this leads from latents to
/// data. It is a value and writes nothing: whoever owns `loc` and `log_scale` writes them once, as
/// [`ImageFlow::initialize`](crate::flow::ImageFlow::initialize) does. As the last layer of a flow of vectors it standardizes
/// the data; with `loc` and `log_scale` among the flow's variables it is saved with them.
///
/// Shapes: `loc` and `log_scale` hold one number for each part; `x` and `y` are `batch ++ [d]` or `batch ++ [C, H, W]`, the
/// log-det is `batch`. Gradients: to argument and parameters, first derivatives only.
///
/// Errors: parameters of more or fewer dims than one or of different kind; an argument of another number of parts; data that
/// are empty or not finite.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::bijector::{ActNorm, Bijector, Axis};
/// # fn main() -> candle_prob::Result<()> {
/// let data = Tensor::new(&[[1f64, 7.], [5., 7.]], &Device::Cpu)?;
/// let norm = ActNorm::from_data(&data, Axis::Feature)?;
/// let x = norm.inverse(&data)?.to_vec2::<f64>()?;
/// assert!((x[0][0] + 1.).abs() < 1e-12 && (x[1][0] - 1.).abs() < 1e-12);
/// assert_eq!((x[0][1], x[1][1]), (0., 0.));
/// # Ok(())
/// # }
/// ```
///
/// Numerics: a standard deviation below 1e-3, as of a constant channel, counts as 1e-3.
///
/// Source: Kingma and Dhariwal (2018), Glow, section 3.1.
#[derive(Debug, Clone)]
pub struct ActNorm {
    affine: Affine,
    loc: Tensor,
    log_scale: Tensor,
    axis: Axis,
}

impl ActNorm {
    /// From shift and log-scale of each part.
    pub fn new(loc: &Tensor, log_scale: &Tensor, axis: Axis) -> Result<Self> {
        let op = "ActNorm::new";
        let [loc, log_scale] =
            shape::broadcast_filled(op, [("loc", loc), ("log_scale", log_scale)])?;
        let affine = Affine::soft_clamped(
            &axis.spread(op, "loc", &loc)?,
            &axis.spread(op, "log_scale", &log_scale)?,
            f64::INFINITY,
        )?;
        Ok(ActNorm {
            affine,
            loc,
            log_scale,
            axis,
        })
    }

    /// The one whose inverse standardizes these data, without gradient.
    pub fn from_data(data: &Tensor, axis: Axis) -> Result<Self> {
        let op = "ActNorm::from_data";
        shape::float(op, "data", data)?;
        let [mean, variance] = axis.moments(op, &data.detach())?;
        let log_scale = variance.sqrt()?.maximum(FLOOR)?.log()?;
        Self::new(&mean, &log_scale, axis)
    }

    /// The shift of each part.
    pub fn loc(&self) -> &Tensor {
        &self.loc
    }

    /// The logarithm of each part's scale.
    pub fn log_scale(&self) -> &Tensor {
        &self.log_scale
    }
}

impl Bijector for ActNorm {
    fn event_rank(&self) -> usize {
        self.axis.event_rank()
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        self.axis.check(["ActNorm::transform", "x"], x, &self.loc)?;
        let (y, log_det) = self.affine.transform_and_log_det(x)?;
        Ok((y, reduce::sum_last(&log_det, self.event_rank())?))
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        self.axis.check(["ActNorm::inverse", "y"], y, &self.loc)?;
        let (x, log_det) = self.affine.inverse_and_log_det(y)?;
        Ok((x, reduce::sum_last(&log_det, self.event_rank())?))
    }
}

impl Detach for ActNorm {
    fn detach(&self) -> Self {
        ActNorm {
            affine: self.affine.detach(),
            loc: self.loc.detach(),
            log_scale: self.log_scale.detach(),
            ..self.clone()
        }
    }
}

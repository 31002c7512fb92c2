//! The axis of features or of channels, and statistics along it.

use super::check_slices;
use crate::error::{Error, Result};
use crate::kernels::reduce::range::{End, first_outside};
use candle_core::Tensor;

/// The axis along which a layer has numbers of its own: one for each feature, or one for each channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// The elements of vectors `[d]`.
    Feature,
    /// The channels of images [C, H, W].
    Channel,
}

impl Axis {
    /// How many trailing dims an event has.
    pub(super) fn event_rank(self) -> usize {
        match self {
            Axis::Feature => 1,
            Axis::Channel => 3,
        }
    }

    /// Refuses an event of another number of parts.
    pub(super) fn check(self, names: [&'static str; 2], x: &Tensor, parts: &Tensor) -> Result<()> {
        check_slices(names, x, self.event_rank(), parts.elem_count())
    }

    /// One number for each part, so that it broadcasts with events.
    pub(super) fn spread(self, op: &'static str, arg: &'static str, x: &Tensor) -> Result<Tensor> {
        match (self, x.dims()) {
            (Axis::Feature, [_]) => Ok(x.clone()),
            (Axis::Channel, [c]) => Ok(x.reshape((*c, 1, 1))?),
            (_, dims) => Err(Error::shape(op, arg, "one dim", dims)),
        }
    }

    /// Mean and variance of each part, the variance that of the data itself (divided by their number).
    pub(super) fn moments(self, op: &'static str, data: &Tensor) -> Result<[Tensor; 2]> {
        let parts = match (self, data.dims()) {
            _ if data.elem_count() == 0 => None,
            (Axis::Feature, [.., d]) => Some(data.reshape(((), *d))?.t()?),
            (Axis::Channel, [.., c, h, w]) => {
                let pixels = data.reshape(((), *c, h * w))?.transpose(0, 1)?;
                Some(pixels.reshape((*c, ()))?)
            }
            _ => None,
        };
        let Some(parts) = parts else {
            let expected = match self {
                Axis::Feature => "[.., d], not empty",
                Axis::Channel => "[.., C, H, W], not empty",
            };
            return Err(Error::shape(op, "data", expected, data.dims()));
        };
        let parts = parts.contiguous()?;
        let mean = parts.mean_keepdim(1)?;
        let variance = parts.broadcast_sub(&mean)?.sqr()?.mean(1)?;
        let far = End::Open(f64::INFINITY);
        if let Some(found) = first_outside(&variance, End::Closed(0.), far)? {
            let expected = "finite numbers of a finite variance";
            let found = format!("variance {found}");
            return Err(Error::value(op, "data", expected, found));
        }
        Ok([mean.squeeze(1)?, variance])
    }
}

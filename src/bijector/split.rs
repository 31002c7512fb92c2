//! Which elements of an event a coupling leaves as they are.

use super::check_slices;
use crate::error::{Error, Result};
use crate::kernels::reduce;
use crate::shape;
use candle_core::{DType, Device, Tensor};

/// A split of an event into the elements that pass and those that are transformed.
///
/// Splits of a dim take its slices apart, so that networks see the passing ones alone. Masks leave every element in its
/// place; the passing part has zeros elsewhere.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::bijector::Split;
/// # fn main() -> candle_prob::Result<()> {
/// let split = Split::half(5, false)?;
/// let x = Tensor::new(&[[0f32, 1., 2., 3., 4.]], &Device::Cpu)?;
/// let (passing, changing) = split.take(&x)?;
/// assert_eq!((passing.dims(), changing.dims()), (&[1, 3][..], &[1, 2][..]));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Split(Kind);

#[derive(Debug, Clone)]
enum Kind {
    /// By the slices of a dim, counted from the last: which pass, which change, and where each slice lies in the two
    /// together.
    Slices {
        rank: usize,
        passing: Vec<u32>,
        changing: Vec<u32>,
        order: Vec<u32>,
    },
    /// One for the elements that pass, over the whole event.
    Mask(Tensor),
}

impl Split {
    /// The first half of a vector passes, with the middle one of an odd number; with `flip` the other half.
    pub fn half(features: usize, flip: bool) -> Result<Self> {
        let first = features.div_ceil(2);
        Self::slices("Split::half", 1, features, |i| (i < first) != flip)
    }

    /// Elements 0, 2, 4, ... of a vector pass; with `flip` the others.
    pub fn alternating(features: usize, flip: bool) -> Result<Self> {
        Self::slices("Split::alternating", 1, features, |i| {
            i.is_multiple_of(2) != flip
        })
    }

    /// The first half of an image's channels passes, [C, H, W]; with `flip` the other half.
    pub fn channels(channels: usize, flip: bool) -> Result<Self> {
        let first = channels.div_ceil(2);
        Self::slices("Split::channels", 3, channels, |i| (i < first) != flip)
    }

    /// The elements of a vector for which it holds pass.
    pub fn by(features: usize, passes: impl Fn(usize) -> bool) -> Result<Self> {
        Self::slices("Split::by", 1, features, passes)
    }

    /// The pixels (i, j) of an image [C, H, W] with even i + j pass, in all channels; with `flip` the others (Dinh,
    /// Sohl-Dickstein and Bengio 2017, figure 3).
    pub fn checkerboard(height: usize, width: usize, flip: bool) -> Result<Self> {
        let pixels = height.checked_mul(width);
        let Some(pixels) = pixels.filter(|pixels| *pixels >= 2) else {
            let found = format!("{height} x {width}");
            let expected = "an image of two pixels or more that can be counted";
            return Err(Error::value("Split::checkerboard", "size", expected, found));
        };
        let at = |i: usize| u8::from(((i / width + i % width).is_multiple_of(2)) != flip);
        let mask: Vec<u8> = (0..pixels).map(at).collect();
        let mask = Tensor::from_vec(mask, (1, height, width), &Device::Cpu)?;
        Ok(Split(Kind::Mask(mask)))
    }

    /// Elements with a 1 in the mask, u8 of the event's shape (dims of 1 repeat), pass.
    pub fn mask(mask: &Tensor) -> Result<Self> {
        let (op, expected) = ("Split::mask", "u8, with zeros and ones alone, and both");
        if mask.dtype() != DType::U8 {
            let found = format!("{:?}", mask.dtype());
            return Err(Error::value(op, "mask", expected, found));
        }
        let numbers = mask.flatten_all()?.to_vec1::<u8>()?;
        let counts = [0, 1].map(|number| numbers.iter().filter(|n| **n == number).count());
        if counts.contains(&0) || counts[0] + counts[1] < numbers.len() {
            let found = format!(
                "{} zeros and {} ones of {}",
                counts[0],
                counts[1],
                numbers.len()
            );
            return Err(Error::value(op, "mask", expected, found));
        }
        Ok(Split(Kind::Mask(mask.clone())))
    }

    fn slices(
        op: &'static str,
        rank: usize,
        count: usize,
        passes: impl Fn(usize) -> bool,
    ) -> Result<Self> {
        let all = 0..count as u32;
        let (passing, changing): (Vec<u32>, Vec<u32>) = all.partition(|i| passes(*i as usize));
        if passing.is_empty() || changing.is_empty() {
            let expected = "two elements or more, some that pass and some that change";
            let found = format!("{} that pass of {count}", passing.len());
            return Err(Error::value(op, "features", expected, found));
        }
        let mut order = vec![0; count];
        for (place, slice) in passing.iter().chain(&changing).enumerate() {
            order[*slice as usize] = place as u32;
        }
        Ok(Split(Kind::Slices {
            rank,
            passing,
            changing,
            order,
        }))
    }

    /// How many trailing dims an event has.
    pub fn event_rank(&self) -> usize {
        match &self.0 {
            Kind::Slices { rank, .. } => *rank,
            Kind::Mask(mask) => mask.rank(),
        }
    }

    /// The slices that pass and those that change, if the split is one of a dim.
    pub(crate) fn columns(&self) -> Option<[&[u32]; 2]> {
        match &self.0 {
            Kind::Slices {
                passing, changing, ..
            } => Some([passing, changing]),
            Kind::Mask(_) => None,
        }
    }

    /// Refuses a tensor that cannot be split so.
    pub(super) fn check(&self, op: &'static str, arg: &'static str, x: &Tensor) -> Result<()> {
        let mask = match &self.0 {
            Kind::Slices { rank, order, .. } => {
                return check_slices([op, arg], x, *rank, order.len());
            }
            Kind::Mask(mask) => mask,
        };
        shape::broadcast_from(op, arg, x.dims(), mask.dims())
    }

    /// The passing and the changing part.
    pub fn take(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        self.check("Split::take", "x", x)?;
        match &self.0 {
            Kind::Slices {
                rank,
                passing,
                changing,
                ..
            } => {
                let dim = x.rank() - rank;
                Ok((select(x, passing, dim)?, select(x, changing, dim)?))
            }
            Kind::Mask(mask) => {
                let mask = mask.to_device(x.device())?.broadcast_as(x.shape())?;
                Ok((mask.where_cond(x, &x.zeros_like()?)?, x.clone()))
            }
        }
    }

    /// The two parts in their places: what [`take`](Split::take) has taken apart.
    pub fn merge(&self, passing: &Tensor, changing: &Tensor) -> Result<Tensor> {
        let op = "Split::merge";
        // The changing part's shape, for a passing part of this one.
        let mut shape = passing.dims().to_vec();
        match &self.0 {
            Kind::Slices {
                rank,
                passing: on,
                changing: off,
                ..
            } => {
                check_slices([op, "passing"], passing, *rank, on.len())?;
                let dim = shape.len() - rank;
                shape[dim] = off.len();
            }
            Kind::Mask(_) => self.check(op, "passing", passing)?,
        }
        shape::exactly(op, "changing", changing.dims(), &shape)?;
        match &self.0 {
            Kind::Slices { rank, order, .. } => {
                let dim = passing.rank() - rank;
                select(&Tensor::cat(&[passing, changing], dim)?, order, dim)
            }
            Kind::Mask(mask) => {
                let mask = mask.to_device(passing.device())?;
                let mask = mask.broadcast_as(passing.shape())?;
                Ok(mask.where_cond(passing, changing)?)
            }
        }
    }

    /// The log-dets of the changing elements, summed over the event.
    pub(super) fn sum_changing(&self, log_det: Tensor) -> Result<Tensor> {
        let log_det = match &self.0 {
            Kind::Slices { .. } => log_det,
            Kind::Mask(mask) => {
                let mask = mask.to_device(log_det.device())?;
                let mask = mask.broadcast_as(log_det.shape())?;
                mask.where_cond(&log_det.zeros_like()?, &log_det)?
            }
        };
        reduce::sum_last(&log_det, self.event_rank())
    }
}

/// Slices of a dim; a run of them without a copy of an index.
fn select(x: &Tensor, slices: &[u32], dim: usize) -> Result<Tensor> {
    let first = slices[0];
    let run = slices.iter().zip(first..).all(|(slice, i)| *slice == i);
    if run || x.elem_count() == 0 {
        // Of nothing all runs are the same, and candle reads beyond the end of those that start later.
        let first = if x.elem_count() == 0 { 0 } else { first };
        return Ok(x.narrow(dim, first as usize, slices.len())?);
    }
    let index = Tensor::new(slices, x.device())?;
    Ok(x.contiguous()?.index_select(&index, dim)?)
}

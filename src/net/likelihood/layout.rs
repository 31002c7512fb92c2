//! Where in a decoder's raw output the numbers of an element are.

use crate::check;
use crate::error::{Error, Result};
use crate::kernels::reduce::range::{End, first_outside};
use crate::shape;
use candle_core::Tensor;

/// Raw output `batch ++ [count * n, ..]` for an event `[n, ..]`.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    event: Vec<usize>,
    count: usize,
}

impl Layout {
    /// Refuses events without dims or elements.
    pub(super) fn new(op: &'static str, event: &[usize], count: usize) -> Result<Self> {
        if event.is_empty() || event.contains(&0) {
            let expected = "one dim or more, each at least 1";
            return Err(Error::shape(op, "event", expected, event));
        }
        let elements = event.iter().try_fold(count, |n, d| n.checked_mul(*d));
        if elements.is_none() {
            let expected = "fewer elements than memory could hold";
            return Err(Error::shape(op, "event", expected, event));
        }
        check::at_least_one(op, &[("parameters", count)])?;
        Ok(Layout {
            event: event.to_vec(),
            count,
        })
    }

    pub(super) fn event(&self) -> &[usize] {
        &self.event
    }

    /// How many dims an observation has.
    pub(super) fn rank(&self) -> usize {
        self.event.len()
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The batch of a raw output.
    fn batch<'a>(&self, op: &'static str, raw: &'a Tensor) -> Result<&'a [usize]> {
        shape::float(op, "raw", raw)?;
        let mut expected = self.event.clone();
        expected[0] *= self.count;
        shape::last_dims(op, "raw", raw.dims(), &expected)
    }

    /// The only number of each element, `batch ++ event`: the raw output itself.
    pub(super) fn only(&self, op: &'static str, raw: &Tensor) -> Result<Tensor> {
        self.batch(op, raw)?;
        Ok(raw.clone())
    }

    /// Number `i` of each element, `batch ++ event`.
    pub(super) fn part(&self, op: &'static str, raw: &Tensor, i: usize) -> Result<Tensor> {
        let at = self.batch(op, raw)?.len();
        Ok(raw.narrow(at, self.start(raw, i), self.event[0])?)
    }

    /// Where number `i` starts. Of nothing all parts are the first: candle reads beyond the end of others.
    fn start(&self, raw: &Tensor, i: usize) -> usize {
        match raw.elem_count() {
            0 => 0,
            _ => i * self.event[0],
        }
    }

    /// Numbers `start` to `start + length` of each element, `batch ++ event ++ [length]`.
    pub(super) fn last(
        &self,
        op: &'static str,
        raw: &Tensor,
        start: usize,
        length: usize,
    ) -> Result<Tensor> {
        let batch = self.batch(op, raw)?;
        let (at, n) = (batch.len(), self.event[0]);
        let part = raw.narrow(at, self.start(raw, start), length * n)?;
        let part = part.reshape([batch, &[length], &self.event].concat())?;
        let order: Vec<usize> = (0..at).chain(at + 1..part.rank()).chain([at]).collect();
        Ok(part.permute(order)?)
    }

    /// Refuses data that are not `[..] ++ event`.
    pub(super) fn check_shape(&self, op: &'static str, data: &Tensor) -> Result<()> {
        shape::last_dims(op, "data", data.dims(), &self.event)?;
        Ok(())
    }

    /// Refuses data of another shape, and a number outside of an interval.
    pub(super) fn check_data(
        &self,
        op: &'static str,
        data: &Tensor,
        [low, high]: [End; 2],
        expected: &str,
    ) -> Result<()> {
        shape::float(op, "data", data)?;
        self.check_shape(op, data)?;
        refuse(op, data, [low, high], expected)
    }
}

/// Refuses a number outside of an interval.
pub(super) fn refuse(
    op: &'static str,
    data: &Tensor,
    [low, high]: [End; 2],
    expected: &str,
) -> Result<()> {
    match first_outside(data, low, high)? {
        Some(found) => Err(Error::value(op, "data", expected, found)),
        None => Ok(()),
    }
}

/// Refuses the first number where `good` is 0, which is not `known`, a good one.
pub(super) fn refuse_others(
    op: &'static str,
    data: &Tensor,
    good: &Tensor,
    known: f64,
    expected: &str,
) -> Result<()> {
    let others = good.where_cond(&(data.zeros_like()? + known)?, data)?;
    refuse(op, &others, [End::Closed(known); 2], expected)
}

/// The ends of the finite numbers.
pub(super) fn finite() -> [End; 2] {
    [End::Open(f64::NEG_INFINITY), End::Open(f64::INFINITY)]
}

/// From 0 to 1.
pub(super) fn unit() -> [End; 2] {
    [End::Closed(0.), End::Closed(1.)]
}

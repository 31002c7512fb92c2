//! Many bijectors, one after another.

use super::{Bijector, check_rank, turned};
use crate::error::Result;
use crate::kernels::reduce;
use candle_core::Tensor;

/// The bijectors of a list, first to last: `y = f_n(.. f_2(f_1(x)))`. An empty list is the identity.
///
/// Formula: the log-dets add up. Shapes: the event rank is the largest of the list's, so its members may change the shape of
/// an event but not its rank; the log-det of the others is summed over the dims that they do not couple. Gradients: those of
/// the members. Errors: theirs; an argument of fewer dims than an event has.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::bijector::{Bijector, Exp, Sequence, Softplus};
/// # fn main() -> candle_prob::Result<()> {
/// let x = Tensor::new(&[0f64], &Device::Cpu)?;
/// let sequence = Sequence::new(vec![Box::new(Softplus), Box::new(Exp)]);
/// assert!((sequence.transform(&x)?.to_vec1::<f64>()?[0] - 2.).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
pub struct Sequence {
    members: Vec<Box<dyn Bijector + Send + Sync>>,
}

impl Sequence {
    /// The members, first to last.
    pub fn new(members: Vec<Box<dyn Bijector + Send + Sync>>) -> Self {
        Sequence { members }
    }

    /// The members, first to last.
    pub fn members(&self) -> &[Box<dyn Bijector + Send + Sync>] {
        &self.members
    }

    /// A member's log-det, summed over the dims of an event that it does not couple.
    pub(super) fn summed(&self, member: &dyn Bijector, log_det: Tensor) -> Result<Tensor> {
        reduce::sum_last(&log_det, self.event_rank() - member.event_rank())
    }

    fn add(
        &self,
        total: Option<Tensor>,
        member: &dyn Bijector,
        log_det: Tensor,
    ) -> Result<Option<Tensor>> {
        let own = self.summed(member, log_det)?;
        Ok(Some(match total {
            Some(total) => (total + own)?,
            None => own,
        }))
    }

    /// The log-det of no member at all.
    fn none(x: &Tensor) -> Result<Tensor> {
        Ok(x.zeros_like()?)
    }
}

impl<B: Bijector + Send + Sync + 'static> FromIterator<B> for Sequence {
    fn from_iter<I: IntoIterator<Item = B>>(members: I) -> Self {
        let boxed = |member| Box::new(member) as Box<dyn Bijector + Send + Sync>;
        Sequence::new(members.into_iter().map(boxed).collect())
    }
}

impl Bijector for Sequence {
    fn event_rank(&self) -> usize {
        let ranks = self.members.iter().map(|member| member.event_rank());
        ranks.max().unwrap_or(0)
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        check_rank(["Sequence::transform", "x"], x, self.event_rank())?;
        let (mut y, mut total) = (x.clone(), None);
        for member in &self.members {
            let (next, log_det) = member.transform_and_log_det(&y)?;
            total = self.add(total, member.as_ref(), log_det)?;
            y = next;
        }
        let total = total.map_or_else(|| Self::none(x), Ok)?;
        Ok((y, total))
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        check_rank(["Sequence::inverse", "y"], y, self.event_rank())?;
        let (mut x, mut total) = (y.clone(), None);
        for member in self.members.iter().rev() {
            let (next, log_det) = member.inverse_and_log_det(&x)?;
            total = self.add(total, member.as_ref(), log_det)?;
            x = next;
        }
        let total = total.map_or_else(|| Self::none(y), Ok)?;
        Ok((x, total))
    }

    fn transformed_shape(&self, event: &[usize]) -> Result<Vec<usize>> {
        let mut event = event.to_vec();
        for member in &self.members {
            event = member.transformed_shape(&event)?;
        }
        Ok(event)
    }

    fn inverse_shape(&self, event: &[usize]) -> Result<Vec<usize>> {
        let mut event = event.to_vec();
        for member in self.members.iter().rev() {
            event = member.inverse_shape(&event)?;
        }
        Ok(event)
    }

    fn decreasing(&self) -> Result<Option<Tensor>> {
        let mut members = self.members.iter();
        members.try_fold(None, |all, member| turned(all, member.decreasing()?))
    }
}

//! Pixels that are 0 or 1.

use super::Likelihood;
use super::layout::{Layout, refuse_others, unit};
use crate::conditional::Conditional;
use crate::detach::Detach;
use crate::distribution::{Bernoulli, Distribution, Independent, Moments};
use crate::error::Result;
use candle_core::Tensor;

/// Independent [`Bernoulli`] elements, from logits.
///
/// Formula: `log p(x) = sum x l - softplus(l)`, l the raw output.
///
/// Shapes: raw output and data are `batch ++ event`. Units: nats. Gradients: to the logits.
///
/// Errors: an event without dims or elements. [`check_data`](Likelihood::check_data) refuses data outside of {0, 1}, which have
/// log-density -inf; with [`soft`](BernoulliLikelihood::soft) outside of 0 to 1.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::Distribution;
/// use candle_prob::{Conditional, net::{BernoulliLikelihood, Likelihood}};
/// # fn main() -> candle_prob::Result<()> {
/// let new = |x: [[f32; 2]; 1]| Tensor::new(&x, &Device::Cpu);
/// let likelihood = BernoulliLikelihood::new(&[2])?;
/// let pixels = likelihood.given(&new([[0., 200.]])?)?;
/// assert_eq!(pixels.log_prob(&new([[1., 1.]])?)?.to_vec1::<f32>()?, [-std::f32::consts::LN_2]);
/// let error = likelihood.check_data(&new([[1., 0.3]])?).unwrap_err().to_string();
/// assert!(error.contains("Bernoulli::soft") && error.contains("ContinuousBernoulli"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct BernoulliLikelihood {
    layout: Layout,
    grey: bool,
}

impl BernoulliLikelihood {
    /// Of data 0 and 1, an observation of shape `event`.
    pub fn new(event: &[usize]) -> Result<Self> {
        Self::of("BernoulliLikelihood::new", event, false)
    }

    /// Of data from 0 to 1, scored by the cross-entropy of [`Bernoulli::soft`]: a loss, not a density.
    pub fn soft(event: &[usize]) -> Result<Self> {
        Self::of("BernoulliLikelihood::soft", event, true)
    }

    fn of(op: &'static str, event: &[usize], grey: bool) -> Result<Self> {
        let layout = Layout::new(op, event, 1)?;
        Ok(BernoulliLikelihood { layout, grey })
    }
}

/// It has no variables.
impl Detach for BernoulliLikelihood {
    fn detach(&self) -> Self {
        self.clone()
    }
}

impl Conditional for BernoulliLikelihood {
    type Output = Independent<Bernoulli>;

    fn given(&self, raw: &Tensor) -> Result<Independent<Bernoulli>> {
        let logits = self.layout.only("BernoulliLikelihood::given", raw)?;
        let pixels = match self.grey {
            false => Bernoulli::new_unchecked(&logits)?,
            true => Bernoulli::soft_unchecked(&logits)?,
        };
        pixels.to_event(self.layout.rank())
    }
}

impl Likelihood for BernoulliLikelihood {
    fn event_shape(&self) -> &[usize] {
        self.layout.event()
    }

    fn parameters(&self) -> usize {
        self.layout.count()
    }

    fn mean(&self, raw: &Tensor) -> Result<Tensor> {
        self.given(raw)?.mean()
    }

    fn check_data(&self, data: &Tensor) -> Result<()> {
        let op = "BernoulliLikelihood::check_data";
        if self.grey {
            return self
                .layout
                .check_data(op, data, unit(), "numbers from 0 to 1");
        }
        let expected = "0 and 1 alone; grey values are scored by `Bernoulli::soft`, a loss, and \
            `ContinuousBernoulli`, a density";
        self.layout.check_data(op, data, unit(), expected)?;
        let binary = (data.eq(0f64)? + data.eq(1f64)?)?;
        refuse_others(op, data, &binary, 0., expected)
    }
}

//! Grey pixels from 0 to 1.

use super::Likelihood;
use super::layout::{Layout, unit};
use crate::conditional::Conditional;
use crate::detach::Detach;
use crate::distribution::{ContinuousBernoulli, Distribution, Independent, Moments};
use crate::error::Result;
use candle_core::Tensor;

/// Independent [`ContinuousBernoulli`] elements, from logits: a density of grey pixels.
///
/// Formula: `log p(x) = sum x l - ln((e^l - 1) / l)`, l the raw output.
///
/// Shapes: raw output and data are `batch ++ event`. Units: nats. Gradients: to the logits and data.
///
/// The mean is not `sigmoid(l)`, and never 0 or 1.
///
/// Errors: an event without dims or elements. [`check_data`](Likelihood::check_data) refuses data outside of 0 to 1.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::Distribution;
/// use candle_prob::{Conditional, net::{ContinuousBernoulliLikelihood, Likelihood}};
/// # fn main() -> candle_prob::Result<()> {
/// let likelihood = ContinuousBernoulliLikelihood::new(&[1, 28, 28])?;
/// let grey = Tensor::full(0.5f32, (16, 1, 28, 28), &Device::Cpu)?;
/// likelihood.check_data(&grey)?;
/// // At logits 0 it is uniform.
/// let log_prob = likelihood.given(&grey.zeros_like()?)?.log_prob(&grey)?;
/// assert_eq!(log_prob.to_vec1::<f32>()?, [0.; 16]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Loaiza-Ganem and Cunningham (2019), The continuous Bernoulli.
#[derive(Debug, Clone)]
pub struct ContinuousBernoulliLikelihood(Layout);

impl ContinuousBernoulliLikelihood {
    /// Of data from 0 to 1, an observation of shape `event`.
    pub fn new(event: &[usize]) -> Result<Self> {
        Layout::new("ContinuousBernoulliLikelihood::new", event, 1)
            .map(ContinuousBernoulliLikelihood)
    }
}

/// It has no variables.
impl Detach for ContinuousBernoulliLikelihood {
    fn detach(&self) -> Self {
        self.clone()
    }
}

impl Conditional for ContinuousBernoulliLikelihood {
    type Output = Independent<ContinuousBernoulli>;

    fn given(&self, raw: &Tensor) -> Result<Independent<ContinuousBernoulli>> {
        let logits = self.0.only("ContinuousBernoulliLikelihood::given", raw)?;
        ContinuousBernoulli::new_unchecked(&logits)?.to_event(self.0.rank())
    }
}

impl Likelihood for ContinuousBernoulliLikelihood {
    fn event_shape(&self) -> &[usize] {
        self.0.event()
    }

    fn parameters(&self) -> usize {
        self.0.count()
    }

    fn mean(&self, raw: &Tensor) -> Result<Tensor> {
        self.given(raw)?.mean()
    }

    fn check_data(&self, data: &Tensor) -> Result<()> {
        let op = "ContinuousBernoulliLikelihood::check_data";
        self.0.check_data(op, data, unit(), "numbers from 0 to 1")
    }
}

//! Levels in their order.

use super::Likelihood;
use super::layout::{Layout, finite, refuse_others};
use crate::check;
use crate::conditional::Conditional;
use crate::detach::Detach;
use crate::distribution::{
    Categorical, DiscretizedLogistic, Distribution, Independent, MixtureSameFamily, Moments,
};
use crate::error::Result;
use crate::net::head::soft_clamp;
use candle_core::Tensor;

/// What [`LogisticMixtureLikelihood`] is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct LogisticMixtureConfig {
    /// Components of each element's mixture.
    pub components: usize,
    /// The number of levels.
    pub levels: usize,
}

impl Default for LogisticMixtureConfig {
    /// Ten components, as PixelCNN++ has, on the 256 levels of a byte.
    fn default() -> Self {
        LogisticMixtureConfig {
            components: 10,
            levels: 256,
        }
    }
}

/// Independent elements, each a mixture of K [`DiscretizedLogistic`] components.
///
/// Formula: `p(x) = prod sum_k w_k DiscretizedLogistic(x; m_k, e^(15 tanh(r_k / 15)))` with `w = softmax(l)`; the raw numbers of
/// an element are K logits l, then K locations m, then K raw log-scales r. Channels are independent given the latent:
/// the linear dependence of PixelCNN++ among red, green and blue is left out.
///
/// Shapes: data are `batch ++ event`, of the dtype of the raw output, and level i is `-1 + 2 i / (levels - 1)`; raw output is
/// `batch ++ [3 K n, ..]` for an event `[n, ..]`. Units: nats. Gradients: to the raw output.
///
/// Errors: an event without dims or elements, no components, levels that [`DiscretizedLogistic`] refuses.
/// [`check_data`](Likelihood::check_data) refuses what is on no level.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::distribution::Distribution;
/// use candle_prob::{Conditional, net::{Likelihood, LogisticMixtureConfig, LogisticMixtureLikelihood}};
/// # fn main() -> candle_prob::Result<()> {
/// let config = LogisticMixtureConfig { components: 5, ..Default::default() };
/// let likelihood = LogisticMixtureLikelihood::new(&[3, 8, 8], &config)?;
/// assert_eq!(likelihood.raw_shape(), [45, 8, 8]);
/// let bytes = Tensor::full(200u8, (2, 3, 8, 8), &Device::Cpu)?;
/// let x = ((bytes.to_dtype(DType::F32)? / 127.5)? - 1.)?;
/// likelihood.check_data(&x)?;
/// let raw = Tensor::zeros((2, 45, 8, 8), DType::F32, &Device::Cpu)?;
/// assert_eq!(likelihood.given(&raw)?.log_prob(&x)?.dims(), [2]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: log-scales pass the soft clamp of [`ScaleForm::LogScale`](crate::net::ScaleForm::LogScale); the published code stops them at -7 instead.
///
/// Source: Salimans, Karpathy, Chen and Kingma (2017), PixelCNN++, section 2.1, equations 1 and 2.
#[derive(Debug, Clone)]
pub struct LogisticMixtureLikelihood {
    layout: Layout,
    config: LogisticMixtureConfig,
}

impl LogisticMixtureLikelihood {
    /// For an observation of shape `event`.
    pub fn new(event: &[usize], config: &LogisticMixtureConfig) -> Result<Self> {
        let op = "LogisticMixtureLikelihood::new";
        check::at_least_one(op, &[("components", config.components)])?;
        check::count_in(op, "levels", config.levels, 2..=65_536, "levels")?;
        let count = config.components.checked_mul(3);
        let layout = Layout::new(op, event, count.unwrap_or(usize::MAX))?;
        let config = config.clone();
        Ok(LogisticMixtureLikelihood { layout, config })
    }

    /// The settings.
    pub fn config(&self) -> &LogisticMixtureConfig {
        &self.config
    }

    fn elements(
        &self,
        op: &'static str,
        raw: &Tensor,
    ) -> Result<MixtureSameFamily<DiscretizedLogistic>> {
        let (k, levels) = (self.config.components, self.config.levels);
        let numbers = |i: usize| self.layout.last(op, raw, i * k, k);
        let scale = soft_clamp(&numbers(2)?)?.exp()?;
        let components = DiscretizedLogistic::new_unchecked(&numbers(1)?, &scale, levels)?;
        MixtureSameFamily::new(Categorical::new_unchecked(&numbers(0)?)?, components)
    }
}

/// It has no variables.
impl Detach for LogisticMixtureLikelihood {
    fn detach(&self) -> Self {
        self.clone()
    }
}

impl Conditional for LogisticMixtureLikelihood {
    type Output = Independent<MixtureSameFamily<DiscretizedLogistic>>;

    fn given(&self, raw: &Tensor) -> Result<Self::Output> {
        let elements = self.elements("LogisticMixtureLikelihood::given", raw)?;
        elements.to_event(self.layout.rank())
    }
}

impl Likelihood for LogisticMixtureLikelihood {
    fn event_shape(&self) -> &[usize] {
        self.layout.event()
    }

    fn parameters(&self) -> usize {
        self.layout.count()
    }

    fn mean(&self, raw: &Tensor) -> Result<Tensor> {
        self.elements("LogisticMixtureLikelihood::mean", raw)?
            .mean()
    }

    fn check_data(&self, data: &Tensor) -> Result<()> {
        let op = "LogisticMixtureLikelihood::check_data";
        let steps = (self.config.levels - 1) as f64;
        let expected = format!("-1 + 2 i / {steps} for a level i of {}", self.config.levels);
        self.layout.check_data(op, data, finite(), &expected)?;
        let one = Tensor::ones((), data.dtype(), data.device())?;
        let wide = DiscretizedLogistic::new_unchecked(&one, &one, self.config.levels)?;
        let on_a_level = wide.log_prob(data)?.gt(f64::NEG_INFINITY)?;
        refuse_others(op, data, &on_a_level, -1., &expected)
    }
}

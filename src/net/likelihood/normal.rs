//! Real numbers with Gaussian noise.

use super::Likelihood;
use super::layout::finite;
use super::spread::Located;
use crate::conditional::Conditional;
use crate::detach::Detach;
use crate::distribution::{Distribution, Independent, Normal};
use crate::error::Result;
use crate::net::head::{Build, ScaleForm};
use candle_core::Tensor;
use candle_nn::VarBuilder;

/// Independent [`Normal`] elements around the raw output.
///
/// Formula: `log p(x) = -sum ((x - r) / s)^2 / 2 + ln s + ln(2 pi) / 2`, r the raw output, with the scale s
/// - a number, [`fixed`](NormalLikelihood::fixed): up to a constant the squared error over `2 s^2`, so that `s^2 = beta` here is
///   the weight `beta` of a rate at `s = 1`;
/// - a variable, [`shared`](NormalLikelihood::shared) by all elements;
/// - of each element, [`per_element`](NormalLikelihood::per_element): a second raw number, in the forms of [`ScaleForm`].
///
/// Where the best s of a batch is wanted instead of a trained one, there is
/// [`OptimalNormalLikelihood`](super::OptimalNormalLikelihood).
///
/// Shapes: data are `batch ++ event`, and so is the raw output, whose first event dim is twice as long with a scale of each
/// element: means first. Units: nats. Gradients: to the raw output, the variable and data.
///
/// Errors: an event without dims or elements, a scale that is not positive and finite. [`check_data`](Likelihood::check_data)
/// refuses numbers that are not finite.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::VarMap;
/// use candle_prob::distribution::Distribution;
/// use candle_prob::net::{Likelihood, NormalLikelihood, ScaleForm};
/// use candle_prob::{Conditional, init};
/// # fn main() -> candle_prob::Result<()> {
/// let raw = Tensor::zeros((16, 6, 8, 8), DType::F32, &Device::Cpu)?;
/// let per_pixel = NormalLikelihood::per_element(&[3, 8, 8], ScaleForm::LogVar)?;
/// assert_eq!(per_pixel.raw_shape(), [6, 8, 8]);
/// assert_eq!(per_pixel.given(&raw)?.event_shape(), [3, 8, 8]);
/// let vars = VarMap::new();
/// let learned = NormalLikelihood::shared(&[3, 8, 8], init::seeded(&vars, 0, DType::F32, &Device::Cpu))?;
/// assert_eq!(init::named_vars(&vars)?.len(), 1);
/// assert_eq!(learned.parameters(), 1);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: logarithms of variances pass the soft clamp of [`ScaleForm`]: within +-15, whatever a network says.
#[derive(Debug, Clone)]
pub struct NormalLikelihood(Located);

const NORMAL: Build<Normal> = Build {
    from_log_var: Normal::from_log_var_unchecked,
    from_scale: Normal::new_unchecked,
};

impl NormalLikelihood {
    /// With this standard deviation, an observation of shape `event`.
    pub fn fixed(event: &[usize], scale: f64) -> Result<Self> {
        Located::fixed("NormalLikelihood::fixed", event, scale).map(NormalLikelihood)
    }

    /// With one standard deviation for all elements, from the variable `log_var` of no dims, which starts at 0.
    pub fn shared(event: &[usize], vb: VarBuilder) -> Result<Self> {
        Located::shared("NormalLikelihood::shared", event, vb).map(NormalLikelihood)
    }

    /// With a standard deviation of each element, in this form.
    pub fn per_element(event: &[usize], scale: ScaleForm) -> Result<Self> {
        Located::per_element("NormalLikelihood::per_element", event, scale).map(NormalLikelihood)
    }
}

impl Detach for NormalLikelihood {
    fn detach(&self) -> Self {
        NormalLikelihood(self.0.detach())
    }
}

impl Conditional for NormalLikelihood {
    type Output = Independent<Normal>;

    fn given(&self, raw: &Tensor) -> Result<Independent<Normal>> {
        let normal = self.0.given("NormalLikelihood::given", raw, NORMAL)?;
        normal.to_event(self.0.layout().rank())
    }
}

impl Likelihood for NormalLikelihood {
    fn event_shape(&self) -> &[usize] {
        self.0.layout().event()
    }

    fn parameters(&self) -> usize {
        self.0.layout().count()
    }

    fn mean(&self, raw: &Tensor) -> Result<Tensor> {
        self.0.loc("NormalLikelihood::mean", raw)
    }

    fn check_data(&self, data: &Tensor) -> Result<()> {
        let op = "NormalLikelihood::check_data";
        let layout = self.0.layout();
        layout.check_data(op, data, finite(), "finite numbers")
    }
}

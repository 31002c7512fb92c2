//! Real numbers with Laplace noise.

use super::Likelihood;
use super::layout::finite;
use super::spread::Located;
use crate::conditional::Conditional;
use crate::detach::Detach;
use crate::distribution::{Distribution, Independent, Laplace};
use crate::error::Result;
use crate::net::head::{Build, ScaleForm};
use candle_core::Tensor;
use candle_nn::VarBuilder;

/// Independent [`Laplace`] elements around the raw output: the absolute error as a likelihood.
///
/// Formula: `log p(x) = -sum |x - r| / s + ln(2 s)`, r the raw output, with the scale s
/// - a number, [`fixed`](LaplaceLikelihood::fixed);
/// - a variable, [`shared`](LaplaceLikelihood::shared) by all elements;
/// - of each element, [`per_element`](LaplaceLikelihood::per_element): a second raw number, in the forms of [`ScaleForm`], where
///   `scale` is s.
///
/// Shapes, units, gradients, errors and numerics: those of [`NormalLikelihood`](super::NormalLikelihood).
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::distribution::Distribution;
/// use candle_prob::{Conditional, net::LaplaceLikelihood};
/// # fn main() -> candle_prob::Result<()> {
/// let likelihood = LaplaceLikelihood::fixed(&[3], 0.5)?;
/// let x = Tensor::ones((2, 3), DType::F64, &Device::Cpu)?;
/// assert_eq!(likelihood.given(&x.zeros_like()?)?.log_prob(&x)?.to_vec1::<f64>()?, [-6., -6.]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct LaplaceLikelihood(Located);

const LAPLACE: Build<Laplace> = Build {
    from_log_var: |loc, log_var| Laplace::new_unchecked(loc, &(log_var * 0.5)?.exp()?),
    from_scale: Laplace::new_unchecked,
};

impl LaplaceLikelihood {
    /// With this scale, an observation of shape `event`.
    pub fn fixed(event: &[usize], scale: f64) -> Result<Self> {
        Located::fixed("LaplaceLikelihood::fixed", event, scale).map(LaplaceLikelihood)
    }

    /// With one scale for all elements, from the variable `log_var = 2 ln s` of no dims, which starts at 0.
    pub fn shared(event: &[usize], vb: VarBuilder) -> Result<Self> {
        Located::shared("LaplaceLikelihood::shared", event, vb).map(LaplaceLikelihood)
    }

    /// With a scale of each element, in this form.
    pub fn per_element(event: &[usize], scale: ScaleForm) -> Result<Self> {
        Located::per_element("LaplaceLikelihood::per_element", event, scale).map(LaplaceLikelihood)
    }
}

impl Detach for LaplaceLikelihood {
    fn detach(&self) -> Self {
        LaplaceLikelihood(self.0.detach())
    }
}

impl Conditional for LaplaceLikelihood {
    type Output = Independent<Laplace>;

    fn given(&self, raw: &Tensor) -> Result<Independent<Laplace>> {
        let laplace = self.0.given("LaplaceLikelihood::given", raw, LAPLACE)?;
        laplace.to_event(self.0.layout().rank())
    }
}

impl Likelihood for LaplaceLikelihood {
    fn event_shape(&self) -> &[usize] {
        self.0.layout().event()
    }

    fn parameters(&self) -> usize {
        self.0.layout().count()
    }

    fn mean(&self, raw: &Tensor) -> Result<Tensor> {
        self.0.loc("LaplaceLikelihood::mean", raw)
    }

    fn check_data(&self, data: &Tensor) -> Result<()> {
        let op = "LaplaceLikelihood::check_data";
        let layout = self.0.layout();
        layout.check_data(op, data, finite(), "finite numbers")
    }
}

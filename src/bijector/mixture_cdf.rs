//! Distribution functions of mixtures.

use super::Bijector;
use crate::detach::Detach;
use crate::error::{Error, Result};
use crate::kernels::family::mixture_cdf::{self, Component, Scale};
use crate::shape;
use candle_core::{D, Tensor};

/// The distribution function of a mixture on the line, elementwise.
///
/// Formula: `y = F(x) = sum_k softmax(logits)_k G((x - loc_k) / e^log_scale_k)` with the distribution function G of the
/// standard logistic or normal, from the line to (0, 1); or, as [`to_logit`](MixtureCdf::to_logit) makes it,
/// `y = ln F(x) - ln(1 - F(x))`, or, by [`to_probit`](MixtureCdf::to_probit), the standard normal quantile of F(x), both from
/// the line to itself. `transform` is cheap. `inverse` searches: Newton's method within a bracket that is widened until it
/// holds the root, tens of evaluations. A flow that uses F on its way from data to latents, and leads from latents to data,
/// has this [`inverted`](Bijector::inverted).
///
/// Shapes: `logits`, `loc` and `log_scale` are `.. ++ [K]` and broadcast together; without K they broadcast with the last
/// dims of the argument; the log-det has its shape. Gradients: to argument and parameters, first derivatives only; of the
/// inverse by the implicit function.
///
/// Errors: parameters that do not broadcast; an argument of another dtype or device, or with fewer dims than they have; a
/// search without a root, as for parameters that are not finite.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::bijector::{Bijector, MixtureCdf};
/// # fn main() -> candle_prob::Result<()> {
/// let pair = |a: f64, b: f64| Tensor::new(&[a, b], &Device::Cpu);
/// let cdf = MixtureCdf::logistic(&pair(0., 1.)?, &pair(-2., 3.)?, &pair(0., -1.)?)?;
/// let y = Tensor::new(&[0.1, 0.9], &Device::Cpu)?;
/// let off = (cdf.transform(&cdf.inverse(&y)?)? - y)?.abs()?;
/// assert!(off.max_all()?.to_scalar::<f64>()? < 1e-14);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: computed in f64 from the logarithms of both tails, so that logits and quantiles keep their digits however far
/// out x is, where F itself rounds to 0 or 1. Where F is flat between two far components the slope of the inverse, which is
/// one over that of F, may be infinite.
///
/// Source: Ho et al. (2019), Flow++, equations 9 to 11.
#[derive(Debug, Clone)]
pub struct MixtureCdf {
    logits: Tensor,
    loc: Tensor,
    log_scale: Tensor,
    kind: (Component, Scale),
    shape: Vec<usize>,
}

impl MixtureCdf {
    /// Of logistic components.
    pub fn logistic(logits: &Tensor, loc: &Tensor, log_scale: &Tensor) -> Result<Self> {
        Self::new(
            "MixtureCdf::logistic",
            Component::Logistic,
            [logits, loc, log_scale],
        )
    }

    /// Of normal components.
    pub fn gaussian(logits: &Tensor, loc: &Tensor, log_scale: &Tensor) -> Result<Self> {
        Self::new(
            "MixtureCdf::gaussian",
            Component::Gaussian,
            [logits, loc, log_scale],
        )
    }

    fn new(
        op: &'static str,
        component: Component,
        [logits, loc, log_scale]: [&Tensor; 3],
    ) -> Result<Self> {
        let arguments = [("logits", logits), ("loc", loc), ("log_scale", log_scale)];
        // Networks' outputs for a batch of no rows are empty.
        let shape = shape::broadcast_shape(op, arguments)?;
        if shape.last().is_none_or(|k| *k == 0) {
            return Err(Error::shape(op, "logits", "[.., K]", logits.dims()));
        }
        let full = |x: &Tensor| x.broadcast_as(shape.as_slice());
        Ok(MixtureCdf {
            logits: full(logits)?,
            loc: full(loc)?,
            log_scale: full(log_scale)?,
            kind: (component, Scale::Probability),
            shape: shape[..shape.len() - 1].to_vec(),
        })
    }

    /// The same mixture with the logit of its distribution function for a value.
    pub fn to_logit(mut self) -> Self {
        self.kind.1 = Scale::Logit;
        self
    }

    /// The same mixture with the standard normal quantile of its distribution function for a value: it takes draws of the
    /// mixture to standard normal numbers.
    pub fn to_probit(mut self) -> Self {
        self.kind.1 = Scale::Probit;
        self
    }

    /// The parameters with the argument's leading dims.
    fn spread(&self, op: &'static str, x: &Tensor) -> Result<[Tensor; 3]> {
        shape::same_kind(op, "argument", x, &self.logits)?;
        shape::broadcast_from(op, "argument", x.dims(), &self.shape)?;
        let k = self.logits.dim(D::Minus1)?;
        let full = [x.dims(), &[k]].concat();
        let spread = |p: &Tensor| p.broadcast_as(full.as_slice());
        Ok([
            spread(&self.logits)?,
            spread(&self.loc)?,
            spread(&self.log_scale)?,
        ])
    }
}

impl Bijector for MixtureCdf {
    fn event_rank(&self) -> usize {
        0
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let parameters = self.spread("MixtureCdf::transform", x)?;
        let [y, log_det] = mixture_cdf::transform(self.kind, x, parameters.each_ref())?;
        Ok((y, log_det))
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        let parameters = self.spread("MixtureCdf::inverse", y)?;
        let [x, log_det] = mixture_cdf::inverse(self.kind, y, parameters.each_ref())?;
        Ok((x, log_det))
    }
}

impl Detach for MixtureCdf {
    fn detach(&self) -> Self {
        MixtureCdf {
            logits: self.logits.detach(),
            loc: self.loc.detach(),
            log_scale: self.log_scale.detach(),
            ..self.clone()
        }
    }
}

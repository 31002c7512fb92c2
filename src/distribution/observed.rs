//! Normal distributions on vectors that were observed in part: NaN is a missing element.

use super::covariance::Gaussian as _;
use super::{Distribution as _, MultivariateNormal, MultivariateNormalDiag};
use crate::error::Result;
use crate::kernels::linear::triangular::Observed;
use crate::kernels::reduce;
use crate::shape;
use candle_core::Tensor;

impl MultivariateNormal {
    /// Log-density of the observed elements of each vector: the missing ones, marked by NaN, are marginalized.
    ///
    /// Formula: `log N(x_o; loc_o, S_oo)`, with the rows and columns of the covariance that belong to the n observed elements:
    /// `-(x_o - loc_o)^T S_oo^-1 (x_o - loc_o) / 2 - ln det S_oo / 2 - n ln(2 pi) / 2`. With all elements missing it is 0,
    /// with none it is [`log_prob`](super::Distribution::log_prob).
    ///
    /// Shapes: those of `log_prob`: `value` is `S ++ batch ++ [d]`, every vector of it with a pattern of its own, the result
    /// `S ++ batch`. Units: nats.
    ///
    /// Gradients: to `loc`, `scale_tril` and the observed elements; 0 to the missing. First derivatives only.
    ///
    /// Errors: a value of another dtype, device or shape.
    ///
    /// ```
    /// use candle_core::{Device, Tensor};
    /// use candle_prob::distribution::{Distribution, MultivariateNormal, Normal};
    /// # fn main() -> candle_prob::Result<()> {
    /// let loc = Tensor::new(&[1f64, -1.], &Device::Cpu)?;
    /// let scale_tril = Tensor::new(&[[1f64, 0.], [3., 4.]], &Device::Cpu)?;
    /// let normal = MultivariateNormal::new(&loc, &scale_tril)?;
    /// // The second element alone has mean -1 and standard deviation 5.
    /// let log_prob = normal.log_prob_observed(&Tensor::new(&[f64::NAN, 2.], &Device::Cpu)?)?;
    /// let second = Normal::new(&loc.get(1)?, &Tensor::new(5f64, &Device::Cpu)?)?;
    /// let expected = second.log_prob(&Tensor::new(2f64, &Device::Cpu)?)?;
    /// assert_eq!(log_prob.to_scalar::<f64>()?, expected.to_scalar::<f64>()?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Numerics: computed in f64 from the factor's rows, made triangular by reflections, so the condition number of the
    /// factor counts and not its square. Vectors with the same pattern share that work, `n^2 d` for each 256 of them.
    ///
    /// Source: Little and Rubin (2019), Statistical Analysis with Missing Data, section 11.2: the likelihood of observed data.
    pub fn log_prob_observed(&self, value: &Tensor) -> Result<Tensor> {
        self.observed("MultivariateNormal::log_prob_observed", value)?
            .log_prob()
    }

    /// Each vector with its missing elements, marked by NaN, replaced by their means given the observed ones.
    ///
    /// Formula: `E[x_m | x_o] = loc_m + S_mo S_oo^-1 (x_o - loc_o)`; the observed elements stay as they are. With all elements
    /// missing it is `loc`.
    ///
    /// Shapes: `value` and result are `S ++ batch ++ [d]`, broadcast as for
    /// [`log_prob_observed`](MultivariateNormal::log_prob_observed), as are gradients, errors and numerics.
    ///
    /// ```
    /// use candle_core::{Device, Tensor};
    /// use candle_prob::distribution::MultivariateNormal;
    /// # fn main() -> candle_prob::Result<()> {
    /// let loc = Tensor::new(&[1f64, -1.], &Device::Cpu)?;
    /// let scale_tril = Tensor::new(&[[2f64, 0.], [0.5, 2.]], &Device::Cpu)?;
    /// let normal = MultivariateNormal::new(&loc, &scale_tril)?;
    /// // The covariance is 1 and the first variance 4: a quarter of the first element's distance from its mean.
    /// let value = Tensor::new(&[5f64, f64::NAN], &Device::Cpu)?;
    /// assert_eq!(normal.conditional_mean(&value)?.to_vec1::<f64>()?, [5., 0.]);
    /// assert_eq!(normal.conditional_covariance(&value)?.to_vec2::<f64>()?, [[0., 0.], [0., 4.]]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Source: Bishop (2006), Pattern Recognition and Machine Learning, equations 2.81 and 2.82.
    pub fn conditional_mean(&self, value: &Tensor) -> Result<Tensor> {
        self.observed("MultivariateNormal::conditional_mean", value)?
            .mean()
    }

    /// The covariance of each vector's missing elements, marked by NaN, given the observed ones.
    ///
    /// Formula: `S_mm - S_mo S_oo^-1 S_om`, which no observed value changes; 0 in the rows and columns of the observed elements.
    /// With all elements missing it is [`covariance`](MultivariateNormal::covariance).
    ///
    /// Shapes: `value` is `S ++ batch ++ [d]`, the result `S ++ batch ++ [d, d]`. Gradients: to `scale_tril`. Errors and
    /// numerics: as for [`log_prob_observed`](MultivariateNormal::log_prob_observed). Example and source: as for
    /// [`conditional_mean`](MultivariateNormal::conditional_mean).
    pub fn conditional_covariance(&self, value: &Tensor) -> Result<Tensor> {
        self.observed("MultivariateNormal::conditional_covariance", value)?
            .covariance()
    }

    fn observed(&self, op: &'static str, value: &Tensor) -> Result<Observed> {
        shape::same_kind(op, "value", value, self.center())?;
        let full = shape::value_shape(op, value, self.batch_shape(), self.event_shape())?;
        Observed::new(value, self.center(), self.factor(), full)
    }
}

impl MultivariateNormalDiag {
    /// Log-density of the observed elements of each vector: the missing ones, marked by NaN, are marginalized.
    ///
    /// Formula: the sum of the observed elements' log-densities, 0 where all are missing.
    ///
    /// Shapes: `value` is `S ++ batch ++ [D]`, every vector of it with a pattern of its own, the result `S ++ batch`. Units:
    /// nats. Gradients: to the parameters and the observed elements; 0 to the missing.
    ///
    /// Errors: a value of another dtype, device or shape.
    ///
    /// ```
    /// use candle_core::{DType, Device, Tensor};
    /// use candle_prob::distribution::MultivariateNormalDiag;
    /// # fn main() -> candle_prob::Result<()> {
    /// let normal = MultivariateNormalDiag::standard(2, DType::F32, &Device::Cpu)?;
    /// let value = Tensor::new(&[[0f32, f32::NAN], [f32::NAN, f32::NAN]], &Device::Cpu)?;
    /// assert_eq!(normal.log_prob_observed(&value)?.to_vec1::<f32>()?, [-0.9189385, 0.]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Source: as for [`MultivariateNormal::log_prob_observed`].
    pub fn log_prob_observed(&self, value: &Tensor) -> Result<Tensor> {
        let (seen, value) = self.seen("MultivariateNormalDiag::log_prob_observed", value)?;
        let each = self.elements().log_prob(&value)?;
        let none = each.detach().zeros_like()?;
        reduce::sum(&seen.where_cond(&each, &none)?)
    }

    /// Each vector with its missing elements, marked by NaN, replaced by their means: no element tells about another.
    ///
    /// Shapes: `value` and result are `S ++ batch ++ [D]`. Gradients: to the means and the observed elements. Errors: as for
    /// [`log_prob_observed`](MultivariateNormalDiag::log_prob_observed).
    ///
    /// ```
    /// use candle_core::{DType, Device, Tensor};
    /// use candle_prob::distribution::MultivariateNormalDiag;
    /// # fn main() -> candle_prob::Result<()> {
    /// let normal = MultivariateNormalDiag::standard(2, DType::F32, &Device::Cpu)?;
    /// let value = Tensor::new(&[3f32, f32::NAN], &Device::Cpu)?;
    /// assert_eq!(normal.conditional_mean(&value)?.to_vec1::<f32>()?, [3., 0.]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn conditional_mean(&self, value: &Tensor) -> Result<Tensor> {
        let (seen, value) = self.seen("MultivariateNormalDiag::conditional_mean", value)?;
        Ok(seen.where_cond(&value, &self.loc().broadcast_as(value.shape())?)?)
    }

    /// What is observed, and the values with 0 for the missing, in full.
    fn seen(&self, op: &'static str, value: &Tensor) -> Result<(Tensor, Tensor)> {
        shape::same_kind(op, "value", value, self.loc())?;
        let full = shape::value_shape(op, value, self.batch_shape(), self.event_shape())?;
        let value = value.broadcast_as([&full[..], self.event_shape()].concat())?;
        let seen = value.eq(&value)?;
        let value = seen.where_cond(&value, &value.detach().zeros_like()?)?;
        Ok((seen, value))
    }
}

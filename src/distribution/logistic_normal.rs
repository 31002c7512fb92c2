//! The softmax of a Gaussian.

use super::*;
use crate::kernels::reduce;
use crate::special::{log_softmax, logsumexp, softmax};
use candle_core::{D, DType, Device};
use std::f64::consts::PI;

/// Logistic-normal distribution on the simplex: `y = softmax(x)`, `x ~ N(loc, diag(scale^2))` on K logits.
///
/// Formula: softmax forgets a shift of all logits, so the density of `y` with respect to its first K - 1 elements is that
/// of the logits integrated over the shift, `p(y) = integral over c of prod_k N(ln y_k + c; loc_k, scale_k^2) / y_k`. With `r_k = ln y_k - loc_k`, precisions `w_k = scale_k^-2`, `W = sum w_k` and `m = sum w_k r_k / W`:
/// `log p(y) = -sum_k [w_k (r_k - m)^2 / 2 + ln scale_k + ln y_k] - ln(W) / 2 - (K - 1) ln(2 pi) / 2`.
///
/// Shapes: `loc` and `scale` broadcast to `batch ++ [K]`; the event is `[K]`. Units: nats.
///
/// Gradients: pathwise, through the softmax.
///
/// Errors: those of [`MultivariateNormalDiag`].
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::{Rng, distribution::{Distribution, Kl, LogisticNormal}};
/// # fn main() -> candle_prob::Result<()> {
/// let concentration = Tensor::new(&[2f64, 3., 5.], &Device::Cpu)?;
/// let prior = LogisticNormal::laplace_dirichlet(&concentration)?;
/// let y = prior.sample(&[4], &mut Rng::new(0))?;
/// assert_eq!(prior.log_prob(&y)?.dims(), &[4]);
/// assert_eq!(prior.kl(&prior)?.to_scalar::<f64>()?, 0.);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: `kl` is that of the Gaussians on the logits, the quantity in the literature's objectives. It bounds the
/// divergence of the two distributions of `y` from above (data processing: the map forgets the shift); the two are equal
/// when the shift carries no information. `log_prob` is -inf outside the open simplex; a sum that differs from 1 by more
/// than rounding counts as outside.
///
/// Source: Aitchison and Shen (1980); Srivastava and Sutton (2017), section 3.2; the Laplace approximation: MacKay (1998),
/// Hennig, Stern, Herbrich and Graepel (2012).
#[derive(Debug, Clone)]
pub struct LogisticNormal {
    logits: MultivariateNormalDiag,
}

impl LogisticNormal {
    /// From means and standard deviations of the logits.
    pub fn new(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        let logits = MultivariateNormalDiag::new(loc, scale);
        Self::of("LogisticNormal::new", logits)
    }

    fn of(op: &'static str, logits: Result<MultivariateNormalDiag>) -> Result<Self> {
        let logits = logits.map_err(|e| e.of(op))?;
        Ok(LogisticNormal { logits })
    }

    /// From means and log-variances of the logits.
    pub fn from_log_var(loc: &Tensor, log_var: &Tensor) -> Result<Self> {
        let logits = MultivariateNormalDiag::from_log_var(loc, log_var);
        Self::of("LogisticNormal::from_log_var", logits)
    }

    /// As [`new`](Self::new), without looking at the parameters' values.
    pub fn new_unchecked(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        let logits = MultivariateNormalDiag::new_unchecked(loc, scale);
        Self::of("LogisticNormal::new_unchecked", logits)
    }

    /// As [`from_log_var`](Self::from_log_var), without looking at the parameters' values.
    pub fn from_log_var_unchecked(loc: &Tensor, log_var: &Tensor) -> Result<Self> {
        let logits = MultivariateNormalDiag::from_log_var_unchecked(loc, log_var);
        Self::of("LogisticNormal::from_log_var_unchecked", logits)
    }

    /// The Laplace approximation, in the softmax basis, of a Dirichlet distribution with parameters `a`.
    ///
    /// Formula: `loc_k = ln a_k - mean_i ln a_i`, `scale_k^2 = (1 - 2 / K) / a_k + sum_i (1 / a_i) / K^2`.
    ///
    /// Shapes: `concentration` is `batch ++ [K]`. Errors: a scalar or empty `concentration`, or K = 1, whose variance
    /// the formula makes zero.
    pub fn laplace_dirichlet(concentration: &Tensor) -> Result<Self> {
        let op = "LogisticNormal::laplace_dirichlet";
        shape::parameter(op, "concentration", concentration)?;
        let k = match concentration.dims().last() {
            Some(k) if *k > 1 => *k as f64,
            _ => {
                return Err(Error::shape(
                    op,
                    "concentration",
                    "batch ++ [K] with K at least 2",
                    concentration.dims(),
                ));
            }
        };
        let log = concentration.log()?;
        let loc = log.broadcast_sub(&log.mean_keepdim(D::Minus1)?)?;
        let inverse = concentration.recip()?;
        let variance = (&inverse * (1. - 2. / k))?
            .broadcast_add(&(inverse.sum_keepdim(D::Minus1)? / (k * k))?)?;
        Self::new(&loc, &variance.sqrt()?)
    }

    /// The softmax of a standard normal on `dims` logits, the fused prior of [`Kl::sample_and_kl`].
    ///
    /// Errors: `dims` is zero, or `dtype` is not a floating-point type.
    pub fn standard(dims: usize, dtype: DType, device: &Device) -> Result<Self> {
        let logits = MultivariateNormalDiag::standard(dims, dtype, device);
        Self::of("LogisticNormal::standard", logits)
    }

    /// The log-density at `y`, given `ln y`.
    fn density(&self, log_y: &Tensor) -> Result<Tensor> {
        let k = self.event_shape()[0] as f64;
        let log_var = self.logits.log_var()?;
        // Precisions as logarithms: 1 / scale^2 overflows long before 1 / scale.
        let log_weights = log_var.neg()?;
        let shares = softmax(&log_weights, D::Minus1)?;
        let r = log_y.broadcast_sub(self.logits.loc())?;
        let mean = reduce::sum(&r.broadcast_mul(&shares)?)?.unsqueeze(D::Minus1)?;
        let inverse_scale = (&log_weights * 0.5)?.exp()?;
        let squares = r
            .broadcast_sub(&mean)?
            .broadcast_mul(&inverse_scale)?
            .sqr()?;
        let terms = (squares.broadcast_add(&log_var)? * 0.5)?.broadcast_add(log_y)?;
        let shift = ((logsumexp(&log_weights, D::Minus1)? + (k - 1.) * (2. * PI).ln())? * 0.5)?;
        Ok(reduce::sum(&terms)?.neg()?.broadcast_sub(&shift)?)
    }

    /// The distribution of the logits.
    pub fn logits(&self) -> &MultivariateNormalDiag {
        &self.logits
    }

    /// KL between the logits' distribution and N(0, I), shape `batch`.
    pub fn kl_to_standard(&self) -> Result<Tensor> {
        self.logits.kl_to_standard()
    }
}

impl Distribution for LogisticNormal {
    fn batch_shape(&self) -> &[usize] {
        self.logits.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        self.logits.event_shape()
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        softmax(&self.logits.sample(shape, rng)?, D::Minus1)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        let op = "LogisticNormal::log_prob";
        shape::same_kind(op, "value", value, self.logits.loc())?;
        shape::value_shape(op, value, self.batch_shape(), self.event_shape())?;
        let tolerance = match value.dtype() {
            DType::F64 => 1e-8,
            DType::F32 => 1e-4,
            _ => 2e-2,
        };
        // Counts of offending elements, and what the sum is off by.
        let count = |mask: Tensor| reduce::sum(&mask.to_dtype(DType::F32)?);
        let nan = count(value.ne(value)?)?;
        let off = (reduce::sum(&value.detach())? - 1.)?.abs()?;
        let wrong = (count(value.le(0.)?)? + off.gt(tolerance)?.to_dtype(DType::F32)?)?;
        let inside = (&wrong + &nan)?.eq(0.)?;
        // Outside, the density is evaluated at the centre: no NaN can come back through the selection.
        let centre = value
            .detach()
            .zeros_like()?
            .affine(0., 1. / self.event_shape()[0] as f64)?;
        let log_y = inside
            .unsqueeze(D::Minus1)?
            .broadcast_as(value.shape())?
            .where_cond(value, &centre)?
            .log()?;
        let density = self.density(&log_y)?;
        let dims = density.dims();
        let zero = density.detach().zeros_like()?;
        let outside = nan.gt(0.)?.broadcast_as(dims)?.where_cond(
            &zero.affine(1., f64::NAN)?,
            &zero.affine(1., f64::NEG_INFINITY)?,
        )?;
        Ok(inside.broadcast_as(dims)?.where_cond(&density, &outside)?)
    }

    /// From the logits, so that no element underflows to zero.
    fn sample_and_log_prob(&self, shape: &[usize], rng: &mut Rng) -> Result<(Tensor, Tensor)> {
        let x = self.logits.sample(shape, rng)?;
        let density = self.density(&log_softmax(&x, D::Minus1)?)?;
        Ok((softmax(&x, D::Minus1)?, density))
    }

    fn sample_and_log_prob_sum(
        &self,
        shape: &[usize],
        dims: usize,
        rng: &mut Rng,
    ) -> Result<(Tensor, Tensor)> {
        let (value, log_prob) = self.sample_and_log_prob(shape, rng)?;
        Ok((value, reduce::sum_last(&log_prob, dims)?))
    }
}

impl Detach for LogisticNormal {
    fn detach(&self) -> Self {
        LogisticNormal {
            logits: self.logits.detach(),
        }
    }
}

impl Reparameterized for LogisticNormal {}

/// The KL of the Gaussians on the logits.
impl Kl for LogisticNormal {
    fn kl(&self, other: &Self) -> Result<Tensor> {
        self.logits
            .kl(&other.logits)
            .map_err(|e| e.of("LogisticNormal::kl"))
    }

    fn sample_and_kl(
        &self,
        other: &Self,
        shape: &[usize],
        rng: &mut Rng,
    ) -> Result<(Tensor, Tensor)> {
        let both = self.logits.sample_and_kl(&other.logits, shape, rng);
        let (x, kl) = both.map_err(|e| e.of("LogisticNormal::sample_and_kl"))?;
        Ok((softmax(&x, D::Minus1)?, kl))
    }
}

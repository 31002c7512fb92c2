//! The normal distribution.

use super::family::*;
use super::*;
use crate::kernels::family::gaussian::{self, Spread};
use std::f64::consts::PI;

/// Normal distribution with mean `loc` and standard deviation `scale`.
///
/// Formula: `log p(x) = -((x - loc) / scale)^2 / 2 - ln scale - ln(2 pi) / 2`.
///
/// Shapes: `loc` and `scale` broadcast to the batch shape; the event is scalar. Units: nats.
///
/// Gradients: pathwise, `x = loc + scale * eps`.
///
/// Errors: parameters that are not floating point, of different dtype or device, do not broadcast, or are not
/// finite; a scale that is not positive.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::{Rng, distribution::{Distribution, Normal}};
/// # fn main() -> candle_prob::Result<()> {
/// let loc = Tensor::new(&[0f64, 10.], &Device::Cpu)?;
/// let normal = Normal::new(&loc, &Tensor::new(&[1f64], &Device::Cpu)?)?;
/// let x = normal.sample(&[1000], &mut Rng::new(0))?;
/// assert_eq!(x.dims(), &[1000, 2]);
/// let at_mean = normal.log_prob(&loc)?.to_vec1::<f64>()?;
/// assert!((at_mean[0] + 0.918938533204673).abs() < 1e-14);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: a distribution made [`from_log_var`](Normal::from_log_var) keeps the log-variance, and no expression takes
/// the logarithm of an exponential. KL between near-equal distributions loses no more than the parameters' own rounding:
/// with `r = scale_p / scale_q` it is computed as `((r - 1)^2 + t^2) / 2 + (r - 1 - ln r)`. Both tails of the cdf keep
/// full relative precision as logarithms; its derivatives are first derivatives only.
#[derive(Debug, Clone)]
pub struct Normal {
    kind: Spread,
    parameters: Parameters<2>,
}

impl Normal {
    /// From mean and standard deviation.
    pub fn new(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        Self::checked("Normal::new", Spread::Scale, loc, scale)
    }

    /// As [`new`](Normal::new), without looking at the parameters' values.
    pub fn new_unchecked(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        Self::unchecked("Normal::new_unchecked", Spread::Scale, loc, scale)
    }

    /// From mean and logarithm of the variance: `scale = e^(log_var / 2)`.
    pub fn from_log_var(loc: &Tensor, log_var: &Tensor) -> Result<Self> {
        Self::checked("Normal::from_log_var", Spread::LogVar, loc, log_var)
    }

    /// As [`from_log_var`](Normal::from_log_var), without looking at the parameters' values.
    pub fn from_log_var_unchecked(loc: &Tensor, log_var: &Tensor) -> Result<Self> {
        let op = "Normal::from_log_var_unchecked";
        Self::unchecked(op, Spread::LogVar, loc, log_var)
    }

    /// Shapes first, then values.
    pub(super) fn checked(
        op: &'static str,
        kind: Spread,
        loc: &Tensor,
        spread: &Tensor,
    ) -> Result<Self> {
        let parameters = Parameters::new(op, domains(kind), [loc, spread])?;
        Ok(Normal { kind, parameters })
    }

    pub(super) fn unchecked(
        op: &'static str,
        kind: Spread,
        loc: &Tensor,
        spread: &Tensor,
    ) -> Result<Self> {
        let parameters = Parameters::unchecked(op, domains(kind), [loc, spread])?;
        Ok(Normal { kind, parameters })
    }

    /// The mean, shape `batch`.
    pub fn loc(&self) -> &Tensor {
        self.parameters.full(0)
    }

    /// Scale or logarithm of the variance, as it was given, shape `batch`.
    fn spread(&self) -> &Tensor {
        self.parameters.full(1)
    }

    /// The standard deviation, shape `batch`.
    pub fn scale(&self) -> Result<Tensor> {
        self.kind.scale(self.spread())
    }

    /// The logarithm of the variance, shape `batch`.
    pub fn log_var(&self) -> Result<Tensor> {
        match self.kind {
            Spread::LogVar => Ok(self.spread().clone()),
            Spread::Scale => Ok((self.spread().log()? * 2.)?),
        }
    }

    /// Mean and standard deviation as they were given, for what meets other families.
    pub(super) fn parameters(&self) -> Result<Parameters<2>> {
        let [loc, spread] = self.parameters.given();
        Parameters::unchecked("Normal", LOCATION_SCALE, [loc, &self.kind.scale(spread)?])
    }

    pub(super) fn variance_tensor(&self) -> Result<Tensor> {
        match self.kind {
            Spread::LogVar => Ok(self.spread().exp()?),
            Spread::Scale => Ok(self.spread().sqr()?),
        }
    }

    /// Draws, for this and for families that are made of it.
    pub(super) fn draw(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        gaussian::sample(self.kind, self.loc(), self.spread(), shape, rng.stream())
    }

    /// Draws, and KL(self || N(0, 1)) summed over the last dim.
    pub(super) fn draw_and_kl_standard(
        &self,
        shape: &[usize],
        rng: &mut Rng,
    ) -> Result<(Tensor, Tensor)> {
        gaussian::sample_and_kl_standard(self.kind, self.loc(), self.spread(), shape, rng.stream())
    }

    /// KL(self || N(0, 1)) summed over the last dim.
    pub(super) fn kl_standard(&self) -> Result<Tensor> {
        gaussian::kl_standard(self.kind, self.loc(), self.spread())
    }

    /// The log-density, summed over the last dim if `event`. `value` is checked by the caller.
    pub(super) fn density(&self, value: &Tensor, event: bool) -> Result<Tensor> {
        let [loc, spread] = self.parameters.given();
        gaussian::log_prob(self.kind, value, loc, spread, event)
    }

    /// KL(self || other), summed over the last dim if `event`.
    pub(super) fn divergence(
        &self,
        op: &'static str,
        other: &Normal,
        event: bool,
    ) -> Result<Tensor> {
        self.parameters.check_other(op, &other.parameters)?;
        gaussian::kl_of_kinds(
            [self.kind, other.kind],
            self.parameters.given(),
            other.parameters.given(),
            event,
        )
    }

    /// The entropy of each element.
    pub(super) fn entropies(&self) -> Result<Tensor> {
        Ok((self.kind.log_scale(self.spread())? + 0.5 * (1. + (2. * PI).ln()))?)
    }
}

impl Distribution for Normal {
    fn batch_shape(&self) -> &[usize] {
        self.parameters.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        self.draw(shape, rng)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        self.parameters.check_value("Normal::log_prob", value)?;
        self.density(value, false)
    }
}

impl Detach for Normal {
    fn detach(&self) -> Self {
        Normal {
            parameters: self.parameters.detach(),
            ..self.clone()
        }
    }
}

impl Reparameterized for Normal {}

/// A weighted sum of independent normals is normal: one draw of `N(sum_k w_k loc_k, sum_k w_k^2 scale_k^2)`.
impl WeightedSum for Normal {
    fn sample_weighted_sum(&self, weights: &Tensor, rng: &mut Rng) -> Result<Tensor> {
        shape::same_kind("sample_weighted_sum", "weights", weights, self.loc())?;
        check_weights("sample_weighted_sum", weights, self.batch_shape())?;
        let last = candle_core::D::Minus1;
        let loc = weights.broadcast_mul(self.loc())?.sum(last)?;
        let variance = weights
            .sqr()?
            .broadcast_mul(&self.variance_tensor()?)?
            .sum(last)?;
        Normal::new_unchecked(&loc, &variance.sqrt()?)?.draw(&[], rng)
    }
}

impl Moments for Normal {
    fn mean(&self) -> Result<Tensor> {
        Ok(self.loc().clone())
    }

    fn variance(&self) -> Result<Tensor> {
        self.variance_tensor()
    }
}

impl Mode for Normal {
    fn mode(&self) -> Result<Tensor> {
        Ok(self.loc().clone())
    }
}

fn domains(kind: Spread) -> Domains<2> {
    match kind {
        Spread::Scale => LOCATION_SCALE,
        Spread::LogVar => [("loc", Domain::Real), ("log_var", Domain::Real)],
    }
}

fn scale<R: Real>(kind: Spread, spread: R) -> R {
    match kind {
        Spread::Scale => spread,
        Spread::LogVar => (spread * 0.5).exp(),
    }
}

impl CdfFormulas<3> for Spread {
    #[inline(always)]
    fn log_tail<R: Real>(self, [x, loc, spread]: [R; 3], upper: bool) -> R {
        if let Some(log) = at_infinity(x, upper) {
            return log;
        }
        let t = (x - loc) / scale(self, spread);
        let t = if upper { -t } else { t };
        t.log_ndtr()
    }

    #[inline(always)]
    fn quantile<R: Real>(self, [p, loc, spread]: [R; 3]) -> R {
        loc + scale(self, spread) * p.ndtri()
    }
}

#[derive(Clone, Copy)]
struct SurvivalQuantile(Spread);

impl Formula<3> for SurvivalQuantile {
    #[inline(always)]
    fn at<R: Real>(self, [p, loc, spread]: [R; 3]) -> R {
        loc + scale(self.0, spread) * -p.ndtri()
    }
}

impl Cdf for Normal {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.parameters.log_cdf("Normal::log_cdf", self.kind, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        let op = "Normal::log_survival";
        self.parameters.log_survival(op, self.kind, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        let op = "Normal::quantile";
        self.parameters.quantile(op, self.kind, probability)
    }

    /// With the digits of small probabilities.
    fn survival_quantile(&self, probability: &Tensor) -> Result<Tensor> {
        let (op, f) = ("Normal::survival_quantile", SurvivalQuantile(self.kind));
        self.parameters.of_probability(op, f, probability)
    }
}

impl Entropy for Normal {
    fn entropy(&self) -> Result<Tensor> {
        self.entropies()
    }
}

impl Kl for Normal {
    fn kl(&self, other: &Normal) -> Result<Tensor> {
        self.divergence("Normal::kl", other, false)
    }
}

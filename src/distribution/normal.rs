//! The normal distribution.

use super::parameters::{Domain, Parameters};
use super::*;
use crate::kernels::elementwise::{Formula, formula};
use crate::kernels::family::gaussian::{self, Spread};
use crate::kernels::number::Real;
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
    /// As given: density and divergence broadcast them on the fly.
    given: [Tensor; 2],
    /// Broadcast to the batch shape, without a copy.
    loc: Tensor,
    spread: Tensor,
}

impl Normal {
    /// From mean and standard deviation.
    pub fn new(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        Self::checked("Normal::new", Spread::Scale, loc, scale)
    }

    /// As [`new`](Normal::new), without looking at the parameters' values.
    pub fn new_unchecked(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        Self::build(
            "Normal::new_unchecked",
            Spread::Scale,
            [("loc", loc), ("scale", scale)],
        )
    }

    /// From mean and logarithm of the variance: `scale = e^(log_var / 2)`.
    pub fn from_log_var(loc: &Tensor, log_var: &Tensor) -> Result<Self> {
        Self::checked("Normal::from_log_var", Spread::LogVar, loc, log_var)
    }

    /// As [`from_log_var`](Normal::from_log_var), without looking at the parameters' values.
    pub fn from_log_var_unchecked(loc: &Tensor, log_var: &Tensor) -> Result<Self> {
        Self::build(
            "Normal::from_log_var_unchecked",
            Spread::LogVar,
            [("loc", loc), ("log_var", log_var)],
        )
    }

    /// Shapes first, then values.
    pub(super) fn checked(
        op: &'static str,
        kind: Spread,
        loc: &Tensor,
        spread: &Tensor,
    ) -> Result<Self> {
        let (arg, domain) = match kind {
            Spread::Scale => ("scale", Domain::Positive),
            Spread::LogVar => ("log_var", Domain::Real),
        };
        let normal = Self::build(op, kind, [("loc", loc), (arg, spread)])?;
        parameters::check(op, [("loc", loc, Domain::Real), (arg, spread, domain)])?;
        Ok(normal)
    }

    pub(super) fn build(
        op: &'static str,
        kind: Spread,
        parameters: [(&'static str, &Tensor); 2],
    ) -> Result<Self> {
        let [loc, spread] = shape::broadcast_parameters(op, parameters)?;
        Ok(Normal {
            kind,
            given: parameters.map(|(_, tensor)| tensor.clone()),
            loc,
            spread,
        })
    }

    /// The mean, shape `batch`.
    pub fn loc(&self) -> &Tensor {
        &self.loc
    }

    /// The standard deviation, shape `batch`.
    pub fn scale(&self) -> Result<Tensor> {
        self.kind.scale(&self.spread)
    }

    /// The logarithm of the variance, shape `batch`.
    pub fn log_var(&self) -> Result<Tensor> {
        match self.kind {
            Spread::LogVar => Ok(self.spread.clone()),
            Spread::Scale => Ok((self.spread.log()? * 2.)?),
        }
    }

    /// Mean and standard deviation as they were given, for what meets other families.
    pub(super) fn parameters(&self) -> Result<Parameters<2>> {
        let [loc, spread] = &self.given;
        Parameters::unchecked(
            "Normal",
            [("loc", loc), ("scale", &self.kind.scale(spread)?)],
        )
    }

    /// A formula of value and parameters; `op` names the caller in errors.
    fn at<F: Formula<3>>(&self, op: &'static str, f: F, value: &Tensor) -> Result<Tensor> {
        shape::same_kind(op, "value", value, &self.loc)?;
        shape::value_shape(op, value, self.batch_shape(), &[])?;
        let [loc, spread] = &self.given;
        formula(f, [value, loc, spread])
    }

    pub(super) fn variance_tensor(&self) -> Result<Tensor> {
        match self.kind {
            Spread::LogVar => Ok(self.spread.exp()?),
            Spread::Scale => Ok(self.spread.sqr()?),
        }
    }

    /// Draws, for this and for families that are made of it.
    pub(super) fn draw(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        gaussian::sample(self.kind, &self.loc, &self.spread, shape, rng.stream())
    }

    /// Draws, and KL(self || N(0, 1)) summed over the last dim.
    pub(super) fn draw_and_rate(&self, shape: &[usize], rng: &mut Rng) -> Result<(Tensor, Tensor)> {
        gaussian::sample_and_rate(self.kind, &self.loc, &self.spread, shape, rng.stream())
    }

    /// KL(self || N(0, 1)) summed over the last dim.
    pub(super) fn rate(&self) -> Result<Tensor> {
        gaussian::rate(self.kind, &self.loc, &self.spread)
    }

    /// The log-density, summed over the last dim if `event`. `value` is checked by the caller.
    pub(super) fn density(&self, value: &Tensor, event: bool) -> Result<Tensor> {
        let [loc, spread] = &self.given;
        gaussian::log_prob(self.kind, value, loc, spread, event)
    }

    /// KL(self || other), summed over the last dim if `event`.
    pub(super) fn divergence(
        &self,
        op: &'static str,
        other: &Normal,
        event: bool,
    ) -> Result<Tensor> {
        shape::same_kind(op, "other", &other.loc, &self.loc)?;
        if shape::broadcast(self.loc.dims(), other.loc.dims()).is_none() {
            return Err(Error::shape(
                op,
                "other",
                format!("a shape that broadcasts with {:?}", self.loc.dims()),
                other.loc.dims(),
            ));
        }
        gaussian::kl_of_kinds(
            [self.kind, other.kind],
            self.given.each_ref(),
            other.given.each_ref(),
            event,
        )
    }

    /// The entropy of each element.
    pub(super) fn entropies(&self) -> Result<Tensor> {
        Ok((self.kind.log_scale(&self.spread)? + 0.5 * (1. + (2. * PI).ln()))?)
    }
}

impl Distribution for Normal {
    fn batch_shape(&self) -> &[usize] {
        self.loc.dims()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        self.draw(shape, rng)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        let op = "Normal::log_prob";
        shape::same_kind(op, "value", value, &self.loc)?;
        shape::value_shape(op, value, self.batch_shape(), &[])?;
        self.density(value, false)
    }
}

impl Reparameterized for Normal {}

/// A weighted sum of independent normals is normal: one draw of `N(sum_k w_k loc_k, sum_k w_k^2 scale_k^2)`.
impl WeightedSum for Normal {
    fn sample_weighted_sum(&self, weights: &Tensor, rng: &mut Rng) -> Result<Tensor> {
        shape::same_kind("sample_weighted_sum", "weights", weights, &self.loc)?;
        check_weights(weights, self.batch_shape())?;
        let last = candle_core::D::Minus1;
        let loc = weights.broadcast_mul(&self.loc)?.sum(last)?;
        let variance = weights
            .sqr()?
            .broadcast_mul(&self.variance_tensor()?)?
            .sum(last)?;
        Normal::new_unchecked(&loc, &variance.sqrt()?)?.draw(&[], rng)
    }
}

impl Moments for Normal {
    fn mean(&self) -> Result<Tensor> {
        Ok(self.loc.clone())
    }

    fn variance(&self) -> Result<Tensor> {
        self.variance_tensor()
    }
}

impl Mode for Normal {
    fn mode(&self) -> Result<Tensor> {
        Ok(self.loc.clone())
    }
}

/// ln P(X <= x) or, for the upper tail, ln P(X > x).
#[derive(Clone, Copy)]
struct LogTail {
    kind: Spread,
    upper: bool,
}

impl Formula<3> for LogTail {
    const NAME: &'static str = "normal-log-cdf";

    #[inline(always)]
    fn at<R: Real>(self, [x, loc, spread]: [R; 3]) -> R {
        if let Some(log) = at_infinity(x, self.upper) {
            return log;
        }
        let t = (x - loc) / scale(self.kind, spread);
        let t = if self.upper { -t } else { t };
        t.log_ndtr()
    }
}

#[derive(Clone, Copy)]
struct Quantile {
    kind: Spread,
    upper: bool,
}

impl Formula<3> for Quantile {
    const NAME: &'static str = "normal-quantile";

    #[inline(always)]
    fn at<R: Real>(self, [p, loc, spread]: [R; 3]) -> R {
        let z = p.ndtri();
        loc + scale(self.kind, spread) * if self.upper { -z } else { z }
    }
}

fn scale<R: Real>(kind: Spread, spread: R) -> R {
    match kind {
        Spread::Scale => spread,
        Spread::LogVar => (spread * 0.5).exp(),
    }
}

impl Cdf for Normal {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        let (kind, upper) = (self.kind, false);
        self.at("Normal::log_cdf", LogTail { kind, upper }, value)
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        let (kind, upper) = (self.kind, true);
        self.at("Normal::log_survival", LogTail { kind, upper }, value)
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        check_probability(
            "Normal::quantile",
            probability,
            &self.loc,
            self.batch_shape(),
        )?;
        let (kind, upper) = (self.kind, false);
        self.at("Normal::quantile", Quantile { kind, upper }, probability)
    }

    /// With the digits of small probabilities.
    fn survival_quantile(&self, probability: &Tensor) -> Result<Tensor> {
        let batch = self.batch_shape();
        check_probability("Normal::survival_quantile", probability, &self.loc, batch)?;
        let (kind, upper) = (self.kind, true);
        self.at(
            "Normal::survival_quantile",
            Quantile { kind, upper },
            probability,
        )
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

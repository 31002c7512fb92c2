//! A distribution given that its value is in an interval.

use super::*;
use crate::kernels::elementwise::{Formula, named};
use crate::kernels::number::Real;
use std::f64::consts::LN_2;

/// A continuous distribution given that the value is from `low` to `high`.
///
/// Formula: `log p(x) = log p_base(x) - ln(F(high) - F(low))` inside, with F the base's cdf; -inf outside.
///
/// Shapes: `low` and `high` broadcast to the base's batch shape; the event is scalar. Units: nats.
///
/// Gradients: to value, ends and the base's parameters; pathwise, through the base's cdf and quantile. Those to an end at
/// infinity are 0.
///
/// Errors: a base with events; ends of another dtype or device, that do not broadcast to the batch, or are NaN; `high` that
/// is not above `low`. Discrete bases are refused by the type: they are not [`Reparameterized`].
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::{Cdf, Distribution, Exponential, Truncated};
/// # fn main() -> candle_prob::Result<()> {
/// let number = |x: f64| Tensor::new(x, &Device::Cpu);
/// let (low, high) = (number(2.)?, number(f64::INFINITY)?);
/// let late = Truncated::new(Exponential::new(&number(1.)?)?, &low, &high)?;
/// let log_survival = late.log_survival(&number(2.5)?)?.to_scalar::<f64>()?;
/// assert!((log_survival + 0.5).abs() < 1e-14);
/// # Ok(())
/// # }
/// ```
///
/// ```compile_fail
/// use candle_prob::distribution::{Poisson, Truncated};
/// fn discrete(base: Poisson, low: &candle_core::Tensor) {
///     let _ = Truncated::new(base, low, low);
/// }
/// ```
///
/// Numerics: probabilities are differences on that side of the median where they are small, as logarithms. An interval of
/// little probability around the median has as many digits as the difference of two probabilities leaves. Draws are inside,
/// ends included; in the upper tail they have the digits of the base's
/// [`survival_quantile`](Cdf::survival_quantile), and where the base's probability of the interval underflows they are one of
/// its ends; densities and tails hold there. Where the base's tails do not tell the interval's ends apart, some 1e7 scales out
/// in f64, they are NaN. For the normal distribution [`TruncatedNormal`] knows more.
#[derive(Debug, Clone)]
pub struct Truncated<D> {
    base: D,
    low: Tensor,
    high: Tensor,
}

/// ln P(p < X <= q), from ln F(p), ln F(q), ln S(p), ln S(q).
#[derive(Clone, Copy)]
struct Between;

impl Formula<4> for Between {
    fn at<R: Real>(self, [below_p, below_q, above_p, above_q]: [R; 4]) -> R {
        let (more, less) = if below_p.value() > -LN_2 {
            (above_p, above_q)
        } else {
            (below_q, below_p)
        };
        if less.value() == f64::NEG_INFINITY {
            more
        } else if more.value() <= less.value() {
            R::constant(f64::NEG_INFINITY)
        } else {
            more + (more - less).log1mexp()
        }
    }
}

/// The logarithm of a share, given also that of the rest, from the smaller of both: near the whole it has no digits of its
/// own.
#[derive(Clone, Copy)]
struct Share;

impl Formula<2> for Share {
    fn at<R: Real>(self, [share, rest]: [R; 2]) -> R {
        let rests = rest.value() < 0. && rest.value() > f64::NEG_INFINITY;
        if share.value() > -LN_2 && rests {
            (-rest).log1mexp()
        } else {
            share
        }
    }
}

impl<D: Cdf + Reparameterized> Truncated<D> {
    /// `base` from `low` to `high`; infinite ends cut nothing off.
    pub fn new(base: D, low: &Tensor, high: &Tensor) -> Result<Self> {
        let op = "Truncated::new";
        if !base.event_shape().is_empty() {
            let found = base.event_shape();
            return Err(Error::shape(op, "base", "scalar events", found));
        }
        let batch = base.batch_shape();
        for (arg, end) in [("low", low), ("high", high)] {
            parameters::Domain::Extended.check(op, arg, end)?;
            shape::broadcast_to(op, arg, end.dims(), batch)?;
        }
        shape::same_kind(op, "high", high, low)?;
        parameters::above(op, low, high)?;
        let (low, high) = (low.broadcast_as(batch)?, high.broadcast_as(batch)?);
        Ok(Truncated { base, low, high })
    }

    /// The distribution before truncation.
    pub fn base(&self) -> &D {
        &self.base
    }

    /// The lower end, shape `batch`.
    pub fn low(&self) -> &Tensor {
        &self.low
    }

    /// The upper end, shape `batch`.
    pub fn high(&self) -> &Tensor {
        &self.high
    }

    /// Where the base has a density whatever the interval: what stands in for points that are not asked about, so that
    /// their derivatives are finite.
    fn middle(&self, like: &Tensor) -> Result<Tensor> {
        let half = Tensor::full(0.5, self.low.dims(), self.low.device())?;
        let middle = self.base.quantile(&half.to_dtype(self.low.dtype())?)?;
        Ok(middle.detach().broadcast_as(like.dims())?)
    }

    /// ln F and ln S at x, which may be infinite.
    fn log_tails(&self, x: &Tensor) -> Result<[Tensor; 2]> {
        let (none, all) = (x.eq(f64::NEG_INFINITY)?, x.eq(f64::INFINITY)?);
        let at = (&none + &all)?.where_cond(&self.middle(x)?, x)?;
        let zero = x.detach().zeros_like()?;
        let infinite = (&zero + f64::NEG_INFINITY)?;
        let replace = |log: Tensor, no: &Tensor, yes: &Tensor| -> Result<Tensor> {
            Ok(no.where_cond(&infinite, &yes.where_cond(&zero, &log)?)?)
        };
        Ok([
            replace(self.base.log_cdf(&at)?, &none, &all)?,
            replace(self.base.log_survival(&at)?, &all, &none)?,
        ])
    }

    /// ln of the base's probability of the values from one point to another.
    fn log_mass(&self, op: &'static str, from: &Tensor, to: &Tensor) -> Result<Tensor> {
        let [below_from, above_from] = self.log_tails(from)?;
        let [below_to, above_to] = self.log_tails(to)?;
        let tails = [&below_from, &below_to, &above_from, &above_to];
        named(op, Between, tails)
    }

    fn log_size(&self, op: &'static str) -> Result<Tensor> {
        self.log_mass(op, &self.low, &self.high)
    }

    /// Logarithms of the shares of the interval's probability below and above the value.
    fn shares(&self, op: &'static str, value: &Tensor) -> Result<[Tensor; 2]> {
        let value = self.inside(op, value)?;
        let (low, high) = (
            self.low.broadcast_as(value.dims())?,
            self.high.broadcast_as(value.dims())?,
        );
        let size = self.log_size(op)?;
        let share = |mass: Tensor| mass.broadcast_sub(&size);
        Ok([
            share(self.log_mass(op, &low, &value)?)?,
            share(self.log_mass(op, &value, &high)?)?,
        ])
    }

    /// The value in the order of the batch, and within the interval.
    fn inside(&self, op: &'static str, value: &Tensor) -> Result<Tensor> {
        shape::same_kind(op, "value", value, &self.low)?;
        let out = shape::value_shape(op, value, self.batch_shape(), &[])?;
        self.clamp(&value.broadcast_as(out)?)
    }

    fn clamp(&self, x: &Tensor) -> Result<Tensor> {
        let (low, high) = (
            self.low.broadcast_as(x.dims())?,
            self.high.broadcast_as(x.dims())?,
        );
        let x = x.lt(&low)?.where_cond(&low, x)?;
        Ok(x.gt(&high)?.where_cond(&high, &x)?)
    }
}

impl<D: Cdf + Reparameterized> Distribution for Truncated<D> {
    fn batch_shape(&self) -> &[usize] {
        self.base.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let shape = [shape, self.batch_shape()].concat();
        self.quantile(&rng.uniform(shape, self.low.dtype(), self.low.device())?)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        let op = "Truncated::log_prob";
        let inside = self.inside(op, value)?;
        let value = value.broadcast_as(inside.dims())?;
        let outside = (value.lt(&inside)? + value.gt(&inside)?)?;
        let infinite = (value.eq(f64::INFINITY)? + value.eq(f64::NEG_INFINITY)?)?;
        let outside = (outside + infinite)?;
        let at = outside.where_cond(&self.middle(&value)?, &value)?;
        let log_prob = self
            .base
            .log_prob(&at)?
            .broadcast_sub(&self.log_size(op)?)?;
        let none = (log_prob.detach().zeros_like()? + f64::NEG_INFINITY)?;
        Ok(outside.where_cond(&none, &log_prob)?)
    }
}

impl<D: Detach> Detach for Truncated<D> {
    fn detach(&self) -> Self {
        Truncated {
            base: self.base.detach(),
            low: self.low.detach(),
            high: self.high.detach(),
        }
    }
}

impl<D: Cdf + Reparameterized> Reparameterized for Truncated<D> {}

impl<D: Cdf + Reparameterized> Cdf for Truncated<D> {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        let op = "Truncated::log_cdf";
        let [below, above] = self.shares(op, value)?;
        named(op, Share, [&below, &above])
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        let op = "Truncated::log_survival";
        let [below, above] = self.shares(op, value)?;
        named(op, Share, [&above, &below])
    }

    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        let op = "Truncated::quantile";
        check_probability(op, probability, &self.low, self.batch_shape())?;
        let out = shape::value_shape(op, probability, self.batch_shape(), &[])?;
        let p = probability.broadcast_as(out.as_slice())?;
        let [[below_low, above_low], [below_high, above_high]] =
            [self.log_tails(&self.low)?, self.log_tails(&self.high)?];
        let upper = below_low.gt(-LN_2)?.broadcast_as(out.as_slice())?;
        // From one end's probability towards the other's; the half stands in for the side that is not asked for.
        let half = (p.detach().zeros_like()? + 0.5)?;
        let towards = |start: &Tensor, end: &Tensor, share: &Tensor| -> Result<Tensor> {
            let (start, end) = (start.exp()?, end.exp()?);
            Ok(share
                .broadcast_mul(&(end - &start)?)?
                .broadcast_add(&start)?)
        };
        let below = towards(&below_low, &below_high, &p)?;
        let above = towards(&above_low, &above_high, &p)?;
        let left = self.base.quantile(&upper.where_cond(&half, &below)?)?;
        let right = self
            .base
            .survival_quantile(&upper.where_cond(&above, &half)?)?;
        self.clamp(&upper.where_cond(&right, &left)?)
    }
}

//! Monte-Carlo estimates of divergences, with their standard errors.
//!
//! Nothing that promises a closed form ever calls these. Estimates are made in one go: memory is that of `samples`
//! draws of the whole batch.

use super::FDivergence;
use crate::check;
use crate::distribution::{Distribution, Reparameterized, common_batch};
use crate::error::Result;
use crate::kernels::elementwise::{Formula, formula};
use crate::kernels::number::Real;
use crate::rng::Rng;
use crate::shape;
use candle_core::{DType, Tensor};

/// A mean over draws.
#[derive(Debug, Clone)]
pub struct Estimate {
    /// The estimate, shape `batch`.
    pub mean: Tensor,
    /// Its standard error, shape `batch`: infinite where the mean is not finite. It has no gradient.
    pub standard_error: Tensor,
    /// The number of draws from each distribution that was drawn from.
    pub samples: usize,
}

impl Estimate {
    /// From terms `[samples] ++ batch` of one mean, summed in double precision.
    pub(super) fn of(terms: &Tensor) -> Result<Self> {
        let (samples, dtype) = (terms.dim(0)?, terms.dtype());
        let terms = terms.to_dtype(DType::F64)?;
        let mean = terms.mean(0)?;
        let spread = terms.detach().broadcast_sub(&mean.detach())?.sqr()?;
        let variance = (spread.sum(0)? / ((samples - 1) as f64 * samples as f64))?;
        let standard_error = formula(StandardError, [&mean.detach(), &variance])?;
        Ok(Estimate {
            mean: mean.to_dtype(dtype)?,
            standard_error: standard_error.to_dtype(dtype)?,
            samples,
        })
    }

    pub(super) fn into_dtype(self, dtype: DType) -> Result<Self> {
        Ok(Estimate {
            mean: self.mean.to_dtype(dtype)?,
            standard_error: self.standard_error.to_dtype(dtype)?,
            ..self
        })
    }

    fn detach(self) -> Self {
        Estimate {
            mean: self.mean.detach(),
            ..self
        }
    }
}

/// The root of a mean's variance, infinite where the mean says nothing.
#[derive(Clone, Copy)]
struct StandardError;

impl Formula<2> for StandardError {
    #[inline(always)]
    fn at<R: Real>(self, [mean, variance]: [R; 2]) -> R {
        if mean.value().is_finite() {
            variance.sqrt()
        } else {
            R::constant(f64::INFINITY)
        }
    }
}

/// KL(p || q) as the mean of `ln p(x) - ln q(x)` over draws x of p.
///
/// Shapes: the batch shapes, broadcast. Units: nats. Gradients: none; see [`kl_pathwise`].
///
/// Errors: fewer than 2 samples; distributions whose values or batches do not fit.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::{Distribution, Kl, Normal};
/// use candle_prob::{Rng, divergence::estimate};
/// # fn main() -> candle_prob::Result<()> {
/// let number = |x: f64| Tensor::new(x, &Device::Cpu);
/// let p = Normal::new(&number(0.)?, &number(1.)?)?;
/// let q = Normal::new(&number(1.)?, &number(2.)?)?;
/// let estimate = estimate::kl(&p, &q, 10_000, &mut Rng::new(0))?;
/// let error = (estimate.mean - p.kl(&q)?)?.abs()?.to_scalar::<f64>()?;
/// assert!(error < 4. * estimate.standard_error.to_scalar::<f64>()?);
/// # Ok(())
/// # }
/// ```
///
/// Source: Kullback and Leibler (1951), On Information and Sufficiency.
pub fn kl<P: Distribution, Q: Distribution>(
    p: &P,
    q: &Q,
    samples: usize,
    rng: &mut Rng,
) -> Result<Estimate> {
    let op = "estimate::kl";
    let ratio = log_ratio(op, p, q, draw(op, p, q, samples, rng)?)?;
    Ok(Estimate::of(&ratio.detach())?.detach())
}

/// As [`kl`], with gradients to the parameters of both through the draws.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use candle_prob::distribution::Normal;
/// use candle_prob::{Rng, divergence::estimate};
/// # fn main() -> candle_prob::Result<()> {
/// let (loc, one) = (Var::new(1f64, &Device::Cpu)?, Tensor::new(1f64, &Device::Cpu)?);
/// let (p, q) = (Normal::new(&loc, &one)?, Normal::new(&(&one * 0.)?, &one)?);
/// let estimate = estimate::kl_pathwise(&p, &q, 10_000, &mut Rng::new(0))?;
/// // That of loc^2 / 2 is loc.
/// let slope = estimate.mean.backward()?.get(&loc).map(|g| g.to_scalar::<f64>()).transpose()?;
/// assert!(slope.is_some_and(|slope| (slope - 1.).abs() < 0.05));
/// # Ok(())
/// # }
/// ```
///
/// Source: Kingma and Welling (2014), Auto-Encoding Variational Bayes, section 2.4.
pub fn kl_pathwise<P: Reparameterized, Q: Distribution>(
    p: &P,
    q: &Q,
    samples: usize,
    rng: &mut Rng,
) -> Result<Estimate> {
    let op = "estimate::kl_pathwise";
    let ratio = log_ratio(op, p, q, draw(op, p, q, samples, rng)?)?;
    Estimate::of(&ratio)
}

/// KL(p || q) for a q whose log-density is known up to a constant, as of a posterior or a Boltzmann distribution: what trains a
/// flow from a target instead of from data.
///
/// Formula: the mean of `ln p(x) - log_density(x)` over draws x of p. Where the density integrates to Z instead of 1, this is
/// KL(p || q) - ln Z, and may be negative; where it integrates to 1, it is not below 0 by more than chance.
///
/// Shapes: `log_density` gets draws `[samples] ++ batch ++ event` and gives `[samples] ++ batch`; the mean is `batch`.
/// Units: nats. Gradients: to the parameters of p through the draws and to those of the density. Drawing and the draws'
/// density are one pass ([`sample_and_log_prob`](Distribution::sample_and_log_prob)): a flow is not inverted.
///
/// Errors: fewer than 2 samples; a log-density of another shape or dtype; its own.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use candle_prob::distribution::Normal;
/// use candle_prob::{Rng, divergence::estimate};
/// # fn main() -> candle_prob::Result<()> {
/// let loc = Var::new(1f64, &Device::Cpu)?;
/// let p = Normal::new(&loc, &loc.ones_like()?.detach())?;
/// let energy = |x: &Tensor| Ok((x.sqr()? * -0.5)?);
/// let estimate = estimate::reverse_kl(&p, energy, 1000, &mut Rng::new(0))?;
/// // KL is 0.5; Z is the root of 2 pi.
/// assert!((estimate.mean.to_scalar::<f64>()? - (0.5 - 0.919)).abs() < 0.2);
/// assert!(estimate.mean.backward()?.get(&loc).is_some());
/// # Ok(())
/// # }
/// ```
///
/// Source: Rezende and Mohamed (2015), Variational Inference with Normalizing Flows, equation 15.
pub fn reverse_kl<P: Reparameterized>(
    p: &P,
    log_density: impl Fn(&Tensor) -> Result<Tensor>,
    samples: usize,
    rng: &mut Rng,
) -> Result<Estimate> {
    let op = "estimate::reverse_kl";
    check::at_least(op, "samples", samples, 2)?;
    let (x, log_prob) = p.sample_and_log_prob(&[samples], rng)?;
    let target = log_density(&x)?;
    shape::same_kind(op, "log_density", &target, &log_prob)?;
    shape::exactly(op, "log_density", target.dims(), log_prob.dims())?;
    Estimate::of(&(log_prob - target)?)
}

/// KL(p || q) as the mean of `u - 1 - ln u` with `u = q(x) / p(x)` over draws x of p.
///
/// No term is negative, and near-equal distributions have a far smaller error than with [`kl`]; far ones may have a
/// larger one, because u has heavy tails. The mean is right where p is positive wherever q is; otherwise it is too low by
/// the probability that q has outside.
///
/// Shapes, units, gradients and errors: as for [`kl`].
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::Normal;
/// use candle_prob::{Rng, divergence::estimate};
/// # fn main() -> candle_prob::Result<()> {
/// let number = |x: f64| Tensor::new(x, &Device::Cpu);
/// let p = Normal::new(&number(0.)?, &number(1.)?)?;
/// let q = Normal::new(&number(0.01)?, &number(1.)?)?;
/// let plain = estimate::kl(&p, &q, 1000, &mut Rng::new(0))?.standard_error;
/// let low = estimate::kl_low_variance(&p, &q, 1000, &mut Rng::new(0))?.standard_error;
/// assert!(low.to_scalar::<f64>()? < 0.02 * plain.to_scalar::<f64>()?);
/// # Ok(())
/// # }
/// ```
///
/// Source: Schulman (2020), Approximating KL Divergence, estimator k3.
pub fn kl_low_variance<P: Distribution, Q: Distribution>(
    p: &P,
    q: &Q,
    samples: usize,
    rng: &mut Rng,
) -> Result<Estimate> {
    let op = "estimate::kl_low_variance";
    let ratio = log_ratio(op, p, q, draw(op, p, q, samples, rng)?)?;
    Ok(Estimate::of(&formula(Excess, [&ratio.detach()])?)?.detach())
}

/// `e^-r - 1 + r`.
#[derive(Clone, Copy)]
struct Excess;

impl Formula<1> for Excess {
    #[inline(always)]
    fn at<R: Real>(self, [r]: [R; 1]) -> R {
        (-r).exp_m1() + r
    }
}

/// D_f(p || q) from as many draws of p as of q.
///
/// Formula: with the mixture `m = (p + q) / 2`, the mean of `q f(p/q) / m` over draws of both: what only one of both
/// distributions has is seen, and for bounded divergences no term exceeds the divergence's bound twice.
///
/// Shapes: the batch shapes, broadcast. Units: nats, where f has a logarithm. Gradients: none.
///
/// Errors: fewer than 2 samples; distributions whose values or batches do not fit.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::distribution::Uniform;
/// use candle_prob::divergence::{TotalVariation, estimate};
/// use candle_prob::Rng;
/// # fn main() -> candle_prob::Result<()> {
/// let number = |x: f64| Tensor::new(x, &Device::Cpu);
/// let p = Uniform::new(&number(0.)?, &number(1.)?)?;
/// let q = Uniform::new(&number(0.25)?, &number(1.25)?)?;
/// let estimate = estimate::f_divergence(&TotalVariation, &p, &q, 10_000, &mut Rng::new(0))?;
/// let error = (estimate.mean.to_scalar::<f64>()? - 0.25).abs();
/// assert!(error < 4. * estimate.standard_error.to_scalar::<f64>()?);
/// # Ok(())
/// # }
/// ```
///
/// Source: Nowozin, Cseke and Tomioka (2016), f-GAN, with draws of the mixture (Owen 2013, Monte Carlo theory,
/// methods and examples, chapter 9).
pub fn f_divergence<F: FDivergence + ?Sized, P: Distribution, Q: Distribution>(
    f: &F,
    p: &P,
    q: &Q,
    samples: usize,
    rng: &mut Rng,
) -> Result<Estimate> {
    let op = "estimate::f_divergence";
    let from_p = log_ratio(op, p, q, draw(op, p, q, samples, rng)?)?;
    let from_q = log_ratio(op, p, q, draw(op, q, p, samples, rng)?)?;
    let [p, q] = [from_p, from_q].map(|ratio| Estimate::of(&balanced(f, &ratio.detach())?));
    let (p, q) = (p?, q?);
    let error = (p.standard_error.sqr()? + q.standard_error.sqr()?)?.sqrt()?;
    let both = Estimate {
        mean: ((p.mean + q.mean)? / 2.)?,
        standard_error: (error / 2.)?,
        samples,
    };
    Ok(both.detach())
}

/// `q f(p/q) / m` at log-ratios r: `2 f(e^r) / (1 + e^r)`, for r above 0 by the generator of the divergence exchanged.
fn balanced<F: FDivergence + ?Sized>(f: &F, ratio: &Tensor) -> Result<Tensor> {
    let zero = ratio.zeros_like()?;
    let back = ratio.neg()?;
    let below = f.generator(&ratio.minimum(&zero)?)?;
    let above = f.reversed(&back.minimum(&zero)?)?;
    let terms = (formula(Share, [&back, &below])? + formula(Share, [ratio, &above])?)?;
    Ok(terms)
}

/// `2 sigmoid(r) x`, 0 where the first factor is.
#[derive(Clone, Copy)]
struct Share;

impl Formula<2> for Share {
    #[inline(always)]
    fn at<R: Real>(self, [r, x]: [R; 2]) -> R {
        let weight = r.sigmoid() * 2.;
        if weight.value() == 0. {
            return R::constant(0.);
        }
        weight * x
    }
}

/// Draws of p with a singleton for each dim that q's batch has more.
fn draw<P: Distribution, Q: Distribution>(
    op: &'static str,
    p: &P,
    q: &Q,
    samples: usize,
    rng: &mut Rng,
) -> Result<Tensor> {
    check::at_least(op, "samples", samples, 2)?;
    let more = q.batch_shape().len().saturating_sub(p.batch_shape().len());
    let mut shape = vec![1; more + 1];
    shape[0] = samples;
    p.sample(&shape, rng)
}

/// `ln p(x) - ln q(x)`.
fn log_ratio<P: Distribution, Q: Distribution>(
    op: &'static str,
    p: &P,
    q: &Q,
    value: Tensor,
) -> Result<Tensor> {
    common_batch(op, p, "q", q)?;
    let (p, q) = (p.log_prob(&value)?, q.log_prob(&value)?);
    shape::same_kind(op, "q", &q, &p)?;
    Ok(p.broadcast_sub(&q)?)
}

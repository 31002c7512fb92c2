//! What a code costs under a prior: in closed form, or from the draws themselves.

use super::per_dimension::check_prior;
use crate::distribution::{
    Distribution, Kl, Reparameterized, WeightedSum, check_weights, weighted_sum,
};
use crate::error::Result;
use crate::rng::Rng;
use crate::{check, shape};
use candle_core::{DType, Tensor};

/// A prior with a way to the rate `KL(posterior || prior)` of a posterior `P`, in nats.
///
/// Every distribution is one for the posteriors that have a KL divergence to it in closed form ([`Kl`]). [`MonteCarlo`] makes
/// any distribution one for any posterior with pathwise gradients.
#[diagnostic::on_unimplemented(
    message = "`{P}` has no KL divergence to `{Self}` in closed form",
    note = "`&MonteCarlo(&prior)` in place of `&prior` estimates it from the draws"
)]
pub trait Rate<P: Distribution> {
    /// Draws `shape ++ batch ++ event` of the posterior, and its rate of shape `batch`.
    ///
    /// Errors: a prior over other events, or whose batch does not broadcast to the posterior's.
    fn sample_and_rate(
        &self,
        posterior: &P,
        shape: &[usize],
        rng: &mut Rng,
    ) -> Result<(Tensor, Tensor)>;

    /// [`sample_weighted_sum`](WeightedSum::sample_weighted_sum) of the components `batch ++ [K]`, and the rate of each.
    ///
    /// Errors: those of both.
    fn weighted_sum_and_rate(
        &self,
        components: &P,
        weights: &Tensor,
        rng: &mut Rng,
    ) -> Result<(Tensor, Tensor)>
    where
        P: WeightedSum;
}

impl<P: Kl<R>, R: Distribution> Rate<P> for R {
    fn sample_and_rate(
        &self,
        posterior: &P,
        shape: &[usize],
        rng: &mut Rng,
    ) -> Result<(Tensor, Tensor)> {
        posterior.sample_and_kl(self, shape, rng)
    }

    fn weighted_sum_and_rate(
        &self,
        components: &P,
        weights: &Tensor,
        rng: &mut Rng,
    ) -> Result<(Tensor, Tensor)>
    where
        P: WeightedSum,
    {
        let sum = components.sample_weighted_sum(weights, rng)?;
        Ok((sum, components.kl(self)?))
    }
}

/// A prior whose rate is estimated: flows, mixtures and all that has no KL divergence in closed form.
///
/// Formula: the mean of `ln q(z) - ln p(z)` over the draws z of the posterior q: the draws that the distortion is computed
/// from, not further ones. It is unbiased, may be negative by chance, and its standard error falls with the root of the
/// number of draws. Where there is a closed form, its variance is 0: prefer it.
///
/// Shapes: as [`Rate`] says, at least one draw. Gradients: pathwise, to the parameters of the posterior through the draws and
/// through `ln q`, and to those of the prior, which is trained along with the rest.
///
/// Errors: no draw; a prior over other events, or whose batch does not broadcast to the posterior's.
///
/// ```
/// use candle_core::{D, DType, Device, Tensor};
/// use candle_prob::distribution::{Distribution, MultivariateNormalDiag};
/// use candle_prob::flow::{RealNvpConfig, real_nvp};
/// use candle_prob::objective::{BottleneckConfig, MonteCarlo, vib};
/// use candle_prob::{Rng, distribution::Normal, init};
/// # fn main() -> candle_prob::Result<()> {
/// let (vars, device) = (candle_nn::VarMap::new(), Device::Cpu);
/// let zero = Tensor::zeros((4, 2), DType::F32, &device)?;
/// let posterior = MultivariateNormalDiag::from_log_var(&zero, &zero)?;
/// // A prior that learns: a flow on N(0, I).
/// let flow = real_nvp(&RealNvpConfig { features: 2, ..Default::default() }, init::seeded(&vars, 0, DType::F32, &device))?;
/// let prior = MultivariateNormalDiag::standard(2, DType::F32, &device)?.transformed_by(flow)?;
/// let decoder = |z: &Tensor| Normal::new(&z.sum(D::Minus1)?, &Tensor::new(1f32, &device)?);
/// let target = Tensor::zeros(4, DType::F32, &device)?;
/// let config = BottleneckConfig::default();
/// let parts = vib(&posterior, &MonteCarlo(&prior), &decoder, &target, &config, &mut Rng::new(0))?;
/// assert_eq!(parts.rate.dims(), &[4]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Rezende and Mohamed (2015), Variational inference with normalizing flows, eq. 15; Kingma and Welling (2014),
/// Auto-encoding variational Bayes, eq. 6.
#[derive(Debug, Clone, Copy)]
pub struct MonteCarlo<'a, R>(pub &'a R);

impl<P: Reparameterized, R: Distribution> Rate<P> for MonteCarlo<'_, R> {
    fn sample_and_rate(
        &self,
        posterior: &P,
        shape: &[usize],
        rng: &mut Rng,
    ) -> Result<(Tensor, Tensor)> {
        shape::draws("MonteCarlo", shape, posterior.batch_shape())?;
        let draws: usize = shape.iter().product();
        check::at_least_one("MonteCarlo", &[("draws", draws)])?;
        let latents = sample_latents(posterior, self.0, shape, rng)?;
        let ratio = latents.log_ratio()?;
        let ratio = ratio.reshape([&[draws], &ratio.dims()[shape.len()..]].concat())?;
        Ok((latents.value, mean_of_draws(&ratio)?))
    }

    fn weighted_sum_and_rate(
        &self,
        components: &P,
        weights: &Tensor,
        rng: &mut Rng,
    ) -> Result<(Tensor, Tensor)>
    where
        P: WeightedSum,
    {
        let sample = check_weights("sample_weighted_sum", weights, components.batch_shape())?;
        let shape = &weights.dims()[..sample];
        let (draws, rates) = self.sample_and_rate(components, shape, rng)?;
        Ok((weighted_sum(&draws, weights)?, rates))
    }
}

/// The mean over the first dim, that of the draws; of half precision in f32, in which thousands add up.
pub(super) fn mean_of_draws(x: &Tensor) -> Result<Tensor> {
    match x.dtype() {
        DType::F16 | DType::BF16 => Ok(x.to_dtype(DType::F32)?.mean(0)?.to_dtype(x.dtype())?),
        _ => Ok(x.mean(0)?),
    }
}

/// Draws of a posterior with both log-densities at each, not reduced: what importance-weighted bounds, and rates of one draw,
/// are made of.
#[derive(Debug, Clone)]
pub struct Latents {
    /// The draws z, shape `S ++ batch ++ event`.
    pub value: Tensor,
    /// `ln q(z | x)` of the posterior, shape `S ++ batch`.
    pub log_posterior: Tensor,
    /// `ln p(z)` of the prior, shape `S ++ batch`.
    pub log_prior: Tensor,
}

impl Latents {
    /// Values `S ++ batch ++ event`, scored by both.
    pub(super) fn new<P: Distribution, R: Distribution>(
        op: &'static str,
        value: Tensor,
        posterior: &P,
        prior: &R,
    ) -> Result<Self> {
        let log_posterior = posterior.log_prob(&value)?;
        Self::scored(op, value, log_posterior, prior)
    }

    pub(super) fn scored<R: Distribution>(
        op: &'static str,
        value: Tensor,
        log_posterior: Tensor,
        prior: &R,
    ) -> Result<Self> {
        let log_prior = prior.log_prob(&value)?;
        shape::same_kind(op, "prior", &log_prior, &log_posterior)?;
        Ok(Latents {
            value,
            log_posterior,
            log_prior,
        })
    }

    /// `ln q(z | x) - ln p(z)`, shape `S ++ batch`: its mean over draws is the rate.
    pub fn log_ratio(&self) -> Result<Tensor> {
        Ok((&self.log_posterior - &self.log_prior)?)
    }

    /// `ln w = ln p(x | z) + ln p(z) - ln q(z | x)`, shape `S ++ batch`: the mean of `ln w` over draws is the evidence lower
    /// bound, the logarithm of the mean of w the importance-weighted one.
    ///
    /// Errors: a log-likelihood of another shape, dtype or device than the log-densities.
    pub fn log_weights(&self, log_likelihood: &Tensor) -> Result<Tensor> {
        self.check("Latents::log_weights", log_likelihood)?;
        Ok((log_likelihood - self.log_ratio()?)?)
    }

    /// [`log_weights`](Self::log_weights) without the gradient of `ln q(z | x)`, whose mean is 0: the rewards of
    /// [`score_function`](super::score_function).
    ///
    /// Errors: as there.
    pub fn rewards(&self, log_likelihood: &Tensor) -> Result<Tensor> {
        self.check("Latents::rewards", log_likelihood)?;
        let log_ratio = (self.log_posterior.detach() - &self.log_prior)?;
        Ok((log_likelihood - log_ratio)?)
    }

    fn check(&self, op: &'static str, log_likelihood: &Tensor) -> Result<()> {
        let arg = "log_likelihood";
        shape::same_kind(op, arg, log_likelihood, &self.log_posterior)?;
        shape::exactly(op, arg, log_likelihood.dims(), self.log_posterior.dims())
    }
}

/// Draws of a posterior and their log-densities under it and under a prior.
///
/// Shapes: the posterior has batch `B` and event `E`, the prior a batch that broadcasts to `B` and event `E`; draws have shape
/// `shape ++ B ++ E`, log-densities `shape ++ B`. Units: nats. The posterior is drawn from and scored in one pass
/// ([`sample_and_log_prob`](Distribution::sample_and_log_prob)): a flow is not inverted.
///
/// Gradients: pathwise, to the parameters of both.
///
/// Errors: a prior over other events, or whose batch does not broadcast to `B`; what both refuse.
///
/// ```
/// use candle_core::{D, DType, Device, Tensor};
/// use candle_prob::distribution::{Distribution, MultivariateNormalDiag, Normal};
/// use candle_prob::{Rng, objective::{iwae_bound, sample_latents}};
/// # fn main() -> candle_prob::Result<()> {
/// let zero = Tensor::zeros((4, 2), DType::F64, &Device::Cpu)?;
/// let posterior = MultivariateNormalDiag::from_log_var(&zero, &zero)?;
/// let prior = MultivariateNormalDiag::standard(2, DType::F64, &Device::Cpu)?;
/// let latents = sample_latents(&posterior, &prior, &[50], &mut Rng::new(0))?;
/// let x = Tensor::ones(4, DType::F64, &Device::Cpu)?;
/// let likelihood = Normal::new(&latents.value.sum(D::Minus1)?, &Tensor::new(1f64, &Device::Cpu)?)?;
/// let bound = iwae_bound(&latents.log_weights(&likelihood.log_prob(&x)?)?)?;
/// // x is N(0, 3).
/// let exact = -0.5 * ((2. * std::f64::consts::PI * 3.).ln() + 1. / 3.);
/// assert!((bound.mean_all()?.to_scalar::<f64>()? - exact).abs() < 0.1);
/// # Ok(())
/// # }
/// ```
pub fn sample_latents<P: Reparameterized, R: Distribution>(
    posterior: &P,
    prior: &R,
    shape: &[usize],
    rng: &mut Rng,
) -> Result<Latents> {
    const OP: &str = "sample_latents";
    check_prior(OP, posterior, prior)?;
    let (value, log_posterior) = posterior.sample_and_log_prob(shape, rng)?;
    Latents::scored(OP, value, log_posterior, prior)
}

/// As [`sample_latents`], of any posterior, its draws without gradient: for [`score_function`](super::score_function) and
/// [`vimco`](super::vimco).
///
/// Gradients: at fixed draws, to the parameters of both, which for the posterior is the score. Bounds of these latents alone
/// have a gradient to the posterior that is wrong: the draws depend on it too.
///
/// Errors: those of [`sample_latents`].
pub fn sample_detached_latents<P: Distribution, R: Distribution>(
    posterior: &P,
    prior: &R,
    shape: &[usize],
    rng: &mut Rng,
) -> Result<Latents> {
    const OP: &str = "sample_detached_latents";
    check_prior(OP, posterior, prior)?;
    let value = posterior.sample(shape, rng)?.detach();
    Latents::new(OP, value, posterior, prior)
}

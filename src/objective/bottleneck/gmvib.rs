//! The information bottleneck of a mixture of codes.

use super::BottleneckConfig;
use crate::conditional::Conditional;
use crate::distribution::{Distribution, Kl, MultivariateNormalDiag, Reparameterized, WeightedSum};
use crate::error::{Error, Result};
use crate::objective::elbo::{check_rate, distortion};
use crate::objective::rate::mean_of_draws;
use crate::objective::{DistortionRate, Rate};
use crate::rng::Rng;
use crate::{check, shape};
use candle_core::Tensor;

/// Parts of the Gaussian-mixture bottleneck objective, in nats; `batch` is the shape of the weight posterior's batch.
#[derive(Debug, Clone)]
pub struct Gmvib {
    /// Distortion, rate and total (eq. 10), shape `batch`. The rate is the sum of all component rates and the weight rate
    /// (eq. 11).
    pub parts: DistortionRate,
    /// `KL(p(z_k | x) || r(z_k))` of each component, shape `batch ++ [K]`.
    pub component_rates: Tensor,
    /// `KL(p(e | x) || r(e))`, shape `batch`.
    pub weight_rate: Tensor,
}

/// The Gaussian-mixture variational information bottleneck.
///
/// The code is `z = e_1 z_1 + ... + e_K z_K`: K Gaussian components `z_k` and a random weight `e` on the simplex, all
/// independent given the input. The prior factorises, and so does the KL.
///
/// Formula: `total = -E[ln q(y | z)] + beta * (sum_k KL(p(z_k | x) || r(z_k)) + KL(p(e | x) || r(e)))`.
///
/// Shapes: `weight` has batch `B` and event `[K]`, `components` batch `B ++ [K]` and event `E`; codes have shape
/// `[samples] ++ B ++ E`; `target` and the decoder as for [`vib`](super::vib). Units: nats.
///
/// The weight posterior is a choice of type: [`Dirichlet`](crate::distribution::Dirichlet) with implicit gradients and
/// the KL between Dirichlets, or [`LogisticNormal`](crate::distribution::LogisticNormal), a Gaussian through softmax
/// with the KL to `N(0, I)` underneath, as the paper computes it. Either prior may be a [`MonteCarlo`](crate::objective::MonteCarlo):
/// components are then drawn and scored one by one, K times the work.
///
/// Gradients: pathwise through components and weight, and through both KL terms.
///
/// Errors: as [`vib`](super::vib); also a weight whose event is not `[K]` or whose batch is not the components' without `K`.
///
/// The rate is of all K components and the weight together. What the one code `z` that the decoder sees can tell is less:
/// [`gmvib_code_rate`].
///
/// Numerics: given the weight, a sum of Gaussians is Gaussian, so [`WeightedSum`] draws one code instead of K.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::distribution::{Dirichlet, Distribution, Normal};
/// use candle_prob::{Rng, objective::{BottleneckConfig, gmvib}};
/// # fn main() -> candle_prob::Result<()> {
/// let (batch, k, d) = (4, 3, 2);
/// let zero = Tensor::zeros((batch, k, d), DType::F64, &Device::Cpu)?;
/// let components = Normal::new(&zero, &zero.ones_like()?)?.to_event(1)?;
/// let weight = Dirichlet::new(&Tensor::ones((batch, k), DType::F64, &Device::Cpu)?)?;
/// let decoder = |z: &Tensor| Normal::new(&z.sum(candle_core::D::Minus1)?, &Tensor::new(1f64, &Device::Cpu)?);
/// let target = Tensor::zeros(batch, DType::F64, &Device::Cpu)?;
/// let parts = gmvib(
///     (&components, &components), (&weight, &weight),
///     &decoder, &target, &BottleneckConfig::default(), &mut Rng::new(0),
/// )?;
/// assert_eq!(parts.component_rates.dims(), &[batch, k]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Zuo (2023), eq. 10 (objective), eq. 11 (split of the KL), eq. 12 (KL of a Gaussian to `N(0, I)`).
pub fn gmvib<P, R, W, V, C>(
    (components, component_prior): (&P, &R),
    (weight, weight_prior): (&W, &V),
    decoder: &C,
    target: &Tensor,
    config: &BottleneckConfig,
    rng: &mut Rng,
) -> Result<Gmvib>
where
    P: WeightedSum,
    R: Rate<P>,
    W: Reparameterized,
    V: Rate<W>,
    C: Conditional<Output: Distribution>,
{
    let op = "objective::gmvib";
    config.bound().check(op)?;
    let expected = check_batches(op, weight, components)?;
    let batch = weight.batch_shape();
    let samples = [config.samples];
    let (weights, weight_rate) = weight_prior.sample_and_rate(weight, &samples, rng)?;
    check_rate(op, "weight prior", &weight_rate, batch)?;
    let (codes, component_rates) =
        component_prior.weighted_sum_and_rate(components, &weights, rng)?;
    check_rate(op, "component prior", &component_rates, &expected)?;
    let distortion = distortion(op, decoder, &codes, target, config.samples, batch)?;
    let rate = (component_rates.sum(candle_core::D::Minus1)? + &weight_rate)?;
    Ok(Gmvib {
        parts: DistortionRate::new(distortion, rate, config.beta)?,
        component_rates,
        weight_rate,
    })
}

/// A bound of what the decoded code `z = e_1 z_1 + ... + e_K z_K` alone tells about the input, for components and priors that
/// are Gaussian: comparable with the rate of a single Gaussian code, where [`Gmvib`]'s rate counts all K components.
///
/// Formula: `KL(p(e | x) || r(e)) + E_e[KL(p(z | x, e) || r(z | e))]`, where both conditionals are Gaussian:
/// `N(sum_k e_k loc_k, diag(sum_k e_k^2 scale_k^2))`. By the chain rule it is the KL of the pairs (z, e), so on average over the
/// data at least `I[X; (Z, e)] >= I[X; Z]`, and by the data processing inequality at most the rate of [`gmvib`]. The expectation
/// is the mean over `samples` weights, unbiased.
///
/// Shapes: as [`gmvib`]; the prior's batch broadcasts to the components'. The result has the weight's batch. Units: nats.
///
/// Gradients: pathwise, to all parameters.
///
/// Errors: no samples, and those of [`gmvib`].
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::distribution::{Dirichlet, MultivariateNormalDiag};
/// use candle_prob::{Rng, objective::gmvib_code_rate};
/// # fn main() -> candle_prob::Result<()> {
/// let (batch, k, d) = (4, 3, 2);
/// let loc = Tensor::ones((batch, k, d), DType::F64, &Device::Cpu)?;
/// let components = MultivariateNormalDiag::new(&loc, &loc)?;
/// let prior = MultivariateNormalDiag::standard(d, DType::F64, &Device::Cpu)?;
/// let weight = Dirichlet::new(&Tensor::ones((batch, k), DType::F64, &Device::Cpu)?)?;
/// let rate = gmvib_code_rate((&components, &prior), (&weight, &weight), 50, &mut Rng::new(0))?;
/// // Of the three components' 3 nats, equal weights keep the signal and average the noise.
/// assert_eq!(rate.dims(), &[batch]);
/// # Ok(())
/// # }
/// ```
pub fn gmvib_code_rate<W, V>(
    (components, component_prior): (&MultivariateNormalDiag, &MultivariateNormalDiag),
    (weight, weight_prior): (&W, &V),
    samples: usize,
    rng: &mut Rng,
) -> Result<Tensor>
where
    W: Reparameterized,
    V: Rate<W>,
{
    let op = "objective::gmvib_code_rate";
    check::at_least_one(op, &[("samples", samples)])?;
    let expected = check_batches(op, weight, components)?;
    let (weights, weight_rate) = weight_prior.sample_and_rate(weight, &[samples], rng)?;
    check_rate(op, "weight prior", &weight_rate, weight.batch_shape())?;
    let event = components.event_shape();
    shape::exactly(op, "component prior", component_prior.event_shape(), event)?;
    let full = [&expected[..], event].concat();
    shape::broadcast_to(op, "component prior", component_prior.loc().dims(), &full)?;
    let each = |x: &Tensor| x.broadcast_as(full.as_slice());
    let prior = MultivariateNormalDiag::new_unchecked(
        &each(component_prior.loc())?,
        &each(&component_prior.scale()?)?,
    )?;
    let code = components.weighted_sum(&weights)?;
    let code_rates = code.kl(&prior.weighted_sum(&weights)?)?;
    Ok((mean_of_draws(&code_rates)? + weight_rate)?)
}

/// The components' batch: the weight's, then K.
fn check_batches<P: Distribution, W: Distribution>(
    op: &'static str,
    weight: &W,
    components: &P,
) -> Result<Vec<usize>> {
    let [count] = *weight.event_shape() else {
        return Err(Error::shape(
            op,
            "weight",
            "an event [K], one weight for each component",
            weight.event_shape(),
        ));
    };
    let expected = [weight.batch_shape(), &[count]].concat();
    if components.batch_shape() != expected {
        return Err(Error::shape(
            op,
            "components",
            format!("batch shape {expected:?} (the weight's batch, then K)"),
            components.batch_shape(),
        ));
    }
    Ok(expected)
}

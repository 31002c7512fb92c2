//! The nonlinear information bottleneck: what codes tell about the input, from distances between them.

use crate::conditional::Conditional;
use crate::distribution::{Distribution, MultivariateNormalDiag};
use crate::error::{Error, Result};
use crate::kernels::reduce;
use crate::objective::DistortionRate;
use crate::objective::elbo::distortion;
use crate::rng::Rng;
use crate::special::{expm1, log1p};
use crate::{check, shape};
use candle_core::{DType, Tensor};

/// What is made of the information before it is weighed: a convex and increasing u, under which every point of the curve of
/// `I[X;Z]` and `I[Y;Z]` is the minimum for some beta.
///
/// Where the label is a function of the input that curve is a straight line, and with `u(I) = I` all betas lead to its ends.
///
/// Source: Kolchinsky, Tracey and Van Kuyk (2019), Caveats for information bottleneck in deterministic scenarios, section 4
/// (squares); Rodríguez Gálvez, Thobaben and Skoglund (2020), The convex information bottleneck Lagrangian, section 3 (powers
/// and exponentials).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ConvexFunction {
    /// `I`: the information bottleneck itself.
    Linear,
    /// `I^2`.
    Square,
    /// `I^(1 + a)`, a above 0.
    Power(f64),
    /// `e^(eta I)`, eta above 0.
    Exponential(f64),
}

impl ConvexFunction {
    fn check(self, op: &'static str) -> Result<()> {
        match self {
            ConvexFunction::Linear | ConvexFunction::Square => Ok(()),
            ConvexFunction::Power(a) => check::positive_finite(op, "convex", a),
            ConvexFunction::Exponential(eta) => check::positive_finite(op, "convex", eta),
        }
    }

    fn of(self, information: &Tensor) -> Result<Tensor> {
        Ok(match self {
            ConvexFunction::Linear => information.clone(),
            ConvexFunction::Square => information.sqr()?,
            ConvexFunction::Power(a) => information.powf(1. + a)?,
            ConvexFunction::Exponential(eta) => (information * eta)?.exp()?,
        })
    }
}

/// Settings of [`nonlinear_ib`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NonlinearIbConfig {
    /// Weight of `u(I)`, 0 or more. At 0 it is reported and has no influence.
    pub beta: f64,
    /// The function u.
    pub convex: ConvexFunction,
    /// Monte-Carlo samples of the code for each example, at least 1.
    pub samples: usize,
}

impl NonlinearIbConfig {
    /// Squares and one sample, as Kolchinsky et al. have them.
    pub fn new(beta: f64) -> Self {
        NonlinearIbConfig {
            beta,
            convex: ConvexFunction::Square,
            samples: 1,
        }
    }
}

/// Parts of the nonlinear information bottleneck, in nats.
#[derive(Debug, Clone)]
pub struct NonlinearIb {
    /// Decoder cross-entropy, `u(I)` and total, shape `[B]`. The information is a number of the batch, which stands beside each
    /// example: the mean of the total is the loss.
    pub parts: DistortionRate,
    /// The bound on `I[X;Z]` over the examples of the batch, a scalar: at most `ln B`.
    pub information: Tensor,
}

/// The nonlinear information bottleneck: a bound on `I[X;Z]` from the divergences between the codes of a batch, with no prior.
///
/// Formula: `total = -E_{z ~ p(z|x)}[ln q(y | z)] + beta u(I)` with `I = -mean_i ln mean_j e^-KL(p(z|x_i) || p(z|x_j))`, which is
/// at least the information of the code about which of the B examples it is of: [`pairwise_information`].
///
/// Shapes: `posterior` has batch `[B]`, B at least 1, and event `[K]`; decoder and target as for [`vib`](super::vib).
///
/// Gradients: pathwise through the posterior's samples, and through the divergences.
///
/// Errors: those of [`vib`](super::vib); another batch than `[B]`; a u whose number is not positive and finite.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::distribution::Categorical;
/// use candle_prob::objective::{NonlinearIbConfig, nonlinear_ib, zero_entropy_posterior};
/// use candle_prob::Rng;
/// # fn main() -> candle_prob::Result<()> {
/// // Two examples far apart: ln 2.
/// let codes = Tensor::new(&[[0f32, 0.], [0., 50.]], &Device::Cpu)?;
/// let labels = Tensor::new(&[0u32, 1], &Device::Cpu)?;
/// let decoder = |z: &Tensor| Categorical::new(z);
/// let config = NonlinearIbConfig::new(0.1);
/// let posterior = zero_entropy_posterior(&codes)?;
/// let objective = nonlinear_ib(&posterior, &decoder, &labels, &config, &mut Rng::new(0))?;
/// assert!((objective.information.to_scalar::<f32>()? - 2f32.ln()).abs() < 1e-6);
/// let loss = objective.parts.total.mean_all()?;
/// # Ok(())
/// # }
/// ```
///
/// Source: Kolchinsky, Tracey and Wolpert (2019), Nonlinear information bottleneck, eq. 10 to 12.
pub fn nonlinear_ib<C: Conditional<Output: Distribution>>(
    posterior: &MultivariateNormalDiag,
    decoder: &C,
    target: &Tensor,
    config: &NonlinearIbConfig,
    rng: &mut Rng,
) -> Result<NonlinearIb> {
    let op = "objective::nonlinear_ib";
    check::at_least_one(op, &[("samples", config.samples)])?;
    check::non_negative(op, "beta", config.beta)?;
    config.convex.check(op)?;
    let (means, log_vars) = parameters(op, posterior)?;
    let upper = upper(&means, &log_vars, posterior)?;
    let codes = posterior.sample(&[config.samples], rng)?;
    let batch = posterior.batch_shape();
    let distortion = distortion(op, decoder, &codes, target, config.samples, batch)?;
    let information = upper.to_dtype(distortion.dtype())?;
    let rate = config.convex.of(&information)?;
    let rate = rate.broadcast_as(distortion.shape())?;
    Ok(NonlinearIb {
        parts: DistortionRate::new(distortion, rate, config.beta)?,
        information,
    })
}

/// Bounds on the information of Gaussian codes about which example they are of, scalars in nats, both from 0 to `ln B`.
#[derive(Debug, Clone)]
pub struct PairwiseInformation {
    /// At most `I[X;Z]`.
    pub lower: Tensor,
    /// At least `I[X;Z]`.
    pub upper: Tensor,
}

/// How much Gaussian codes tell about which of the examples they are of: `I[X;Z]` for X uniform over the batch, from both sides.
///
/// Formula: `-mean_i ln mean_j e^-d(i, j)`, with `d = KL(p(z|x_i) || p(z|x_j))` for the upper bound, and for the lower one the
/// distance of Bhattacharyya, `-ln integral of sqrt(p_i p_j)`. Both are exact where codes lie in clusters, equal within one and
/// far from the others. No neighbours and no bins: it is as good in many dimensions as in few.
///
/// Shapes: a posterior of batch `[B]` and event `[K]` to scalars. Gradients: to its parameters. The memory is that of `B^2`
/// numbers; where noise differs between codes, or is trained, gradients of the lower bound keep `B^2 K`.
///
/// Errors: another batch, or an empty one.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::{pairwise_information, zero_entropy_posterior};
/// # fn main() -> candle_prob::Result<()> {
/// let codes = Tensor::new(&[[0f64], [0.4], [3.]], &Device::Cpu)?;
/// let information = pairwise_information(&zero_entropy_posterior(&codes)?)?;
/// let (lower, upper) = (information.lower.to_scalar::<f64>()?, information.upper.to_scalar::<f64>()?);
/// assert!(0.6 < lower && lower < upper && upper < 3f64.ln());
/// # Ok(())
/// # }
/// ```
///
/// Numerics: in f64. Divergences are matrix products around the mean code, but for codes so far from it, in units of their noise,
/// that these would lose more than 1e-10: then differences of codes, `B^2 K` numbers.
///
/// Source: Kolchinsky and Tracey (2017), Estimating mixture entropy with pairwise distances, section 3 (upper, eq. 10) and
/// section 4 (lower, with the Chernoff divergence of 1/2).
pub fn pairwise_information(posterior: &MultivariateNormalDiag) -> Result<PairwiseInformation> {
    let op = "objective::pairwise_information";
    let (means, log_vars) = parameters(op, posterior)?;
    let upper = upper(&means, &log_vars, posterior)?;
    if is_shared(&log_vars)? {
        // The distance of Bhattacharyya is a quarter of the divergence.
        let distances = (divergences(&means, &log_vars)? / 4.)?;
        let lower = information(&distances, posterior)?;
        return Ok(PairwiseInformation { lower, upper });
    }
    let variances = log_vars.exp()?;
    let distances = in_blocks(&means, |of| {
        // ln of the arithmetic over the geometric mean of variances, and the squared distance in units of the former.
        let sum = of(&variances)?.broadcast_add(&variances)?;
        let logs = of(&log_vars)?.broadcast_add(&log_vars)?;
        let squares = of(&means)?.broadcast_sub(&means)?.sqr()?;
        let spread = (((&sum / 2.)?.log()? * 2.)? - logs)?;
        Ok((reduce::sum(&((squares / sum)? + spread)?)? / 4.)?)
    })?;
    Ok(PairwiseInformation {
        lower: information(&distances, posterior)?,
        upper,
    })
}

/// Numbers in memory at once, where no gradient keeps them.
const BLOCK: usize = 1 << 21;

/// What `f` says of some rows with all, `[rows, B]`, one below the other; it is given what takes these rows of a tensor, `[rows, 1, K]`.
fn in_blocks(
    means: &Tensor,
    f: impl Fn(&dyn Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor>,
) -> Result<Tensor> {
    let (count, dims) = means.dims2()?;
    let rows = (BLOCK / (count * dims)).clamp(1, count);
    let block = |start: usize| {
        let rows = rows.min(count - start);
        f(&|x| Ok(x.narrow(0, start, rows)?.unsqueeze(1)?))
    };
    let blocks: Vec<Tensor> = (0..count).step_by(rows).map(block).collect::<Result<_>>()?;
    Ok(Tensor::cat(&blocks, 0)?)
}

/// `-mean_i ln mean_j e^-d(i, j)` of distances `[B, B]`, in the dtype of the posterior: 0 or more, since they are.
fn information(distances: &Tensor, posterior: &MultivariateNormalDiag) -> Result<Tensor> {
    // No distance is negative; by rounding it may be.
    let distances = distances.maximum(&distances.zeros_like()?)?;
    let count = distances.dim(0)? as f64;
    let means = (reduce::sum(&expm1(&distances.neg()?)?)? / count)?;
    let mean = (reduce::sum(&log1p(&means)?)? / count)?;
    Ok(mean.neg()?.to_dtype(posterior.loc().dtype())?)
}

/// Means and log-variances `[B, K]` in f64, the means around their own.
fn parameters(op: &'static str, posterior: &MultivariateNormalDiag) -> Result<(Tensor, Tensor)> {
    let means = posterior.loc();
    if means.rank() != 2 || means.elem_count() == 0 {
        let expected = "a batch [B], B at least 1";
        let batch = posterior.batch_shape();
        return Err(Error::shape(op, "posterior", expected, batch));
    }
    let means = means.to_dtype(DType::F64)?;
    let centre = means.detach().mean_keepdim(0)?;
    let log_vars = posterior.log_var()?.to_dtype(DType::F64)?;
    shape::exactly(op, "posterior", log_vars.dims(), means.dims())?;
    Ok((means.broadcast_sub(&centre)?, log_vars))
}

/// The upper bound of [`pairwise_information`], in the dtype of the posterior.
fn upper(means: &Tensor, log_vars: &Tensor, posterior: &MultivariateNormalDiag) -> Result<Tensor> {
    information(&divergences(means, log_vars)?, posterior)
}

/// What rounding may change of a divergence that is a difference of products.
const ROUNDING: f64 = 1e-10;

/// `KL(p_i || p_j)`, `[B, B]`: by products of matrices where these are not large beside it, else by differences of codes.
fn divergences(means: &Tensor, log_vars: &Tensor) -> Result<Tensor> {
    let squares = (means.detach().sqr()? * log_vars.detach().neg()?.exp()?)?;
    let largest = squares.max_all()?.to_scalar::<f64>()? * means.dim(1)? as f64;
    // NaN and infinity go the other way.
    if !(largest * f64::EPSILON < ROUNDING) {
        let precisions = log_vars.neg()?.exp()?;
        return in_blocks(means, |of| {
            let squares = of(means)?.broadcast_sub(means)?.sqr()?;
            let ratio = of(log_vars)?.broadcast_sub(log_vars)?;
            let spread = (expm1(&ratio)? - ratio)?;
            Ok((reduce::sum(&(squares.broadcast_mul(&precisions)? + spread)?)? / 2.)?)
        });
    }
    if is_shared(log_vars)? {
        return of_shared(means, log_vars);
    }
    let precisions = log_vars.neg()?.exp()?;
    // 2 KL_ij + K = sum_d (v_i + m_i^2) w_j - 2 m_i m_j w_j + [m_j^2 w_j + ln v_j] - ln v_i.
    let moments = (log_vars.exp()? + means.sqr()?)?;
    let scaled = (means * &precisions)?;
    let of_first = reduce::sum(log_vars)?.unsqueeze(1)?;
    let of_second = reduce::sum(&((means * &scaled)? + log_vars)?)?;
    let products = moments.matmul(&precisions.t()?)?;
    let products = (products - (means.matmul(&scaled.t()?)? * 2.)?)?;
    let twice = products
        .broadcast_add(&of_second)?
        .broadcast_sub(&of_first)?;
    let dims = means.dim(1)? as f64;
    Ok(((twice - dims)? / 2.)?)
}

/// Whether all codes have the same noise, which no gradient asks for.
fn is_shared(log_vars: &Tensor) -> Result<bool> {
    if log_vars.track_op() {
        return Ok(false);
    }
    let dims = log_vars.dim(1)?;
    let all = log_vars.flatten_all()?.to_vec1::<f64>()?;
    Ok(all.chunks_exact(dims).all(|row| *row == all[..dims]))
}

/// Divergences between codes of the same noise, `[B, B]`: half the squared distances in its units.
fn of_shared(means: &Tensor, log_vars: &Tensor) -> Result<Tensor> {
    let scaled = (means * (log_vars / -2.)?.exp()?)?;
    let halves = (reduce::sum(&scaled.sqr()?)? / 2.)?;
    let sums = halves.unsqueeze(1)?.broadcast_add(&halves)?;
    Ok((sums - scaled.matmul(&scaled.t()?)?)?)
}

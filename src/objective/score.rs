//! Gradients without reparameterization: the log-derivative trick.

use super::importance::check_weights;
use super::rate::mean_of_draws;
use crate::error::{Error, Result};
use crate::{check, shape};
use candle_core::{DType, Tensor};

/// What [`score_function`] takes off the rewards. It does not change the gradient's mean, and may change its variance a lot.
#[derive(Debug, Clone, Copy)]
pub enum Baseline<'a> {
    /// Nothing.
    None,
    /// The mean reward of the other draws of the same example: at least two draws.
    /// It takes K^2 numbers for each example.
    ///
    /// Source: Mnih and Rezende (2016), Variational inference for Monte Carlo objectives, section 2.4; Kool, van Hoof and
    /// Welling (2019), Buy 4 REINFORCE samples, get a baseline for free, eq. 5.
    LeaveOneOut,
    /// What is known without the draws, of a shape that broadcasts to `batch`: a [`MovingAverage`], or what a network says of
    /// the input, which learns by [`ScoreFunction::baseline_loss`].
    ///
    /// Source: Mnih and Gregor (2014), Neural variational inference and learning in belief networks, section 2.3.
    Given(&'a Tensor),
}

/// A running mean of rewards, a [`Baseline::Given`]: a number that the caller keeps, beside the optimizer's state.
///
/// Formula: `value <- decay value + (1 - decay) mean of the rewards`; the first rewards set it. It is to be read before it sees
/// the rewards that it is taken off: the other way round the gradient is biased.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::MovingAverage;
/// # fn main() -> candle_prob::Result<()> {
/// let mut average = MovingAverage::new(0.75)?;
/// assert_eq!(average.value, 0.);
/// average.update(&Tensor::new(&[1f32, 3.], &Device::Cpu)?)?;
/// average.update(&Tensor::new(&[4f32, 8.], &Device::Cpu)?)?;
/// assert_eq!(average.value, 3.);
/// # Ok(())
/// # }
/// ```
///
/// Source: Williams (1992), Simple statistical gradient-following algorithms, section 2, reinforcement comparison.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MovingAverage {
    /// How much of the value stays in a step, from 0 to 1.
    pub decay: f64,
    /// The mean, 0 at first.
    pub value: f64,
    /// How many updates there were.
    pub updates: usize,
}

impl MovingAverage {
    /// That has seen nothing.
    ///
    /// Errors: a decay outside of `[0, 1)`.
    pub fn new(decay: f64) -> Result<Self> {
        check::in_interval("MovingAverage::new", "decay", decay, 0. ..1.)?;
        Ok(MovingAverage {
            decay,
            value: 0.,
            updates: 0,
        })
    }

    /// Takes in the mean of these rewards, of those that are finite. Of none it takes nothing.
    ///
    /// Errors: a dtype that is not floating point.
    pub fn update(&mut self, rewards: &Tensor) -> Result<()> {
        shape::float("MovingAverage::update", "rewards", rewards)?;
        let rewards = rewards.detach().to_dtype(DType::F64)?.flatten_all()?;
        let rewards = rewards.to_vec1::<f64>()?;
        let finite: Vec<f64> = rewards.into_iter().filter(|r| r.is_finite()).collect();
        if finite.is_empty() {
            return Ok(());
        }
        let mean = finite.iter().sum::<f64>() / finite.len() as f64;
        self.value = match self.updates {
            0 => mean,
            _ => self.decay * self.value + (1. - self.decay) * mean,
        };
        self.updates += 1;
        Ok(())
    }

    /// The value as a [`Baseline::Given`] of rewards like these.
    pub fn like(&self, rewards: &Tensor) -> Result<Tensor> {
        Ok(Tensor::new(self.value, rewards.device())?.to_dtype(rewards.dtype())?)
    }
}

/// Parts of a score-function estimate; `batch` is the shape of the rewards without their draws.
#[derive(Debug, Clone)]
pub struct ScoreFunction {
    /// The mean reward over the draws, shape `batch`.
    pub mean: Tensor,
    /// What to minimise, shape `batch`: of the value `-mean`, with the gradient of the estimator.
    pub loss: Tensor,
    /// `mean_k (f_k - b)^2`, shape `batch`, with a gradient to the baseline alone: what a learned one minimises. A difference that
    /// is not finite counts as 0. 0 without a given one.
    pub baseline_loss: Tensor,
}

/// The gradient of an expected reward by the log-derivative trick (REINFORCE), for draws that have no gradient themselves.
///
/// Formula: `d E_q[f] = E_q[(f - b) d ln q] + E_q[d f]`, estimated by the mean over K draws. For the evidence lower bound the
/// reward f is the whole log-weight `ln p(x | z) + ln p(z) - ln q(z | x)`: [`Latents::rewards`](super::Latents::rewards).
///
/// Shapes: `rewards` f and `log_prob`, `ln q` of the draws, are `[K] ++ batch`, the parts `batch`. Units: those of the rewards.
///
/// Gradients: of `loss`, through `log_prob` to the distribution of the draws, and through the rewards to what they depend on
/// otherwise, as the decoder. Unbiased for any baseline. Where draws could have a gradient, prefer that: on the linear-Gaussian
/// model of the tests, of two dims, four draws have 12 times the variance of the pathwise gradient without a baseline and 3.5
/// times with [`Baseline::LeaveOneOut`]. A reward whose difference from the baseline is not finite gives nothing to the
/// distribution of the draws: there is no number for it.
///
/// Errors: no draw, with [`Baseline::LeaveOneOut`] fewer than two; rewards and log-probabilities of two shapes, dtypes or
/// devices; a baseline that does not broadcast to `batch`.
///
/// ```
/// use candle_core::{DType, Device, Tensor, Var};
/// use candle_prob::distribution::{Bernoulli, Distribution, Normal};
/// use candle_prob::objective::{Baseline, sample_detached_latents, score_function};
/// use candle_prob::Rng;
/// # fn main() -> candle_prob::Result<()> {
/// // Was x drawn from N(1, 1) or from N(-1, 1)?
/// let x = Tensor::new(&[0.5f64, -1.], &Device::Cpu)?;
/// let logits = Var::zeros(2, DType::F64, &Device::Cpu)?;
/// let prior = Bernoulli::new(&Tensor::new(0f64, &Device::Cpu)?)?;
/// for step in 0..200 {
///     let posterior = Bernoulli::new(&logits)?;
///     let latents = sample_detached_latents(&posterior, &prior, &[8], &mut Rng::new(step))?;
///     let side = ((&latents.value * 2.)? - 1.)?;
///     let log_likelihood = Normal::new(&side, &side.ones_like()?)?.log_prob(&x)?;
///     let rewards = latents.rewards(&log_likelihood)?;
///     let parts = score_function(&rewards, &latents.log_posterior, Baseline::LeaveOneOut)?;
///     let gradients = parts.loss.sum_all()?.backward()?;
///     logits.set(&(logits.as_tensor() - (gradients.get(&logits).expect("a variable") * 2.)?)?)?;
/// }
/// // The posterior's logit is 2 x.
/// let off = (logits.as_tensor() - (x * 2.)?)?.abs()?.max_all()?.to_scalar::<f64>()?;
/// assert!(off < 1e-2, "{off}");
/// # Ok(())
/// # }
/// ```
///
/// Source: Williams (1992), theorem 1; Paisley, Blei and Jordan (2012), Variational Bayesian inference with stochastic search,
/// eq. 5; Ranganath, Gerrish and Blei (2014), Black box variational inference, eq. 3; Ryu (2022), the log-derivative trick.
pub fn score_function(
    rewards: &Tensor,
    log_prob: &Tensor,
    baseline: Baseline,
) -> Result<ScoreFunction> {
    const OP: &str = "objective::score_function";
    let count = check_weights(OP, "rewards", rewards)?;
    check_scores(OP, rewards, log_prob)?;
    let (known, batch) = (rewards.detach(), &rewards.dims()[1..]);
    let mean = mean_of_draws(rewards)?;
    let (signal, baseline_loss) = match baseline {
        Baseline::None => (known, mean.detach().zeros_like()?),
        Baseline::LeaveOneOut => {
            let others = others(OP, "rewards", &known, count)?;
            ((known - others)?, mean.detach().zeros_like()?)
        }
        Baseline::Given(baseline) => {
            shape::same_kind(OP, "baseline", baseline, rewards)?;
            shape::broadcast_to(OP, "baseline", baseline.dims(), batch)?;
            let off = known.broadcast_sub(baseline)?;
            (off.detach(), mean_of_draws(&finite(&off)?.sqr()?)?)
        }
    };
    let loss = (&mean + mean_of_draws(&scored(&signal, log_prob)?)?)?.neg()?;
    Ok(ScoreFunction {
        mean,
        loss,
        baseline_loss,
    })
}

/// Zeros with the gradient of `signal * log_prob`.
pub(super) fn scored(signal: &Tensor, log_prob: &Tensor) -> Result<Tensor> {
    Ok(((log_prob - log_prob.detach())? * finite(signal)?)?)
}

/// 0 in the place of what is not finite: it must not spoil what examples share.
fn finite(x: &Tensor) -> Result<Tensor> {
    let ordinary = x.detach().abs()?.lt(f64::INFINITY)?;
    Ok(ordinary.where_cond(x, &x.detach().zeros_like()?)?)
}

pub(super) fn check_scores(op: &'static str, like: &Tensor, log_prob: &Tensor) -> Result<()> {
    shape::same_kind(op, "log_prob", log_prob, like)?;
    shape::exactly(op, "log_prob", log_prob.dims(), like.dims())
}

/// Of each draw the mean over the others.
pub(super) fn others(
    op: &'static str,
    arg: &'static str,
    x: &Tensor,
    count: usize,
) -> Result<Tensor> {
    check_two(op, arg, x, count)?;
    let own = own(x, count)?;
    let all = x.unsqueeze(0)?.broadcast_as(own.shape())?;
    // 0 times infinity is NaN.
    let rest = own.where_cond(&all.zeros_like()?, &all)?;
    // In half precision a sum of many rewards is soon infinite.
    let wide = match rest.dtype() {
        DType::F16 | DType::BF16 => rest.to_dtype(DType::F32)?,
        _ => rest,
    };
    Ok((wide.sum(1)? / (count as f64 - 1.))?.to_dtype(x.dtype())?)
}

/// 1 where both first dims are at the same draw, [K, K] ++ batch.
pub(super) fn own(x: &Tensor, count: usize) -> Result<Tensor> {
    let mut dims = vec![1; x.rank() + 1];
    dims[..2].fill(count);
    let own = Tensor::eye(count, DType::U8, x.device())?.reshape(dims)?;
    Ok(own.broadcast_as([&[count], x.dims()].concat())?)
}

fn check_two(op: &'static str, arg: &'static str, x: &Tensor, count: usize) -> Result<()> {
    if count > 1 {
        return Ok(());
    }
    let expected = "[K] ++ batch with K of 2 or more";
    Err(Error::shape(op, arg, expected, x.dims()))
}

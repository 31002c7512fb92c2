//! Mixtures of one family.

use super::*;
use crate::kernels::family::logits::log_sum_exp;
use crate::kernels::family::mixture::mixture_log_prob;
use crate::kernels::graph::first_only::first_only;
use candle_core::{D, DType};

/// A distribution that can be the component of a [`MixtureSameFamily`].
pub trait MixtureComponent: Distribution + Sized {
    /// One component for each element of `index`.
    ///
    /// The batch is `B ++ [K] ++ A`, with A of rank `after`; `index` is u32 and has shape `S ++ B`. The result has batch
    /// `S ++ B ++ A`. Implement it with [`select_component`] on each parameter.
    fn select(&self, index: &Tensor, after: usize) -> Result<Self>;

    /// (mean, standard deviation) if this is a normal distribution with independent coordinates: such mixtures are
    /// scored in one pass over the points.
    fn diagonal_normal(&self) -> Result<Option<(Tensor, Tensor)>> {
        Ok(None)
    }
}

/// The rows of a component parameter that `index` names: from `B ++ [K] ++ A` to `S ++ B ++ A`, where `index` is
/// `S ++ B` and A has rank `after`. Detached.
///
/// Errors: ranks or dims of B that do not fit, an index of another dtype or out of range.
pub fn select_component(parameter: &Tensor, index: &Tensor, after: usize) -> Result<Tensor> {
    let op = "select_component";
    shape::dtype(op, "index", index, DType::U32)?;
    let dims = parameter.dims();
    let wrong = || Error::shape(op, "parameter", "B ++ [K] ++ A", dims);
    let at = dims.len().checked_sub(after + 1).ok_or_else(wrong)?;
    let (batch, classes, rest) = (&dims[..at], dims[at], &dims[at + 1..]);
    if !index.dims().ends_with(batch) {
        return Err(Error::shape(
            op,
            "index",
            format!("S ++ {batch:?}"),
            index.dims(),
        ));
    }
    let count: usize = batch.iter().product();
    let table = parameter.detach();
    let table = table.reshape((count * classes, rest.iter().product::<usize>()))?;
    let list = index.flatten_all()?.to_vec1::<u32>()?;
    if let Some(found) = list.iter().find(|class| **class as usize >= classes) {
        let expected = format!("numbers below {classes}");
        return Err(Error::value(op, "index", expected, found));
    }
    // Row b of the batch starts at b K.
    let row = |(i, class)| (i % count * classes) as i64 + i64::from(class);
    let rows: Vec<i64> = list.into_iter().enumerate().map(row).collect();
    let rows = Tensor::new(rows, index.device())?;
    let dims = [index.dims(), rest].concat();
    Ok(table.contiguous()?.index_select(&rows, 0)?.reshape(dims)?)
}

impl MixtureComponent for Normal {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        let loc = select_component(self.loc(), index, after)?;
        Normal::new_unchecked(&loc, &select_component(&self.scale()?, index, after)?)
    }

    fn diagonal_normal(&self) -> Result<Option<(Tensor, Tensor)>> {
        Ok(Some((self.loc().clone(), self.scale()?)))
    }
}

impl MixtureComponent for MultivariateNormalDiag {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        let loc = select_component(self.loc(), index, after + 1)?;
        let scale = select_component(&self.scale()?, index, after + 1)?;
        MultivariateNormalDiag::new_unchecked(&loc, &scale)
    }

    fn diagonal_normal(&self) -> Result<Option<(Tensor, Tensor)>> {
        Ok(Some((self.loc().clone(), self.scale()?)))
    }
}

impl MixtureComponent for Categorical {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        Categorical::new_unchecked(&select_component(self.logits(), index, after + 1)?)
    }
}

impl<D: MixtureComponent> MixtureComponent for Independent<D> {
    fn select(&self, index: &Tensor, after: usize) -> Result<Self> {
        let dims = self.event_shape().len() - self.base().event_shape().len();
        Independent::new(self.base().select(index, after + dims)?, dims)
    }

    fn diagonal_normal(&self) -> Result<Option<(Tensor, Tensor)>> {
        self.base().diagonal_normal()
    }
}

/// A mixture of K components of one family.
///
/// Formula: `log p(x) = ln sum_k w_k p_k(x)`, `w = softmax(logits)`.
///
/// Shapes: `mixing` has batch B and K classes, `components` batch `B ++ [K]` and event E; the mixture has batch B and
/// event E. Units: nats.
///
/// Gradients: through `log_prob` to the value, the logits and the components. Samples have none, because the choice of a
/// component is discrete: not [`Reparameterized`], although the components may be. Pathwise ones are there by name, as
/// [`sample_pathwise`](MixtureSameFamily::sample_pathwise), and as a distribution,
/// [`reparameterized`](MixtureSameFamily::reparameterized). The weights times the components' own
/// `log_prob` or samples give an estimator where one is wanted.
///
/// Errors: batch shapes that do not fit.
///
/// There is no closed-form KL divergence between mixtures, so [`Kl`] is not implemented: estimate it from samples.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::Rng;
/// use candle_prob::distribution::{Categorical, Distribution, MixtureSameFamily, Moments, Normal};
/// # fn main() -> candle_prob::Result<()> {
/// let new = |x: &[f32]| Tensor::new(x, &Device::Cpu);
/// let loc = new(&[-2., 0., 2., 0.])?.reshape((2, 2))?;
/// let components = Normal::new(&loc, &new(&[0.5])?)?.to_event(1)?;
/// let mixture = MixtureSameFamily::new(Categorical::new(&new(&[0., 0.])?)?, components)?;
/// let x = mixture.sample(&[100], &mut Rng::new(0))?;
/// assert_eq!(mixture.log_prob(&x)?.dims(), &[100]);
/// assert_eq!(mixture.variance()?.to_vec1::<f32>()?, [4.25, 0.25]);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: a sample draws one component and then once from it, so memory does not grow with K beyond the parameters. The
/// diagonal normal with one batch of components is one fused pass, in which the squares are of differences: means a
/// thousand standard deviations away lose no digits.
#[derive(Debug, Clone)]
pub struct MixtureSameFamily<C> {
    mixing: Categorical,
    components: C,
}

impl<C: MixtureComponent> MixtureSameFamily<C> {
    /// From the distribution over components and the components.
    pub fn new(mixing: Categorical, components: C) -> Result<Self> {
        if mixing.logits().dims() != components.batch_shape() {
            return Err(Error::shape(
                "MixtureSameFamily::new",
                "components",
                format!("batch shape {:?}", mixing.logits().dims()),
                components.batch_shape(),
            ));
        }
        Ok(MixtureSameFamily { mixing, components })
    }

    /// The distribution over components.
    pub fn mixing(&self) -> &Categorical {
        &self.mixing
    }

    /// The components.
    pub fn components(&self) -> &C {
        &self.components
    }

    /// `ln w_k p_k(value)`, shape `S ++ batch ++ [K]`: normalized over the last dimension it is the posterior of the
    /// component.
    pub fn joint_log_prob(&self, value: &Tensor) -> Result<Tensor> {
        let op = "MixtureSameFamily::log_prob";
        let event = self.event_shape();
        shape::value_shape(op, value, self.batch_shape(), event)?;
        let value = value.unsqueeze(value.rank() - event.len())?;
        let log_prob = self.components.log_prob(&value)?;
        Ok(log_prob.broadcast_add(&self.mixing.log_probs()?)?)
    }

    /// Sums `B ++ [K] ++ E` over K with the weights.
    fn average(&self, x: &Tensor) -> Result<Tensor> {
        let at = self.batch_shape().len();
        let mut weights = self.mixing.probs()?;
        for _ in 0..self.event_shape().len() {
            weights = weights.unsqueeze(D::Minus1)?;
        }
        Ok(x.broadcast_mul(&weights)?.sum(at)?)
    }
}

impl<C: MixtureComponent + Cdf + Reparameterized> MixtureSameFamily<C> {
    /// The draws of [`sample`](Distribution::sample), with pathwise gradients to the logits and to the components of scalar
    /// continuous mixtures.
    ///
    /// Formula: `dx / d theta = -(dF(x) / d theta) / p(x)` with `F = sum_k w_k F_k`: a draw moves so that its cdf stays.
    ///
    /// Shapes: as [`sample`](Distribution::sample). The cost is that of all K components' cdfs at each draw. Gradients are
    /// unbiased; between components far apart, where the density is small, single ones are large. First derivatives only.
    ///
    /// Source: Graves (2016), Stochastic backpropagation through mixture density distributions.
    pub fn sample_pathwise(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let x = self.sample(shape, rng)?;
        if x.elem_count() == 0 {
            return Ok(x);
        }
        let at = x.unsqueeze(D::Minus1)?;
        let log_weights = self.mixing.log_probs()?;
        let weigh = |log: Tensor| log.broadcast_add(&log_weights);
        let below = weigh(self.components.log_cdf(&at)?)?;
        let above = weigh(self.components.log_survival(&at)?)?;
        // The smaller tail is not far above the density: their ratio is a number where both underflow.
        let lower = log_sum_exp(&below)?.le(&log_sum_exp(&above)?)?;
        let side = lower.unsqueeze(D::Minus1)?.broadcast_as(below.dims())?;
        let tail = side.where_cond(&below, &above)?;
        let density = self.log_prob(&x)?.detach();
        // A draw that was rounded to an end of the support, where the density is 0 or infinite, stays there.
        let inside = density.abs()?.lt(f64::INFINITY)?;
        let zero = density.zeros_like()?;
        let density = inside.where_cond(&density, &zero)?.unsqueeze(D::Minus1)?;
        let inside = inside.unsqueeze(D::Minus1)?.broadcast_as(tail.dims())?;
        let tail = inside.where_cond(&tail, &tail.detach().zeros_like()?)?;
        let ratio = tail.broadcast_sub(&density)?.exp()?.sum(D::Minus1)?;
        let shift = lower.where_cond(&ratio.neg()?, &ratio)?;
        first_only("sample_pathwise", &(x + (&shift - shift.detach())?)?).map_err(Error::from)
    }
}

impl<C: MixtureComponent> Distribution for MixtureSameFamily<C> {
    fn batch_shape(&self) -> &[usize] {
        self.mixing.batch_shape()
    }

    fn event_shape(&self) -> &[usize] {
        self.components.event_shape()
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let index = self.mixing.sample(shape, rng)?;
        Ok(self
            .components
            .select(&index, 0)?
            .sample(&[], rng)?
            .detach())
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        if let (Some((loc, scale)), &[k]) = (
            self.components.diagonal_normal()?,
            self.components.batch_shape(),
        ) {
            let op = "MixtureSameFamily::log_prob";
            shape::same_kind(op, "value", value, &loc)?;
            let event = self.event_shape();
            let out = shape::value_shape(op, value, &[], event)?;
            let d: usize = event.iter().product();
            let x = value.reshape([out.as_slice(), &[d]].concat())?;
            let (loc, scale) = (loc.reshape((k, d))?, scale.reshape((k, d))?);
            return mixture_log_prob(&x, self.mixing.logits(), &loc, &scale);
        }
        log_sum_exp(&self.joint_log_prob(value)?)
    }
}

impl<C: Detach> Detach for MixtureSameFamily<C> {
    fn detach(&self) -> Self {
        MixtureSameFamily {
            mixing: self.mixing.detach(),
            components: self.components.detach(),
        }
    }
}

impl<C: MixtureComponent + Moments> Moments for MixtureSameFamily<C> {
    fn mean(&self) -> Result<Tensor> {
        self.average(&self.components.mean()?)
    }

    fn variance(&self) -> Result<Tensor> {
        // Within plus between, both sums of squares: nothing cancels.
        let mean = self.components.mean()?;
        let between =
            mean.broadcast_sub(&self.average(&mean)?.unsqueeze(self.batch_shape().len())?)?;
        self.average(&(self.components.variance()? + between.sqr()?)?)
    }
}

/// Of continuous scalar components: sums over the components, as logarithms in both tails.
impl<C: MixtureComponent + Cdf + Reparameterized> MixtureSameFamily<C> {
    fn tail(
        &self,
        op: &'static str,
        value: &Tensor,
        tail: impl FnOnce(&C, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        shape::same_kind(op, "value", value, self.mixing.logits())?;
        shape::value_shape(op, value, self.batch_shape(), self.event_shape())?;
        let log = tail(&self.components, &value.unsqueeze(D::Minus1)?)?;
        log_sum_exp(&log.broadcast_add(&self.mixing.log_probs()?)?)
    }
}

impl<C: MixtureComponent + Cdf + Reparameterized> Cdf for MixtureSameFamily<C> {
    fn log_cdf(&self, value: &Tensor) -> Result<Tensor> {
        self.tail("MixtureSameFamily::log_cdf", value, |c, x| c.log_cdf(x))
    }

    fn log_survival(&self, value: &Tensor) -> Result<Tensor> {
        let op = "MixtureSameFamily::log_survival";
        self.tail(op, value, |c, x| c.log_survival(x))
    }

    /// Between the components' quantiles, by halving until no number lies between the ends. Gradients: implicit.
    fn quantile(&self, probability: &Tensor) -> Result<Tensor> {
        let op = "MixtureSameFamily::quantile";
        let batch = self.batch_shape();
        check_probability(op, probability, self.mixing.logits(), batch)?;
        let out = shape::value_shape(op, probability, batch, &[])?;
        let p = probability.broadcast_as(out.as_slice())?;
        if p.elem_count() == 0 {
            return Ok(p.clone());
        }
        let target = p.detach();
        let ends = self.components.quantile(&target.unsqueeze(D::Minus1)?)?;
        let ends = ends.detach();
        let (mut low, mut high) = (ends.min(D::Minus1)?, ends.max(D::Minus1)?);
        loop {
            let middle = ((&low * 0.5)? + (&high * 0.5)?)?;
            let between = (middle.gt(&low)? * middle.lt(&high)?)?;
            if between.max_all()?.to_scalar::<u8>()? == 0 {
                break;
            }
            let below = self.cdf(&middle)?.detach().lt(&target)?;
            low = (&between * &below)?.where_cond(&middle, &low)?;
            high = (&between * below.eq(0u8)?)?.where_cond(&middle, &high)?;
        }
        // The end of an interval, or infinity, does not move.
        let density = self.log_prob(&high)?.detach().exp()?;
        let moves =
            ((density.gt(0f64)? * density.lt(f64::INFINITY)?)? * high.abs()?.lt(f64::INFINITY)?)?;
        let safe = moves.where_cond(&high, &ends.mean(D::Minus1)?.zeros_like()?)?;
        let gap = (&p - self.cdf(&safe)?)?;
        let slope = moves.where_cond(&density.recip()?, &density.zeros_like()?)?;
        let shift = (gap * slope)?;
        first_only(op, &(high + (&shift - shift.detach())?)?).map_err(Error::from)
    }
}

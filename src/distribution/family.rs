//! The mathematics of scalar families: formulas of numbers, and what their parameters make of them.
//!
//! A family's law is a small type that implements one trait for each thing it has a formula for. [`Parameters`] turns formulas
//! into tensors; the public traits delegate to it.

use super::parameters::join;
pub(super) use super::parameters::{Domain, Domains, LOCATION_SCALE, Parameters};
use crate::error::{Error, Result};
pub(super) use crate::kernels::elementwise::{Formula, named};
use crate::kernels::family::gamma::huge;
pub(super) use crate::kernels::number::{Elementary, Real};
use crate::rng::Rng;
use candle_core::Tensor;
use std::array;

/// What a family is beside its parameters: how they are to be read, which for most is nothing.
pub(super) trait Law: Copy + Send + Sync + 'static {}

impl<L: Copy + Send + Sync + 'static> Law for L {}

/// Of a value and the parameters, M numbers.
pub(super) trait DensityFormula<const M: usize>: Law {
    /// [`Formula::QUICK`].
    const QUICK: bool = false;

    fn log_prob<R: Real>(self, at: [R; M]) -> R;
}

/// Of a value, the parameters and what is computed of the first A of these once for all values: K numbers. Where those A are
/// huge f32 numbers take all digits of f64; elsewhere both functions are [`Formula::QUICK`].
pub(super) trait SplitDensityFormula<const A: usize, const K: usize>: Law {
    /// [`Formula::QUICK`] of `once` where the parameters are huge.
    const QUICK_ONCE: bool = false;

    fn once<R: Real>(self, first: [R; A]) -> R;

    fn log_prob<R: Real>(self, at: [R; K]) -> R;
}

/// Of a value or a probability and the parameters, M numbers.
pub(super) trait CdfFormulas<const M: usize>: Law {
    /// [`Formula::QUICK`] of the tails.
    const QUICK_TAIL: bool = false;
    /// [`Formula::QUICK`] of the quantile.
    const QUICK_QUANTILE: bool = false;

    /// ln P(X <= x) or, `upper`, ln P(X > x).
    fn log_tail<R: Real>(self, at: [R; M], upper: bool) -> R;

    fn quantile<R: Real>(self, at: [R; M]) -> R;
}

/// Of the N parameters.
pub(super) trait MomentFormulas<const N: usize>: Law {
    fn mean<R: Real>(self, at: [R; N]) -> R;

    fn variance<R: Real>(self, at: [R; N]) -> R;
}

/// Of the N parameters.
pub(super) trait ModeFormula<const N: usize>: Law {
    fn mode<R: Real>(self, at: [R; N]) -> R;
}

/// Of the N parameters.
pub(super) trait EntropyFormula<const N: usize>: Law {
    fn entropy<R: Real>(self, at: [R; N]) -> R;
}

/// Of the parameters and those of the other, K numbers.
pub(super) trait KlFormula<const K: usize>: Law {
    fn kl<R: Real>(self, at: [R; K]) -> R;
}

#[derive(Clone, Copy)]
struct LogProb<L>(L);

impl<L: DensityFormula<M>, const M: usize> Formula<M> for LogProb<L> {
    const QUICK: bool = L::QUICK;

    #[inline(always)]
    fn at<R: Real>(self, x: [R; M]) -> R {
        self.0.log_prob(x)
    }
}

#[derive(Clone, Copy)]
struct Once<L, const K: usize, const HUGE: bool>(L);

impl<L, const A: usize, const K: usize, const HUGE: bool> Formula<A> for Once<L, K, HUGE>
where
    L: SplitDensityFormula<A, K>,
{
    const QUICK: bool = !HUGE || L::QUICK_ONCE;

    #[inline(always)]
    fn at<R: Real>(self, x: [R; A]) -> R {
        self.0.once(x)
    }
}

#[derive(Clone, Copy)]
struct SplitLogProb<L, const A: usize, const HUGE: bool>(L);

impl<L, const A: usize, const K: usize, const HUGE: bool> Formula<K> for SplitLogProb<L, A, HUGE>
where
    L: SplitDensityFormula<A, K>,
{
    const QUICK: bool = !HUGE;

    #[inline(always)]
    fn at<R: Real>(self, x: [R; K]) -> R {
        self.0.log_prob(x)
    }
}

#[derive(Clone, Copy)]
struct LogTail<L> {
    law: L,
    upper: bool,
}

impl<L: CdfFormulas<M>, const M: usize> Formula<M> for LogTail<L> {
    const QUICK: bool = L::QUICK_TAIL;

    #[inline(always)]
    fn at<R: Real>(self, x: [R; M]) -> R {
        self.law.log_tail(x, self.upper)
    }
}

#[derive(Clone, Copy)]
struct Quantile<L>(L);

impl<L: CdfFormulas<M>, const M: usize> Formula<M> for Quantile<L> {
    const QUICK: bool = L::QUICK_QUANTILE;

    #[inline(always)]
    fn at<R: Real>(self, x: [R; M]) -> R {
        self.0.quantile(x)
    }
}

#[derive(Clone, Copy)]
struct Mean<L>(L);

impl<L: MomentFormulas<N>, const N: usize> Formula<N> for Mean<L> {
    #[inline(always)]
    fn at<R: Real>(self, x: [R; N]) -> R {
        self.0.mean(x)
    }
}

#[derive(Clone, Copy)]
struct Variance<L>(L);

impl<L: MomentFormulas<N>, const N: usize> Formula<N> for Variance<L> {
    #[inline(always)]
    fn at<R: Real>(self, x: [R; N]) -> R {
        self.0.variance(x)
    }
}

#[derive(Clone, Copy)]
struct Mode<L>(L);

impl<L: ModeFormula<N>, const N: usize> Formula<N> for Mode<L> {
    #[inline(always)]
    fn at<R: Real>(self, x: [R; N]) -> R {
        self.0.mode(x)
    }
}

#[derive(Clone, Copy)]
struct Entropy<L>(L);

impl<L: EntropyFormula<N>, const N: usize> Formula<N> for Entropy<L> {
    #[inline(always)]
    fn at<R: Real>(self, x: [R; N]) -> R {
        self.0.entropy(x)
    }
}

#[derive(Clone, Copy)]
struct Divergence<L>(L);

impl<L: KlFormula<K>, const K: usize> Formula<K> for Divergence<L> {
    #[inline(always)]
    fn at<R: Real>(self, x: [R; K]) -> R {
        self.0.kl(x)
    }
}

/// `op` is the public operation: errors name it.
impl<const N: usize> Parameters<N> {
    pub(super) fn log_prob<L: DensityFormula<M>, const M: usize>(
        &self,
        op: &'static str,
        law: L,
        value: &Tensor,
    ) -> Result<Tensor> {
        self.at(op, LogProb(law), value)
    }

    pub(super) fn split_log_prob<L: SplitDensityFormula<A, K>, const A: usize, const K: usize>(
        &self,
        op: &'static str,
        law: L,
        value: &Tensor,
    ) -> Result<Tensor> {
        self.check_value(op, value)?;
        let first: [&Tensor; A] = array::from_fn(|i| self.given()[i]);
        let any_huge = |any: bool, x: &&Tensor| Ok::<_, Error>(any || huge(x)?);
        match first.iter().try_fold(false, any_huge)? {
            true => self.split::<L, A, K, true>(op, law, value, first),
            false => self.split::<L, A, K, false>(op, law, value, first),
        }
    }

    fn split<L: SplitDensityFormula<A, K>, const A: usize, const K: usize, const HUGE: bool>(
        &self,
        op: &'static str,
        law: L,
        value: &Tensor,
        first: [&Tensor; A],
    ) -> Result<Tensor> {
        const { assert!(K == N + 2) };
        let once = named(op, Once::<L, K, HUGE>(law), first)?;
        let arguments = array::from_fn(|i| match i {
            0 => value,
            i if i <= N => self.given()[i - 1],
            _ => &once,
        });
        named(op, SplitLogProb::<L, A, HUGE>(law), arguments)
    }

    pub(super) fn log_cdf<L: CdfFormulas<M>, const M: usize>(
        &self,
        op: &'static str,
        law: L,
        value: &Tensor,
    ) -> Result<Tensor> {
        self.at(op, LogTail { law, upper: false }, value)
    }

    pub(super) fn log_survival<L: CdfFormulas<M>, const M: usize>(
        &self,
        op: &'static str,
        law: L,
        value: &Tensor,
    ) -> Result<Tensor> {
        self.at(op, LogTail { law, upper: true }, value)
    }

    pub(super) fn quantile<L: CdfFormulas<M>, const M: usize>(
        &self,
        op: &'static str,
        law: L,
        probability: &Tensor,
    ) -> Result<Tensor> {
        self.of_probability(op, Quantile(law), probability)
    }

    /// Draws: the quantiles of uniforms, of shape `sample ++ batch`.
    pub(super) fn sample<L: CdfFormulas<M>, const M: usize>(
        &self,
        op: &'static str,
        law: L,
        sample: &[usize],
        rng: &mut Rng,
    ) -> Result<Tensor> {
        let u = self.uniforms(sample, rng)?;
        named(op, Quantile(law), join([&u], self.given()))
    }

    pub(super) fn mean<L: MomentFormulas<N>>(&self, op: &'static str, law: L) -> Result<Tensor> {
        self.formula(op, Mean(law))
    }

    pub(super) fn variance<L: MomentFormulas<N>>(
        &self,
        op: &'static str,
        law: L,
    ) -> Result<Tensor> {
        self.formula(op, Variance(law))
    }

    pub(super) fn mode<L: ModeFormula<N>>(&self, op: &'static str, law: L) -> Result<Tensor> {
        self.formula(op, Mode(law))
    }

    pub(super) fn entropy<L: EntropyFormula<N>>(&self, op: &'static str, law: L) -> Result<Tensor> {
        self.formula(op, Entropy(law))
    }

    /// KL(self || other) within the family.
    pub(super) fn kl<L: KlFormula<K>, const K: usize>(
        &self,
        op: &'static str,
        law: L,
        other: &Self,
    ) -> Result<Tensor> {
        self.with(op, Divergence(law), other)
    }
}

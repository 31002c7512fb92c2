//! Optimistic steps: along the direction that the next step is expected to have, the last one and its change.

use crate::kernels::number::Float;
use crate::kernels::step::adam::Adam;
use crate::kernels::step::update::Rule;
use candle_core::{Result, Tensor};

/// One step of optimistic Adam, with `d = m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)` of Adam.
///
/// ```text
///   p <- (1 - lr weight_decay) p - lr (d_t + (d_t - d_(t-1)))          (- lr d_1 in the first step)
/// ```
///
/// The direction before is that of the moments before, so that it needs no memory of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OptimisticAdam {
    now: Adam,
    before: Adam,
}

impl OptimisticAdam {
    /// Step number `t`, counted from 1.
    pub(crate) fn new(t: u64, lr: f64, betas: (f64, f64), eps: f64, weight_decay: f64) -> Self {
        let step = |t, lr, eps| Adam::new(t, lr, betas, eps, weight_decay);
        match t {
            // Of moments of zero, and divided by more than that.
            ..=1 => OptimisticAdam {
                now: step(1, lr, eps),
                before: step(1, 0., 1.),
            },
            _ => OptimisticAdam {
                now: step(t, 2. * lr, eps).keeping(1. - lr * weight_decay),
                before: step(t - 1, lr, eps),
            },
        }
    }
}

impl Rule<2> for OptimisticAdam {
    const NAME: &'static str = "optimistic-adam";

    #[inline(always)]
    fn fused<T: Float, const FMA: bool>(self, p: &mut [T], g: &[T], [m, v]: [&mut [T]; 2]) {
        let (now, before) = (self.now.rounded::<T>(), self.before.rounded::<T>());
        for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            let last = before.change::<FMA>(*m, *v);
            now.advance::<FMA>(g, m, v);
            *p = *p * now.keep - (now.change::<FMA>(*m, *v) - last);
        }
    }

    fn composed(
        self,
        p: &Tensor,
        g: &Tensor,
        [m, v]: &[Tensor; 2],
    ) -> Result<(Tensor, [Tensor; 2])> {
        let last = self.before.composed_change(m, v)?;
        let (p, moments) = self.now.composed(p, g, &[m.clone(), v.clone()])?;
        Ok(((p + last)?, moments))
    }
}

/// One step of optimistic gradient descent; the weight decay is added to the gradient.
///
/// ```text
///   g <- g + weight_decay p             b <- momentum b + g
///   p <- p - lr (b_t + (b_t - b_(t-1)))                                (- lr b_1 in the first step)
/// ```
#[derive(Clone, Copy, Debug)]
pub(crate) struct OptimisticSgd {
    pub(crate) lr: f64,
    pub(crate) momentum: f64,
    pub(crate) weight_decay: f64,
    /// Whether there is no step before.
    pub(crate) first: bool,
}

impl Rule<1> for OptimisticSgd {
    const NAME: &'static str = "optimistic-sgd";

    #[inline(always)]
    fn fused<T: Float, const FMA: bool>(self, p: &mut [T], g: &[T], [b]: [&mut [T]; 1]) {
        let (lr, momentum) = (T::from_f64(self.lr), T::from_f64(self.momentum));
        let decay = T::from_f64(self.weight_decay);
        let change = T::from_f64(f64::from(u8::from(!self.first)));
        for ((p, &g), b) in p.iter_mut().zip(g).zip(b) {
            let last = *b;
            let g = T::fma::<FMA>(decay, *p, g);
            *b = T::fma::<FMA>(momentum, last, g);
            *p -= lr * T::fma::<FMA>(change, *b - last, *b);
        }
    }

    fn composed(self, p: &Tensor, g: &Tensor, [b]: &[Tensor; 1]) -> Result<(Tensor, [Tensor; 1])> {
        let g = (g + (p * self.weight_decay)?)?;
        let next = ((b * self.momentum)? + &g)?;
        let step = match self.first {
            true => next.clone(),
            false => ((&next * 2.)? - b)?,
        };
        Ok(((p - (step * self.lr)?)?, [next]))
    }
}

#[cfg(test)]
mod tests {
    use super::super::update::tests::{fused_equals_composed, half_follows_single};
    use super::*;

    #[test]
    fn fused_is_composed() -> Result<()> {
        fused_equals_composed(|t| OptimisticAdam::new(t, 0.01, (0.5, 0.9), 1e-6, 0.3))?;
        half_follows_single(|t| OptimisticAdam::new(t, 0.01, (0.5, 0.9), 1e-6, 0.1))?;
        for momentum in [0., 0.6] {
            let rule = |t| OptimisticSgd {
                lr: 0.05,
                momentum,
                weight_decay: 0.1,
                first: t == 1,
            };
            fused_equals_composed(rule)?;
            half_follows_single(rule)?;
        }
        Ok(())
    }
}

//! The step of Adam with decoupled weight decay.

use crate::kernels::number::Float;
use crate::kernels::step::update::Rule;
use candle_core::{Result, Tensor};

/// One step of one variable, with the bias corrections of its own step count.
///
/// ```text
///   m <- m + (1 - beta1) (g - m)        v <- beta2 v + (1 - beta2) g^2
///   p <- (1 - lr weight_decay) p - lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
/// ```
#[derive(Clone, Copy, Debug)]
pub(crate) struct Adam {
    keep: f64,
    size: f64,
    root: f64,
    eps: f64,
    first: f64,
    beta2: f64,
    second: f64,
}

impl Adam {
    /// Step number `t`, counted from 1.
    pub(crate) fn new(t: u64, lr: f64, betas: (f64, f64), eps: f64, weight_decay: f64) -> Self {
        let (beta1, beta2) = betas;
        Adam {
            keep: 1. - lr * weight_decay,
            size: lr / (1. - beta1.powf(t as f64)),
            root: (1. - beta2.powf(t as f64)).sqrt().recip(),
            eps,
            first: 1. - beta1,
            beta2,
            second: 1. - beta2,
        }
    }
}

/// The numbers of a step in the precision of the parameters.
#[derive(Clone, Copy)]
pub(super) struct Rounded<T> {
    pub(super) keep: T,
    size: T,
    root: T,
    eps: T,
    first: T,
    beta2: T,
    second: T,
}

impl Adam {
    #[inline(always)]
    pub(super) fn rounded<T: Float>(self) -> Rounded<T> {
        Rounded {
            keep: T::from_f64(self.keep),
            size: T::from_f64(self.size),
            root: T::from_f64(self.root),
            eps: T::from_f64(self.eps),
            first: T::from_f64(self.first),
            beta2: T::from_f64(self.beta2),
            second: T::from_f64(self.second),
        }
    }

    /// What these moments change of a parameter.
    pub(super) fn composed_change(self, m: &Tensor, v: &Tensor) -> Result<Tensor> {
        (m * self.size)? / v.sqrt()?.affine(self.root, self.eps)?
    }

    /// The same step with another share of the parameter.
    pub(super) fn keeping(self, keep: f64) -> Self {
        Adam { keep, ..self }
    }
}

impl<T: Float> Rounded<T> {
    #[inline(always)]
    pub(super) fn advance<const FMA: bool>(self, g: T, m: &mut T, v: &mut T) {
        *m = T::fma::<FMA>(self.first, g - *m, *m);
        *v = T::fma::<FMA>(self.beta2, *v, self.second * g * g);
    }

    #[inline(always)]
    pub(super) fn change<const FMA: bool>(self, m: T, v: T) -> T {
        self.size * m / T::fma::<FMA>(v.root(), self.root, self.eps)
    }
}

impl Rule<2> for Adam {
    const NAME: &'static str = "adam";

    #[inline(always)]
    fn fused<T: Float, const FMA: bool>(self, p: &mut [T], g: &[T], [m, v]: [&mut [T]; 2]) {
        let step = self.rounded::<T>();
        for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            step.advance::<FMA>(g, m, v);
            *p = *p * step.keep - step.change::<FMA>(*m, *v);
        }
    }

    fn composed(
        self,
        p: &Tensor,
        g: &Tensor,
        [m, v]: &[Tensor; 2],
    ) -> Result<(Tensor, [Tensor; 2])> {
        let m = (m + ((g - m)? * self.first)?)?;
        let v = ((v * self.beta2)? + (g.sqr()? * self.second)?)?;
        let p = ((p * self.keep)? - self.composed_change(&m, &v)?)?;
        Ok((p, [m, v]))
    }
}

#[cfg(test)]
mod tests {
    use super::super::update::tests::{fused_equals_composed, half_follows_single};
    use super::*;

    #[test]
    fn fused_is_composed() -> Result<()> {
        fused_equals_composed(|t| Adam::new(t, 0.01, (0.9, 0.999), 1e-8, 0.))?;
        fused_equals_composed(|t| Adam::new(t, 0.01, (0.8, 0.95), 1e-6, 0.3))?;
        half_follows_single(|t| Adam::new(t, 0.01, (0.9, 0.999), 1e-8, 0.1))
    }
}

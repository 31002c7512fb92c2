//! The step of Adam with decoupled weight decay.

use crate::kernels::number::Float;
use crate::kernels::step::master::Kept;
use crate::kernels::step::update::{Moved, Rule};
use candle_core::{Result, Tensor, Var};

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

impl Rule<2> for Adam {
    const NAME: &'static str = "adam";

    #[inline(always)]
    fn fused<T: Float, const FMA: bool>(self, p: &mut [T], g: &[T], [m, v]: [&mut [T]; 2]) {
        let of = T::from_f64;
        let (keep, size, root, eps) = (of(self.keep), of(self.size), of(self.root), of(self.eps));
        let (first, beta2, second) = (of(self.first), of(self.beta2), of(self.second));
        for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            *m = T::fma::<FMA>(first, g - *m, *m);
            *v = T::fma::<FMA>(beta2, *v, second * g * g);
            let denominator = T::fma::<FMA>(v.root(), root, eps);
            *p = *p * keep - size * *m / denominator;
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
        let denominator = v.sqrt()?.affine(self.root, self.eps)?;
        let p = ((p * self.keep)? - ((&m * self.size)? / denominator)?)?;
        Ok((p, [m, v]))
    }
}

/// Updates the variable and its two moments in place.
pub(crate) fn adam(
    rule: Adam,
    var: &Var,
    gradient: &Tensor,
    moments: &mut Kept<2>,
) -> Result<Moved> {
    moments.update(rule, var, gradient)
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

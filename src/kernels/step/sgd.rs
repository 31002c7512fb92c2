//! The step of stochastic gradient descent with momentum.

use crate::kernels::number::Float;
use crate::kernels::step::update::Rule;
use candle_core::{Result, Tensor};

/// One step of one variable; the weight decay is added to the gradient.
///
/// ```text
///   g <- g + weight_decay p             b <- momentum b + g
///   p <- p - lr b                       (p - lr (g + momentum b) with Nesterov's momentum, p - lr g without momentum)
/// ```
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sgd {
    pub(crate) lr: f64,
    pub(crate) momentum: f64,
    pub(crate) nesterov: bool,
    pub(crate) weight_decay: f64,
}

impl Rule<1> for Sgd {
    const NAME: &'static str = "sgd";

    #[inline(always)]
    fn fused<T: Float, const FMA: bool>(self, p: &mut [T], g: &[T], [b]: [&mut [T]; 1]) {
        let (lr, momentum) = (T::from_f64(self.lr), T::from_f64(self.momentum));
        let decay = T::from_f64(self.weight_decay);
        if self.momentum == 0. {
            // The state stays untouched: its pages are never needed.
            for (p, &g) in p.iter_mut().zip(g) {
                *p -= lr * T::fma::<FMA>(decay, *p, g);
            }
        } else if self.nesterov {
            for ((p, &g), b) in p.iter_mut().zip(g).zip(b) {
                let g = T::fma::<FMA>(decay, *p, g);
                *b = T::fma::<FMA>(momentum, *b, g);
                *p -= lr * T::fma::<FMA>(momentum, *b, g);
            }
        } else {
            for ((p, &g), b) in p.iter_mut().zip(g).zip(b) {
                let g = T::fma::<FMA>(decay, *p, g);
                *b = T::fma::<FMA>(momentum, *b, g);
                *p -= lr * *b;
            }
        }
    }

    fn composed(self, p: &Tensor, g: &Tensor, [b]: &[Tensor; 1]) -> Result<(Tensor, [Tensor; 1])> {
        let g = (g + (p * self.weight_decay)?)?;
        if self.momentum == 0. {
            return Ok(((p - (g * self.lr)?)?, [b.clone()]));
        }
        let b = ((b * self.momentum)? + &g)?;
        let step = if self.nesterov {
            (g + (&b * self.momentum)?)?
        } else {
            b.clone()
        };
        Ok(((p - (step * self.lr)?)?, [b]))
    }
}

#[cfg(test)]
mod tests {
    use super::super::update::tests::{fused_equals_composed, half_follows_single};
    use super::*;

    #[test]
    fn fused_is_composed() -> Result<()> {
        for (momentum, nesterov) in [(0., false), (0.9, false), (0.9, true)] {
            for weight_decay in [0., 0.1] {
                let rule = Sgd {
                    lr: 0.05,
                    momentum,
                    nesterov,
                    weight_decay,
                };
                fused_equals_composed(|_| rule)?;
                half_follows_single(|_| rule)?;
            }
        }
        Ok(())
    }
}

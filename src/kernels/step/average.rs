//! The step of an exponential average.

use crate::kernels::number::Float;
use crate::kernels::step::update::Rule;
use candle_core::{Result, Tensor};

/// Moves the average by this share of the way to the value that stands in the gradient's place.
///
/// ```text
///   p <- p + share (g - p)
/// ```
#[derive(Clone, Copy, Debug)]
pub(crate) struct Average {
    pub(crate) share: f64,
}

impl Rule<0> for Average {
    const NAME: &'static str = "average";

    #[inline(always)]
    fn fused<T: Float, const FMA: bool>(self, p: &mut [T], g: &[T], _: [&mut [T]; 0]) {
        if self.share == 1. {
            // A copy, bit for bit.
            p.copy_from_slice(g);
            return;
        }
        let share = T::from_f64(self.share);
        for (p, &g) in p.iter_mut().zip(g) {
            *p = T::fma::<FMA>(share, g - *p, *p);
        }
    }

    fn composed(self, p: &Tensor, g: &Tensor, _: &[Tensor; 0]) -> Result<(Tensor, [Tensor; 0])> {
        if self.share == 1. {
            return Ok((g.clone(), []));
        }
        Ok(((p + ((g - p)? * self.share)?)?, []))
    }
}

#[cfg(test)]
mod tests {
    use super::super::update::tests::{fused_equals_composed, half_follows_single};
    use super::*;

    #[test]
    fn fused_is_composed() -> Result<()> {
        fused_equals_composed(|t| Average {
            share: 0.5 / t as f64,
        })?;
        half_follows_single(|t| Average {
            share: 0.5 / t as f64,
        })
    }
}

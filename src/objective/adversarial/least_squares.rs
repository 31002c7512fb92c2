//! The least-squares loss.

use super::{AdversarialLoss, CriticLoss, GeneratorLoss, scores};
use crate::check;
use crate::error::{Error, Result};
use crate::kernels::elementwise::Formula;
use crate::kernels::elementwise::mean::with_mean;
use crate::kernels::number::Real;
use crate::shape;
use candle_core::Tensor;

/// Scores are regressed on targets.
///
/// Formula: the critic minimizes `L = (E_real[(v - b)^2] + E_fake[(v - a)^2]) / 2` with targets b of data and a of fakes, the
/// generator `E_fake[(v - c)^2] / 2`.
///
/// Divergence: `2 - 8 L / (b - a)^2`. The best critic is `(b p + a q) / (p + q)`, and its divergence the triangular
/// discrimination, the integral of `(p - q)^2 / (p + q)`, between 0 and 2, whatever the targets are.
///
/// Errors: those of [`AdversarialLoss`]; targets that are not finite; a and b equal, or so near or far
/// that `(b - a)^2` underflows or overflows.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::{AdversarialLoss, LeastSquares};
/// # fn main() -> candle_prob::Result<()> {
/// let (real, fake) = (Tensor::new(&[1f64, 1.], &Device::Cpu)?, Tensor::new(&[0f64], &Device::Cpu)?);
/// let critic = LeastSquares::default().critic(&real, &fake)?;
/// // Told apart.
/// assert_eq!(critic.divergence.to_scalar::<f64>()?, 2.);
/// # Ok(())
/// # }
/// ```
///
/// Source: Mao et al. (2017), Least squares generative adversarial networks, eq. 2 (with b - c = 1 and b - a = 2 its
/// generator minimizes Pearson's divergence of p + q from 2 q, theorem 1); the discrimination: Topsoe (2000).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LeastSquares {
    /// The target b of data: 1 by default.
    pub real: f64,
    /// The target a of fakes: 0 by default.
    pub fake: f64,
    /// The target c that the generator wants for its own: 1 by default.
    pub generator: f64,
}

impl Default for LeastSquares {
    fn default() -> Self {
        LeastSquares {
            real: 1.,
            fake: 0.,
            generator: 1.,
        }
    }
}

/// `(v - target)^2 / 2`.
#[derive(Clone, Copy)]
struct Square(f64);

impl Formula<1> for Square {
    const QUICK: bool = true;
    const SINGLE: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [v]: [R; 1]) -> R {
        (v - self.0).square() * 0.5
    }
}

impl AdversarialLoss for LeastSquares {
    fn critic(&self, real: &Tensor, fake: &Tensor) -> Result<CriticLoss> {
        let op = "LeastSquares::critic";
        check::finite(op, "real target", self.real)?;
        check::finite(op, "fake target", self.fake)?;
        let gap = self.real - self.fake;
        let factor = 8. / (gap * gap);
        if !factor.is_normal() {
            let expected = format!(
                "a target whose distance from that of data, {}, has a square above 0 and finite",
                self.real
            );
            return Err(Error::value(op, "fake target", expected, self.fake));
        }
        scores(op, real, fake)?;
        let real = with_mean(op, Square(self.real), real)?;
        let fake = with_mean(op, Square(self.fake), fake)?;
        CriticLoss::of(real, fake, 2., factor)
    }

    fn generator(&self, _: &Tensor, fake: &Tensor) -> Result<GeneratorLoss> {
        let op = "LeastSquares::generator";
        check::finite(op, "generator target", self.generator)?;
        shape::parameter(op, "fake", fake)?;
        Ok(GeneratorLoss::of(with_mean(
            op,
            Square(self.generator),
            fake,
        )?))
    }
}

//! The capacity that a code is held to.

use crate::check;
use crate::error::Result;
use crate::kernels::elementwise::{Formula, named};
use crate::kernels::number::Real;
use crate::shape;
use candle_core::Tensor;

/// A rate that codes are to have, no less and no more.
///
/// Formula: `|rate - C|` of each example, in place of the rate: `distortion + gamma |rate - C|`, with a C that rises in
/// training (`optim::Schedule::Linear`).
///
/// Gradients: those of the rate, with the sign of `rate - C`; 0 where both are equal.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::{Capacity, DistortionRate};
/// use candle_prob::optim::Schedule;
/// # fn main() -> candle_prob::Result<()> {
/// let (distortion, rate) = (Tensor::new(&[10f64, 10.], &Device::Cpu)?, Tensor::new(&[1f64, 6.], &Device::Cpu)?);
/// // From 0 to 25 nats in 100,000 steps.
/// let capacity = Schedule::Linear { from: 0., to: 25., steps: 100_000 };
/// let off = Capacity { nats: capacity.at(16_000) }.of(&rate)?;
/// assert_eq!(off.to_vec1::<f64>()?, [3., 2.]);
/// let parts = DistortionRate::new(distortion, off, 1000.)?;
/// assert_eq!(parts.total.to_vec1::<f64>()?, [3010., 2010.]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Burgess et al. (2018), Understanding disentangling in beta-VAE, eq. 8.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Capacity {
    /// The capacity C, in nats.
    pub nats: f64,
}

impl Capacity {
    /// Of the rate of each example, of any shape.
    ///
    /// Errors: a capacity that is negative or not finite, a rate that is not floating point.
    pub fn of(&self, rate: &Tensor) -> Result<Tensor> {
        let op = "Capacity::of";
        check::non_negative(op, "nats", self.nats)?;
        shape::float(op, "rate", rate)?;
        named(op, Distance(self.nats), [rate])
    }
}

/// `|x - c|`, without a slope at its kink.
#[derive(Clone, Copy)]
struct Distance(f64);

impl Formula<1> for Distance {
    #[inline(always)]
    fn at<R: Real>(self, [x]: [R; 1]) -> R {
        if x.value() == self.0 {
            R::constant(0.)
        } else {
            (x - self.0).abs()
        }
    }
}

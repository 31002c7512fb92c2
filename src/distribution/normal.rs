//! The normal distribution.

use super::*;
use std::f64::consts::PI;

/// Normal distribution with mean `loc` and standard deviation `scale`.
///
/// Formula: `log p(x) = -((x - loc) / scale)^2 / 2 - ln scale - ln(2 pi) / 2`.
///
/// Shapes: `loc` and `scale` broadcast to the batch shape; the event is scalar. Units: nats.
///
/// Gradients: pathwise, `x = loc + scale * eps`.
///
/// Errors: parameters that are empty, not floating point, of different dtype or device, or do not broadcast.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::{Rng, distribution::{Distribution, Normal}};
/// # fn main() -> candle_prob::Result<()> {
/// let loc = Tensor::new(&[0f64, 10.], &Device::Cpu)?;
/// let normal = Normal::new(&loc, &Tensor::new(&[1f64], &Device::Cpu)?)?;
/// let x = normal.sample(&[1000], &mut Rng::new(0))?;
/// assert_eq!(x.dims(), &[1000, 2]);
/// let at_mean = normal.log_prob(&loc)?.to_vec1::<f64>()?;
/// assert!((at_mean[0] + 0.918938533204673).abs() < 1e-14);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Normal {
    loc: Tensor,
    scale: Tensor,
}

impl Normal {
    /// From mean and standard deviation.
    pub fn new(loc: &Tensor, scale: &Tensor) -> Result<Self> {
        let [loc, scale] =
            shape::broadcast_parameters("Normal::new", [("loc", loc), ("scale", scale)])?;
        Ok(Normal { loc, scale })
    }

    /// The mean.
    pub fn loc(&self) -> &Tensor {
        &self.loc
    }

    /// The standard deviation.
    pub fn scale(&self) -> &Tensor {
        &self.scale
    }
}

impl Distribution for Normal {
    fn batch_shape(&self) -> &[usize] {
        self.loc.dims()
    }

    fn event_shape(&self) -> &[usize] {
        &[]
    }

    fn sample(&self, shape: &[usize], rng: &mut Rng) -> Result<Tensor> {
        let eps = rng.normal(
            shape::concat(&[shape, self.batch_shape()]),
            self.loc.dtype(),
            self.loc.device(),
        )?;
        Ok(eps.broadcast_mul(&self.scale)?.broadcast_add(&self.loc)?)
    }

    fn log_prob(&self, value: &Tensor) -> Result<Tensor> {
        let op = "Normal::log_prob";
        shape::same_kind(op, "value", value, &self.loc)?;
        shape::value_shape(op, value, self.batch_shape(), &[])?;
        let z = value.broadcast_sub(&self.loc)?.broadcast_div(&self.scale)?;
        let constant = 0.5 * (2. * PI).ln();
        Ok((z.sqr()? * -0.5)?.broadcast_sub(&(self.scale.log()? + constant)?)?)
    }
}

impl Reparameterized for Normal {}

impl Moments for Normal {
    fn mean(&self) -> Result<Tensor> {
        Ok(self.loc.clone())
    }

    fn variance(&self) -> Result<Tensor> {
        Ok(self.scale.sqr()?)
    }
}

impl Entropy for Normal {
    fn entropy(&self) -> Result<Tensor> {
        Ok((self.scale.log()? + 0.5 * (1. + (2. * PI).ln()))?)
    }
}

impl Kl for Normal {
    fn kl(&self, other: &Normal) -> Result<Tensor> {
        // With r = scale_p / scale_q: (r^2 - 1 + ((loc_p - loc_q) / scale_q)^2) / 2 - ln r
        let r = self.scale.broadcast_div(&other.scale)?;
        let z = self
            .loc
            .broadcast_sub(&other.loc)?
            .broadcast_div(&other.scale)?;
        let squares = ((r.sqr()? - 1.)?.broadcast_add(&z.sqr()?)? * 0.5)?;
        Ok(squares.broadcast_sub(&r.log()?)?)
    }
}

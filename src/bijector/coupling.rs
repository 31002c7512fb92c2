//! Coupling layers.

use super::{Bijector, Split};
use crate::conditional::Conditional;
use crate::detach::Detach;
use crate::error::{Error, Result};
use candle_core::Tensor;

/// A coupling layer: one part of the event passes and says how the other part is transformed.
///
/// Formula: with `(a, b)` the parts, `y = (a, f(b))`, where the elementwise bijector `f` comes from `conditioner(a)`; the
/// log-det is that of f, summed. Both directions cost one call of the conditioner.
///
/// Shapes: `x` and `y` are `batch ++ event` as the [`Split`] wants them, the log-det is `batch`. The conditioner gets
/// the passing part and returns an elementwise bijector for the changing part: an [`Affine`](super::Affine) makes it
/// RealNVP's layer, a [`Shift`](super::Shift) NICE's, a spline that of neural spline flows. A network with a closure
/// around it is a conditioner.
///
/// Gradients: to the argument and to all that the conditioner has, its own graph's.
///
/// Errors: an argument that the split does not fit; a conditioner's bijector that couples elements; the conditioner's own.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::bijector::{Affine, Bijector, Coupling, Split};
/// # fn main() -> candle_prob::Result<()> {
/// let conditioner = |a: &Tensor| Affine::soft_clamped(&a.sqr()?, a, 2.);
/// let coupling = Coupling::new(Split::half(2, false)?, conditioner);
/// let x = Tensor::new(&[[3f64, 1.]], &Device::Cpu)?;
/// let y = coupling.transform(&x)?;
/// assert_eq!(y.to_vec2::<f64>()?[0][0], 3.);
/// assert!((coupling.inverse(&y)?.to_vec2::<f64>()?[0][1] - 1.).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
///
/// Source: Dinh, Krueger and Bengio (2015), NICE, section 3; Dinh, Sohl-Dickstein and Bengio (2017), Density estimation
/// using Real NVP, equations 4 to 9.
#[derive(Debug, Clone)]
pub struct Coupling<C> {
    split: Split,
    conditioner: C,
}

impl<C: Conditional> Coupling<C>
where
    C::Output: Bijector,
{
    /// From the split and what turns its passing part into a bijector of the other.
    pub fn new(split: Split, conditioner: C) -> Self {
        Coupling { split, conditioner }
    }

    /// The split.
    pub fn split(&self) -> &Split {
        &self.split
    }

    /// The conditioner.
    pub fn conditioner(&self) -> &C {
        &self.conditioner
    }

    fn apply(
        &self,
        [op, arg]: [&'static str; 2],
        x: &Tensor,
        f: impl FnOnce(&C::Output, &Tensor) -> Result<(Tensor, Tensor)>,
    ) -> Result<(Tensor, Tensor)> {
        self.split.check(op, arg, x)?;
        let (passing, changing) = self.split.take(x)?;
        let bijector = self.conditioner.given(&passing)?;
        if bijector.event_rank() > 0 {
            let expected = "one that gives elementwise bijectors";
            let found = format!("one of event rank {}", bijector.event_rank());
            return Err(Error::value(op, "conditioner", expected, found));
        }
        let (changed, log_det) = f(&bijector, &changing)?;
        let y = self.split.merge(&passing, &changed)?;
        Ok((y, self.split.sum_changing(log_det)?))
    }
}

impl<C: Conditional> Bijector for Coupling<C>
where
    C::Output: Bijector,
{
    fn event_rank(&self) -> usize {
        self.split.event_rank()
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let names = ["Coupling::transform", "x"];
        self.apply(names, x, |f, b| f.transform_and_log_det(b))
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        let names = ["Coupling::inverse", "y"];
        self.apply(names, y, |f, b| f.inverse_and_log_det(b))
    }
}

impl<C: Detach> Detach for Coupling<C> {
    fn detach(&self) -> Self {
        Coupling {
            split: self.split.clone(),
            conditioner: self.conditioner.detach(),
        }
    }
}

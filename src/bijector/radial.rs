//! Radial flows.

use super::{Bijector, vectors};
use crate::detach::Detach;
use crate::error::{Error, Result};
use crate::kernels::elementwise::{Formula, named};
use crate::kernels::number::Real;
use crate::kernels::reduce;
use crate::shape;
use candle_core::{D, Tensor};

/// A radial flow: vectors move towards a centre or away from it.
///
/// Formula: `y = x + b (x - center) / (a + r)` with `r = |x - center|`, `a = softplus(alpha)` and `b = softplus(beta) - a`, so
/// that the map is invertible; `ln |det dy/dx| = (d - 1) ln(1 + b h) + ln(1 + b h - b r h^2)` with `h = 1 / (a + r)`. Both
/// directions are cheap: the radius of x is a root of a quadratic in that of y.
///
/// Shapes: `center` is `batch ++ [d]`, `alpha` and `beta` are `batch`; `x` and `y` are `S ++ batch ++ [d]`, the log-det is
/// `S ++ batch`. Gradients: to argument and parameters, first derivatives only.
///
/// Errors: parameters that do not broadcast; an argument that does not fit them.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::bijector::{Bijector, Radial};
/// # fn main() -> candle_prob::Result<()> {
/// let number = |x: f64| Tensor::new(x, &Device::Cpu);
/// let radial = Radial::new(&Tensor::new(&[1f64, 2.], &Device::Cpu)?, &number(0.5)?, &number(-2.)?)?;
/// let x = Tensor::new(&[0.3, 0.4], &Device::Cpu)?;
/// let off = (radial.inverse(&radial.transform(&x)?)? - x)?.abs()?;
/// assert!(off.max_all()?.to_scalar::<f64>()? < 1e-14);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: the log-det has a kink at the centre; its gradient there is 0.
///
/// Source: Rezende and Mohamed (2015), Variational inference with normalizing flows, equation 14 and appendix A.2.
#[derive(Debug, Clone)]
pub struct Radial {
    center: Tensor,
    alpha: Tensor,
    beta: Tensor,
    shape: Vec<usize>,
}

impl Radial {
    /// From the centre and two unbounded numbers: the softplus of `alpha` is the width, that of `beta` over it the factor by
    /// which distances near the centre grow.
    pub fn new(center: &Tensor, alpha: &Tensor, beta: &Tensor) -> Result<Self> {
        let op = "Radial::new";
        shape::parameter(op, "center", center)?;
        let [both, _] = shape::broadcast_filled(op, [("alpha", alpha), ("beta", beta)])?;
        shape::same_kind(op, "alpha", alpha, center)?;
        let Some((d, batch)) = center.dims().split_last() else {
            return Err(Error::shape(op, "center", "batch ++ [d]", center.dims()));
        };
        let batch = shape::broadcast_with(op, "alpha", both.dims(), batch)?;
        Ok(Radial {
            center: center.clone(),
            alpha: alpha.clone(),
            beta: beta.clone(),
            shape: [&batch[..], &[*d]].concat(),
        })
    }

    /// The centre.
    pub fn center(&self) -> &Tensor {
        &self.center
    }

    fn apply(&self, op: &'static str, inverse: bool, x: &Tensor) -> Result<(Tensor, Tensor)> {
        vectors::check(op, x, &self.center, &self.shape)?;
        let from = x.broadcast_sub(&self.center)?;
        let square = reduce::sum(&from.sqr()?)?;
        let arguments = [&square, &self.alpha, &self.beta];
        let dims = x.dim(D::Minus1)?;
        let factor = named(op, Stretch { inverse }, arguments)?;
        let moved = from.broadcast_mul(&factor.unsqueeze(D::Minus1)?)?;
        let log_det = named(op, LogDet { inverse, dims }, arguments)?;
        Ok((moved.broadcast_add(&self.center)?, log_det))
    }
}

impl Bijector for Radial {
    fn event_rank(&self) -> usize {
        1
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        self.apply("Radial::transform", false, x)
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        self.apply("Radial::inverse", true, y)
    }
}

impl Detach for Radial {
    fn detach(&self) -> Self {
        Radial {
            center: self.center.detach(),
            alpha: self.alpha.detach(),
            beta: self.beta.detach(),
            ..self.clone()
        }
    }
}

/// The radius of x from the square of its own or, `inverse`, of y's; `rise` is a + b.
#[inline(always)]
fn radius<R: Real>(inverse: bool, square: R, a: R, rise: R) -> R {
    let r = square.value().sqrt();
    // What depends on the radius is smooth in the vector at 0, or has a kink: no slope.
    let own = R::chain([square], r, [if r == 0. { 0. } else { 0.5 / r }]);
    if !inverse {
        return own;
    }
    // r^2 + (rise - own) r - a own = 0, the root without cancellation.
    let p = own - rise;
    let root = (p.square() + a * own * 4.).sqrt();
    if p.value() > 0. {
        (p + root) * 0.5
    } else {
        a * own * 2. / (root - p)
    }
}

/// By what the distance from the centre is multiplied.
#[derive(Clone, Copy)]
struct Stretch {
    inverse: bool,
}

impl Formula<3> for Stretch {
    fn at<R: Real>(self, [square, alpha, beta]: [R; 3]) -> R {
        let (a, rise) = (alpha.softplus(), beta.softplus());
        let r = radius(self.inverse, square, a, rise);
        match self.inverse {
            false => (rise + r) / (a + r),
            true => (a + r) / (rise + r),
        }
    }
}

#[derive(Clone, Copy)]
struct LogDet {
    inverse: bool,
    dims: usize,
}

impl Formula<3> for LogDet {
    /// Over the common denominator all terms are positive.
    fn at<R: Real>(self, [square, alpha, beta]: [R; 3]) -> R {
        let (a, rise) = (alpha.softplus(), beta.softplus());
        let r = radius(self.inverse, square, a, rise);
        let wide = (a + r).ln();
        let across = (rise + r).ln() - wide;
        let along = (r.square() + a * r * 2. + a * rise).ln() - wide * 2.;
        let log = across * (self.dims as f64 - 1.) + along;
        if self.inverse { -log } else { log }
    }
}

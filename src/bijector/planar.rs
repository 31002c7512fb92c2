//! Planar flows.

use super::{Bijector, vectors};
use crate::detach::Detach;
use crate::error::{Error, Result};
use crate::kernels::elementwise::{Formula, named};
use crate::kernels::number::Real;
use crate::kernels::number::root::{self, At};
use crate::kernels::reduce;
use crate::{shape, special};
use candle_core::{D, Tensor};
use std::f64::consts::LN_2;

/// A planar flow: vectors are pushed along one direction, by what another direction says.
///
/// Formula: `y = x + u' tanh(w x + bias)` with `u' = u + (softplus(w u) - 1 - w u) w / |w|^2`, so that `w u' > -1` and the map
/// is invertible; `ln |det dy/dx| = ln(1 + (1 - tanh^2) w u')`. `transform` is cheap; `inverse` solves an equation in one
/// number, `t + (w u') tanh t = w y + bias`, by Newton's method within a bracket.
///
/// Shapes: `w` and `u` are `batch ++ [d]`, `bias` is `batch`; `x` and `y` are `S ++ batch ++ [d]`, the log-det is
/// `S ++ batch`. Gradients: to argument and parameters, first derivatives only; of the inverse by the implicit function.
///
/// Errors: parameters that do not broadcast; a w of zero; an argument that does not fit them.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::bijector::{Bijector, Planar};
/// # fn main() -> candle_prob::Result<()> {
/// let w = Tensor::new(&[1f64, -2.], &Device::Cpu)?;
/// let planar = Planar::new(&w, &Tensor::new(&[-3f64, 1.], &Device::Cpu)?, &Tensor::new(0.5, &Device::Cpu)?)?;
/// let x = Tensor::new(&[0.3, 0.4], &Device::Cpu)?;
/// let off = (planar.inverse(&planar.transform(&x)?)? - x)?.abs()?;
/// assert!(off.max_all()?.to_scalar::<f64>()? < 1e-12);
/// # Ok(())
/// # }
/// ```
///
/// Source: Rezende and Mohamed (2015), Variational inference with normalizing flows, equations 10 to 13 and appendix A.1.
#[derive(Debug, Clone)]
pub struct Planar {
    w: Tensor,
    pushed: Tensor,
    bias: Tensor,
    /// w u, which becomes softplus of it less 1.
    raw: Tensor,
    shape: Vec<usize>,
}

impl Planar {
    /// From the two directions and the shift; `u` is unbounded.
    pub fn new(w: &Tensor, u: &Tensor, bias: &Tensor) -> Result<Self> {
        let op = "Planar::new";
        for (arg, vectors) in [("w", w), ("u", u)] {
            shape::vectors(op, arg, vectors)?;
        }
        let [full, _] = shape::broadcast_parameters(op, [("w", w), ("u", u)])?;
        shape::same_kind(op, "bias", bias, w)?;
        let Some((d, batch)) = full.dims().split_last() else {
            return Err(Error::shape(op, "w", "batch ++ [d]", w.dims()));
        };
        let batch = shape::broadcast_with(op, "bias", bias.dims(), batch)?;
        let square = reduce::sum(&w.sqr()?)?.unsqueeze(D::Minus1)?;
        if square.elem_count() > 0 && !(vectors::least(&square)? > 0.) {
            return Err(Error::value(op, "w", "a vector that is not zero", 0.));
        }
        let raw = reduce::sum(&w.broadcast_mul(u)?)?.unsqueeze(D::Minus1)?;
        let missing = ((special::softplus(&raw)? - 1.)? - &raw)?;
        let along = w.broadcast_mul(&missing.broadcast_div(&square)?)?;
        Ok(Planar {
            w: w.clone(),
            pushed: u.broadcast_add(&along)?,
            bias: bias.clone(),
            raw: raw.squeeze(D::Minus1)?,
            shape: [&batch[..], &[*d]].concat(),
        })
    }

    /// u', what vectors are pushed along.
    pub fn pushed(&self) -> &Tensor {
        &self.pushed
    }

    fn projected(&self, op: &'static str, x: &Tensor) -> Result<Tensor> {
        vectors::check(op, x, &self.w, &self.shape)?;
        let dot = reduce::sum(&x.broadcast_mul(&self.w)?)?;
        Ok(dot.broadcast_add(&self.bias)?)
    }

    fn push(&self, t: &Tensor) -> Result<Tensor> {
        Ok(t.tanh()?
            .unsqueeze(D::Minus1)?
            .broadcast_mul(&self.pushed)?)
    }
}

impl Bijector for Planar {
    fn event_rank(&self) -> usize {
        1
    }

    fn transform_and_log_det(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let op = "Planar::transform";
        let t = self.projected(op, x)?;
        let log_det = named(op, LogSlope, [&t, &self.raw])?;
        Ok(((x + self.push(&t)?)?, log_det))
    }

    fn inverse_and_log_det(&self, y: &Tensor) -> Result<(Tensor, Tensor)> {
        let op = "Planar::inverse";
        let c = self.projected(op, y)?;
        let t = named(op, Root, [&c, &self.raw])?;
        let log_det = named(op, LogSlope, [&t, &self.raw])?.neg()?;
        Ok(((y - self.push(&t)?)?, log_det))
    }
}

impl Detach for Planar {
    fn detach(&self) -> Self {
        Planar {
            w: self.w.detach(),
            pushed: self.pushed.detach(),
            bias: self.bias.detach(),
            raw: self.raw.detach(),
            ..self.clone()
        }
    }
}

/// `ln(1 + k (1 - tanh^2 t))` for `k = softplus(raw) - 1`, as a sum of positive numbers.
#[derive(Clone, Copy)]
struct LogSlope;

impl Formula<2> for LogSlope {
    fn at<R: Real>(self, [t, raw]: [R; 2]) -> R {
        // 1 - tanh^2, with all digits far out.
        let bell = ((-t - (t * -2.).softplus() + LN_2) * 2.).exp();
        (t.tanh().square() + raw.softplus() * bell).ln()
    }
}

/// The t with `t + (softplus(raw) - 1) tanh t = c`.
#[derive(Clone, Copy)]
struct Root;

impl Formula<2> for Root {
    fn at<R: Real>(self, [c, raw]: [R; 2]) -> R {
        let rise = raw.value().softplus();
        let t = root(c.value(), rise);
        R::function([c, raw], t, || {
            let slope = slope(t, rise);
            [1. / slope, -t.tanh() * raw.value().sigmoid() / slope]
        })
    }
}

/// The derivative of `t + (rise - 1) tanh t`.
fn slope(t: f64, rise: f64) -> f64 {
    let h = t.tanh();
    h * h + rise * (1. - h) * (1. + h)
}

fn root(c: f64, rise: f64) -> f64 {
    if !(c.is_finite() && rise.is_finite()) {
        return f64::NAN;
    }
    let k = rise - 1.;
    let bracket = [c - k.abs(), c + k.abs()];
    // By then the bracket has the root, up to rounding.
    let width = f64::EPSILON * c.abs().max(k.abs()).max(1.);
    let found = root::rising(bracket, width, |t| At {
        value: t + k * t.tanh() - c,
        slope: slope(t, rise),
        noise: 0.,
    });
    found.unwrap_or(f64::NAN)
}

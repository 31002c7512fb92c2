//! `power * ln x`, the logarithm of the power law in many densities, with its limits at zero.

use crate::error::Result;
use crate::kernels::elementwise::{Formula, formula, on_cpu};
use crate::kernels::number::Real;
use candle_core::Tensor;

/// `power * ln x` for x in (0, inf). At zero the limit: 0 for a power of zero, else -inf or +inf. Outside -inf, NaN stays.
///
/// The arguments broadcast. Gradients are finite wherever the value is: they are those of `power * ln x` inside and zero
/// elsewhere.
pub(super) fn xlogy(power: &Tensor, x: &Tensor) -> Result<Tensor> {
    if on_cpu(x) {
        return formula(Xlogy { log: false }, [power, x]);
    }
    let zero = x.eq(0f64)?;
    let outside = (x.lt(0f64)? + x.ge(f64::INFINITY)?)?;
    let edge = (&zero + &outside)?;
    let safe = edge.where_cond(&x.ones_like()?, x)?;
    limits(power, &safe.log()?, &zero, &outside)
}

/// `power * log_x` with the limits of [`xlogy`]: at -inf that of zero, at +inf -inf.
pub(super) fn xlogy_of_log(power: &Tensor, log_x: &Tensor) -> Result<Tensor> {
    if on_cpu(log_x) {
        return formula(Xlogy { log: true }, [power, log_x]);
    }
    let zero = log_x.le(f64::NEG_INFINITY)?;
    let outside = log_x.ge(f64::INFINITY)?;
    let edge = (&zero + &outside)?;
    let safe = edge.where_cond(&log_x.zeros_like()?, log_x)?;
    limits(power, &safe, &zero, &outside)
}

#[derive(Clone, Copy)]
struct Xlogy {
    log: bool,
}

impl Formula<2> for Xlogy {
    #[inline(always)]
    fn at<R: Real>(self, [power, x]: [R; 2]) -> R {
        let at = if self.log { x.value().exp() } else { x.value() };
        if at < 0. || at == f64::INFINITY {
            return R::constant(f64::NEG_INFINITY);
        }
        if self.log && x.value() > f64::NEG_INFINITY {
            return power * x;
        }
        power.xlogy(if self.log { R::constant(at) } else { x })
    }
}

/// `power * log_x`, to which the values at the edges are added as constants: a selection after the product would let
/// 0 * inf through in the gradient.
fn limits(power: &Tensor, log_x: &Tensor, zero: &Tensor, outside: &Tensor) -> Result<Tensor> {
    let product = power.broadcast_mul(log_x)?;
    let shape = product.shape();
    let constant = |value: f64| -> Result<Tensor> {
        Ok(Tensor::new(value, power.device())?.to_dtype(power.dtype())?)
    };
    let (none, minus) = (constant(0.)?, constant(f64::NEG_INFINITY)?);
    let plus = constant(f64::INFINITY)?.broadcast_as(power.shape())?;
    let fixed = power.detach();
    let here = fixed.shape();
    let limit = fixed
        .lt(0f64)?
        .where_cond(&plus, &none.broadcast_as(here)?)?;
    let limit = fixed
        .gt(0f64)?
        .where_cond(&minus.broadcast_as(here)?, &limit)?;
    let none = none.broadcast_as(shape)?;
    let at_zero = zero
        .broadcast_as(shape)?
        .where_cond(&limit.broadcast_as(shape)?, &none)?;
    let added = outside
        .broadcast_as(shape)?
        .where_cond(&minus.broadcast_as(shape)?, &at_zero)?;
    Ok((product + added)?)
}

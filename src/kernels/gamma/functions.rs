//! ln Gamma and digamma of parameter tensors, in double precision inside whatever the dtype.

use super::on_cpu;
use crate::error::Result;
use crate::kernels::buffer::{self, View};
use crate::kernels::node::{self, Fresh, Op, Reached};
use candle_core::{DType, Tensor, WithDType};
use statrs::function::gamma as scalar;
use std::marker::PhantomData;

/// ln Gamma(x) for positive x.
pub(crate) fn lgamma(x: &Tensor) -> Result<Tensor> {
    map(x, scalar::ln_gamma, scalar::digamma)
}

/// The derivative of ln Gamma for positive x.
pub(crate) fn digamma(x: &Tensor) -> Result<Tensor> {
    map(x, scalar::digamma, trigamma)
}

type Scalar = fn(f64) -> f64;

fn map(x: &Tensor, f: Scalar, derivative: Scalar) -> Result<Tensor> {
    on_cpu(&[x], |inputs| match inputs[0].dtype() {
        DType::F64 => node::apply1(Map(f, derivative, PhantomData::<f64>), &[&inputs[0]]),
        _ => node::apply1(Map(f, derivative, PhantomData::<f32>), &[&inputs[0]]),
    })
}

struct Map<T>(Scalar, Scalar, PhantomData<T>);

fn positive(f: Scalar, x: f64) -> f64 {
    if x > 0. { f(x) } else { f64::NAN }
}

impl<T: WithDType> Op for Map<T> {
    const NAME: &'static str = "gamma-function";

    fn forward(&mut self, inputs: &[Tensor], _: bool) -> candle_core::Result<Vec<Fresh>> {
        let x = View::new(&inputs[0])?;
        let x = x.as_slice::<T>()?;
        let f = self.0;
        let out = buffer::build(x.len(), buffer::CHUNK, |offset, out| {
            for (out, x) in out.iter_mut().zip(&x[offset..]) {
                *out = T::from_f64(positive(f, x.to_f64()));
            }
        });
        Ok(vec![(
            T::to_cpu_storage_owned(out),
            inputs[0].shape().clone(),
        )])
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        _: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let Some(Some(reached)) = outputs.first() else {
            return Ok(vec![None]);
        };
        let (x, gradient) = (View::new(&inputs[0])?, View::new(&reached.gradient)?);
        let (x, gradient) = (x.as_slice::<T>()?, gradient.as_slice::<T>()?);
        let f = self.1;
        let out = buffer::build(x.len(), buffer::CHUNK, |offset, out| {
            let arguments = x[offset..].iter().zip(&gradient[offset..]);
            for (out, (x, gradient)) in out.iter_mut().zip(arguments) {
                *out = T::from_f64(positive(f, x.to_f64()) * gradient.to_f64());
            }
        });
        let shape = inputs[0].dims();
        Ok(vec![Some(Tensor::from_vec(
            out,
            shape,
            inputs[0].device(),
        )?)])
    }
}

/// The derivative of digamma for positive x: recurrence up to 8, then the asymptotic series with Bernoulli numbers.
fn trigamma(mut x: f64) -> f64 {
    let mut sum = 0.;
    while x < 8. {
        sum += 1. / (x * x);
        x += 1.;
    }
    let z = 1. / (x * x);
    let series = [5. / 66., -1. / 30., 1. / 42., -1. / 30., 1. / 6.]
        .iter()
        .fold(-691. / 2730., |p, b| p * z + b);
    sum + 1. / x + 0.5 * z + series * z / x
}

//! Gamma and Dirichlet draws with implicit (pathwise) gradients, each as one node.
//!
//! Everything happens in logarithms: a draw at concentration 0.001 is about e^-1000. The derivative of a draw with respect
//! to its concentration is computed in the backward pass from the draw itself, so the forward pass keeps nothing.
//! There is no composed form: candle has none of the functions involved. Other devices and dtypes go through f32 on the
//! CPU. First derivatives only.

mod density;
mod dirichlet;
mod element;
mod implicit;
mod parts;
mod rows;
mod sample;
mod simplex;
#[cfg(test)]
mod tests;
mod xlogy;

pub(crate) use density::dirichlet_log_prob;
pub(crate) use dirichlet::dirichlet;
pub(crate) use sample::log_f64 as log_gamma;

use crate::error::Result;
use crate::kernels::elementwise::composed::double;
use crate::kernels::graph::node::{self, Fresh, Op, Reached, weigh};
use crate::kernels::machine::buffer::{self, View};
use crate::kernels::random::{BLOCK, Stream};
use crate::kernels::reduce::range::{End, all_inside, first_outside};
use crate::shape;
use candle_core::{DType, Device, Tensor};
use element::Element;
use rows::{cycle, reduce};
use xlogy::{xlogy, xlogy_of_log};

/// Gamma draws of shape `samples ++ shape of concentration`, or their logarithms.
///
/// `rate` has the shape of `concentration`; `None` is 1. Reference expression: ln g - ln rate with g standard gamma.
/// Gradients: implicit in the concentration, `-1 / rate` (times the draw) in the rate.
pub(crate) fn gamma(
    concentration: &Tensor,
    rate: Option<&Tensor>,
    samples: &[usize],
    stream: Stream,
    log: bool,
) -> Result<Tensor> {
    let mut inputs = vec![concentration];
    inputs.extend(rate);
    let shape = shape::draws("Distribution::sample", samples, concentration.dims())?;
    on_cpu(&inputs, |inputs| {
        let arguments: Vec<&Tensor> = inputs.iter().collect();
        match inputs[0].dtype() {
            DType::F64 => node::apply1(Gamma::<f64>::new(stream, shape, log), &arguments),
            _ => node::apply1(Gamma::<f32>::new(stream, shape, log), &arguments),
        }
    })
}

/// Parameters in double precision where the device has it, for closed forms whose terms cancel; NaN where they are not
/// positive (ln Gamma would go on below zero).
pub(crate) fn wide(tensor: &Tensor) -> Result<Tensor> {
    let wide = double(tensor)?;
    let nan = Tensor::new(f64::NAN, wide.device())?.to_dtype(wide.dtype())?;
    Ok(wide
        .gt(0f64)?
        .where_cond(&wide, &nan.broadcast_as(wide.shape())?)?)
}

/// Whether one of these is so large that terms of its size, which cancel in a density, leave less digits of f64 than f32
/// has. What is not a number counts as large.
pub(crate) fn huge(concentration: &Tensor) -> Result<bool> {
    let (low, high) = (End::Closed(f64::NEG_INFINITY), End::Closed(1e6));
    Ok(!all_inside([(concentration, low, high)])
        && first_outside(concentration, low, high)?.is_some())
}

/// Calls `f` with the tensors as f32 or f64 on the CPU and brings the result back.
fn on_cpu(
    inputs: &[&Tensor],
    f: impl FnOnce(&[Tensor]) -> candle_core::Result<Tensor>,
) -> Result<Tensor> {
    let like = inputs[0];
    let native = match like.dtype() {
        DType::F64 => DType::F64,
        _ => DType::F32,
    };
    let local = inputs
        .iter()
        .map(|t| t.to_device(&Device::Cpu)?.to_dtype(native))
        .collect::<candle_core::Result<Vec<_>>>()?;
    Ok(f(&local)?
        .to_dtype(like.dtype())?
        .to_device(like.device())?)
}

struct Gamma<T> {
    stream: Stream,
    shape: Vec<usize>,
    log: bool,
    kind: std::marker::PhantomData<T>,
}

impl<T> Gamma<T> {
    fn new(stream: Stream, shape: Vec<usize>, log: bool) -> Self {
        Gamma {
            stream,
            shape,
            log,
            kind: std::marker::PhantomData,
        }
    }
}

impl<T: Element> Op for Gamma<T> {
    const NAME: &'static str = "gamma";

    fn forward(&mut self, inputs: &[Tensor], _: bool) -> candle_core::Result<Vec<Fresh>> {
        let concentration = View::new(&inputs[0])?;
        let concentration = concentration.as_slice::<T>()?;
        let rate = inputs.get(1).map(View::new).transpose()?;
        let rate = rate.as_ref().map(|r| r.as_slice::<T>()).transpose()?;
        let len = self.shape.iter().product();
        let out = buffer::build(len, BLOCK, |offset, out| {
            let a = cycle(concentration, offset, out.len());
            let rate = rate.map(|r| cycle(r, offset, out.len()));
            T::draws(
                self.stream,
                (offset / BLOCK) as u64,
                &a,
                rate.as_deref(),
                self.log,
                out,
            );
        });
        Ok(vec![(
            T::to_cpu_storage_owned(out),
            self.shape.clone().into(),
        )])
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        needs: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let Some(Some(reached)) = outputs.first() else {
            return Ok(vec![None; inputs.len()]);
        };
        let concentration = View::new(&inputs[0])?;
        let concentration = concentration.as_slice::<T>()?;
        let rate = inputs.get(1).map(View::new).transpose()?;
        let rate = rate.as_ref().map(|r| r.as_slice::<T>()).transpose()?;
        let value = reached.value.contiguous()?;
        let (value, gradient) = (View::new(&value)?, View::new(&reached.gradient)?);
        let (value, gradient) = (value.as_slice::<T>()?, gradient.as_slice::<T>()?);
        let mut results = vec![None; inputs.len()];
        let shape = inputs[0].dims();
        if needs[0] {
            let sums = reduce(
                value.len(),
                concentration.len(),
                BLOCK,
                |offset, out: &mut [T]| {
                    let range = offset..offset + out.len();
                    let a = cycle(concentration, offset, out.len());
                    let rate = rate.map(|r| cycle(r, offset, out.len()));
                    T::concentration_gradient(
                        &a,
                        rate.as_deref(),
                        self.log,
                        &value[range.clone()],
                        &gradient[range],
                        out,
                    );
                },
            );
            results[0] = Some(Tensor::from_vec(sums, shape, &Device::Cpu)?);
        }
        if let (Some(rate), Some(true)) = (rate, needs.get(1)) {
            let sums = reduce(value.len(), rate.len(), BLOCK, |offset, out: &mut [T]| {
                let range = offset..offset + out.len();
                let rate = cycle(rate, offset, out.len());
                for (((out, rate), x), g) in out
                    .iter_mut()
                    .zip(rate.iter())
                    .zip(&value[range.clone()])
                    .zip(&gradient[range])
                {
                    let g = if self.log { *g } else { weigh(*g, *x) };
                    *out = if g == T::zero() {
                        g
                    } else {
                        (T::zero() - g) / *rate
                    };
                }
            });
            results[1] = Some(Tensor::from_vec(sums, shape, &Device::Cpu)?);
        }
        Ok(results)
    }
}

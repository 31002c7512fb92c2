//! Distribution functions of mixtures on the line, each element with its own components, and their inverses.
//!
//! Everything is computed in f64 from the logarithms of both tails, which keep their digits where the function itself rounds
//! to 0 or 1. Values and slopes of an element need all its components at once, so that one node holds both outputs.

mod mixture;

use crate::error::{Error, Result};
use crate::kernels::graph::node::{self, Fresh, Op, Reached};
use crate::kernels::machine::buffer::{View, filled, parallel};
use crate::kernels::number::log_ndtr;
use candle_core::{DType, Device, Tensor, WithDType};
use mixture::{Mixture, product};
use std::marker::PhantomData;

/// Elements in a task.
const ROWS: usize = 64;

/// Elements below which threads cost more than they save.
const SERIAL: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Component {
    Logistic,
    Gaussian,
}

/// What is computed of the distribution function F.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// F.
    Probability,
    /// ln F - ln(1 - F).
    Logit,
    /// The standard normal quantile of F.
    Probit,
}

/// `y` and `ln dy/dx` of `x` [..] under mixtures with `logits`, `loc` and `log_scale`, each [.., K].
pub(crate) fn transform(
    kind: (Component, Scale),
    x: &Tensor,
    parameters: [&Tensor; 3],
) -> Result<[Tensor; 2]> {
    apply(kind, false, x, parameters)
}

/// `x` and `ln dx/dy` of `y`.
pub(crate) fn inverse(
    kind: (Component, Scale),
    y: &Tensor,
    parameters: [&Tensor; 3],
) -> Result<[Tensor; 2]> {
    apply(kind, true, y, parameters)
}

fn apply(
    kind: (Component, Scale),
    inverse: bool,
    argument: &Tensor,
    [logits, loc, log_scale]: [&Tensor; 3],
) -> Result<[Tensor; 2]> {
    let (dtype, device) = (argument.dtype(), argument.device());
    let wide = dtype == DType::F64;
    let native = if wide { DType::F64 } else { DType::F32 };
    let local = [argument, logits, loc, log_scale]
        .into_iter()
        .map(|t| t.to_device(&Device::Cpu)?.to_dtype(native)?.contiguous())
        .collect::<candle_core::Result<Vec<_>>>()?;
    let local: Vec<&Tensor> = local.iter().collect();
    let outputs = match wide {
        true => run::<f64>(kind, inverse, &local)?,
        false => run::<f32>(kind, inverse, &local)?,
    };
    let back = |t: &Tensor| t.to_dtype(dtype)?.to_device(device);
    match outputs.as_slice() {
        [y, log_det] => Ok([back(y)?, back(log_det)?]),
        _ => Err(candle_core::Error::Msg("mixture-cdf: two outputs".into()).into()),
    }
}

fn run<T: WithDType>(
    (component, scale): (Component, Scale),
    inverse: bool,
    inputs: &[&Tensor],
) -> Result<Vec<Tensor>> {
    let solved = if inverse {
        Some(solve::<T>(component, scale, inputs)?)
    } else {
        None
    };
    let op = Cdf::<T> {
        component,
        scale,
        solved,
        kind: PhantomData,
    };
    Ok(node::apply(op, inputs)?)
}

/// The x of every y: infinite at the ends, NaN beyond them.
fn solve<T: WithDType>(component: Component, scale: Scale, inputs: &[&Tensor]) -> Result<Vec<f64>> {
    let inputs: Vec<Tensor> = inputs.iter().map(|t| t.detach()).collect();
    with_mixtures::<T, _>(component, &inputs, |y, mixture| {
        // NaN where there is no x, and where none was found: told apart by y.
        let target = |y: f64| match scale {
            Scale::Probability => y.ln() - (-y).ln_1p(),
            Scale::Logit => y,
            Scale::Probit => log_ndtr(y) - log_ndtr(-y),
        };
        let found = build(y.len(), 1, |from, out| {
            for (i, out) in out.iter_mut().enumerate() {
                let t = target(y[from + i].to_f64());
                *out = match t.is_finite() {
                    true => mixture(from + i).quantile(t).unwrap_or(f64::NAN),
                    false => t,
                };
            }
        })?;
        let failed = |(x, y): &(&f64, &T)| x.is_nan() && target(y.to_f64()).is_finite();
        match found.iter().zip(y).find(failed) {
            Some((_, y)) => {
                let expected = "a number that finite parameters lead to";
                let found = format!("{} without a root", y.to_f64());
                Err(Error::value("MixtureCdf::inverse", "y", expected, found))
            }
            None => Ok(found),
        }
    })?
}

/// `width` numbers for each of `len` elements, written by `f(first element, their numbers)`.
fn build<T: Copy + Send + Sync>(
    len: usize,
    width: usize,
    f: impl Fn(usize, &mut [T]) + Sync,
) -> candle_core::Result<Vec<T>> {
    filled(len * width, |out| {
        if len < SERIAL {
            f(0, out);
        } else {
            parallel(out, ROWS * width, |from, out| f(from / width, out));
        }
        Ok(())
    })
}

/// Calls `f` with the arguments and with what gives the mixture of each.
fn with_mixtures<T: WithDType, R>(
    component: Component,
    inputs: &[Tensor],
    f: impl FnOnce(&[T], &(dyn Fn(usize) -> Mixture + Sync)) -> R,
) -> candle_core::Result<R> {
    let views = inputs.iter().map(View::new);
    let views = views.collect::<candle_core::Result<Vec<_>>>()?;
    let slices = views.iter().map(|v| v.as_slice::<T>());
    let slices = slices.collect::<candle_core::Result<Vec<_>>>()?;
    let [x, logits, loc, log_scale] = slices[..] else {
        candle_core::bail!("mixture-cdf: expected four inputs");
    };
    let k = inputs[1].dims().last().copied().unwrap_or(1);
    Ok(f(x, &|i| {
        let of = |part: &[T]| {
            part[i * k..(i + 1) * k]
                .iter()
                .map(|x| x.to_f64())
                .collect()
        };
        Mixture::new(component, of(logits), of(loc), of(log_scale))
    }))
}

/// Inputs: argument [..], logits, loc, log-scale [.., K]. Outputs: value and log-slope.
struct Cdf<T> {
    component: Component,
    scale: Scale,
    /// The values of the inverse.
    solved: Option<Vec<f64>>,
    kind: PhantomData<T>,
}

impl<T: WithDType> Op for Cdf<T> {
    const NAME: &'static str = "mixture-cdf";

    fn forward(&mut self, inputs: &[Tensor], _: bool) -> candle_core::Result<Vec<Fresh>> {
        let pairs = with_mixtures::<T, _>(self.component, inputs, |x, mixture| {
            build(x.len(), 1, |from, out: &mut [[T; 2]]| {
                for (i, out) in out.iter_mut().enumerate() {
                    let i = from + i;
                    let [value, log] = match &self.solved {
                        None => mixture(i).at(self.scale, x[i].to_f64()),
                        // Nothing to divide by at the ends.
                        Some(solved) if solved[i].is_infinite() => [solved[i], f64::INFINITY],
                        Some(solved) => {
                            let [_, log] = mixture(i).at(self.scale, solved[i]);
                            [solved[i], -log]
                        }
                    };
                    *out = [T::from_f64(value), T::from_f64(log)];
                }
            })
        })??;
        let outputs = (0..2).map(|j| {
            let part = pairs.iter().map(|pair| pair[j]).collect();
            (T::to_cpu_storage_owned(part), inputs[0].shape().clone())
        });
        Ok(outputs.collect())
    }

    /// Of the inverse by the implicit function: `d x = (d y - y' d parameters) / (dy/dx)`.
    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        _: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let views = outputs
            .iter()
            .map(|reached| reached.as_ref().map(|r| View::new(&r.gradient)).transpose())
            .collect::<candle_core::Result<Vec<_>>>()?;
        let gradients = views
            .iter()
            .map(|view| view.as_ref().map(|v| v.as_slice::<T>()).transpose())
            .collect::<candle_core::Result<Vec<_>>>()?;
        let gradient = |j: usize, i: usize| gradients[j].map_or(0., |g| g[i].to_f64());
        let count = inputs[0].elem_count();
        let k = inputs[1].elem_count() / count.max(1);
        // For each element: to the argument, then to its logits, loc and log-scales.
        let width = 1 + 3 * k;
        let all = with_mixtures::<T, _>(self.component, inputs, |x, mixture| {
            build(count, width, |from, out: &mut [T]| {
                for (i, out) in out.chunks_exact_mut(width).enumerate() {
                    let i = from + i;
                    if gradient(0, i) == 0. && gradient(1, i) == 0. {
                        out.fill(T::zero());
                        continue;
                    }
                    let mixture = mixture(i);
                    let (x, to) = match &self.solved {
                        None => (x[i].to_f64(), [gradient(0, i), gradient(1, i)]),
                        Some(solved) => {
                            let log = -gradient(1, i);
                            let x = solved[i];
                            let own = mixture.slopes(self.scale, x, [0., log], |_, _| {});
                            let [_, slope] = mixture.at(self.scale, x);
                            (x, [-product(gradient(0, i) + own, (-slope).exp()), log])
                        }
                    };
                    let to_x = mixture.slopes(self.scale, x, to, |c, to| {
                        for (j, to) in to.into_iter().enumerate() {
                            out[1 + j * k + c] = T::from_f64(to);
                        }
                    });
                    out[0] = T::from_f64(match self.solved {
                        None => to_x,
                        Some(_) => -to[0],
                    });
                }
            })
        })??;
        let part = |from: usize, len: usize, shape: &candle_core::Shape| {
            let rows = all.chunks_exact(width);
            let part: Vec<T> = rows
                .flat_map(|row| &row[from..from + len])
                .copied()
                .collect();
            Tensor::from_vec(part, shape, &Device::Cpu).map(Some)
        };
        let mut results = vec![part(0, 1, inputs[0].shape())?];
        for j in 0..3 {
            results.push(part(1 + j * k, k, inputs[1 + j].shape())?);
        }
        Ok(results)
    }
}

//! Distribution functions of mixtures on the line, each element with its own components, and their inverses.
//!
//! Everything is computed in f64 from the logarithms of both tails, which keep their digits where the function itself rounds
//! to 0 or 1. Values and slopes of an element need all its components at once, so that one node holds both outputs.

use super::buffer::{View, filled, parallel};
use super::node::{self, Fresh, Op, Reached};
use super::root::{self, At};
use super::special::{log_ndtr, mills, ndtri, ndtri_exp};
use crate::error::{Error, Result};
use candle_core::{DType, Device, Tensor, WithDType};
use std::f64::consts::TAU;
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

/// The mixture of one element.
struct Mixture {
    component: Component,
    log_weights: Vec<f64>,
    loc: Vec<f64>,
    log_scale: Vec<f64>,
}

/// Logarithms of F, of 1 - F and of the density, of a mixture or of a component.
#[derive(Clone, Copy)]
struct Logs {
    below: f64,
    above: f64,
    density: f64,
}

impl Logs {
    /// The standard normal quantile of F, from the smaller tail.
    fn probit(self) -> f64 {
        match self.below < self.above {
            true => ndtri_exp(self.below),
            false => -ndtri_exp(self.above),
        }
    }
}

/// The logarithm of a sum of exponentials, a number at a time.
#[derive(Clone, Copy)]
struct Sum {
    max: f64,
    sum: f64,
}

impl Sum {
    const ZERO: Sum = Sum {
        max: f64::NEG_INFINITY,
        sum: 0.,
    };

    fn add(&mut self, x: f64) {
        if x > self.max {
            self.sum = self.sum * (self.max - x).exp() + 1.;
            self.max = x;
        } else if x > f64::NEG_INFINITY {
            self.sum += (x - self.max).exp();
        } else if x.is_nan() {
            self.sum = x;
        }
    }

    fn ln(self) -> f64 {
        self.max + self.sum.ln()
    }
}

impl Component {
    /// Of z, without the scale.
    fn logs(self, z: f64) -> Logs {
        match self {
            Component::Logistic => {
                let rest = (-z.abs()).exp().ln_1p();
                let (below, above) = (z.min(0.) - rest, (-z).min(0.) - rest);
                Logs {
                    below,
                    above,
                    density: -z.abs() - 2. * rest,
                }
            }
            Component::Gaussian => Logs {
                below: log_ndtr(z),
                above: log_ndtr(-z),
                density: -0.5 * z * z - 0.5 * TAU.ln(),
            },
        }
    }

    /// Derivatives of the three logarithms to z.
    fn slopes(self, z: f64) -> Logs {
        match self {
            Component::Logistic => {
                let e = (-z.abs()).exp();
                let (small, large) = (e / (1. + e), 1. / (1. + e));
                let (below, above) = if z > 0. {
                    (small, large)
                } else {
                    (large, small)
                };
                Logs {
                    below,
                    above: -above,
                    density: below - above,
                }
            }
            Component::Gaussian => Logs {
                below: 1. / mills(-z),
                above: -1. / mills(z),
                density: -z,
            },
        }
    }

    /// The logarithm of the slope of ln F at z.
    fn log_slope(self, z: f64) -> f64 {
        match self {
            Component::Gaussian if z < 0. => -mills(-z).ln(),
            _ => {
                let logs = self.logs(z);
                logs.density - logs.below
            }
        }
    }

    /// About the z with `ln F - ln(1 - F) = t`, exactly for the logistic.
    fn quantile(self, t: f64) -> f64 {
        match self {
            Component::Logistic => t,
            Component::Gaussian => {
                let tail = 1. / (1. + t.abs().exp());
                let z = if tail > 0. {
                    -ndtri(tail)
                } else {
                    (2. * t.abs()).sqrt()
                };
                z.copysign(t)
            }
        }
    }
}

impl Mixture {
    fn new(component: Component, logits: Vec<f64>, loc: Vec<f64>, log_scale: Vec<f64>) -> Self {
        let mut total = Sum::ZERO;
        logits.iter().for_each(|x| total.add(*x));
        let total = total.ln();
        Mixture {
            component,
            log_weights: logits.into_iter().map(|x| x - total).collect(),
            loc,
            log_scale,
        }
    }

    fn z(&self, k: usize, x: f64) -> f64 {
        (x - self.loc[k]) * (-self.log_scale[k]).exp()
    }

    /// Of component k, with its weight and scale.
    fn part(&self, k: usize, x: f64) -> Logs {
        let logs = self.component.logs(self.z(k, x));
        let weight = self.log_weights[k];
        Logs {
            below: weight + logs.below,
            above: weight + logs.above,
            density: weight + logs.density - self.log_scale[k],
        }
    }

    fn logs(&self, x: f64) -> Logs {
        let [mut below, mut above, mut density] = [Sum::ZERO; 3];
        for k in 0..self.loc.len() {
            let part = self.part(k, x);
            below.add(part.below);
            above.add(part.above);
            density.add(part.density);
        }
        Logs {
            below: below.ln(),
            above: above.ln(),
            density: density.ln(),
        }
    }

    /// y and ln dy/dx.
    fn at(&self, scale: Scale, x: f64) -> [f64; 2] {
        let logs = self.logs(x);
        match scale {
            Scale::Probability if logs.below < logs.above => [logs.below.exp(), logs.density],
            Scale::Probability => [-logs.above.exp_m1(), logs.density],
            Scale::Logit => [
                logs.below - logs.above,
                logs.density - logs.below - logs.above,
            ],
            Scale::Probit => {
                let y = logs.probit();
                let lower = logs.below < logs.above;
                // By slopes of the logarithms of tails: far out the density's own logarithm is far larger than the result.
                let mut slope = Sum::ZERO;
                for k in 0..self.loc.len() {
                    let (part, z) = (self.part(k, x), self.z(k, x));
                    let (share, z) = match lower {
                        true => (part.below - logs.below, z),
                        false => (part.above - logs.above, -z),
                    };
                    slope.add(share + self.component.log_slope(z) - self.log_scale[k]);
                }
                [y, slope.ln() + mills(if lower { -y } else { y }).ln()]
            }
        }
    }

    /// The x with `ln F - ln(1 - F) = t`; it lies between those of the components.
    fn quantile(&self, t: f64) -> Option<f64> {
        let z = self.component.quantile(t);
        let scales = self.log_scale.iter().map(|log| log.exp());
        let width = scales.clone().fold(f64::MIN_POSITIVE, f64::max);
        let own = self
            .loc
            .iter()
            .zip(scales)
            .map(|(loc, scale)| loc + scale * z);
        let low = own.clone().fold(f64::INFINITY, f64::min);
        let high = own.fold(f64::NEG_INFINITY, f64::max);
        root::rising([low, high], width, |x| {
            let logs = self.logs(x);
            let size = logs.below.abs() + logs.above.abs() + t.abs();
            At {
                value: logs.below - logs.above - t,
                slope: (logs.density - logs.below - logs.above).exp(),
                noise: 0.25 * f64::EPSILON * size,
            }
        })
    }

    /// The derivative to x of `gradient . (y, ln dy/dx)`; those to logits, loc and log-scale go to `f`, component by
    /// component.
    fn slopes(
        &self,
        scale: Scale,
        x: f64,
        gradient: [f64; 2],
        mut f: impl FnMut(usize, [f64; 3]),
    ) -> f64 {
        let logs = self.logs(x);
        let [y, log] = gradient;
        // To ln F, ln(1 - F) and the log-density.
        let to = match scale {
            Scale::Probability => [y * logs.below.exp(), 0., log],
            Scale::Logit => [y - log, -y - log, log],
            Scale::Probit => {
                let at = logs.probit();
                let y = y + log * at;
                match logs.below < logs.above {
                    true => [y * mills(-at), 0., log],
                    false => [0., -y * mills(at), log],
                }
            }
        };
        let mut to_x = 0.;
        for k in 0..self.loc.len() {
            let (part, z) = (self.part(k, x), self.z(k, x));
            let slopes = self.component.slopes(z);
            let weight = self.log_weights[k].exp();
            let shares = [
                (part.below - logs.below).exp(),
                (part.above - logs.above).exp(),
                (part.density - logs.density).exp(),
            ];
            let slopes = [slopes.below, slopes.above, slopes.density];
            let (mut to_z, mut to_logit) = (0., 0.);
            for i in 0..3 {
                to_z += product(to[i] * shares[i], slopes[i]);
                to_logit += to[i] * (shares[i] - weight);
            }
            let to_loc = product(to_z, (-self.log_scale[k]).exp());
            to_x += to_loc;
            f(
                k,
                [to_logit, -to_loc, -product(to_z, z) - to[2] * shares[2]],
            );
        }
        to_x
    }
}

/// A share of nothing weighs nothing, whatever the slope.
fn product(share: f64, slope: f64) -> f64 {
    if share == 0. { 0. } else { share * slope }
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

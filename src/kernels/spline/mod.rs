//! Monotone rational-quadratic splines with linear tails, a spline for each element: value, log-slope and all gradients as
//! one node. The arithmetic is f64 for f32 tensors too: the parameters are read once, their exponentials are most of the
//! work, and steep bins beside flat ones cost digits.

mod bin;
mod composed;
#[cfg(test)]
mod tests;

use super::buffer::View;
use super::node::{self, Fresh, Op, Reached};
use super::simd::{Loop, dispatch};
use crate::error::Result;
use bin::{Bin, Gradient};
use candle_core::{DType, Tensor, WithDType};
use rayon::prelude::*;
use std::marker::PhantomData;

/// The least width and height of a bin, in parts of the interval, and the least slope at a knot.
pub(crate) const LEAST: f64 = 1e-3;

/// With `LEAST + softplus(0 + OFFSET) = 1`: ln(e^(1 - LEAST) - 1).
pub(crate) const OFFSET: f64 = 0.539_742_417_236_952;

/// Elements per parallel task; fixed, so that results do not depend on the number of threads.
const ROWS: usize = 256;

/// Splines of `bins` bins on +-bound, the identity beyond.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spline {
    pub(crate) bins: usize,
    pub(crate) bound: f64,
    pub(crate) inverse: bool,
}

impl Spline {
    /// How many raw numbers make a spline: widths, heights, slopes at the inner knots.
    pub(crate) fn parameters(bins: usize) -> usize {
        (3 * bins).saturating_sub(1)
    }
}

/// Results and the logarithms of the slopes, for `x` [..] and `raw` [.., 3 bins - 1] of the same leading dims.
pub(crate) fn spline(x: &Tensor, raw: &Tensor, spline: Spline) -> Result<(Tensor, Tensor)> {
    let cpu = x.device().is_cpu() && !super::second_derivatives();
    let mut both = match x.dtype() {
        DType::F32 if cpu => node::apply(Node::<f32>(spline, PhantomData), &[x, raw])?,
        DType::F64 if cpu => node::apply(Node::<f64>(spline, PhantomData), &[x, raw])?,
        _ => return composed::spline(x, raw, spline),
    };
    match (both.pop(), both.pop()) {
        (Some(log_slope), Some(y)) => Ok((y, log_slope)),
        _ => Err(candle_core::Error::Msg("spline: two outputs were expected".into()).into()),
    }
}

struct Node<T>(Spline, PhantomData<T>);

impl<T: WithDType> Op for Node<T> {
    const NAME: &'static str = "spline";

    fn forward(&mut self, inputs: &[Tensor], _: bool) -> candle_core::Result<Vec<Fresh>> {
        let (x, raw) = (View::new(&inputs[0])?, View::new(&inputs[1])?);
        let (x, raw) = (x.as_slice::<T>()?, raw.as_slice::<T>()?);
        let width = Spline::parameters(self.0.bins);
        let (mut y, mut log_slope) = (x.to_vec(), vec![T::zero(); x.len()]);
        let rows = y.par_chunks_mut(ROWS).zip(log_slope.par_chunks_mut(ROWS));
        rows.zip(raw.par_chunks(ROWS * width))
            .for_each(|((y, log_slope), raw)| {
                dispatch(Values {
                    spline: self.0,
                    y,
                    log_slope,
                    raw,
                })
            });
        let shape = inputs[0].shape();
        Ok(vec![
            (T::to_cpu_storage_owned(y), shape.clone()),
            (T::to_cpu_storage_owned(log_slope), shape.clone()),
        ])
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        _: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let (x, raw) = (View::new(&inputs[0])?, View::new(&inputs[1])?);
        let (x, raw) = (x.as_slice::<T>()?, raw.as_slice::<T>()?);
        let width = Spline::parameters(self.0.bins);
        let gradient = |i: usize| match &outputs[i] {
            Some(reached) => Ok(reached.gradient.clone()),
            None => inputs[0].zeros_like(),
        };
        let (gy, gl) = (gradient(0)?, gradient(1)?);
        let (gy, gl) = (View::new(&gy)?, View::new(&gl)?);
        let (gy, gl) = (gy.as_slice::<T>()?, gl.as_slice::<T>()?);
        let (mut gx, mut g_raw) = (gy.to_vec(), vec![T::zero(); raw.len()]);
        let arguments = x.par_chunks(ROWS).zip(raw.par_chunks(ROWS * width));
        let results = gx
            .par_chunks_mut(ROWS)
            .zip(g_raw.par_chunks_mut(ROWS * width));
        results.zip(arguments.zip(gl.par_chunks(ROWS))).for_each(
            |((gx, g_raw), ((x, raw), gl))| {
                dispatch(Gradients {
                    spline: self.0,
                    x,
                    raw,
                    gl,
                    gx,
                    g_raw,
                })
            },
        );
        let device = inputs[0].device();
        Ok(vec![
            Some(Tensor::from_vec(gx, inputs[0].shape(), device)?),
            Some(Tensor::from_vec(g_raw, inputs[1].shape(), device)?),
        ])
    }
}

/// From arguments to results, in place. The log-slopes come as zeros.
struct Values<'a, T> {
    spline: Spline,
    y: &'a mut [T],
    log_slope: &'a mut [T],
    raw: &'a [T],
}

impl<T: WithDType> Loop for Values<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let spline = self.spline;
        let mut shares = vec![0.; 2 * spline.bins];
        let raw = self.raw.chunks_exact(Spline::parameters(spline.bins));
        for ((y, log_slope), raw) in self.y.iter_mut().zip(self.log_slope).zip(raw) {
            let x = y.to_f64();
            if x.abs() < spline.bound {
                let bin = Bin::of::<T, FMA>(spline, x, raw, &mut shares);
                let (value, log) = bin.value::<FMA>(spline.inverse);
                (*y, *log_slope) = (T::from_f64(value), T::from_f64(log));
            } else if x.is_nan() {
                *log_slope = *y;
            }
        }
    }
}

/// From the gradients of results and log-slopes to those of arguments, in place, and raw parameters, which come as zeros.
struct Gradients<'a, T> {
    spline: Spline,
    x: &'a [T],
    raw: &'a [T],
    gl: &'a [T],
    gx: &'a mut [T],
    g_raw: &'a mut [T],
}

impl<T: WithDType> Loop for Gradients<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let spline = self.spline;
        let width = Spline::parameters(spline.bins);
        let mut shares = vec![0.; 2 * spline.bins];
        let raw = self.raw.chunks_exact(width);
        let results = self.gx.iter_mut().zip(self.g_raw.chunks_exact_mut(width));
        for (((gx, g_raw), gl), (x, raw)) in results.zip(self.gl).zip(self.x.iter().zip(raw)) {
            let x = x.to_f64();
            if x.abs() < spline.bound {
                let bin = Bin::of::<T, FMA>(spline, x, raw, &mut shares);
                let gradient = Gradient::of(&bin, spline.inverse, gx.to_f64(), gl.to_f64());
                *gx = T::from_f64(gradient.argument);
                gradient.to_raw::<T, FMA>(spline, &bin, raw, &shares, g_raw);
            }
        }
    }
}

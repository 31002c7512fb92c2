//! Monotone rational-quadratic splines, with linear tails or without, a spline for each element: value, log-slope and all gradients as
//! one node. The arithmetic is f64 for f32 tensors too: the parameters are read once, their exponentials are most of the
//! work, and steep bins beside flat ones cost digits.

mod bin;
mod composed;
#[cfg(test)]
mod tests;

use crate::error::Result;
use crate::kernels::graph::node::{self, Fresh, Op, Reached};
use crate::kernels::machine::buffer::View;
use crate::kernels::machine::simd::{Loop, dispatch};
use bin::{Bins, Gradient, Lane, Room, TURN};
use candle_core::{DType, Tensor, WithDType};
use rayon::prelude::*;
use std::marker::PhantomData;

/// The least width and height of a bin, in parts of the interval, and the least slope at a knot.
pub(crate) const LEAST: f64 = 1e-3;

/// With `LEAST + softplus(0 + OFFSET) = 1`: ln(e^(1 - LEAST) - 1).
pub(crate) const OFFSET: f64 = 0.539_742_417_236_952;

/// Elements per parallel task; fixed, so that results do not depend on the number of threads.
const ROWS: usize = 256;

/// Splines of `bins` bins from low to high, the identity beyond.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spline {
    pub(crate) bins: usize,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// The slopes at the ends are 1, those of the identity beyond; else they are parameters too, and the ends belong to the
    /// interval.
    pub(crate) tails: bool,
    pub(crate) inverse: bool,
}

impl Spline {
    /// With tails, on +-bound.
    pub(crate) fn within(bound: f64, bins: usize, inverse: bool) -> Self {
        Spline {
            bins,
            low: -bound,
            high: bound,
            tails: true,
            inverse,
        }
    }

    /// How many raw numbers make a spline: widths, heights, slopes.
    pub(crate) fn parameters(&self) -> usize {
        2 * self.bins + self.slopes()
    }

    /// At how many knots the slopes are parameters.
    fn slopes(&self) -> usize {
        self.bins + 1 - 2 * usize::from(self.tails)
    }
}

/// Results and the logarithms of the slopes, for `x` [..] and `raw` [.., parameters] of the same leading dims.
pub(crate) fn spline(x: &Tensor, raw: &Tensor, spline: Spline) -> Result<(Tensor, Tensor)> {
    let cpu = x.device().is_cpu() && !crate::kernels::graph::second_derivatives();
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
        let width = self.0.parameters();
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
        let width = self.0.parameters();
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

/// From arguments to results, in place, and the log-slopes.
pub(crate) struct Values<'a, T> {
    pub(crate) spline: Spline,
    pub(crate) y: &'a mut [T],
    pub(crate) log_slope: &'a mut [T],
    pub(crate) raw: &'a [T],
}

impl<T: WithDType> Loop for Values<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        match self.spline.inverse {
            false => self.by::<FMA, false>(),
            true => self.by::<FMA, true>(),
        }
    }
}

#[inline(always)]
fn widen<T: WithDType>(x: &[T], lane: &mut Lane) {
    for (lane, x) in lane.iter_mut().zip(x) {
        *lane = x.to_f64();
    }
}

/// The points of the interval, its lower end in place of the others.
#[inline(always)]
fn inside<T: WithDType>(spline: Spline, x: &[T]) -> (Lane, [bool; TURN]) {
    let (mut at, mut inside) = ([0.; TURN], [false; TURN]);
    widen(x, &mut at);
    for l in 0..TURN {
        let end = (at[l] == spline.low) | (at[l] == spline.high);
        let between = (at[l] > spline.low) & (at[l] < spline.high);
        inside[l] = between | (end & !spline.tails);
        at[l] = if inside[l] { at[l] } else { spline.low };
    }
    (at, inside)
}

impl<T: WithDType> Values<'_, T> {
    #[inline(always)]
    fn by<const FMA: bool, const INVERSE: bool>(self) {
        let spline = self.spline;
        let mut room = Room::new(spline);
        let raw = self.raw.chunks(TURN * spline.parameters());
        let results = self.y.chunks_mut(TURN).zip(self.log_slope.chunks_mut(TURN));
        for ((y, log_slope), raw) in results.zip(raw) {
            let (at, inside) = inside(spline, y);
            let bins = Bins::find::<T, FMA, INVERSE>(spline, &at, raw, &mut room);
            let (mut value, mut log) = ([0.; TURN], [0.; TURN]);
            for l in 0..TURN {
                let bin = bins.at::<FMA, INVERSE>(spline, l, at[l]);
                (value[l], log[l]) = bin.value::<FMA, INVERSE>();
            }
            if !spline.tails {
                // Rounding leads nowhere beyond the ends, where there would be no way back.
                for value in &mut value {
                    *value = value.clamp(spline.low, spline.high);
                }
            }
            for (l, (y, log_slope)) in y.iter_mut().zip(log_slope).enumerate() {
                let x = *y;
                // Outside the slope is 1; that of NaN is NaN.
                let beyond = if x.to_f64().is_nan() { x } else { T::zero() };
                *y = if inside[l] { T::from_f64(value[l]) } else { x };
                *log_slope = if inside[l] {
                    T::from_f64(log[l])
                } else {
                    beyond
                };
            }
        }
    }
}

/// From the gradients of results and log-slopes to those of arguments, in place, and raw parameters.
pub(crate) struct Gradients<'a, T> {
    pub(crate) spline: Spline,
    pub(crate) x: &'a [T],
    pub(crate) raw: &'a [T],
    pub(crate) gl: &'a [T],
    pub(crate) gx: &'a mut [T],
    pub(crate) g_raw: &'a mut [T],
}

impl<T: WithDType> Loop for Gradients<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        match self.spline.inverse {
            false => self.by::<FMA, false>(),
            true => self.by::<FMA, true>(),
        }
    }
}

impl<T: WithDType> Gradients<'_, T> {
    #[inline(always)]
    fn by<const FMA: bool, const INVERSE: bool>(self) {
        let spline = self.spline;
        let width = TURN * spline.parameters();
        let mut room = Room::new(spline);
        let raw = self.raw.chunks(width).zip(self.g_raw.chunks_mut(width));
        let arguments = self.x.chunks(TURN).zip(self.gl.chunks(TURN));
        let turns = arguments.zip(self.gx.chunks_mut(TURN)).zip(raw);
        for (((x, gl), gx), (raw, g_raw)) in turns {
            let (at, inside) = inside(spline, x);
            let bins = Bins::find::<T, FMA, INVERSE>(spline, &at, raw, &mut room);
            let (mut g, mut log) = ([0.; TURN], [0.; TURN]);
            widen(gx, &mut g);
            widen(gl, &mut log);
            let mut gradients = bin::Gradients::new();
            for l in 0..TURN {
                let bin = bins.at::<FMA, INVERSE>(spline, l, at[l]);
                let gradient = Gradient::of::<INVERSE>(&bin, g[l], log[l]);
                g[l] = gradient.argument;
                gradients.put(l, &gradient, inside[l]);
            }
            for (l, gx) in gx.iter_mut().enumerate() {
                *gx = if inside[l] { T::from_f64(g[l]) } else { *gx };
            }
            gradients.to_raw::<T, FMA>(spline, &bins, &inside, &room, g_raw);
        }
    }
}

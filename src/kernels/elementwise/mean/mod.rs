//! A function of scores with its mean over all of them, as one node: the losses of games between two networks.
//!
//! Value and slope are computed once, in the forward pass. The mean is that of terms added in f64, so that it is finite
//! wherever the terms are; where it alone reaches the loss, its gradient has been there since the forward pass.

use super::Formula;
use crate::error::Result;
use crate::kernels::graph::node::{self, Fresh, Op, Reached, weigh};
use crate::kernels::machine::buffer::{CHUNK, SERIAL, View};
use crate::kernels::machine::simd::{Loop, dispatch};
use crate::kernels::machine::tiles::{Parts, unwritten};
use crate::kernels::number::dual::Dual;
use crate::kernels::number::elementary::{Exact, Quick};
use crate::kernels::number::narrow::Narrow;
use crate::kernels::number::{Float, Real};
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

/// `f(x)` of every score, and the mean, a scalar; errors call it `name`. Scores on other devices are computed on the CPU,
/// those of half precision in f32. Of no scores the mean is NaN: callers refuse them.
pub(crate) fn with_mean<F: Formula<1>>(
    name: &'static str,
    f: F,
    scores: &Tensor,
) -> Result<[Tensor; 2]> {
    evaluate(name, f, scores, None)
}

/// As [`with_mean`], of the scores less a scalar, of theirs or a wider dtype.
pub(crate) fn centred_with_mean<F: Formula<1>>(
    name: &'static str,
    f: F,
    scores: &Tensor,
    centre: &Tensor,
) -> Result<[Tensor; 2]> {
    evaluate(name, f, scores, Some(centre))
}

/// The score itself.
#[derive(Clone, Copy)]
pub(crate) struct Identity;

impl Formula<1> for Identity {
    const QUICK: bool = true;
    const SINGLE: bool = true;

    #[inline(always)]
    fn at<R: Real>(self, [x]: [R; 1]) -> R {
        x
    }
}

/// `factor * f(x)`.
#[derive(Clone, Copy)]
pub(crate) struct Scaled<F> {
    pub(crate) f: F,
    pub(crate) factor: f64,
}

impl<F: Formula<1>> Formula<1> for Scaled<F> {
    const QUICK: bool = F::QUICK;
    const SINGLE: bool = F::SINGLE;

    #[inline(always)]
    fn at<R: Real>(self, x: [R; 1]) -> R {
        self.f.at(x) * self.factor
    }
}

fn evaluate<F: Formula<1>>(
    name: &'static str,
    f: F,
    scores: &Tensor,
    centre: Option<&Tensor>,
) -> Result<[Tensor; 2]> {
    let (dtype, device) = (scores.dtype(), scores.device());
    let native = match dtype {
        DType::F64 => DType::F64,
        _ => DType::F32,
    };
    let local = |x: &Tensor| x.to_device(&Device::Cpu)?.to_dtype(native);
    let mut inputs = vec![local(scores)?];
    if let Some(centre) = centre {
        inputs.push(local(centre)?);
    }
    let inputs: Vec<&Tensor> = inputs.iter().collect();
    let (f, slopes) = (Box::new(f), None);
    let outputs = node::apply(Mean { name, f, slopes }, &inputs)?;
    match <[Tensor; 2]>::try_from(outputs) {
        Ok([terms, mean]) => {
            let back = |x: Tensor| x.to_dtype(dtype)?.to_device(device);
            Ok([back(terms)?, back(mean)?])
        }
        Err(_) => Err(candle_core::Error::Msg(format!("{name}: expected two outputs")).into()),
    }
}

/// Scores per call of a formula.
const TURN: usize = 1024;

/// A formula as the node sees it, which is compiled once for all of them: at most [`TURN`] scores at a time. Slopes are
/// multiplied by `scale`; where there is no room for them they are not asked for.
trait Terms: Send + Sync + 'static {
    fn single(&self, x: &[f32], terms: &mut [f32], slopes: &mut [f32], scale: f64);

    fn double(&self, x: &[f64], terms: &mut [f64], slopes: &mut [f64], scale: f64);
}

impl<F: Formula<1>> Terms for F {
    fn single(&self, x: &[f32], terms: &mut [f32], slopes: &mut [f32], scale: f64) {
        if F::QUICK || F::SINGLE {
            return dispatch(Turn {
                f: *self,
                x,
                terms,
                slopes,
                scale,
            });
        }
        let (mut wide, mut values, mut partials) = ([0.; TURN], [0.; TURN], [0.; TURN]);
        let n = x.len();
        wide.iter_mut().zip(x).for_each(|(w, x)| *w = f64::from(*x));
        let partials = &mut partials[..slopes.len()];
        self.double(&wide[..n], &mut values[..n], partials, scale);
        let narrow = |(narrow, wide): (&mut f32, &f64)| *narrow = *wide as f32;
        terms.iter_mut().zip(&values).for_each(narrow);
        slopes.iter_mut().zip(&*partials).for_each(narrow);
    }

    fn double(&self, x: &[f64], terms: &mut [f64], slopes: &mut [f64], scale: f64) {
        if slopes.is_empty() {
            for (term, x) in terms.iter_mut().zip(x) {
                *term = self.at([Dual::<Exact, 0>::constant(*x)]).value();
            }
            return;
        }
        for ((term, slope), x) in terms.iter_mut().zip(slopes).zip(x) {
            let y = self.at([Dual::<Exact, 1>::argument(0, *x)]);
            (*term, *slope) = (y.value(), y.slopes()[0] * scale);
        }
    }
}

struct Turn<'a, F> {
    f: F,
    x: &'a [f32],
    terms: &'a mut [f32],
    slopes: &'a mut [f32],
    scale: f64,
}

impl<F: Formula<1>> Loop for Turn<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Turn { f, x, terms, .. } = self;
        if self.slopes.is_empty() {
            for (term, x) in terms.iter_mut().zip(x) {
                *term = if F::SINGLE {
                    f.at([Narrow::<FMA, false>::argument(*x)]).parts()[0]
                } else {
                    let x = Dual::<Quick<FMA>, 0>::constant((*x).into());
                    f.at([x]).value() as f32
                };
            }
            return;
        }
        for ((term, slope), x) in terms.iter_mut().zip(self.slopes).zip(x) {
            if F::SINGLE {
                let [y, d] = f.at([Narrow::<FMA, true>::argument(*x)]).parts();
                (*term, *slope) = (y, d * self.scale as f32);
            } else {
                let y = f.at([Dual::<Quick<FMA>, 1>::argument(0, (*x).into())]);
                *term = y.value() as f32;
                *slope = (y.slopes()[0] * self.scale) as f32;
            }
        }
    }
}

/// f32 or f64, with the way through [`Terms`].
trait Number: Float {
    fn turn(f: &dyn Terms, x: &[Self], terms: &mut [Self], slopes: &mut [Self], scale: f64);
}

impl Number for f32 {
    fn turn(f: &dyn Terms, x: &[f32], terms: &mut [f32], slopes: &mut [f32], scale: f64) {
        f.single(x, terms, slopes, scale);
    }
}

impl Number for f64 {
    fn turn(f: &dyn Terms, x: &[f64], terms: &mut [f64], slopes: &mut [f64], scale: f64) {
        f.double(x, terms, slopes, scale);
    }
}

struct Mean {
    name: &'static str,
    f: Box<dyn Terms>,
    /// The gradient of the mean to the scores, and where there is a centre the sum of it.
    slopes: Option<(Tensor, f64)>,
}

/// What a pass over the scores leaves: the terms, the slopes times a scale, and the sums of both; of slopes only where
/// there is a centre.
struct Pass<T> {
    terms: Vec<T>,
    slopes: Vec<T>,
    sums: [f64; 2],
}

fn pass<T: Number>(f: &dyn Terms, x: &[T], centre: Option<T>, scale: Option<f64>) -> Pass<T> {
    let n = x.len();
    let mut terms = unwritten::<T>(n);
    let mut slopes = unwritten::<T>(if scale.is_some() { n } else { 0 });
    let mut sums = vec![[0.; 2]; n.div_ceil(CHUNK)];
    {
        let (terms, slopes) = (Parts::new(&mut terms), Parts::new(&mut slopes));
        let task = |(i, sums): (usize, &mut [f64; 2])| {
            let end = n.min((i + 1) * CHUNK);
            let mut centred = [T::ZERO; TURN];
            for from in (i * CHUNK..end).step_by(TURN) {
                let range = from..end.min(from + TURN);
                let mut x = &x[range.clone()];
                if let Some(centre) = centre {
                    for (centred, x) in centred.iter_mut().zip(x) {
                        *centred = *x - centre;
                    }
                    x = &centred[..x.len()];
                }
                let asked = if scale.is_some() { range.clone() } else { 0..0 };
                // SAFETY: turns are disjoint.
                let (terms, slopes) = unsafe { (terms.part(range), slopes.part(asked)) };
                T::turn(f, x, terms, slopes, scale.unwrap_or(1.));
                // Only a centre's gradient is the sum of slopes.
                let summed = if centre.is_some() { &*slopes } else { &[] };
                dispatch(Sums(terms, summed, sums));
            }
        };
        if n < SERIAL {
            sums.iter_mut().enumerate().for_each(task);
        } else {
            sums.par_iter_mut().enumerate().for_each(task);
        }
    }
    let add = |[a, b]: [f64; 2], [more, slope]: &[f64; 2]| [a + more, b + slope];
    let sums = sums.iter().fold([0.; 2], add);
    Pass {
        terms,
        slopes,
        sums,
    }
}

struct Sums<'a, T>(&'a [T], &'a [T], &'a mut [f64; 2]);

impl<T: Float> Loop for Sums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        self.2[0] += sum(self.0);
        self.2[1] += sum(self.1);
    }
}

/// The sum in f64, which those of f32 do not leave; 16 lanes, added up in order.
#[inline(always)]
fn sum<T: Float>(x: &[T]) -> f64 {
    let mut lanes = [0.; 16];
    let groups = x.chunks_exact(16);
    let rest = groups.remainder();
    for group in groups {
        for (lane, x) in lanes.iter_mut().zip(group) {
            *lane += x.to_f64();
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += x.to_f64();
    }
    lanes.iter().fold(0., |sum, lane| sum + lane)
}

impl Mean {
    fn forward_as<T: Number>(
        &mut self,
        inputs: &[Tensor],
        keep: bool,
    ) -> candle_core::Result<Vec<Fresh>> {
        let (view, centre) = (View::new(&inputs[0])?, centre::<T>(inputs)?);
        let x = view.as_slice::<T>()?;
        let n = x.len() as f64;
        let done = pass(&*self.f, x, centre, keep.then_some(1. / n));
        if keep {
            let slopes = Tensor::from_vec(done.slopes, inputs[0].shape(), &Device::Cpu)?;
            self.slopes = Some((slopes, done.sums[1]));
        }
        let mean = T::from_f64(done.sums[0] / n);
        let terms = T::to_cpu_storage_owned(done.terms);
        Ok(vec![
            (terms, inputs[0].shape().clone()),
            (T::to_cpu_storage_owned(vec![mean]), ().into()),
        ])
    }

    /// Of terms that reached the loss one by one, beside the mean's or alone.
    fn of_terms<T: Number>(
        &self,
        inputs: &[Tensor],
        terms: &Reached,
        mean: f64,
    ) -> candle_core::Result<(Tensor, f64)> {
        let (view, centre) = (View::new(&inputs[0])?, centre::<T>(inputs)?);
        let x = view.as_slice::<T>()?;
        let upstream = View::new(&terms.gradient)?;
        let mean = mean / x.len() as f64;
        let mut slopes = pass(&*self.f, x, centre, Some(1.)).slopes;
        for (slope, g) in slopes.iter_mut().zip(upstream.as_slice::<T>()?) {
            *slope = weigh(T::from_f64(g.to_f64() + mean), *slope);
        }
        let total = slopes.chunks(TURN).map(sum).fold(0., |a, b| a + b);
        Ok((
            Tensor::from_vec(slopes, inputs[0].shape(), &Device::Cpu)?,
            total,
        ))
    }
}

fn centre<T: Float>(inputs: &[Tensor]) -> candle_core::Result<Option<T>> {
    match inputs.get(1) {
        Some(centre) => Ok(View::new(centre)?.as_slice::<T>()?.first().copied()),
        None => Ok(None),
    }
}

impl Op for Mean {
    const NAME: &'static str = "mean";

    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&mut self, inputs: &[Tensor], keep: bool) -> candle_core::Result<Vec<Fresh>> {
        match inputs[0].dtype() {
            DType::F64 => self.forward_as::<f64>(inputs, keep),
            _ => self.forward_as::<f32>(inputs, keep),
        }
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        needs: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let mean = match &outputs[1] {
            Some(mean) => mean.gradient.to_dtype(DType::F64)?.to_scalar::<f64>()?,
            None => 0.,
        };
        let (scores, total) = match (&outputs[0], &self.slopes) {
            (Some(terms), _) if inputs[0].dtype() == DType::F64 => {
                self.of_terms::<f64>(inputs, terms, mean)?
            }
            (Some(terms), _) => self.of_terms::<f32>(inputs, terms, mean)?,
            (None, Some(_)) if mean == 0. => (inputs[0].zeros_like()?, 0.),
            (None, Some((slopes, total))) if mean == 1. => (slopes.clone(), *total),
            (None, Some((slopes, total))) => ((slopes * mean)?, total * mean),
            (None, None) => candle_core::bail!("{}: no slopes were kept", self.name),
        };
        let mut gradients = vec![needs[0].then_some(scores)];
        if let Some(centre) = inputs.get(1) {
            let total = Tensor::full(-total, centre.shape(), &Device::Cpu)?;
            gradients.push(match needs[1] {
                true => Some(total.to_dtype(centre.dtype())?),
                false => None,
            });
        }
        Ok(gradients)
    }
}

#[cfg(test)]
mod tests;

//! One number from K broadcast arguments, perhaps summed over the event: log-densities and divergences as one node.
//!
//! A function comes with its partial derivatives in one of two ways: [`Pointwise`] for f32, written by hand and without
//! branches, so that it vectorizes; or as a [`Formula`], written once in any [`Real`] number and differentiated by dual
//! numbers, for everything where exactness and brevity count more.

pub(crate) mod composed;
mod formula;
pub(crate) mod log_gamma;
mod log_mass;
pub(crate) mod map;
pub(crate) mod mean;
pub(crate) mod spline;
#[cfg(test)]
mod tests;

pub(crate) use formula::{Formula, formula, formula_sum, named, named_sum, on_cpu};
pub(crate) use log_mass::LogMass;

use crate::kernels::graph::node::{self, Fresh, Op, Reached, weigh};
use crate::kernels::machine::buffer::View;
use crate::kernels::machine::simd::{Loop, dispatch};
use crate::kernels::machine::tiles::{Parts, Step, Task, Tiles, spread_rows, sum_rows, unwritten};
use crate::shape;
use candle_core::{Result, Tensor, WithDType};
use std::marker::PhantomData;

/// An elementwise function of K f32 numbers with its partial derivatives.
pub(crate) trait Pointwise<const K: usize>: Copy + Send + Sync + 'static {
    const NAME: &'static str;

    fn value<const FMA: bool>(self, x: [f32; K]) -> f32;

    fn partials<const FMA: bool>(self, x: [f32; K]) -> [f32; K];
}

/// What a node runs: at most [`TURN`] elements at a time, from arguments of one length; `shared` where all but the first
/// are one number each.
trait Elementwise<T, const K: usize>: Clone + Send + Sync + 'static {
    fn values<const FMA: bool>(&self, shared: bool, x: [&[T]; K], out: &mut [T]);

    fn partials<const FMA: bool>(&self, shared: bool, x: [&[T]; K], out: &mut [[T; TURN]; K]);
}

#[derive(Clone)]
struct Vectorized<P>(P);

impl<P: Pointwise<K>, const K: usize> Elementwise<f32, K> for Vectorized<P> {
    #[inline(always)]
    fn values<const FMA: bool>(&self, shared: bool, x: [&[f32]; K], out: &mut [f32]) {
        let len = out.len();
        let x = x.map(|x| &x[..len]);
        if shared {
            let mut arguments = x.map(|x| x[0]);
            for (x, out) in x[0].iter().zip(out) {
                arguments[0] = *x;
                *out = self.0.value::<FMA>(arguments);
            }
            return;
        }
        for (i, out) in out.iter_mut().enumerate() {
            *out = self.0.value::<FMA>(x.map(|x| x[i]));
        }
    }

    #[inline(always)]
    fn partials<const FMA: bool>(&self, shared: bool, x: [&[f32]; K], out: &mut [[f32; TURN]; K]) {
        let len = x[0].len().min(TURN);
        let x = x.map(|x| &x[..len]);
        if shared {
            let mut arguments = x.map(|x| x[0]);
            for i in 0..len {
                arguments[0] = x[0][i];
                let partials = self.0.partials::<FMA>(arguments);
                for k in 0..K {
                    out[k][i] = partials[k];
                }
            }
            return;
        }
        for i in 0..len {
            let partials = self.0.partials::<FMA>(x.map(|x| x[i]));
            for k in 0..K {
                out[k][i] = partials[k];
            }
        }
    }
}

/// Whether all arguments but the first are one number each: what depends on them alone is then computed once.
#[inline(always)]
fn shared<T: WithDType, const K: usize>(x: [&[T]; K]) -> bool {
    K > 1
        && x[1..].iter().all(|x| match x {
            [first, .., last] if first == last => x.iter().fold(true, |all, x| all & (x == first)),
            _ => x.len() == 1,
        })
}

/// `f` of the arguments broadcast together, the last dim summed if `event`.
pub(crate) fn apply<P: Pointwise<K>, const K: usize>(
    f: P,
    arguments: [&Tensor; K],
    event: bool,
) -> Result<Tensor> {
    elementwise(P::NAME, Vectorized(f), arguments, event)
}

/// Arguments that repeat as a whole (rows, scalars, all samples) are not copied out; the others are.
fn elementwise<T: WithDType, P: Elementwise<T, K>, const K: usize>(
    name: &'static str,
    f: P,
    arguments: [&Tensor; K],
    event: bool,
) -> Result<Tensor> {
    let mut full: Vec<usize> = vec![];
    for x in arguments {
        match shape::broadcast(&full, x.dims()) {
            Some(shape) => full = shape,
            None => candle_core::bail!("{name}: {full:?} and {:?} do not broadcast", x.dims()),
        }
    }
    let n: usize = full.iter().product();
    let last = if event {
        full.last().copied().unwrap_or(1)
    } else {
        1
    };
    // Without leading ones, which may be more than another argument's rank.
    let own = |x: &Tensor| {
        let dims = x.dims();
        let ones = dims.iter().take_while(|d| **d == 1).count();
        dims[ones..].to_vec()
    };
    let repeats = |x: &Tensor| {
        x.elem_count() < n && full.ends_with(&own(x)) && x.elem_count().is_multiple_of(last)
    };
    // One period for all that repeat: the longest, others are expanded to it.
    let longest = arguments
        .iter()
        .filter(|x| repeats(x))
        .max_by_key(|x| x.elem_count())
        .map(|x| own(x));
    let mut inputs = arguments.map(Tensor::clone);
    for input in &mut inputs {
        let shape = match &longest {
            Some(shape) if repeats(input) => {
                *input = input.reshape(own(input))?;
                shape
            }
            _ => &full,
        };
        if input.elem_count() != shape.iter().product::<usize>() {
            *input = input.broadcast_as(shape.as_slice())?;
        }
    }
    let period = longest.map_or(n, |shape| shape.iter().product());
    let tiles = (n > 0 && last > 0).then(|| Tiles::new(n, period, last, 1));
    if event {
        full.pop();
    }
    let op = Node::<T, P, K> {
        name,
        f,
        kind: PhantomData,
        tiles,
        shape: full,
    };
    node::apply1(op, &inputs.each_ref())
}

struct Node<T, P, const K: usize> {
    name: &'static str,
    f: P,
    kind: PhantomData<T>,
    /// `None` when there is nothing to compute.
    tiles: Option<Tiles>,
    shape: Vec<usize>,
}

/// Each argument as an array of the whole length or of one tile.
struct Arguments<'a, T, const K: usize> {
    n: usize,
    arrays: [&'a [T]; K],
    /// Whether all but the first are one number each.
    scalars: bool,
}

impl<'a, T: WithDType, const K: usize> Arguments<'a, T, K> {
    /// [`shared`], without a look where it is known.
    #[inline(always)]
    fn shared(&self, x: [&[T]; K]) -> bool {
        self.scalars || shared(x)
    }

    #[inline(always)]
    fn at(&self, step: Step) -> [&'a [T]; K] {
        self.arrays.map(|array| {
            let from = if array.len() == self.n {
                step.at
            } else {
                step.phase
            };
            &array[from..from + step.len]
        })
    }
}

/// The inputs' views and tables, and `body` called with them.
fn with_arguments<T: WithDType, const K: usize>(
    tiles: &Tiles,
    inputs: &[Tensor],
    body: impl FnOnce(Arguments<T, K>) -> Result<()>,
) -> Result<()> {
    let views = inputs.iter().map(View::new).collect::<Result<Vec<_>>>()?;
    let values = views
        .iter()
        .map(|v| v.as_slice::<T>())
        .collect::<Result<Vec<_>>>()?;
    let tables: Vec<Option<Vec<T>>> = values.iter().map(|v| tiles.table(v)).collect();
    let arrays: Vec<&[T]> = values
        .iter()
        .zip(&tables)
        .map(|(value, table)| table.as_deref().unwrap_or(value))
        .collect();
    let scalars = K > 1 && inputs[1..].iter().all(|x| x.elem_count() == 1);
    match arrays.try_into() {
        Ok(arrays) => body(Arguments {
            n: tiles.n,
            arrays,
            scalars,
        }),
        Err(_) => candle_core::bail!("expected {K} arguments"),
    }
}

impl<T: WithDType, P: Elementwise<T, K>, const K: usize> Op for Node<T, P, K> {
    const NAME: &'static str = "elementwise";

    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&mut self, inputs: &[Tensor], _: bool) -> Result<Vec<Fresh>> {
        let count: usize = self.shape.iter().product();
        let Some(tiles) = self.tiles else {
            // Sums over nothing.
            return Ok(vec![fresh(vec![T::zero(); count], &self.shape)]);
        };
        let mut out = unwritten::<T>(count);
        let parts = Parts::new(&mut out);
        with_arguments::<T, K>(&tiles, inputs, |arguments| {
            tiles.run(|task| {
                dispatch(Forward {
                    f: &self.f,
                    tiles: &tiles,
                    task,
                    arguments: &arguments,
                    out: &parts,
                })
            });
            Ok(())
        })?;
        Ok(vec![fresh(out, &self.shape)])
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        needs: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let (Some(tiles), Some(reached)) = (self.tiles, &outputs[0]) else {
            return inputs.iter().map(|x| x.zeros_like().map(Some)).collect();
        };
        let gradient = View::new(&reached.gradient)?;
        let gradient = gradient.as_slice::<T>()?;
        let mut buffers: Vec<Vec<T>> = inputs
            .iter()
            .zip(needs)
            .map(|(input, needed)| match needed {
                false => vec![],
                true if input.elem_count() == tiles.n => unwritten(tiles.n),
                true => tiles.sums(),
            })
            .collect();
        let parts: Vec<Parts<T>> = buffers.iter_mut().map(|b| Parts::new(b)).collect();
        with_arguments::<T, K>(&tiles, inputs, |arguments| {
            tiles.run(|task| {
                dispatch(Backward {
                    f: &self.f,
                    tiles: &tiles,
                    task,
                    arguments: &arguments,
                    gradient,
                    needs,
                    out: &parts,
                })
            });
            Ok(())
        })?;
        drop(parts);
        inputs
            .iter()
            .zip(buffers)
            .zip(needs)
            .map(|((input, buffer), needed)| {
                if !needed {
                    return Ok(None);
                }
                let buffer = if input.elem_count() == tiles.n {
                    buffer
                } else {
                    tiles.fold(buffer)
                };
                Tensor::from_vec(buffer, input.shape(), input.device()).map(Some)
            })
            .collect()
    }
}

fn fresh<T: WithDType>(data: Vec<T>, shape: &[usize]) -> Fresh {
    (T::to_cpu_storage_owned(data), shape.into())
}

struct Forward<'a, T, P, const K: usize> {
    f: &'a P,
    tiles: &'a Tiles,
    task: &'a Task,
    arguments: &'a Arguments<'a, T, K>,
    out: &'a Parts<'a, T>,
}

impl<T: WithDType, P: Elementwise<T, K>, const K: usize> Loop for Forward<'_, T, P, K> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let event = self.tiles.event;
        let mut terms = vec![T::zero(); if event == 1 { 0 } else { self.tiles.longest() }];
        for step in self.tiles.steps(self.task) {
            let x = self.arguments.at(step);
            let rows = step.at / event..(step.at + step.len) / event;
            // SAFETY: steps are disjoint and consist of whole events.
            let out = unsafe { self.out.part(rows) };
            if event == 1 {
                evaluate::<T, P, K, FMA>(self.f, self.arguments, x, out);
            } else {
                let terms = &mut terms[..step.len];
                evaluate::<T, P, K, FMA>(self.f, self.arguments, x, terms);
                sum_rows(terms, event, out);
            }
        }
    }
}

#[inline(always)]
fn evaluate<T: WithDType, P: Elementwise<T, K>, const K: usize, const FMA: bool>(
    f: &P,
    arguments: &Arguments<T, K>,
    x: [&[T]; K],
    out: &mut [T],
) {
    for (i, out) in out.chunks_mut(TURN).enumerate() {
        let from = i * TURN;
        let x = x.map(|x| &x[from..from + out.len()]);
        f.values::<FMA>(arguments.shared(x), x, out);
    }
}

/// Elements per turn: all partials of a turn stay in L1 before they are stored or added.
const TURN: usize = 256;

struct Backward<'a, T, P, const K: usize> {
    f: &'a P,
    tiles: &'a Tiles,
    task: &'a Task,
    arguments: &'a Arguments<'a, T, K>,
    gradient: &'a [T],
    needs: &'a [bool],
    out: &'a [Parts<'a, T>],
}

impl<T: WithDType, P: Elementwise<T, K>, const K: usize> Loop for Backward<'_, T, P, K> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (event, n) = (self.tiles.event, self.tiles.n);
        let place = self.tiles.place(self.task);
        let mut spread = vec![T::zero(); if event == 1 { 0 } else { self.tiles.longest() }];
        let mut turn = [[T::zero(); TURN]; K];
        let adds = |k: usize| self.needs[k] && self.arguments.arrays[k].len() != n;
        for k in (0..K).filter(|k| adds(*k)) {
            // SAFETY: each task has its own place.
            unsafe { self.out[k].part(place.clone()) }.fill(T::zero());
        }
        for step in self.tiles.steps(self.task) {
            let x = self.arguments.at(step);
            let rows = &self.gradient[step.at / event..(step.at + step.len) / event];
            let g = if event == 1 {
                rows
            } else {
                spread_rows(rows, event, &mut spread[..step.len]);
                &spread[..step.len]
            };
            for from in (0..step.len).step_by(TURN) {
                let len = TURN.min(step.len - from);
                let x = x.map(|x| &x[from..from + len]);
                let g = &g[from..from + len];
                let shared = self.arguments.shared(x);
                self.f.partials::<FMA>(shared, x, &mut turn);
                for k in (0..K).filter(|k| self.needs[*k]) {
                    let slopes = turn[k][..len].iter().zip(g);
                    let weigh = |(d, g): (&T, &T)| weigh(*g, *d);
                    if self.arguments.arrays[k].len() == n {
                        // SAFETY: steps are disjoint.
                        let out = unsafe { self.out[k].part(step.at + from..step.at + from + len) };
                        out.iter_mut().zip(slopes).for_each(|(o, s)| *o = weigh(s));
                    } else {
                        // Single numbers' sums in the place of one turn, which stays in L1.
                        let phase = match self.arguments.scalars {
                            true => 0,
                            false => step.phase - self.task.span.start + from,
                        };
                        let start = place.start + phase;
                        // SAFETY: each task adds within its own place.
                        let sums = unsafe { self.out[k].part(start..start + len) };
                        sums.iter_mut()
                            .zip(slopes)
                            .for_each(|(o, s)| *o += weigh(s));
                    }
                }
            }
        }
    }
}

//! A continuous flow with a dense velocity field, solved by the classical Runge-Kutta method, as one graph node.
//!
//! A chunk of rows goes through all steps on one thread. For the way back only the state at the beginning of each step is
//! kept; the four evaluations of a step are made again, and their derivatives taken in reverse.

mod field;
#[cfg(test)]
mod tests;
mod trace;

use super::activation::Activation;
use super::buffer::{View, views};
use super::dense::Layer;
use super::dense::chain::{Sums, tensors, total};
use super::node::{self, Fresh, Op, Reached, fresh};
use crate::error::Result;
use candle_core::Tensor;
use field::{Field, Trail};
use rayon::prelude::*;
use std::ops::Range;
use trace::Trace;

/// The most rows of a chunk: with their tangents they stay in L2 through a step.
const ROWS: usize = 64;

/// The most rows of a chunk without tangents.
const MANY: usize = 128;

/// What is integrated along the way besides the velocity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Along {
    Nothing,
    Trace,
    /// The trace, the squared velocity, the Jacobian's squared norm.
    All,
}

impl Along {
    fn count(self) -> usize {
        match self {
            Along::Nothing => 0,
            Along::Trace => 1,
            Along::All => 3,
        }
    }
}

/// Where to and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) steps: usize,
}

/// The end of `x` [N, D] and the integrals [N]; the network takes `[x, t, context]`. Traces are exact without `noise`,
/// estimated with it. `None` where there is no fused form.
pub(crate) fn rk4(
    x: &Tensor,
    context: Option<&Tensor>,
    noise: Option<&Tensor>,
    net: &[Layer],
    way: Way,
    along: Along,
) -> Result<Option<Vec<Tensor>>> {
    let Some((last, hidden)) = net.split_last() else {
        return Ok(None);
    };
    let smooth = hidden.iter().all(|l| field::supported(l.activation));
    // The noise moves nothing.
    let noise = noise.map(Tensor::detach);
    let mut inputs = vec![x];
    inputs.extend(context);
    inputs.extend(&noise);
    let first = inputs.len();
    for layer in net {
        inputs.push(layer.weight);
        inputs.extend(layer.bias);
    }
    if !smooth || last.activation != Activation::Identity || !super::fused(&inputs) {
        return Ok(None);
    }
    let steps = net.iter().map(|l| (l.activation, l.bias.is_some()));
    let op = Flow {
        way,
        along,
        context: context.is_some(),
        noise: noise.is_some(),
        first,
        steps: steps.collect(),
        kept: vec![],
    };
    Ok(Some(node::apply(op, &inputs)?))
}

/// Inputs: x, perhaps context and noise, then each layer's weight and perhaps bias. Outputs: the end and the integrals.
struct Flow {
    way: Way,
    along: Along,
    context: bool,
    noise: bool,
    first: usize,
    steps: Vec<(Activation, bool)>,
    /// By chunk: the state at the beginning of each step.
    kept: Vec<Vec<Vec<f32>>>,
}

/// The arguments as slices.
struct Run<'a> {
    way: Way,
    rows: usize,
    step: usize,
    width: usize,
    /// How many tangents each value has.
    directions: usize,
    context: &'a [f32],
    noise: Option<&'a [f32]>,
    field: &'a Field<'a>,
    /// Where the field needs no tangents for it.
    trace: Option<Trace<'a>>,
}

/// A chunk of rows with its integrals.
struct State<'a> {
    x: &'a mut [f32],
    integrals: Vec<&'a mut [f32]>,
}

/// Of a step of length 1: how far along the slope before it each stage lies, and its own slope's weight in the step.
const STAGES: [(f64, f64); 4] = [(0., 1. / 6.), (0.5, 1. / 3.), (0.5, 1. / 3.), (1., 1. / 6.)];

impl Flow {
    fn field<'a>(&self, inputs: &[Tensor], views: &'a [View]) -> candle_core::Result<Field<'a>> {
        Field::new(&self.steps, self.first, inputs, views)
    }
}

impl<'a> Run<'a> {
    fn new(
        flow: &Flow,
        field: &'a Field<'a>,
        inputs: &[Tensor],
        views: &'a [View],
    ) -> candle_core::Result<Self> {
        let width = inputs[0].dims().last().copied().unwrap_or(1);
        let rows = inputs[0].elem_count() / width.max(1);
        let noise = 1 + usize::from(flow.context);
        let trace = match flow.along {
            Along::Trace if !flow.noise => Trace::new(field, width)?,
            _ => None,
        };
        let directions = match flow.along {
            Along::Nothing => 0,
            _ if trace.is_some() => 0,
            _ if flow.noise => 1,
            _ => width,
        };
        let most = if directions == 0 { MANY } else { ROWS };
        Ok(Run {
            way: flow.way,
            rows,
            // By the shapes alone, so that the number of threads changes no bit.
            step: rows.div_ceil(4).next_multiple_of(16).clamp(16, most),
            width,
            directions,
            context: if flow.context { views[1].f32()? } else { &[] },
            noise: flow.noise.then(|| views[noise].f32()).transpose()?,
            field,
            trace,
        })
    }

    fn chunk(&self, i: usize) -> Range<usize> {
        i * self.step..((i + 1) * self.step).min(self.rows)
    }

    fn length(&self) -> f64 {
        (self.way.to - self.way.from) / self.way.steps as f64
    }

    /// The values `[x, t, context]`, then the directions.
    fn argument(&self, rows: &Range<usize>, x: &[f32], t: f64) -> Vec<f32> {
        let (width, inputs) = (self.width, self.field.inputs());
        let extra = inputs - width - 1;
        let mut out = vec![0.; (1 + self.directions) * rows.len() * inputs];
        let (values, directions) = out.split_at_mut(rows.len() * inputs);
        for (i, row) in values.chunks_exact_mut(inputs).enumerate() {
            row[..width].copy_from_slice(&x[i * width..(i + 1) * width]);
            row[width] = t as f32;
            let at = (rows.start + i) * extra;
            row[width + 1..].copy_from_slice(&self.context[at..at + extra]);
        }
        for (k, row) in directions.chunks_exact_mut(inputs).enumerate() {
            match self.noise {
                Some(noise) => {
                    let at = (rows.start + k) * width;
                    row[..width].copy_from_slice(&noise[at..at + width]);
                }
                None => row[k / rows.len()] = 1.,
            }
        }
        out
    }

    /// What the integrals grow by at one place.
    fn growth(&self, rows: &Range<usize>, trail: &Trail) -> candle_core::Result<Vec<Vec<f32>>> {
        let (count, width) = (rows.len(), self.width);
        if let Some(trace) = &self.trace {
            return Ok(vec![trace.evaluate(trail, count)?]);
        }
        let mut sums = vec![vec![0.; count]; 3];
        for r in 0..count {
            let value = &trail.out[r * width..(r + 1) * width];
            sums[1][r] = value.iter().map(|v| v * v).sum();
            for k in 0..self.directions {
                let at = ((1 + k) * count + r) * width;
                let product = &trail.out[at..at + width];
                sums[0][r] += match self.noise {
                    Some(noise) => {
                        let v = &noise[(rows.start + r) * width..][..width];
                        product.iter().zip(v).map(|(p, v)| p * v).sum()
                    }
                    None => product[k],
                };
                sums[2][r] += product.iter().map(|p| p * p).sum::<f32>();
            }
        }
        Ok(sums)
    }

    /// The gradient of an evaluation's result, from those of the velocity and of the growths.
    fn result_gradient(
        &self,
        rows: &Range<usize>,
        trail: &Trail,
        velocity: &[f32],
        growth: &[&[f32]],
        weight: f32,
    ) -> Vec<f32> {
        let (count, width) = (rows.len(), self.width);
        let mut g = vec![0.; trail.out.len()];
        for r in 0..count {
            let [trace, kinetic, frobenius] =
                [0, 1, 2].map(|k| growth.get(k).map_or(0., |g| g[r] * weight));
            for j in 0..width {
                let at = r * width + j;
                g[at] = velocity[at] + 2. * kinetic * trail.out[at];
            }
            for k in 0..self.directions {
                let at = ((1 + k) * count + r) * width;
                for j in 0..width {
                    let v = match self.noise {
                        Some(noise) => noise[(rows.start + r) * width + j],
                        None => f32::from(u8::from(j == k)),
                    };
                    g[at + j] = trace * v + 2. * frobenius * trail.out[at + j];
                }
            }
        }
        g
    }

    /// The state where a stage is evaluated: ahead of `x` along the slope before it.
    fn ahead(x: &[f32], slope: &[f32], by: f32) -> Vec<f32> {
        x.iter().zip(slope).map(|(x, s)| x + by * s).collect()
    }

    /// The four evaluations of a step from `x`, one after the other.
    fn stages(
        &self,
        rows: &Range<usize>,
        x: &[f32],
        n: usize,
        keep: bool,
        mut each: impl FnMut(Trail, f32) -> candle_core::Result<()>,
    ) -> candle_core::Result<()> {
        let h = self.length();
        let start = self.way.from + h * n as f64;
        let mut slope = vec![0.; x.len()];
        for (place, weight) in STAGES {
            let at = Self::ahead(x, &slope, (place * h) as f32);
            let argument = self.argument(rows, &at, start + place * h);
            let trail = self.field.evaluate(argument, rows.len(), keep)?;
            slope.copy_from_slice(&trail.out[..x.len()]);
            each(trail, (weight * h) as f32)?;
        }
        Ok(())
    }

    /// A chunk through all steps; the states before each are returned if they are to be kept.
    fn forward(&self, i: usize, state: State, keep: bool) -> candle_core::Result<Vec<Vec<f32>>> {
        let rows = self.chunk(i);
        let State { x, mut integrals } = state;
        let mut kept = vec![];
        for n in 0..self.way.steps {
            let start = x.to_vec();
            self.stages(&rows, &start, n, false, |trail, weight| {
                let add = |sum: &mut [f32], more: &[f32]| {
                    sum.iter_mut().zip(more).for_each(|(s, m)| *s += weight * m);
                };
                add(x, &trail.out);
                let growth = self.growth(&rows, &trail)?;
                let all = integrals.iter_mut().zip(&growth);
                all.for_each(|(integral, growth)| add(integral, growth));
                Ok(())
            })?;
            if keep {
                kept.push(start);
            }
        }
        Ok(kept)
    }

    /// A chunk back: `g`, the gradient of its end, becomes that of its start.
    fn backward(
        &self,
        kept: &[Vec<f32>],
        chunk: &mut Chunk,
        needs: &[bool],
        sums: &mut Sums,
    ) -> candle_core::Result<()> {
        let (rows, h, inputs) = (self.chunk(chunk.i), self.length(), self.field.inputs());
        let width = self.width;
        for (n, x) in kept.iter().enumerate().rev() {
            let mut stages = vec![];
            self.stages(&rows, x, n, true, |trail, weight| {
                stages.push((trail, weight));
                Ok(())
            })?;
            // The gradients of the step's end, and of the argument of the stage after.
            let end = chunk.g.to_vec();
            let mut after: Option<(f32, Vec<f32>)> = None;
            for ((trail, weight), (place, _)) in stages.iter().zip(STAGES).rev() {
                let velocity: Vec<f32> = match &after {
                    Some((by, g)) => end
                        .iter()
                        .zip(g)
                        .map(|(e, g)| *weight * e + by * g)
                        .collect(),
                    None => end.iter().map(|e| *weight * e).collect(),
                };
                let g = self.result_gradient(&rows, trail, &velocity, &chunk.integrals, *weight);
                let slopes = match &self.trace {
                    Some(trace) => {
                        let traces: Vec<f32> =
                            chunk.integrals[0].iter().map(|g| g * weight).collect();
                        let sum = trace.needed(needs).then(|| &mut sums[needs.len()]);
                        trace.backward(trail, &traces, sum)?
                    }
                    None => vec![],
                };
                let count = rows.len();
                let g = self.field.backward(trail, g, &slopes, count, needs, sums)?;
                let mut at = Vec::with_capacity(rows.len() * width);
                for (r, row) in g[..rows.len() * inputs].chunks_exact(inputs).enumerate() {
                    at.extend_from_slice(&row[..width]);
                    if let Some(context) = &mut chunk.context {
                        let extra = inputs - width - 1;
                        let context = &mut context[r * extra..(r + 1) * extra];
                        context
                            .iter_mut()
                            .zip(&row[width + 1..])
                            .for_each(|(c, g)| *c += g);
                    }
                }
                chunk.g.iter_mut().zip(&at).for_each(|(g, a)| *g += a);
                after = Some(((place * h) as f32, at));
            }
        }
        Ok(())
    }
}

/// A chunk on its way back.
struct Chunk<'a> {
    i: usize,
    g: &'a mut [f32],
    integrals: Vec<&'a [f32]>,
    context: Option<&'a mut [f32]>,
}

impl Op for Flow {
    const NAME: &'static str = "continuous-flow";

    fn forward(&mut self, inputs: &[Tensor], keep: bool) -> candle_core::Result<Vec<Fresh>> {
        let views = views(inputs)?;
        let field = self.field(inputs, &views)?;
        let run = Run::new(self, &field, inputs, &views)?;
        let mut x = views[0].f32()?.to_vec();
        let mut integrals = vec![vec![0.; run.rows]; self.along.count()];
        let mut parts: Vec<_> = integrals
            .iter_mut()
            .map(|i| i.chunks_mut(run.step))
            .collect();
        let states = x.chunks_mut((run.step * run.width).max(1)).map(|x| State {
            x,
            integrals: parts.iter_mut().filter_map(Iterator::next).collect(),
        });
        let states: Vec<State> = states.collect();
        let states = states.into_par_iter().enumerate().with_max_len(1);
        let kept = states
            .map(|(i, state)| run.forward(i, state, keep))
            .collect::<candle_core::Result<_>>()?;
        self.kept = kept;
        let shape = inputs[0].dims();
        let batch = &shape[..shape.len().saturating_sub(1)];
        let mut outputs = vec![fresh(x, shape)];
        outputs.extend(integrals.into_iter().map(|integral| fresh(integral, batch)));
        Ok(outputs)
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        needs: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let views = views(inputs)?;
        let field = self.field(inputs, &views)?;
        let run = Run::new(self, &field, inputs, &views)?;
        let gradients = outputs
            .iter()
            .enumerate()
            .map(|(k, reached)| match reached {
                Some(reached) => Ok(View::new(&reached.gradient)?.f32()?.to_vec()),
                None if k == 0 => Ok(vec![0.; inputs[0].elem_count()]),
                None => Ok(vec![0.; run.rows]),
            });
        let mut gradients = gradients.collect::<candle_core::Result<Vec<Vec<f32>>>>()?;
        let mut g = std::mem::take(&mut gradients[0]);
        let wanted = self.context && needs[1];
        let mut context = vec![0.; if wanted { inputs[1].elem_count() } else { 0 }];
        let extra = run.field.inputs() - run.width - 1;
        let mut contexts = context.chunks_mut((run.step * extra).max(1));
        let (width, integrals) = (run.width, &gradients[1..]);
        let chunk = |(i, g)| {
            let rows = run.chunk(i);
            Chunk {
                i,
                g,
                integrals: integrals.iter().map(|g| &g[rows.clone()]).collect(),
                context: contexts.next(),
            }
        };
        let mut chunks: Vec<Chunk> = g
            .chunks_mut((run.step * width).max(1))
            .enumerate()
            .map(chunk)
            .collect();
        // At most sixteen partial sums: velocity networks are small.
        let part = chunks.len().div_ceil(16).max(1);
        let parts = chunks.par_chunks_mut(part).with_max_len(1).map(|chunks| {
            // The last is the trace's own.
            let mut sums = vec![None; inputs.len() + 1];
            for chunk in chunks {
                run.backward(&self.kept[chunk.i], chunk, needs, &mut sums)?;
            }
            Ok(sums)
        });
        let parts: Vec<Sums> = parts.collect::<candle_core::Result<_>>()?;
        let mut sums = total(parts, inputs.len() + 1);
        if let (Some(own), Some(trace)) = (sums.pop().flatten(), &run.trace) {
            trace.spread(&own, &mut sums)?;
        }
        sums[0] = needs[0].then_some(g);
        if self.context {
            sums[1] = needs[1].then_some(context);
        }
        tensors(sums, inputs, needs)
    }
}

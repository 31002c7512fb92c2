//! A chunk of rows through the steps of a continuous flow, and back.

use super::field::{Field, Trail};
use super::trace::Trace;
use super::{Along, Flow, RK4, Way};
use crate::kernels::machine::buffer::View;
use crate::kernels::network::flow::{Batch, Chunk, State};
use crate::kernels::network::sums::Sums;
use candle_core::{Result, Tensor};
use std::ops::Range;

/// The most rows of a chunk: with their tangents they stay in L2 through a step.
const ROWS: usize = 64;

/// The most rows of a chunk without tangents.
const MANY: usize = 128;

/// The arguments as slices.
pub(super) struct Run<'a> {
    way: Way,
    pub(super) batch: Batch<'a>,
    width: usize,
    /// How many tangents each value has.
    directions: usize,
    noise: Option<&'a [f32]>,
    field: &'a Field<'a>,
    /// Where the field needs no tangents for it.
    pub(super) trace: Option<Trace<'a>>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        flow: &Flow,
        field: &'a Field<'a>,
        inputs: &'a [Tensor],
        views: &'a [View],
    ) -> Result<Self> {
        let width = inputs[0].dims().last().copied().unwrap_or(1);
        let trace = match flow.along {
            Along::Trace if flow.noise.is_none() => Trace::new(field, width)?,
            _ => None,
        };
        let directions = match flow.along {
            Along::Nothing => 0,
            _ if trace.is_some() => 0,
            _ if flow.noise.is_some() => 1,
            _ => width,
        };
        let most = if directions == 0 { MANY } else { ROWS };
        Ok(Run {
            way: flow.way,
            batch: Batch::new(inputs, views, flow.context, most)?,
            width,
            directions,
            noise: flow.noise.map(|at| views[at].f32()).transpose()?,
            field,
            trace,
        })
    }

    fn length(&self) -> f64 {
        (self.way.to - self.way.from) / self.way.steps as f64
    }

    /// The values `[x, t, context]`, then the directions.
    fn argument(&self, rows: &Range<usize>, x: &[f32], t: f64) -> Vec<f32> {
        let (width, inputs) = (self.width, self.field.chain.inputs());
        let mut out = vec![0.; (1 + self.directions) * rows.len() * inputs];
        let (values, directions) = out.split_at_mut(rows.len() * inputs);
        for (i, row) in values.chunks_exact_mut(inputs).enumerate() {
            row[..width].copy_from_slice(&x[i * width..(i + 1) * width]);
            row[width] = t as f32;
            row[width + 1..].copy_from_slice(self.batch.context(rows.start + i));
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
    fn growth(&self, rows: &Range<usize>, trail: &Trail) -> Result<Vec<Vec<f32>>> {
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
        mut each: impl FnMut(Trail, f32) -> Result<()>,
    ) -> Result<()> {
        let h = self.length();
        let start = self.way.from + h * n as f64;
        let mut slope = vec![0.; x.len()];
        for (place, weight) in RK4 {
            let at = Self::ahead(x, &slope, (place * h) as f32);
            let argument = self.argument(rows, &at, start + place * h);
            let trail = self.field.evaluate(argument, rows.len(), keep)?;
            slope.copy_from_slice(&trail.out[..x.len()]);
            each(trail, (weight * h) as f32)?;
        }
        Ok(())
    }

    /// A chunk through all steps; the states before each are returned if they are to be kept.
    pub(super) fn forward(&self, state: State, keep: bool) -> Result<Vec<Vec<f32>>> {
        let State { rows, x, mut along } = state;
        let mut kept = vec![];
        for n in 0..self.way.steps {
            let start = x.to_vec();
            self.stages(&rows, &start, n, false, |trail, weight| {
                let add = |sum: &mut [f32], more: &[f32]| {
                    sum.iter_mut().zip(more).for_each(|(s, m)| *s += weight * m);
                };
                add(x, &trail.out);
                let growth = self.growth(&rows, &trail)?;
                let all = along.iter_mut().zip(&growth);
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
    pub(super) fn backward(
        &self,
        kept: &[Vec<f32>],
        chunk: &mut Chunk,
        sums: &mut Sums,
    ) -> Result<()> {
        let (rows, h, inputs) = (chunk.rows.clone(), self.length(), self.field.chain.inputs());
        let (width, needs) = (self.width, chunk.needs);
        for (n, x) in kept.iter().enumerate().rev() {
            let mut stages = vec![];
            self.stages(&rows, x, n, true, |trail, weight| {
                stages.push((trail, weight));
                Ok(())
            })?;
            // The gradients of the step's end, and of the argument of the stage after.
            let end = chunk.g.to_vec();
            let mut after: Option<(f32, Vec<f32>)> = None;
            for ((trail, weight), (place, _)) in stages.iter().zip(RK4).rev() {
                let velocity: Vec<f32> = match &after {
                    Some((by, g)) => end
                        .iter()
                        .zip(g)
                        .map(|(e, g)| *weight * e + by * g)
                        .collect(),
                    None => end.iter().map(|e| *weight * e).collect(),
                };
                let g = self.result_gradient(&rows, trail, &velocity, &chunk.along, *weight);
                let slopes = match &self.trace {
                    Some(trace) => {
                        let traces: Vec<f32> = chunk.along[0].iter().map(|g| g * weight).collect();
                        let sum = trace.needed(needs).then(|| &mut sums[needs.len()]);
                        trace.backward(trail, &traces, sum)?
                    }
                    None => vec![],
                };
                let count = rows.len();
                let g = self.field.backward(trail, g, &slopes, count, needs, sums)?;
                let g = &g[..count * inputs];
                let mut at = Vec::with_capacity(count * width);
                for row in g.chunks_exact(inputs) {
                    at.extend_from_slice(&row[..width]);
                }
                chunk.add_context(g, inputs);
                chunk.g.iter_mut().zip(&at).for_each(|(g, a)| *g += a);
                after = Some(((place * h) as f32, at));
            }
        }
        Ok(())
    }
}

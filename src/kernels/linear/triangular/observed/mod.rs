//! Normal distributions on vectors of which some elements are observed: densities of these, means and covariances of the
//! others given them.
//!
//! With the rows of the factor sorted into observed and missing, `L_o` and `L_m`, the covariances are `S_oo = L_o L_o^T` and
//! `S_mo = L_m L_o^T`. `S_oo` is never formed: reflections from the right make `L_o` triangular, `L_o = R Q` with
//! orthonormal rows of `Q`, so `R R^T = S_oo` to the accuracy of the factor and not of its square. Where all elements are
//! observed there is nothing to reflect and `R = L`. Everything is in f64.

mod marginal;
mod quantity;

use super::factor::PARALLEL;
use crate::error::Result;
use crate::kernels::graph::node::{self, Fresh, Op, Reached};
use crate::kernels::machine::buffer::View;
use candle_core::{CpuStorage, DType, Device, Tensor};
use marginal::{Marginal, Pattern};
use quantity::{Covariance, LogProb, Mean, Quantity};
use rayon::prelude::*;
use std::collections::HashMap;
use std::marker::PhantomData;

/// Rows that share a factor and a pattern and are looked at together.
const ROWS: usize = 256;

/// Patterns of a task, whose gradients to the factor are added up at once.
const PATTERNS: usize = 32;

/// Values in which NaN is a missing element, with the parameters that they belong to.
pub(crate) struct Observed {
    /// The values, 0 where they are missing, `full ++ [d]`, f64.
    value: Tensor,
    /// Whether they are there, u8.
    seen: Tensor,
    loc: Tensor,
    /// `[n, d, d]`: row r of the values belongs to number `r % n`.
    factor: Tensor,
    full: Vec<usize>,
    kind: (DType, Device),
}

impl Observed {
    /// `value` and `loc` broadcast to `full ++ [d]`, the leading dims of `factor` to `full`.
    pub(crate) fn new(
        value: &Tensor,
        loc: &Tensor,
        factor: &Tensor,
        full: Vec<usize>,
    ) -> Result<Self> {
        let wide = |t: &Tensor| t.to_device(&Device::Cpu)?.to_dtype(DType::F64);
        let kind = (value.dtype(), value.device().clone());
        let (value, loc, factor) = (wide(value)?, wide(loc)?, wide(factor)?);
        let d = factor.dims()[factor.rank() - 1];
        let vectors = [&full[..], &[d]].concat();
        let value = value.broadcast_as(vectors.as_slice())?;
        let seen = value.eq(&value)?;
        Ok(Observed {
            // No NaN enters the graph.
            value: seen.where_cond(&value, &value.zeros_like()?)?,
            seen,
            loc: loc.broadcast_as(vectors)?,
            factor: super::spread(&factor, &full)?,
            full,
            kind,
        })
    }

    /// Log-densities of what is observed, shape `full`.
    pub(crate) fn log_prob(&self) -> Result<Tensor> {
        self.ask::<LogProb>(&[])
    }

    /// The observed elements, and the means of the others given them, shape `full ++ [d]`.
    pub(crate) fn mean(&self) -> Result<Tensor> {
        let shift = self.run::<Mean>()?.reshape(self.value.shape())?;
        let mean = self.seen.where_cond(&self.value, &(&self.loc + shift)?)?;
        self.back(mean)
    }

    /// Covariances given what is observed, shape `full ++ [d, d]`.
    pub(crate) fn covariance(&self) -> Result<Tensor> {
        let d = self.factor.dims()[1];
        self.ask::<Covariance>(&[d, d])
    }

    fn ask<Q: Quantity>(&self, event: &[usize]) -> Result<Tensor> {
        let shape = [&self.full[..], event].concat();
        self.back(self.run::<Q>()?.reshape(shape)?)
    }

    fn back(&self, x: Tensor) -> Result<Tensor> {
        Ok(x.to_dtype(self.kind.0)?.to_device(&self.kind.1)?)
    }

    fn run<Q: Quantity>(&self) -> Result<Tensor> {
        let (count, d, _) = self.factor.dims3()?;
        let rest = (&self.value - &self.loc)?.reshape(((), d))?;
        let seen = self.seen.flatten_all()?.to_vec1::<u8>()?;
        let op = Conditioned::<Q> {
            jobs: jobs(&seen, count, d),
            quantity: PhantomData,
        };
        Ok(node::apply1(op, &[&self.factor, &rest])?)
    }
}

/// All rows by factor and pattern, in tasks that do not depend on the number of threads. The patterns of a task have one
/// factor.
fn jobs(seen: &[u8], factors: usize, d: usize) -> Vec<Vec<Pattern>> {
    let mut by_factor: Vec<Vec<Pattern>> = (0..factors).map(|_| vec![]).collect();
    // Where the rows of a factor and pattern go that come next.
    let mut places: HashMap<(usize, &[u8]), usize> = HashMap::new();
    for (row, seen) in seen.chunks_exact(d).enumerate() {
        let factor = row % factors;
        let patterns = &mut by_factor[factor];
        let place = places.entry((factor, seen)).or_insert(usize::MAX);
        match patterns.get_mut(*place) {
            Some(pattern) if pattern.rows.len() < ROWS => pattern.rows.push(row),
            _ => {
                *place = patterns.len();
                let (observed, missing) = (0..d).partition(|i| seen[*i] != 0);
                patterns.push(Pattern {
                    factor,
                    observed,
                    missing,
                    rows: vec![row],
                });
            }
        }
    }
    let mut jobs = vec![];
    for mut patterns in by_factor {
        while patterns.len() > PATTERNS {
            let rest = patterns.split_off(PATTERNS);
            jobs.push(std::mem::replace(&mut patterns, rest));
        }
        jobs.push(patterns);
    }
    jobs
}

/// Inputs: factor [n, d, d], differences from loc [rows, d].
struct Conditioned<Q> {
    jobs: Vec<Vec<Pattern>>,
    quantity: PhantomData<Q>,
}

/// The parts of `all`, `width` numbers each, that belong to these rows.
fn parts<'a>(all: &'a [f64], width: usize, rows: &[usize]) -> Vec<&'a [f64]> {
    rows.iter()
        .map(|row| &all[row * width..][..width])
        .collect()
}

/// The results of all tasks, in order; in parallel where it pays.
fn each<R: Send>(
    jobs: &[Vec<Pattern>],
    [rows, d]: [usize; 2],
    f: impl Fn(&Vec<Pattern>) -> R + Send + Sync,
) -> Vec<R> {
    match rows * d * d < PARALLEL {
        true => jobs.iter().map(f).collect(),
        false => jobs.par_iter().map(f).collect(),
    }
}

/// Results of a task, `width` numbers for each of its rows, to their places.
fn scatter(jobs: &[Vec<Pattern>], results: &[Vec<f64>], width: usize, out: &mut [f64]) {
    for (job, result) in jobs.iter().zip(results) {
        let rows = job.iter().flat_map(|pattern| &pattern.rows);
        for (row, result) in rows.zip(result.chunks_exact(width)) {
            out[row * width..][..width].copy_from_slice(result);
        }
    }
}

impl<Q: Quantity> Op for Conditioned<Q> {
    const NAME: &'static str = Q::NAME;

    fn forward(&mut self, inputs: &[Tensor], _: bool) -> candle_core::Result<Vec<Fresh>> {
        let (_, d, _) = inputs[0].dims3()?;
        let (lower, rest) = (View::new(&inputs[0])?, View::new(&inputs[1])?);
        let (lower, rest) = (lower.as_slice::<f64>()?, rest.as_slice::<f64>()?);
        let (rows, width) = (inputs[1].dim(0)?, Q::width(d));
        let job = |job: &Vec<Pattern>| {
            let mut results = vec![];
            for pattern in job {
                let marginal = Marginal::new(&lower[pattern.factor * d * d..][..d * d], d, pattern);
                let mut out = vec![0.; pattern.rows.len() * width];
                let mut outs: Vec<&mut [f64]> = out.chunks_exact_mut(width).collect();
                Q::values(&marginal, &parts(rest, d, &pattern.rows), &mut outs);
                results.extend(out);
            }
            results
        };
        let results: Vec<Vec<f64>> = each(&self.jobs, [rows, d], job);
        let mut out = vec![0.; rows * width];
        scatter(&self.jobs, &results, width, &mut out);
        Ok(vec![(CpuStorage::F64(out), (rows, width).into())])
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        _: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let Some(Some(reached)) = outputs.first() else {
            return Ok(vec![None, None]);
        };
        let (_, d, _) = inputs[0].dims3()?;
        let (lower, rest) = (View::new(&inputs[0])?, View::new(&inputs[1])?);
        let (lower, rest) = (lower.as_slice::<f64>()?, rest.as_slice::<f64>()?);
        let gradient = View::new(&reached.gradient)?;
        let (gradient, width) = (gradient.as_slice::<f64>()?, Q::width(d));
        let job = |job: &Vec<Pattern>| {
            let (mut to_rest, mut to_factor) = (vec![], vec![0.; d * d]);
            for pattern in job {
                let marginal = Marginal::new(&lower[pattern.factor * d * d..][..d * d], d, pattern);
                let mut out = vec![0.; pattern.rows.len() * d];
                let mut outs: Vec<&mut [f64]> = out.chunks_exact_mut(d).collect();
                let (rest, gradient) = (
                    parts(rest, d, &pattern.rows),
                    parts(gradient, width, &pattern.rows),
                );
                Q::slopes(&marginal, &rest, &gradient, &mut outs, &mut to_factor);
                to_rest.extend(out);
            }
            (to_rest, to_factor)
        };
        let (rests, factors): (Vec<_>, Vec<_>) = each(&self.jobs, [rest.len() / d, d], job)
            .into_iter()
            .unzip();
        let mut to_rest = vec![0.; rest.len()];
        scatter(&self.jobs, &rests, d, &mut to_rest);
        let mut to_factor = vec![0.; lower.len()];
        for (job, part) in self.jobs.iter().zip(factors) {
            let Some(Pattern { factor, .. }) = job.first() else {
                continue;
            };
            let own = &mut to_factor[factor * d * d..][..d * d];
            own.iter_mut().zip(part).for_each(|(to, part)| *to += part);
        }
        let to_factor = Tensor::from_vec(to_factor, inputs[0].shape(), &Device::Cpu)?;
        let to_rest = Tensor::from_vec(to_rest, inputs[1].shape(), &Device::Cpu)?;
        Ok(vec![Some(to_factor), Some(to_rest)])
    }
}

//! Squared lengths after a solve.

use super::factor::*;
use crate::kernels::graph::node::{Fresh, Op, Reached, asked};
use crate::kernels::machine::buffer::View;
use crate::kernels::machine::tiles::SUM;
use candle_core::{Device, Tensor, WithDType};
use std::marker::PhantomData;

/// Inputs: factor [n, d, d], right-hand sides [n, m, d] or, for one factor, [.., d], and perhaps loc [d].
pub(super) struct Distance<T>(PhantomData<T>);

impl<T> Default for Distance<T> {
    fn default() -> Self {
        Distance(PhantomData)
    }
}

/// The rows of a task, less loc.
fn differences<T: WithDType>(x: &[T], loc: Option<&[T]>) -> Vec<T> {
    let Some(loc) = loc else {
        return x.to_vec();
    };
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(loc.len()) {
        out.extend(row.iter().zip(loc).map(|(x, loc)| *x - *loc));
    }
    out
}

impl<T: WithDType> Op for Distance<T> {
    const NAME: &'static str = "squared-distance";

    fn forward(&mut self, inputs: &[Tensor], _: bool) -> candle_core::Result<Vec<Fresh>> {
        let size @ [count, rows, d] = sizes(inputs)?;
        let views = inputs
            .iter()
            .map(View::new)
            .collect::<candle_core::Result<Vec<_>>>()?;
        let (lower, x) = (views[0].as_slice::<T>()?, views[1].as_slice::<T>()?);
        let loc = views.get(2).map(|v| v.as_slice::<T>()).transpose()?;
        let factors = factors(lower, size);
        let mut out = vec![T::zero(); count * rows];
        run(size, 1, &mut out, |task, out| {
            let from = (task.factor * rows + task.from) * d;
            let x = differences(&x[from..from + out.len() * d], loc);
            let mut z = vec![T::zero(); x.len()];
            factors[task.factor].solve(&x, &mut z)?;
            for ((out, z), x) in out.iter_mut().zip(z.chunks_exact(d)).zip(x.chunks_exact(d)) {
                *out = squares(z);
                // Products make NaN of an infinite element, which is infinitely far.
                if out.to_f64().is_nan() && infinite(x) {
                    *out = T::from_f64(f64::INFINITY);
                }
            }
            Ok(())
        })?;
        Ok(vec![(T::to_cpu_storage_owned(out), (count * rows).into())])
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        needs: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let mut results = vec![None; inputs.len()];
        let Some(Some(reached)) = outputs.first() else {
            return Ok(results);
        };
        let size @ [count, rows, d] = sizes(inputs)?;
        let views = inputs
            .iter()
            .map(View::new)
            .collect::<candle_core::Result<Vec<_>>>()?;
        let (lower, x) = (views[0].as_slice::<T>()?, views[1].as_slice::<T>()?);
        let loc = views.get(2).map(|v| v.as_slice::<T>()).transpose()?;
        let gradient = View::new(&reached.gradient)?;
        let gradient = gradient.as_slice::<T>()?;
        let factors = factors(lower, size);
        let to_loc = needs.get(2) == Some(&true);
        let to_x = needs[1];
        // d |z|^2 = 2 z dz with dz = L^-1 (dx - dloc - dL z).
        let task = |task: Task, out: &mut [T]| {
            let at = task.factor * rows + task.from;
            let range = at * d..(at + task.to - task.from) * d;
            let z = differences(&x[range], loc);
            let own = &gradient[at..at + task.to - task.from];
            let mut z = asked(&z, own, own.len()).into_owned();
            let mut u = vec![T::zero(); z.len()];
            factors[task.factor].solve(&z, &mut u)?;
            std::mem::swap(&mut z, &mut u);
            factors[task.factor].solve_transposed(&z, &mut u)?;
            for (u, g) in u.chunks_exact_mut(d).zip(&gradient[at..]) {
                let g = *g + *g;
                u.iter_mut().for_each(|u| *u *= g);
            }
            let mut to_factor = vec![T::zero(); if needs[0] { d * d } else { 0 }];
            if needs[0] {
                outer(&u, &z, d, -1., &mut to_factor)?;
            }
            let mut sums = vec![T::zero(); if to_loc { d } else { 0 }];
            if to_loc {
                for u in u.chunks_exact(d) {
                    sums.iter_mut().zip(u).for_each(|(sum, u)| *sum -= *u);
                }
            }
            if to_x {
                out.copy_from_slice(&u);
            }
            Ok((to_factor, sums))
        };
        let width = if to_x { d } else { 0 };
        let mut out = vec![T::zero(); count * rows * width];
        let parts = run(size, width, &mut out, task)?;
        if to_x {
            results[1] = Some(Tensor::from_vec(out, inputs[1].shape(), &Device::Cpu)?);
        }
        let (mut lowers, mut locs) = (vec![], vec![]);
        for (task, (lower, loc)) in parts {
            lowers.push((task, lower));
            locs.push((task, loc));
        }
        if needs[0] {
            let sums = sum(lowers, count, d * d);
            results[0] = Some(Tensor::from_vec(sums, inputs[0].shape(), &Device::Cpu)?);
        }
        if to_loc {
            results[2] = Some(Tensor::from_vec(sum(locs, 1, d), d, &Device::Cpu)?);
        }
        Ok(results)
    }
}

/// The sum of squares, in sixteen lanes; those of long rows block by block in f64.
fn squares<T: WithDType>(z: &[T]) -> T {
    if z.len() > SUM {
        let blocks = z.chunks(SUM).map(|z| squares(z).to_f64());
        return T::from_f64(blocks.sum());
    }
    let mut lanes = [T::zero(); 16];
    let mut chunks = z.chunks_exact(16);
    for chunk in &mut chunks {
        for (lane, z) in lanes.iter_mut().zip(chunk) {
            *lane += *z * *z;
        }
    }
    for (lane, z) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane += *z * *z;
    }
    let mut sum = T::zero();
    for lane in lanes {
        sum += lane;
    }
    sum
}

/// Whether a row has an infinite element and no NaN.
fn infinite<T: WithDType>(row: &[T]) -> bool {
    let size = row.iter().fold(0., |size, x| size + x.to_f64().abs());
    size == f64::INFINITY
}

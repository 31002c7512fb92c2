//! Lower-triangular matrices: solves, squared lengths after a solve, and Cholesky factors, each as one node.
//!
//! A factor is read in its lower triangle only; what lies above gets gradient 0. Where a factor has many right-hand
//! sides it is inverted once, in f64, and the solve is a matrix product: the error bound is that of substitution,
//! and the product runs at the speed of the machine. Where it has few, substitution runs in f64.
//! There is no composed form: candle has no solve. Other devices and dtypes than f32 and f64 go over the CPU in f32.

use super::buffer::{View, build};
use super::gemm::{Mat, Write, tiles};
use super::node::{self, Fresh, Op, Reached};
use crate::error::{Error, Result};
use crate::shape;
use candle_core::{DType, Device, Tensor, WithDType};
use rayon::prelude::*;
use std::marker::PhantomData;

/// Right-hand sides in one task.
const ROWS: usize = 256;

/// Multiply-adds below which threads cost more than they save.
const PARALLEL: usize = 64 * 1024;

/// `|L^-1 (x - loc)|^2`: `x` [.., d], `loc` [.., d], `factor` [.., d, d], whose leading dims broadcast together, to [..].
pub(crate) fn squared_distance(x: &Tensor, loc: &Tensor, factor: &Tensor) -> Result<Tensor> {
    let rank = factor.rank();
    let d = factor.dims()[rank - 1];
    let own = without_ones(&factor.dims()[..rank - 2]);
    if own.is_empty() && loc.elem_count() == d {
        let out = lead(x);
        let inputs = [factor.reshape((1, d, d))?, x.clone(), loc.reshape(d)?];
        return Ok(on_cpu(&inputs, |inputs, wide| match wide {
            true => node::apply1(Distance::<f64>::default(), inputs),
            false => node::apply1(Distance::<f32>::default(), inputs),
        })?
        .reshape(out)?);
    }
    let x = x.broadcast_sub(loc)?;
    let Some(full) = shape::broadcast(&lead(&x), &own) else {
        let (op, expected) = ("squared-distance", format!("leading dims {own:?}"));
        return Err(Error::shape(op, "x", expected, x.dims()));
    };
    if full.contains(&0) {
        return Ok(Tensor::zeros(full, x.dtype(), x.device())?);
    }
    // The rows of a factor side by side: [factors, rows, d].
    let own = if full.ends_with(&own) {
        own
    } else {
        full.clone()
    };
    let factor = factor
        .reshape([&own[..], &[d, d]].concat())?
        .reshape(((), d, d))?;
    let count = factor.dim(0)?;
    let rows = full.iter().product::<usize>() / count;
    let x = x
        .broadcast_as([&full[..], &[d]].concat())?
        .reshape((rows, count, d))?
        .transpose(0, 1)?;
    let out = on_cpu(&[factor, x], |inputs, wide| match wide {
        true => node::apply1(Distance::<f64>::default(), inputs),
        false => node::apply1(Distance::<f32>::default(), inputs),
    })?;
    Ok(out.reshape((count, rows))?.t()?.reshape(full)?)
}

/// `L^-1 b` for every row `b`: `factor` [n, d, d], `rows` [n, m, d] to [n, m, d].
pub(crate) fn solve(factor: &Tensor, rows: &Tensor) -> Result<Tensor> {
    on_cpu(&[factor.clone(), rows.clone()], |inputs, wide| match wide {
        true => node::apply1(Solve::<f64>(PhantomData), inputs),
        false => node::apply1(Solve::<f32>(PhantomData), inputs),
    })
}

/// The lower-triangular L with `L L^T = a`, read from the lower triangle of `a` [n, d, d]. NaN where `a` is not positive
/// definite. The gradient is that of symmetric changes.
pub(crate) fn cholesky(a: &Tensor) -> Result<Tensor> {
    on_cpu(std::slice::from_ref(a), |inputs, wide| match wide {
        true => node::apply1(Cholesky::<f64>(PhantomData), inputs),
        false => node::apply1(Cholesky::<f32>(PhantomData), inputs),
    })
}

/// All dims but the last.
fn lead(x: &Tensor) -> Vec<usize> {
    x.dims()[..x.rank() - 1].to_vec()
}

fn without_ones(dims: &[usize]) -> Vec<usize> {
    dims.iter().copied().skip_while(|d| *d == 1).collect()
}

/// Calls `f` with the tensors as f64 (`true`) or f32 on the CPU and brings the result back.
fn on_cpu(
    inputs: &[Tensor],
    f: impl FnOnce(&[&Tensor], bool) -> candle_core::Result<Tensor>,
) -> Result<Tensor> {
    let (dtype, device) = (inputs[0].dtype(), inputs[0].device());
    let wide = dtype == DType::F64;
    let native = if wide { DType::F64 } else { DType::F32 };
    let local = inputs
        .iter()
        .map(|t| t.to_device(&Device::Cpu)?.to_dtype(native))
        .collect::<candle_core::Result<Vec<_>>>()?;
    let local: Vec<&Tensor> = local.iter().collect();
    Ok(f(&local, wide)?.to_dtype(dtype)?.to_device(device)?)
}

/// One factor, ready for solves.
struct Factor<'a, T> {
    d: usize,
    lower: &'a [T],
    /// Row-major, where it pays.
    inverse: Option<Vec<T>>,
}

impl<'a, T: WithDType> Factor<'a, T> {
    fn new(lower: &'a [T], d: usize, rows: usize) -> Self {
        let inverse = (rows > d).then(|| {
            let mut inverse = vec![T::zero(); d * d];
            let mut column = vec![0.; d];
            for j in 0..d {
                column.fill(0.);
                column[j] = 1.;
                substitute(lower, &mut column);
                for i in j..d {
                    inverse[i * d + j] = T::from_f64(column[i]);
                }
            }
            inverse
        });
        Factor { d, lower, inverse }
    }

    /// `L^-1` of every row, into `out`.
    fn solve(&self, rows: &[T], out: &mut [T]) -> candle_core::Result<()> {
        self.apply(rows, out, false)
    }

    /// `L^-T` of every row, into `out`.
    fn solve_transposed(&self, rows: &[T], out: &mut [T]) -> candle_core::Result<()> {
        self.apply(rows, out, true)
    }

    fn apply(&self, rows: &[T], out: &mut [T], transposed: bool) -> candle_core::Result<()> {
        let d = self.d;
        let n = rows.len() / d;
        if let Some(inverse) = &self.inverse {
            let inverse = Mat::new(inverse, d, d)?;
            let inverse = if transposed { inverse } else { inverse.t() };
            return tiles(out, [n, d], [n, d], false, |mut tile| {
                tile.gemm(Write::Set, Mat::new(rows, n, d)?, inverse)
            });
        }
        let mut wide = vec![0.; d];
        for (row, out) in rows.chunks_exact(d).zip(out.chunks_exact_mut(d)) {
            for (wide, x) in wide.iter_mut().zip(row) {
                *wide = x.to_f64();
            }
            if transposed {
                substitute_transposed(self.lower, &mut wide);
            } else {
                substitute(self.lower, &mut wide);
            }
            for (out, x) in out.iter_mut().zip(&wide) {
                *out = T::from_f64(*x);
            }
        }
        Ok(())
    }
}

/// `x <- L^-1 x`.
fn substitute<T: WithDType>(lower: &[T], x: &mut [f64]) {
    let d = x.len();
    for i in 0..d {
        let row = &lower[i * d..=i * d + i];
        let sum: f64 = row.iter().zip(&x[..i]).map(|(l, x)| l.to_f64() * x).sum();
        x[i] = (x[i] - sum) / row[i].to_f64();
    }
}

/// `x <- L^-T x`.
fn substitute_transposed<T: WithDType>(lower: &[T], x: &mut [f64]) {
    let d = x.len();
    for i in (0..d).rev() {
        let row = &lower[i * d..=i * d + i];
        let (before, rest) = x.split_at_mut(i);
        rest[0] /= row[i].to_f64();
        for (x, l) in before.iter_mut().zip(row) {
            *x -= l.to_f64() * rest[0];
        }
    }
}

/// `sum_r u_r^T z_r` over rows, lower triangle only, times `sign`; added to `out`.
fn outer<T: WithDType>(
    u: &[T],
    z: &[T],
    d: usize,
    sign: f64,
    out: &mut [T],
) -> candle_core::Result<()> {
    let n = u.len() / d;
    let mut product = vec![T::zero(); d * d];
    tiles(&mut product, [d, d], [d, d], false, |mut tile| {
        tile.gemm(Write::Set, Mat::new(u, n, d)?.t(), Mat::new(z, n, d)?)
    })?;
    for i in 0..d {
        for j in 0..=i {
            out[i * d + j] += T::from_f64(sign) * product[i * d + j];
        }
    }
    Ok(())
}

/// Right-hand sides `from..to` of factor number `factor`.
#[derive(Clone, Copy)]
struct Task {
    factor: usize,
    from: usize,
    to: usize,
}

/// Calls `f` on every task with the parts of `out` that belong to it, `width` numbers for each right-hand side, and
/// returns the results in order. The tasks do not depend on the number of threads.
fn run<T: WithDType, R: Send>(
    [factors, rows, d]: [usize; 3],
    width: usize,
    out: &mut [T],
    f: impl Fn(Task, &mut [T]) -> candle_core::Result<R> + Sync,
) -> candle_core::Result<Vec<(Task, R)>> {
    let mut parts = vec![];
    let mut rest = out;
    for factor in 0..factors {
        for from in (0..rows).step_by(ROWS) {
            let to = (from + ROWS).min(rows);
            let (part, after) = rest.split_at_mut((to - from) * width);
            parts.push((Task { factor, from, to }, part));
            rest = after;
        }
    }
    let one = |(task, part): (Task, &mut [T])| Ok((task, f(task, part)?));
    if factors * rows * d * d < PARALLEL {
        parts.into_iter().map(one).collect()
    } else {
        parts.into_par_iter().map(one).collect()
    }
}

/// Factors, right-hand sides for each, dims. Inputs: factor [n, d, d], rows [.., d].
fn sizes(inputs: &[Tensor]) -> candle_core::Result<[usize; 3]> {
    let (count, d, _) = inputs[0].dims3()?;
    Ok([count, inputs[1].elem_count() / (count * d).max(1), d])
}

fn factors<T: WithDType>(lower: &[T], [count, rows, d]: [usize; 3]) -> Vec<Factor<'_, T>> {
    let new = |f| Factor::new(&lower[f * d * d..(f + 1) * d * d], d, rows);
    if rows > d && count > 1 {
        (0..count).into_par_iter().map(new).collect()
    } else {
        (0..count).map(new).collect()
    }
}

/// Sums of what the tasks found for each factor, in the order of tasks.
fn sum<T: WithDType>(parts: Vec<(Task, Vec<T>)>, count: usize, len: usize) -> Vec<T> {
    let mut out = vec![T::zero(); count * len];
    for (task, part) in parts {
        let out = &mut out[task.factor * len..(task.factor + 1) * len];
        out.iter_mut().zip(part).for_each(|(out, x)| *out += x);
    }
    out
}

/// Inputs: factor [n, d, d], right-hand sides [n, m, d] or, for one factor, [.., d], and perhaps loc [d].
struct Distance<T>(PhantomData<T>);

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
            for (out, z) in out.iter_mut().zip(z.chunks_exact(d)) {
                *out = squares(z);
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
            let mut z = differences(&x[range], loc);
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

/// The sum of squares, in sixteen lanes.
fn squares<T: WithDType>(z: &[T]) -> T {
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

/// Inputs: factor [n, d, d], right-hand sides [n, m, d].
struct Solve<T>(PhantomData<T>);

impl<T: WithDType> Op for Solve<T> {
    const NAME: &'static str = "triangular-solve";

    fn forward(&mut self, inputs: &[Tensor], _: bool) -> candle_core::Result<Vec<Fresh>> {
        let size @ [_, rows, d] = sizes(inputs)?;
        let (lower, x) = (View::new(&inputs[0])?, View::new(&inputs[1])?);
        let (lower, x) = (lower.as_slice::<T>()?, x.as_slice::<T>()?);
        let factors = factors(lower, size);
        let mut out = vec![T::zero(); x.len()];
        run(size, d, &mut out, |task, out| {
            let from = (task.factor * rows + task.from) * d;
            factors[task.factor].solve(&x[from..from + out.len()], out)
        })?;
        Ok(vec![(
            T::to_cpu_storage_owned(out),
            inputs[1].shape().clone(),
        )])
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
        let lower = View::new(&inputs[0])?;
        let value = reached.value.contiguous()?;
        let (value, gradient) = (View::new(&value)?, View::new(&reached.gradient)?);
        let (value, gradient) = (value.as_slice::<T>()?, gradient.as_slice::<T>()?);
        let factors = factors(lower.as_slice::<T>()?, size);
        let mut out = vec![T::zero(); value.len()];
        let parts = run(size, d, &mut out, |task, out| {
            let from = (task.factor * rows + task.from) * d;
            let range = from..from + out.len();
            factors[task.factor].solve_transposed(&gradient[range.clone()], out)?;
            let mut to_factor = vec![T::zero(); d * d];
            outer(out, &value[range], d, -1., &mut to_factor)?;
            Ok(to_factor)
        })?;
        if needs[0] {
            let sums = sum(parts, count, d * d);
            results[0] = Some(Tensor::from_vec(sums, inputs[0].shape(), &Device::Cpu)?);
        }
        results[1] = Some(Tensor::from_vec(out, inputs[1].shape(), &Device::Cpu)?);
        Ok(results)
    }
}

/// Input: [n, d, d].
struct Cholesky<T>(PhantomData<T>);

impl<T: WithDType> Op for Cholesky<T> {
    const NAME: &'static str = "cholesky";

    fn forward(&mut self, inputs: &[Tensor], _: bool) -> candle_core::Result<Vec<Fresh>> {
        let (_, d, _) = inputs[0].dims3()?;
        let a = View::new(&inputs[0])?;
        let a = a.as_slice::<T>()?;
        let out = build(a.len(), d * d, |offset, out| {
            let mut l = vec![0.; d * d];
            for i in 0..d {
                for j in 0..=i {
                    let sum: f64 = (0..j).map(|k| l[i * d + k] * l[j * d + k]).sum();
                    let rest = a[offset + i * d + j].to_f64() - sum;
                    l[i * d + j] = if i == j {
                        rest.sqrt()
                    } else {
                        rest / l[j * d + j]
                    };
                }
            }
            out.iter_mut()
                .zip(l)
                .for_each(|(out, l)| *out = T::from_f64(l));
        });
        Ok(vec![(
            T::to_cpu_storage_owned(out),
            inputs[0].shape().clone(),
        )])
    }

    /// With P the lower triangle of `L^T G`, its diagonal halved: `(S + S^T) / 2` for `S = L^-T P L^-1`.
    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        _: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let Some(Some(reached)) = outputs.first() else {
            return Ok(vec![None]);
        };
        let (_, d, _) = inputs[0].dims3()?;
        let value = reached.value.contiguous()?;
        let (l, g) = (View::new(&value)?, View::new(&reached.gradient)?);
        let (l, g) = (l.as_slice::<T>()?, g.as_slice::<T>()?);
        let out = build(l.len(), d * d, |offset, out| {
            let (l, g) = (&l[offset..offset + d * d], &g[offset..offset + d * d]);
            let mut s = vec![0.; d * d];
            for i in 0..d {
                for j in 0..=i {
                    let sum: f64 = (i..d)
                        .map(|k| l[k * d + i].to_f64() * g[k * d + j].to_f64())
                        .sum();
                    s[i * d + j] = if i == j { 0.5 * sum } else { sum };
                }
            }
            // P L^-1, transposed, and again.
            for _ in 0..2 {
                s.chunks_exact_mut(d)
                    .for_each(|row| substitute_transposed(l, row));
                s = (0..d * d).map(|at| s[at % d * d + at / d]).collect();
            }
            for (at, out) in out.iter_mut().enumerate() {
                *out = T::from_f64(0.5 * (s[at] + s[at % d * d + at / d]));
            }
        });
        let out = Tensor::from_vec(out, inputs[0].shape(), &Device::Cpu)?;
        Ok(vec![Some(out)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::random::{Stream, normals_f64};
    use candle_core::Var;

    fn numbers(shape: &[usize], draw: u64, dtype: DType) -> Result<Tensor> {
        let data = normals_f64(Stream { key: 1, draw }, shape.iter().product());
        Ok(Tensor::from_vec(data, shape, &Device::Cpu)?.to_dtype(dtype)?)
    }

    /// Gradients of a weighted sum of `f` against central differences along random directions.
    fn check(f: impl Fn(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor]) -> Result<()> {
        let weights = numbers(f(inputs)?.dims(), 9, DType::F64)?;
        let loss = |t: &[Tensor]| -> Result<Tensor> { Ok((f(t)? * &weights)?.sum_all()?) };
        let vars = inputs.iter().map(Var::from_tensor);
        let vars = vars.collect::<candle_core::Result<Vec<_>>>()?;
        let live: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
        let gradients = loss(&live)?.backward()?;
        for (i, var) in vars.iter().enumerate() {
            let Some(gradient) = gradients.get(var) else {
                panic!("input {i} has no gradient");
            };
            for seed in 0..4 {
                let direction = numbers(var.dims(), 20 + seed, DType::F64)?;
                let at = |step: f64| -> Result<f64> {
                    let mut moved = inputs.to_vec();
                    moved[i] = (&moved[i] + (&direction * step)?)?;
                    Ok(loss(&moved)?.to_scalar()?)
                };
                let want = (at(1e-5)? - at(-1e-5)?) / 2e-5;
                let got = (gradient * &direction)?.sum_all()?.to_scalar::<f64>()?;
                let close = (got - want).abs() <= 1e-7 * want.abs().max(1.);
                assert!(close, "input {i}: {got}, expected {want}");
            }
        }
        Ok(())
    }

    /// Well-conditioned factors with numbers above the diagonal that must not matter.
    fn factor(shape: &[usize], dtype: DType) -> Result<Tensor> {
        let d = shape[shape.len() - 1];
        let eye = Tensor::eye(d, dtype, &Device::Cpu)?;
        Ok((numbers(shape, 1, dtype)? * 0.1)?.broadcast_add(&eye)?)
    }

    fn lower(factor: &Tensor) -> Result<Tensor> {
        let d = factor.dims()[factor.rank() - 1];
        let mask = Tensor::tril2(d, factor.dtype(), factor.device())?;
        Ok(factor.broadcast_mul(&mask)?)
    }

    fn off(a: &Tensor, b: &Tensor) -> Result<f64> {
        let off = (a - b)?.abs()?.max_all()?;
        Ok(off.to_dtype(DType::F64)?.to_scalar()?)
    }

    /// Few right-hand sides and many, one factor and several.
    #[test]
    fn a_solve_undoes_the_product() -> Result<()> {
        for (dtype, tolerance) in [(DType::F64, 1e-13), (DType::F32, 1e-5)] {
            for [n, m, d] in [[1, 3, 5], [1, 700, 5], [4, 2, 3], [3, 300, 8], [1, 90, 70]] {
                let l = factor(&[n, d, d], dtype)?;
                let z = numbers(&[n, m, d], 2, dtype)?;
                let x = z.matmul(&lower(&l)?.transpose(1, 2)?.contiguous()?)?;
                assert!(off(&solve(&l, &x)?, &z)? < tolerance * d as f64);
                let loc = numbers(&[n, d], 3, dtype)?;
                let x = x.transpose(0, 1)?.broadcast_add(&loc)?;
                let want = z.sqr()?.sum(2)?.t()?.contiguous()?;
                let got = squared_distance(&x, &loc, &l)?;
                assert_eq!(got.dims(), [m, n]);
                assert!(off(&got, &want)? < 5. * tolerance * d as f64);
            }
        }
        Ok(())
    }

    #[test]
    fn gradients_meet_central_differences() -> Result<()> {
        let dtype = DType::F64;
        for [n, m, d] in [[1, 2, 4], [1, 9, 3], [2, 2, 3], [2, 6, 3]] {
            let inputs = [factor(&[n, d, d], dtype)?, numbers(&[n, m, d], 2, dtype)?];
            check(|t| solve(&t[0], &t[1]), &inputs)?;
            let x = numbers(&[m, n, d], 3, dtype)?;
            let inputs = [factor(&[n, d, d], dtype)?, x, numbers(&[n, d], 4, dtype)?];
            check(|t| squared_distance(&t[1], &t[2], &t[0]), &inputs)?;
        }
        // One loc for each value under one factor, and one factor for each.
        let x = numbers(&[5, 3], 2, dtype)?;
        for shape in [&[3, 3][..], &[5, 3, 3]] {
            let inputs = [
                factor(shape, dtype)?,
                x.clone(),
                numbers(&[5, 3], 4, dtype)?,
            ];
            check(|t| squared_distance(&t[1], &t[2], &t[0]), &inputs)?;
        }
        let root = factor(&[2, 4, 4], dtype)?;
        check(
            |t| cholesky(&t[0].matmul(&t[0].transpose(1, 2)?.contiguous()?)?),
            &[root],
        )
    }

    #[test]
    fn a_cholesky_factor_makes_the_matrix() -> Result<()> {
        let root = lower(&factor(&[3, 5, 5], DType::F64)?)?;
        let a = root.matmul(&root.transpose(1, 2)?.contiguous()?)?;
        let l = cholesky(&a)?;
        assert!(off(&l.matmul(&l.transpose(1, 2)?.contiguous()?)?, &a)? < 1e-14);
        assert!(off(&lower(&l)?, &l)? == 0.);
        Ok(())
    }

    #[test]
    fn empty_values_have_empty_distances() -> Result<()> {
        let l = factor(&[3, 3], DType::F32)?;
        let x = Tensor::zeros((0, 3), DType::F32, &Device::Cpu)?;
        let loc = numbers(&[3], 1, DType::F32)?;
        assert_eq!(squared_distance(&x, &loc, &l)?.dims(), [0]);
        let many = factor(&[2, 3, 3], DType::F32)?;
        let x = Tensor::zeros((0, 2, 3), DType::F32, &Device::Cpu)?;
        assert_eq!(squared_distance(&x, &loc, &many)?.dims(), [0, 2]);
        Ok(())
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() -> Result<()> {
        let inputs = [
            factor(&[16, 16], DType::F32)?,
            numbers(&[3000, 16], 2, DType::F32)?,
        ];
        let run = |threads: usize| -> Result<Vec<f32>> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let pool = pool.map_err(candle_core::Error::wrap)?;
            pool.install(|| {
                let l = Var::from_tensor(&inputs[0])?;
                let loc = inputs[1].get(0)?;
                let y = squared_distance(&inputs[1], &loc, &l)?;
                let gradients = y.sum_all()?.backward()?;
                let gradient = gradients.get(&l).map(Tensor::flatten_all).transpose()?;
                let mut all = y.to_vec1::<f32>()?;
                all.extend(gradient.unwrap_or(y).to_vec1::<f32>()?);
                Ok(all)
            })
        };
        let one = run(1)?;
        assert!(one == run(2)? && one == run(3)?);
        Ok(())
    }
}

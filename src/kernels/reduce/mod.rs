//! Reductions over the last dimension (logsumexp and the softmax family) and over leading dimensions (column sums).
//!
//! Sums run over 16 lanes in a fixed order and tasks are cut by the shape alone, so results depend neither on the
//! instruction set's width nor on the number of threads.

pub(crate) mod dot;
pub(crate) mod log_variance;
pub(crate) mod norm;
pub(crate) mod range;
#[cfg(test)]
mod tests;

use crate::error::Result;
use crate::kernels::elementwise::composed;
use crate::kernels::graph::node::{self, Fresh, Op, Reached};
use crate::kernels::graph::second_derivatives;
use crate::kernels::machine::buffer::{CHUNK, SERIAL, View};
use crate::kernels::machine::simd::{Loop, dispatch};
use crate::kernels::machine::tiles;
use crate::kernels::number::Float;
use candle_core::{D, DType, Tensor};
use rayon::prelude::*;

const LANES: usize = 16;

/// The sum of f(i) for i below n, block by block in f64.
#[inline(always)]
fn lane_sum<T: Float>(n: usize, f: impl Fn(usize) -> T) -> T {
    if n <= tiles::SUM {
        return block_sum(n, f);
    }
    let blocks = (0..n).step_by(tiles::SUM);
    let blocks = blocks.map(|at| block_sum(tiles::SUM.min(n - at), |i| f(at + i)).to_f64());
    T::from_f64(blocks.fold(0., |sum, block| sum + block))
}

/// 16 sums side by side, added up in order.
#[inline(always)]
fn block_sum<T: Float>(n: usize, f: impl Fn(usize) -> T) -> T {
    let mut sums = [T::ZERO; LANES];
    let whole = n - n % LANES;
    let mut at = 0;
    while at < whole {
        for (l, s) in sums.iter_mut().enumerate() {
            *s += f(at + l);
        }
        at += LANES;
    }
    for (l, s) in sums.iter_mut().enumerate().take(n - whole) {
        *s += f(whole + l);
    }
    let mut total = T::ZERO;
    for s in sums {
        total += s;
    }
    total
}

/// The largest element; NaN is passed over.
#[inline(always)]
fn lane_max<T: Float>(x: &[T]) -> T {
    let mut best = [-T::INFINITY; LANES];
    let mut groups = x.chunks_exact(LANES);
    for group in &mut groups {
        for (b, x) in best.iter_mut().zip(group) {
            *b = if *x > *b { *x } else { *b };
        }
    }
    for (b, x) in best.iter_mut().zip(groups.remainder()) {
        *b = if *x > *b { *x } else { *b };
    }
    let mut most = -T::INFINITY;
    for b in best {
        most = if b > most { b } else { most };
    }
    most
}

/// (what is taken off before exponentials, the sum of exponentials) of a row.
///
/// An infinite maximum is not taken off: then the sum is 0, infinite or NaN, as it should be.
#[inline(always)]
fn shifted_sum<T: Float, const FMA: bool>(x: &[T]) -> (T, T) {
    let most = lane_max(x);
    let shift = if most == T::INFINITY || most == -T::INFINITY {
        T::ZERO
    } else {
        most
    };
    (shift, lane_sum(x.len(), |i| (x[i] - shift).exp::<FMA>()))
}

/// How many elements are +infinity.
fn infinities<T: Float>(x: &[T]) -> T {
    lane_sum(
        x.len(),
        |i| if x[i] == T::INFINITY { T::ONE } else { T::ZERO },
    )
}

/// Whether a row's upstream gradients are all 0: then its own are 0 whatever the row is.
#[inline(always)]
fn unasked<T: Float>(g: &[T]) -> bool {
    g.iter().all(|g| *g == T::ZERO)
}

/// A reduction of rows, or a function of each row.
trait Rows: Copy + Send + Sync + 'static {
    const NAME: &'static str;
    /// One output for each row instead of one for each element.
    const REDUCES: bool;

    /// What a row without elements is reduced to.
    fn empty<T: Float>() -> T {
        // The logarithm of an empty sum.
        -T::INFINITY
    }

    fn forward<T: Float, const FMA: bool>(x: &[T], y: &mut [T]);

    /// `d` from a row of inputs, of outputs and of output gradients.
    fn backward<T: Float, const FMA: bool>(x: &[T], y: &[T], g: &[T], d: &mut [T]);
}

#[derive(Clone, Copy)]
struct LogSumExp;

impl Rows for LogSumExp {
    const NAME: &'static str = "logsumexp";
    const REDUCES: bool = true;

    #[inline(always)]
    fn forward<T: Float, const FMA: bool>(x: &[T], y: &mut [T]) {
        let (shift, sum) = shifted_sum::<T, FMA>(x);
        y[0] = shift + sum.ln();
    }

    #[inline(always)]
    fn backward<T: Float, const FMA: bool>(x: &[T], y: &[T], g: &[T], d: &mut [T]) {
        let (y, g) = (y[0], g[0]);
        if y == -T::INFINITY || g == T::ZERO {
            d.fill(T::ZERO);
        } else if y == T::INFINITY {
            let share = g / infinities(x);
            for (d, x) in d.iter_mut().zip(x) {
                *d = if *x == T::INFINITY { share } else { T::ZERO };
            }
        } else {
            for (d, x) in d.iter_mut().zip(x) {
                *d = (*x - y).exp::<FMA>() * g;
            }
        }
    }
}

#[derive(Clone, Copy)]
struct LogSoftmax;

impl Rows for LogSoftmax {
    const NAME: &'static str = "log-softmax";
    const REDUCES: bool = false;

    #[inline(always)]
    fn forward<T: Float, const FMA: bool>(x: &[T], y: &mut [T]) {
        let (shift, sum) = shifted_sum::<T, FMA>(x);
        if sum == T::INFINITY {
            let share = -infinities(x).ln();
            for (y, x) in y.iter_mut().zip(x) {
                *y = if *x == T::INFINITY {
                    share
                } else {
                    -T::INFINITY
                };
            }
        } else if sum == T::ZERO {
            y.fill(-T::INFINITY);
        } else {
            let ln = sum.ln();
            for (y, x) in y.iter_mut().zip(x) {
                *y = (*x - shift) - ln;
            }
        }
    }

    #[inline(always)]
    fn backward<T: Float, const FMA: bool>(_: &[T], y: &[T], g: &[T], d: &mut [T]) {
        if unasked(g) {
            return d.fill(T::ZERO);
        }
        // NaN rows have no maximum either, but their exponentials are NaN.
        let total = lane_sum(g.len(), |i| g[i]);
        for ((d, y), g) in d.iter_mut().zip(y).zip(g) {
            *d = *g - y.exp::<FMA>() * total;
        }
        if lane_max(y) == -T::INFINITY && y.iter().all(|y| *y == -T::INFINITY) {
            d.fill(T::ZERO);
        }
    }
}

#[derive(Clone, Copy)]
struct Softmax;

impl Rows for Softmax {
    const NAME: &'static str = "softmax";
    const REDUCES: bool = false;

    #[inline(always)]
    fn forward<T: Float, const FMA: bool>(x: &[T], y: &mut [T]) {
        let (shift, sum) = shifted_sum::<T, FMA>(x);
        if sum == T::INFINITY {
            let share = T::ONE / infinities(x);
            for (y, x) in y.iter_mut().zip(x) {
                *y = if *x == T::INFINITY { share } else { T::ZERO };
            }
        } else if sum == T::ZERO {
            y.fill(T::ZERO);
        } else {
            let scale = T::ONE / sum;
            for (y, x) in y.iter_mut().zip(x) {
                *y = (*x - shift).exp::<FMA>() * scale;
            }
        }
    }

    #[inline(always)]
    fn backward<T: Float, const FMA: bool>(_: &[T], y: &[T], g: &[T], d: &mut [T]) {
        if unasked(g) {
            return d.fill(T::ZERO);
        }
        let mean = lane_sum(g.len(), |i| g[i] * y[i]);
        for ((d, y), g) in d.iter_mut().zip(y).zip(g) {
            *d = *y * (*g - mean);
        }
    }
}

#[derive(Clone, Copy)]
struct Sum;

impl Rows for Sum {
    const NAME: &'static str = "sum";
    const REDUCES: bool = true;

    fn empty<T: Float>() -> T {
        T::ZERO
    }

    #[inline(always)]
    fn forward<T: Float, const FMA: bool>(x: &[T], y: &mut [T]) {
        y[0] = tiles::sum(x);
    }

    #[inline(always)]
    fn backward<T: Float, const FMA: bool>(_: &[T], _: &[T], g: &[T], d: &mut [T]) {
        d.fill(g[0]);
    }
}

struct Node<R>(R);

/// Calls `f(row range, outputs of these rows)` on tasks of whole rows; `row` and `out` are the elements in a row of
/// the input and of the output.
fn over_rows<T: Float>(
    rows: usize,
    row: usize,
    out: usize,
    f: impl Fn(std::ops::Range<usize>, &mut [T]) + Sync,
) -> Vec<T> {
    let mut result = vec![T::ZERO; rows * out];
    let per_task = (4 * CHUNK / row.max(1)).max(1);
    let task = |(i, o): (usize, &mut [T])| f(i * per_task..i * per_task + o.len() / out, o);
    if out == 0 {
    } else if rows * row < SERIAL {
        result.chunks_mut(per_task * out).enumerate().for_each(task);
    } else {
        result
            .par_chunks_mut(per_task * out)
            .enumerate()
            .for_each(task);
    }
    result
}

struct Forward<'a, R, T>(R, &'a [T], usize, &'a mut [T]);

impl<R: Rows, T: Float> Loop for Forward<'_, R, T> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Forward(_, x, n, y) = self;
        let out = if R::REDUCES { 1 } else { n };
        for (x, y) in x.chunks_exact(n).zip(y.chunks_exact_mut(out)) {
            R::forward::<T, FMA>(x, y);
        }
    }
}

struct Backward<'a, R, T>(R, &'a [T], &'a [T], &'a [T], usize, &'a mut [T]);

impl<R: Rows, T: Float> Loop for Backward<'_, R, T> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Backward(_, x, y, g, n, d) = self;
        let out = if R::REDUCES { 1 } else { n };
        let rows = x.chunks_exact(n).zip(y.chunks_exact(out));
        let rows = rows.zip(g.chunks_exact(out)).zip(d.chunks_exact_mut(n));
        for (((x, y), g), d) in rows {
            R::backward::<T, FMA>(x, y, g, d);
        }
    }
}

impl<R: Rows> Node<R> {
    fn forward_as<T: Float>(&self, x: &Tensor) -> candle_core::Result<Fresh> {
        let n = x.dim(D::Minus1)?;
        let mut shape = x.dims().to_vec();
        if R::REDUCES {
            shape.pop();
        }
        let rows: usize = x.dims()[..x.rank() - 1].iter().product();
        let view = View::new(x)?;
        let x = view.as_slice::<T>()?;
        let out = if R::REDUCES { 1 } else { n };
        let y = if n == 0 {
            vec![R::empty(); rows * out]
        } else {
            over_rows(rows, n, out, |rows, y| {
                dispatch(Forward(self.0, &x[rows.start * n..rows.end * n], n, y))
            })
        };
        Ok((T::to_cpu_storage_owned(y), shape.into()))
    }

    fn backward_as<T: Float>(&self, x: &Tensor, out: &Reached) -> candle_core::Result<Tensor> {
        let n = x.dim(D::Minus1)?;
        let per = if R::REDUCES { 1 } else { n };
        let (shape, device) = (x.shape(), x.device());
        let (x, y, g) = (
            View::new(x)?,
            View::new(&out.value)?,
            View::new(&out.gradient)?,
        );
        let (x, y, g) = (x.as_slice::<T>()?, y.as_slice::<T>()?, g.as_slice::<T>()?);
        let rows = x.len() / n.max(1);
        let d = over_rows(rows, n, n, |rows, d| {
            let (x, y, g) = (
                &x[rows.start * n..rows.end * n],
                &y[rows.start * per..rows.end * per],
                &g[rows.start * per..rows.end * per],
            );
            dispatch(Backward(self.0, x, y, g, n, d))
        });
        Tensor::from_vec(d, shape, device)
    }
}

impl<R: Rows> Op for Node<R> {
    const NAME: &'static str = R::NAME;

    fn forward(&mut self, inputs: &[Tensor], _: bool) -> candle_core::Result<Vec<Fresh>> {
        let x = &inputs[0];
        Ok(vec![match x.dtype() {
            DType::F64 => self.forward_as::<f64>(x)?,
            _ => self.forward_as::<f32>(x)?,
        }])
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        _: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let Some(out) = &outputs[0] else {
            return Ok(vec![None]);
        };
        Ok(vec![Some(match inputs[0].dtype() {
            DType::F64 => self.backward_as::<f64>(&inputs[0], out)?,
            _ => self.backward_as::<f32>(&inputs[0], out)?,
        })])
    }
}

/// `f` of the rows as one node on the CPU, half precision in f32; the expression `composed` elsewhere.
fn over<R: Rows>(
    f: R,
    x: &Tensor,
    composed: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let dtype = x.dtype();
    if !x.device().is_cpu() || !dtype.is_float() || second_derivatives() {
        return composed(x);
    }
    Ok(match dtype {
        DType::F32 | DType::F64 => node::apply1(Node(f), &[x])?,
        _ => node::apply1(Node(f), &[&x.to_dtype(DType::F32)?])?.to_dtype(dtype)?,
    })
}

/// The sum over the last dimension, which is removed: blocks are added in double precision, so that long rows keep their
/// digits. Candle adds them one by one.
pub(crate) fn sum(x: &Tensor) -> Result<Tensor> {
    over(Sum, x, |x| Ok(x.sum(D::Minus1)?))
}

/// [`sum`] over the last `dims` dims, as one row each.
pub(crate) fn sum_last(x: &Tensor, dims: usize) -> Result<Tensor> {
    match x.rank() {
        _ if dims == 0 => Ok(x.clone()),
        rank => sum(&x.flatten(rank - dims, rank - 1)?),
    }
}

/// ln sum e^x over the last dimension, which is removed. -inf where all are, with gradient 0.
pub(crate) fn logsumexp(x: &Tensor) -> Result<Tensor> {
    over(LogSumExp, x, composed::logsumexp)
}

/// x - logsumexp(x) over the last dimension. -inf where all are, with gradient 0.
pub(crate) fn log_softmax(x: &Tensor) -> Result<Tensor> {
    over(LogSoftmax, x, composed::log_softmax)
}

/// e^(x - logsumexp(x)) over the last dimension. 0 where all x are -inf.
pub(crate) fn softmax(x: &Tensor) -> Result<Tensor> {
    over(Softmax, x, |x| Ok(composed::log_softmax(x)?.exp()?))
}

/// [`logsumexp`] of one row.
pub(crate) fn logsumexp_row(x: &[f32]) -> f32 {
    let mut y = [0.];
    LogSumExp::forward::<f32, false>(x, &mut y);
    y[0]
}

/// [`log_softmax`] of one row.
pub(crate) fn log_softmax_row(x: &[f32], y: &mut [f32]) {
    LogSoftmax::forward::<f32, false>(x, y);
}

/// The gradient of [`logsumexp_row`].
pub(crate) fn logsumexp_gradient(x: &[f32], g: f32, d: &mut [f32]) {
    LogSumExp::backward::<f32, false>(x, &[logsumexp_row(x)], &[g], d);
}

/// The gradient of [`log_softmax_row`].
pub(crate) fn log_softmax_gradient(x: &[f32], g: &[f32], d: &mut [f32]) {
    let mut y = vec![0.; x.len()];
    log_softmax_row(x, &mut y);
    LogSoftmax::backward::<f32, false>(x, &y, g, d);
}

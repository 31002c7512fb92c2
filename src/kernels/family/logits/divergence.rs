//! Entropies and divergences of rows of logits, one node each, in double precision inside: of a million classes each adds
//! little, and rows that are near each other differ by less than their terms.

use super::periodic;
use crate::error::Result;
use crate::kernels::elementwise::composed::exp_minus_line;
use crate::kernels::elementwise::on_cpu;
use crate::kernels::graph::node::{self, Fresh, Op, Reached};
use crate::kernels::machine::buffer::{self, CHUNK, SERIAL, View, views};
use crate::kernels::machine::simd::{Loop, dispatch};
use crate::kernels::number::EXPONENTIAL;
use crate::kernels::number::double::exp;
use crate::kernels::reduce;
use crate::shape;
use candle_core::{D, DType, Result as CandleResult, Tensor, WithDType};
use std::marker::PhantomData;

/// `-sum_i p_i ln p_i` for p the softmax of the last dimension.
pub(crate) fn categorical_entropy(logits: &Tensor) -> Result<Tensor> {
    let out = &logits.dims()[..logits.rank() - 1];
    if logits.elem_count() > 0 && on_cpu(logits) {
        return run(Kind::Entropy, &[logits], out);
    }
    let log = super::log_softmax(logits)?;
    let possible = log.ne(f64::NEG_INFINITY)?;
    let safe = possible.where_cond(&log, &log.detach().zeros_like()?)?;
    Ok(reduce::sum(&(log.exp()? * safe)?)?.neg()?)
}

/// `sum_i p_i ln(p_i / q_i)` for p and q the softmax of the last dimensions, which are equal; the others broadcast.
///
/// With `t_i = ln(p_i / q_i)` it is the sum of `p_i (e^-t_i - 1 + t_i)`: no term is negative, and near equality each keeps its
/// digits.
pub(crate) fn categorical_kl(p: &Tensor, q: &Tensor) -> Result<Tensor> {
    let full = shape::broadcast_with("categorical_kl", "other", q.dims(), p.dims())?;
    let (classes, out) = (p.dim(D::Minus1)?, &full[..full.len() - 1]);
    if !full.contains(&0) && on_cpu(p) {
        let [p, q] = [periodic(p, &full, classes)?, periodic(q, &full, classes)?];
        return run(Kind::Divergence, &[&p, &q], out);
    }
    let (p, q) = (super::log_softmax(p)?, super::log_softmax(q)?);
    let mass = p.exp()?.broadcast_as(full.as_slice())?;
    let some = mass.gt(0.)?;
    let zero = mass.detach().zeros_like()?;
    // Selected first: a class that neither has is -inf - -inf.
    let [p, q] = [&p, &q].map(|x| -> Result<Tensor> {
        Ok(some.where_cond(&x.broadcast_as(full.as_slice())?, &zero)?)
    });
    let (p, q) = (p?, q?);
    let others = some.where_cond(&zero, &q.exp()?)?;
    reduce::sum(&((mass * exp_minus_line(&(q - p)?)?)? + others)?)
}

fn run(kind: Kind, inputs: &[&Tensor], rows: &[usize]) -> Result<Tensor> {
    let (dtype, rows) = (inputs[0].dtype(), rows.to_vec());
    if dtype == DType::F64 {
        let op = Node::<f64>(kind, rows, PhantomData);
        return Ok(node::apply1(op, inputs)?);
    }
    let wide: CandleResult<Vec<Tensor>> = inputs.iter().map(|x| x.to_dtype(DType::F32)).collect();
    let wide = wide?;
    let op = Node::<f32>(kind, rows, PhantomData);
    Ok(node::apply1(op, &wide.iter().collect::<Vec<_>>())?.to_dtype(dtype)?)
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Entropy,
    Divergence,
}

/// Numbers side by side.
const LANES: usize = 8;

/// The sum of `f(x, y)` over two rows.
#[inline(always)]
fn sum<T: WithDType>(x: &[T], y: &[T], f: impl Fn(f64, f64) -> f64) -> f64 {
    let mut sums = [0f64; LANES];
    let (xs, x_rest) = x.as_chunks::<LANES>();
    let (ys, y_rest) = y[..x.len()].as_chunks::<LANES>();
    for (x, y) in xs.iter().zip(ys) {
        for l in 0..LANES {
            sums[l] += f(x[l].to_f64(), y[l].to_f64());
        }
    }
    let rest = x_rest.iter().zip(y_rest);
    let rest: f64 = rest.map(|(x, y)| f(x.to_f64(), y.to_f64())).sum();
    sums.iter().sum::<f64>() + rest
}

/// `ln sum exp` of a row.
struct LogSum<'a, T>(&'a [T]);

impl<T: WithDType> Loop for LogSum<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> f64 {
        let most = self.0.iter().fold(f64::NEG_INFINITY, |most, x| {
            let x = x.to_f64();
            if x > most { x } else { most }
        });
        let shift = if most.is_finite() { most } else { 0. };
        shift + sum(self.0, self.0, |x, _| exp::<FMA>(x - shift)).ln()
    }
}

/// (p, q, t = ln(p / q), p (e^-t - 1 + t)) of a class.
#[inline(always)]
fn masses<const FMA: bool>(p: f64, q: f64) -> (f64, f64, f64, f64) {
    let t = p - q;
    let (p, q) = (exp::<FMA>(p), exp::<FMA>(q));
    let small = t.abs() < 0.125;
    let x = if small { -t } else { 0. };
    // The next term is below 2^-53 of the first.
    let mut series = EXPONENTIAL[12];
    for k in (2..12).rev() {
        series = series * x + EXPONENTIAL[k];
    }
    let gap = if small {
        p * x * x * series
    } else {
        (q - p) + p * t
    };
    (p, q, t, gap)
}

struct Value<'a, T> {
    kind: Kind,
    p: &'a [T],
    q: &'a [T],
    norms: [f64; 2],
}

impl<T: WithDType> Loop for Value<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> f64 {
        let [a, b] = self.norms;
        match self.kind {
            Kind::Entropy => sum(self.p, self.q, |p, _| {
                let log = p - a;
                let mass = exp::<FMA>(log);
                if log == f64::NEG_INFINITY {
                    0.
                } else {
                    -mass * log
                }
            }),
            Kind::Divergence => sum(self.p, self.q, |p, q| {
                let (p, q, _, gap) = masses::<FMA>(p - a, q - b);
                // A class that cannot happen counts as what the other gives it.
                if p == 0. { q } else { gap }
            }),
        }
    }
}

/// Adds the slopes of a row times its upstream gradient.
struct Slopes<'a, T> {
    row: Value<'a, T>,
    value: f64,
    of_q: bool,
    upstream: f64,
    out: &'a mut [f64],
}

impl<T: WithDType> Loop for Slopes<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let ([a, b], value, g) = (self.row.norms, self.value, self.upstream);
        let len = self.out.len();
        let (p, q, out) = (&self.row.p[..len], &self.row.q[..len], self.out);
        for i in 0..len {
            let (p, q) = (p[i].to_f64(), q[i].to_f64());
            out[i] += g * match (self.row.kind, self.of_q) {
                (Kind::Entropy, _) => {
                    let log = p - a;
                    let mass = exp::<FMA>(log);
                    let slope = -mass * (log + value);
                    if log == f64::NEG_INFINITY { 0. } else { slope }
                }
                (Kind::Divergence, false) => {
                    let (p, _, t, _) = masses::<FMA>(p - a, q - b);
                    // An infinite value has no slope.
                    let none = p == 0. || value == f64::INFINITY;
                    if none { 0. } else { p * (t - value) }
                }
                (Kind::Divergence, true) => {
                    let (p, q, t, gap) = masses::<FMA>(p - a, q - b);
                    // The difference keeps its digits near zero.
                    if t.abs() < 0.125 { gap - p * t } else { q - p }
                }
            };
        }
    }
}

/// Inputs: logits of p, and for a divergence those of q, whose rows repeat.
struct Node<T>(Kind, Vec<usize>, PhantomData<T>);

struct Rows<'a, T> {
    kind: Kind,
    classes: usize,
    tables: Vec<(&'a [T], Vec<f64>)>,
}

impl<'a, T: WithDType> Rows<'a, T> {
    fn new(kind: Kind, classes: usize, views: &'a [View]) -> CandleResult<Self> {
        let norms = |x: &[T]| -> Vec<f64> {
            let row = |r: usize, out: &mut [f64]| {
                for (i, out) in out.iter_mut().enumerate() {
                    *out = dispatch(LogSum(&x[(r + i) * classes..][..classes]));
                }
            };
            each_row(x.len() / classes, classes, row)
        };
        let table = |view: &'a View| {
            let x = view.as_slice::<T>()?;
            Ok((x, norms(x)))
        };
        let tables = views.iter().map(table).collect::<CandleResult<_>>()?;
        Ok(Rows {
            kind,
            classes,
            tables,
        })
    }

    fn row(&self, r: usize) -> Value<'_, T> {
        let at = |k: usize| {
            let (x, norms) = &self.tables[k % self.tables.len()];
            let r = r % norms.len();
            (&x[r * self.classes..][..self.classes], norms[r])
        };
        let ((p, a), (q, b)) = (at(0), at(1));
        Value {
            kind: self.kind,
            p,
            q,
            norms: [a, b],
        }
    }
}

/// One number for each row, `f(first row, numbers)` for a group of rows at a time.
fn each_row(rows: usize, classes: usize, f: impl Fn(usize, &mut [f64]) + Sync) -> Vec<f64> {
    let mut out = vec![0.; rows];
    if rows * classes < SERIAL {
        f(0, &mut out);
    } else {
        buffer::parallel(&mut out, CHUNK.div_ceil(classes), f);
    }
    out
}

impl<T: WithDType> Op for Node<T> {
    const NAME: &'static str = "categorical-divergence";

    fn forward(&mut self, inputs: &[Tensor], _: bool) -> CandleResult<Vec<Fresh>> {
        let (views, classes) = (views(inputs)?, inputs[0].dim(D::Minus1)?);
        let rows = Rows::<T>::new(self.0, classes, &views)?;
        let out = each_row(self.1.iter().product(), classes, |from, out| {
            for (i, out) in out.iter_mut().enumerate() {
                *out = dispatch(rows.row(from + i));
            }
        });
        let out: Vec<T> = out.into_iter().map(T::from_f64).collect();
        Ok(vec![(
            T::to_cpu_storage_owned(out),
            self.1.as_slice().into(),
        )])
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        needs: &[bool],
    ) -> CandleResult<Vec<Option<Tensor>>> {
        let Some(Some(reached)) = outputs.first() else {
            return Ok(vec![None; inputs.len()]);
        };
        let (views, classes) = (views(inputs)?, inputs[0].dim(D::Minus1)?);
        let rows = Rows::<T>::new(self.0, classes, &views)?;
        let (value, upstream) = (View::new(&reached.value)?, View::new(&reached.gradient)?);
        let (value, upstream) = (value.as_slice::<T>()?, upstream.as_slice::<T>()?);
        let gradient = |k: usize| {
            let own = rows.tables[k].1.len();
            let (repeats, size) = (upstream.len() / own, own * classes);
            // Few rows that repeat often are added in at most 16 groups, so that all threads have work.
            let groups = if size < SERIAL { repeats.min(16) } else { 1 };
            let each = repeats.div_ceil(groups);
            let chunk = classes * CHUNK.div_ceil(classes * each);
            let parts = buffer::build(groups * size, chunk, |offset, out: &mut [f64]| {
                for (i, out) in out.chunks_exact_mut(classes).enumerate() {
                    out.fill(0.);
                    let place = offset / classes + i;
                    let (group, row) = (place / own, place % own);
                    for repeat in group * each..repeats.min((group + 1) * each) {
                        let r = repeat * own + row;
                        let g = upstream[r].to_f64();
                        if g == 0. {
                            continue;
                        }
                        dispatch(Slopes {
                            row: rows.row(r),
                            value: value[r].to_f64(),
                            of_q: k == 1,
                            upstream: g,
                            out: &mut *out,
                        });
                    }
                }
            });
            let total = |i: usize| parts[i..].iter().step_by(size).sum();
            (0..size).map(|i| T::from_f64(total(i))).collect::<Vec<T>>()
        };
        let tensor = |k: usize| {
            let (shape, device) = (inputs[k].shape(), inputs[k].device());
            Tensor::from_vec(gradient(k), shape, device)
        };
        let each = needs.iter().enumerate();
        each.map(|(k, needed)| needed.then(|| tensor(k)).transpose())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{agree, tensor};
    use super::*;

    /// The composed expressions, in double precision.
    fn wide(p: &Tensor, q: Option<&Tensor>) -> Result<Tensor> {
        let log = |x: &Tensor| super::super::log_softmax(&x.to_dtype(DType::F64)?);
        let p = log(p)?;
        let terms = match q {
            None => p.neg()?,
            Some(q) => p.broadcast_sub(&log(q)?)?,
        };
        let total = terms.broadcast_mul(&p.exp()?)?.sum(D::Minus1)?;
        Ok(total.to_dtype(DType::F32)?)
    }

    #[test]
    fn fused_is_composed() -> Result<()> {
        let cases: [(&[usize], &[usize]); 8] = [
            (&[7], &[7]),
            (&[1], &[1]),
            (&[40, 10], &[40, 10]),
            (&[10], &[400, 10]),
            (&[3, 5, 33], &[5, 33]),
            (&[4, 1, 9], &[3, 9]),
            (&[50, 1000], &[1000]),
            (&[3000, 4], &[4]),
        ];
        for (p, q) in cases {
            let inputs = [tensor(p, 3, 4.)?, tensor(q, 5, 4.)?];
            let name = format!("{p:?} {q:?}");
            let fused = |t: &[Tensor]| categorical_kl(&t[0], &t[1]);
            agree(&name, &inputs, fused, |t| wide(&t[0], Some(&t[1])), 1e-5)?;
            let own = &inputs[..1];
            agree(
                &name,
                own,
                |t| categorical_entropy(&t[0]),
                |t| wide(&t[0], None),
                1e-5,
            )?;
        }
        // Classes whose probabilities are subnormal, or 0.
        for low in [-700., -710., -720., -744., -750., f64::NEG_INFINITY] {
            let device = &candle_core::Device::Cpu;
            let p = candle_core::Var::new(&[low, 0.], device)?;
            let kl = categorical_kl(&p, &Tensor::new(&[0f64, 0.], device)?)?;
            let gap = kl.to_scalar::<f64>()? - std::f64::consts::LN_2;
            assert!(gap.abs() < 1e-15, "{low}: {gap}");
            let store = kl.backward()?;
            let slopes = store.get(&p).map(|g| g.to_vec1::<f64>()).transpose()?;
            assert!(slopes.is_some_and(|g| g.iter().all(|g| g.abs() < 1e-15)));
        }
        // Infinite, without slopes.
        let (p, q) = (tensor(&[3], 1, 1.)?, [0f32, f32::NEG_INFINITY, 0.]);
        let p = candle_core::Var::from_tensor(&p)?;
        let kl = categorical_kl(&p, &Tensor::new(&q, p.device())?)?;
        assert_eq!(kl.to_scalar::<f32>()?, f32::INFINITY);
        let store = kl.backward()?;
        assert!(
            store
                .get(&p)
                .is_some_and(|g| g.to_vec1::<f32>().is_ok_and(|g| g == [0.; 3]))
        );
        // A part of a larger tensor, across its layout.
        let strided = tensor(&[9, 6], 3, 2.)?.t()?;
        let inputs = [strided, tensor(&[6, 9], 5, 2.)?];
        let fused = |t: &[Tensor]| categorical_kl(&t[0], &t[1]);
        agree(
            "strided",
            &inputs,
            fused,
            |t| wide(&t[0], Some(&t[1])),
            1e-5,
        )?;
        Ok(())
    }
}

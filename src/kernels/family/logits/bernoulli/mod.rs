//! `x l - softplus(l)`, elementwise or summed over trailing dimensions.

#[cfg(test)]
mod tests;

use super::periodic;
use crate::error::{Error, Result};
use crate::kernels::elementwise::{Formula, formula, formula_sum, on_cpu};
use crate::kernels::graph::node::{self, Fresh, Op, Reached, fresh, weigh};
use crate::kernels::machine::buffer::{self, CHUNK, SERIAL, View};
use crate::kernels::machine::simd::{Loop, dispatch};
use crate::kernels::machine::tiles::{SUM, by_halves};
use crate::kernels::number::Real;
use crate::kernels::number::single;
use crate::shape;
use candle_core::{D, Tensor};

/// Log-mass of `value` under Bernoulli variables with these logits, summed over the last `dims` dimensions of the
/// broadcast shape. Outside the support, {0, 1} or with `grey` all of [0, 1], it is -inf and the gradient 0.
pub(crate) fn bernoulli_log_prob(
    logits: &Tensor,
    value: &Tensor,
    grey: bool,
    dims: usize,
) -> Result<Tensor> {
    let op = "bernoulli_log_prob";
    let out = shape::broadcast_with(op, "value", value.dims(), logits.dims())?;
    let Some(split) = out.len().checked_sub(dims) else {
        let expected = format!("a rank of at least {dims}");
        return Err(Error::shape(op, "value", expected, value.dims()));
    };
    let n: usize = out.iter().product();
    if n == 0 || !on_cpu(value) {
        return composed(logits, value, grey, dims);
    }
    if !crate::kernels::graph::fused(&[logits, value]) {
        return exact(LogMass { grey }, [logits, value], &out, dims);
    }
    let event: usize = out[split..].iter().product();
    // Repeating less than a cache line is slower than a copy.
    let smallest = event.max(64.min(n));
    let logits = periodic(logits, &out, smallest)?;
    let value = periodic(value, &out, smallest)?;
    let shape = out[..split].to_vec();
    Ok(if grey {
        node::apply1(Bernoulli::<true> { shape, event }, &[&logits, &value])?
    } else {
        node::apply1(Bernoulli::<false> { shape, event }, &[&logits, &value])?
    })
}

/// The log-mass of dtypes without vectors of their own, in double precision.
#[derive(Clone, Copy)]
struct LogMass {
    grey: bool,
}

impl Formula<2> for LogMass {
    #[inline(always)]
    fn at<R: Real>(self, [logit, x]: [R; 2]) -> R {
        let at = x.value();
        if at.is_nan() {
            return x * logit;
        }
        let inside = match self.grey {
            true => (0. ..=1.).contains(&at),
            false => at == 0. || at == 1.,
        };
        if !inside {
            return R::constant(f64::NEG_INFINITY);
        }
        // As `log_mass` says.
        let (a, y) = match logit.value() > 0. {
            true => (logit, -x + 1.),
            false => (-logit, x),
        };
        let right = y.value() == 0. && a.value().is_infinite();
        let cost = if right { R::constant(0.) } else { y * a };
        -(cost + (-a).softplus())
    }
}

/// `f`, summed over the last `dims` dimensions of `out`.
fn exact(f: LogMass, arguments: [&Tensor; 2], out: &[usize], dims: usize) -> Result<Tensor> {
    match dims {
        0 => formula(f, arguments),
        1 => formula_sum(f, arguments),
        _ => {
            let flat = |x: &Tensor| x.broadcast_as(out)?.flatten_from(out.len() - dims);
            let [logits, value] = arguments;
            formula_sum(f, [&flat(logits)?, &flat(value)?])
        }
    }
}

fn composed(logits: &Tensor, value: &Tensor, grey: bool, dims: usize) -> Result<Tensor> {
    let out = shape::broadcast(logits.dims(), value.dims()).unwrap_or_default();
    let (l, x) = (
        logits.broadcast_as(out.as_slice())?,
        value.broadcast_as(out.as_slice())?,
    );
    let inside = if grey {
        (x.ge(0.)? * x.le(1.)?)?
    } else {
        (x.eq(0.)? + x.eq(1.)?)?
    };
    let zero = x.zeros_like()?;
    let regular = (&inside + x.ne(&x)?)?;
    let (l, x) = (
        regular.where_cond(&l, &zero)?,
        regular.where_cond(&x, &zero)?,
    );
    // Candle's slope of abs at 0 is 1, so zero counts as positive.
    let y = l.ge(0.)?.where_cond(&(1. - &x)?, &x)?;
    let a = l.abs()?;
    let e = a.neg()?.exp()?;
    // An infinite logit that is right costs nothing, not 0 * inf.
    let right = (y.eq(0.)? * a.eq(f64::INFINITY)?)?;
    let cost = (y * right.where_cond(&zero, &a)?)?;
    let u = (&e + 1.)?;
    // ln(1 + e) = ln u + (e - (u - 1)) / u: the last term is what rounding u lost.
    let log1p = (u.log()? + ((&e - (&u - 1.)?)? / &u)?)?;
    let log_prob = (cost + log1p)?.neg()?;
    let outside = inside.where_cond(&zero, &(zero.ones_like()? * f64::NEG_INFINITY)?)?;
    let log_prob = (log_prob + outside)?;
    Ok(match dims {
        0 => log_prob,
        _ => log_prob.flatten_from(out.len() - dims)?.sum(D::Minus1)?,
    })
}

/// (log-mass, its derivative by the logit).
///
/// With y = 1 - x for positive and x for negative logits, `x l - softplus(l) = -y |l| - ln(1 + e^-|l|)`: no term cancels
/// another, and neither do y and `sigmoid(-|l|)` in the derivative when y is 0.
#[inline(always)]
fn log_mass<const FMA: bool, const GREY: bool>(l: f32, x: f32) -> (f32, f32) {
    let a = l.abs();
    let y = if l > 0. { 1. - x } else { x };
    // An infinite logit that is right costs nothing.
    let cost = if y == 0. { 0. } else { y * a };
    let e = single::exp::<FMA>(-a);
    let u = 1. + e;
    // What rounding u lost comes back to first order.
    let log1p = single::ln_positive::<FMA>(u) + (e - (u - 1.)) / u;
    let slope = e / u - y;
    let slope = if l > 0. { slope } else { -slope };
    // Both comparisons always, so that no branch keeps the loops from becoming vectors.
    #[allow(clippy::manual_range_contains)]
    let inside = if GREY {
        (x >= 0.) & (x <= 1.)
    } else {
        (x == 0.) | (x == 1.)
    };
    let outside = if x.is_nan() { x } else { f32::NEG_INFINITY };
    (
        if inside { -(cost + log1p) } else { outside },
        if inside | x.is_nan() { slope } else { 0. },
    )
}

/// Elementwise log-masses.
struct Each<'a, const GREY: bool>(&'a [f32], &'a [f32], &'a mut [f32]);

impl<const GREY: bool> Loop for Each<'_, GREY> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for ((l, x), out) in self.0.iter().zip(self.1).zip(self.2) {
            *out = log_mass::<FMA, GREY>(*l, *x).0;
        }
    }
}

/// The sum of the log-masses of a row, or of a block of a long one.
struct Total<'a, const GREY: bool>(&'a [f32], &'a [f32]);

impl<const GREY: bool> Loop for Total<'_, GREY> {
    type Output = f32;
    #[inline(always)]
    fn run<const FMA: bool>(self) -> f32 {
        let mut sums = [0f32; 16];
        let (l, l_rest) = self.0.as_chunks::<16>();
        let (x, x_rest) = self.1.as_chunks::<16>();
        for (l, x) in l.iter().zip(x) {
            for i in 0..16 {
                sums[i] += log_mass::<FMA, GREY>(l[i], x[i]).0;
            }
        }
        if !l_rest.is_empty() {
            let mut rest = [0f32; 16];
            for ((out, l), x) in rest.iter_mut().zip(l_rest).zip(x_rest) {
                *out = log_mass::<FMA, GREY>(*l, *x).0;
            }
            for i in 0..16 {
                sums[i] += rest[i];
            }
        }
        by_halves(sums)
    }
}

/// Adds upstream gradient times slope, one upstream element per element or one for all.
struct Slopes<'a, const GREY: bool> {
    logits: &'a [f32],
    value: &'a [f32],
    upstream: &'a [f32],
    /// The gradient of the value, which is the logit, instead of the logits' own.
    of_value: bool,
    out: &'a mut [f32],
}

impl<const GREY: bool> Loop for Slopes<'_, GREY> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let pairs = self.logits.iter().zip(self.value).zip(self.out);
        if self.of_value {
            for (i, ((l, x), out)) in pairs.enumerate() {
                let g = self.upstream[i % self.upstream.len()];
                let (log_prob, _) = log_mass::<FMA, GREY>(*l, *x);
                *out += if log_prob == f32::NEG_INFINITY {
                    0.
                } else {
                    weigh(g, *l)
                };
            }
        } else if let &[g] = self.upstream {
            for ((l, x), out) in pairs {
                *out += weigh(g, log_mass::<FMA, GREY>(*l, *x).1);
            }
        } else {
            for (((l, x), out), g) in pairs.zip(self.upstream) {
                *out += weigh(*g, log_mass::<FMA, GREY>(*l, *x).1);
            }
        }
    }
}

struct Bernoulli<const GREY: bool> {
    shape: Vec<usize>,
    /// Elements summed into one output.
    event: usize,
}

/// Cuts `start..end` where a multiple of `period` lies between.
fn segments(start: usize, end: usize, period: usize, mut f: impl FnMut(usize, usize)) {
    let mut at = start;
    while at < end {
        let next = end.min((at / period + 1) * period);
        f(at, next);
        at = next;
    }
}

impl<const GREY: bool> Op for Bernoulli<GREY> {
    const NAME: &'static str = "bernoulli-log-prob";

    fn forward(&mut self, inputs: &[Tensor], _: bool) -> candle_core::Result<Vec<Fresh>> {
        let (l, x) = (View::new(&inputs[0])?, View::new(&inputs[1])?);
        let (l, x) = (l.f32()?, x.f32()?);
        let rows: usize = self.shape.iter().product();
        let out = if self.event == 1 {
            let period = l.len().min(x.len());
            buffer::build(rows, CHUNK, |offset, out| {
                segments(offset, offset + out.len(), period, |a, b| {
                    let (i, j, n) = (a % l.len(), a % x.len(), b - a);
                    let out = &mut out[a - offset..b - offset];
                    dispatch(Each::<GREY>(&l[i..i + n], &x[j..j + n], out));
                })
            })
        } else {
            let n = self.event;
            let row = |r: usize| {
                let (i, j) = (r * n % l.len(), r * n % x.len());
                let block = |(l, x)| dispatch(Total::<GREY>(l, x));
                let mut blocks = l[i..i + n].chunks(SUM).zip(x[j..j + n].chunks(SUM));
                match (n <= SUM, blocks.next()) {
                    (true, Some(only)) => block(only),
                    (_, first) => {
                        let sums = first.into_iter().chain(blocks).map(|b| f64::from(block(b)));
                        sums.sum::<f64>() as f32
                    }
                }
            };
            let mut out = vec![0.; rows];
            let fill = |offset: usize, out: &mut [f32]| {
                for (r, out) in out.iter_mut().enumerate() {
                    *out = row(offset + r);
                }
            };
            if rows * n < SERIAL {
                fill(0, &mut out);
            } else {
                buffer::parallel(&mut out, CHUNK.div_ceil(n), fill);
            }
            out
        };
        Ok(vec![fresh(out, self.shape.as_slice())])
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        needs: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let Some(Some(reached)) = outputs.first() else {
            candle_core::bail!("bernoulli-log-prob: no upstream gradient")
        };
        let (l, x) = (View::new(&inputs[0])?, View::new(&inputs[1])?);
        let (l, x) = (l.f32()?, x.f32()?);
        let upstream = View::new(&reached.gradient)?;
        let upstream = upstream.f32()?;
        let n = upstream.len() * self.event;
        let smaller = l.len().min(x.len());
        // The gradient of an operand that was repeated sums over the repeats, in at most 16 groups so that few rows that
        // repeat often keep all threads busy.
        let gradient = |of_value: bool| {
            let period = if of_value { x.len() } else { l.len() };
            let repeats = n / period;
            let groups = if period < SERIAL { repeats.min(16) } else { 1 };
            let each = repeats.div_ceil(groups);
            let fill = |offset: usize, out: &mut [f32]| {
                out.fill(0.);
                segments(offset, offset + out.len(), smaller, |a, b| {
                    let (group, within) = (a / period, a % period);
                    let out = &mut out[a - offset..b - offset];
                    for repeat in group * each..repeats.min((group + 1) * each) {
                        let from = repeat * period + within;
                        // Without a sum each element has its own upstream gradient, and rows do not cut.
                        let (own, row) = match self.event {
                            1 => (true, n),
                            event => (false, event),
                        };
                        segments(from, from + b - a, row, |c, d| {
                            let (i, j, m) = (c % l.len(), c % x.len(), d - c);
                            dispatch(Slopes::<GREY> {
                                logits: &l[i..i + m],
                                value: &x[j..j + m],
                                upstream: &upstream[c / self.event..][..if own { m } else { 1 }],
                                of_value,
                                out: &mut out[c - from..d - from],
                            });
                        });
                    }
                });
            };
            let parts = buffer::build(groups * period, CHUNK, fill);
            if groups == 1 {
                return parts;
            }
            let mut total = vec![0.; period];
            for part in parts.chunks_exact(period) {
                for (t, p) in total.iter_mut().zip(part) {
                    *t += p;
                }
            }
            total
        };
        (0..2)
            .map(|i| {
                if !needs[i] {
                    return Ok(None);
                }
                let shape = inputs[i].shape();
                Tensor::from_vec(gradient(i == 1), shape, inputs[i].device()).map(Some)
            })
            .collect()
    }
}

//! The log-density of Dirichlet distributions, whole rows in one node.

use super::parts;
use super::rows::{cycle, reduce};
use super::{power_law, power_law_of_log, wide};
use crate::error::Result;
use crate::kernels::elementwise::log_gamma::lgamma_tensor as lgamma;
use crate::kernels::family::logits::periodic;
use crate::kernels::graph::node::{self, Fresh, Op, Reached, fresh, weigh};
use crate::kernels::machine::buffer::{self, View};
use crate::kernels::machine::simd::{Loop, dispatch};
use crate::kernels::number::double::{exp, ln};
use crate::kernels::number::{digamma_positive, lgamma_positive};
use crate::shape;
use candle_core::{D, DType, Tensor};

/// `sum_i (a_i - 1) ln x_i - ln B(a)` over the last dimension, -inf where the sum of x is not 1; `log` says that `value`
/// is ln x. The arguments broadcast, but for their last dimension.
///
/// Gradients: `(a_i - 1) / x_i` and `ln x_i - digamma(a_i) + digamma(sum a)`; none where the value is -inf, and none of
/// a coordinate at zero.
pub(crate) fn dirichlet_log_prob(
    concentration: &Tensor,
    value: &Tensor,
    log: bool,
) -> Result<Tensor> {
    let full = shape::broadcast(concentration.dims(), value.dims()).unwrap_or_default();
    if !full.contains(&0) && parts::serve(concentration, value)? {
        return parts::log_prob(concentration, value, log);
    }
    if full.contains(&0) || !crate::kernels::graph::fused(&[concentration, value]) {
        return composed(concentration, value, log);
    }
    let categories = full.last().copied().unwrap_or(1);
    let inputs = [
        periodic(concentration, &full, categories)?,
        periodic(value, &full, categories)?,
    ];
    let op = Density {
        rows: full[..full.len() - 1].to_vec(),
        categories,
        log,
    };
    Ok(node::apply1(op, &inputs.each_ref())?)
}

/// How far from 1 the sum of a point may be.
pub(super) fn tolerance(dtype: DType, categories: usize) -> f64 {
    let epsilon = match dtype {
        DType::F64 => f64::EPSILON,
        DType::F32 => f64::from(f32::EPSILON),
        DType::F16 => 2f64.powi(-10),
        _ => 2f64.powi(-7),
    };
    1e-6 + categories as f64 * epsilon
}

/// The reference expression.
fn composed(concentration: &Tensor, value: &Tensor, log: bool) -> Result<Tensor> {
    let power = (concentration - 1.)?;
    let (powers, value) = match log {
        true => (power_law_of_log(&power, value)?, value.detach().exp()?),
        false => (power_law(&power, value)?, value.detach()),
    };
    let norm = log_norm(concentration)?.to_dtype(powers.dtype())?;
    let total = powers.sum(D::Minus1)?.broadcast_sub(&norm)?;
    let tolerance = tolerance(value.dtype(), value.dim(D::Minus1)?);
    on_simplex(total, &powers, &value, tolerance)
}

/// -inf where the coordinates do not add up to 1, or one of them repels.
pub(super) fn on_simplex(
    total: Tensor,
    powers: &Tensor,
    value: &Tensor,
    tolerance: f64,
) -> Result<Tensor> {
    if total.elem_count() == 0 {
        // A minimum over no rows is an error in candle.
        return Ok(total);
    }
    let miss = (value.sum(D::Minus1)? - 1.)?.abs()?;
    let outside = miss.gt(tolerance)?;
    // One coordinate at zero may attract where another repels: there is no limit, and -inf wins.
    let repelled = powers.detach().min(D::Minus1)?.le(f64::NEG_INFINITY)?;
    let outside = repelled.broadcast_add(&outside)?;
    let minus = Tensor::new(f64::NEG_INFINITY, value.device())?.to_dtype(value.dtype())?;
    let total = outside.where_cond(&minus.broadcast_as(total.shape())?, &total)?;
    // NaN stays.
    let miss = miss.ne(&miss)?.where_cond(&miss, &miss.zeros_like()?)?;
    Ok(total.broadcast_add(&miss)?)
}

/// `sum_i ln Gamma(a_i) - ln Gamma(sum_i a_i)` over the last dimension, [`wide`].
fn log_norm(concentration: &Tensor) -> Result<Tensor> {
    let a = wide(concentration)?;
    Ok((lgamma(&a)?.sum(D::Minus1)? - lgamma(&a.sum(D::Minus1)?)?)?)
}

/// Elements per turn: a few buffers of f64 stay in L1.
const TURN: usize = 1024;

struct Density {
    /// The shape of the result.
    rows: Vec<usize>,
    categories: usize,
    log: bool,
}

impl Density {
    /// Whole rows of about a turn.
    fn group(&self) -> usize {
        (TURN / self.categories).max(1)
    }

    /// Numbers made from rows, `f(first row, numbers)` for a group at a time.
    fn build<T: Copy + Default + Send>(
        &self,
        rows: usize,
        width: usize,
        f: impl Fn(usize, &mut [T]) + Sync,
    ) -> Vec<T> {
        let mut out = vec![T::default(); rows * width];
        let group = self.group();
        if rows * self.categories < buffer::SERIAL {
            let parts = out.chunks_mut(group * width).enumerate();
            parts.for_each(|(i, part)| f(i * group, part));
        } else {
            buffer::parallel(&mut out, group * width, |at, part| f(at / width, part));
        }
        out
    }
}

/// Sums of rows.
#[inline(always)]
fn sums(x: &[f64], k: usize, out: &mut [f64]) {
    for (row, out) in x.chunks_exact(k).zip(out) {
        *out = row.iter().fold(0., |sum, x| sum + x);
    }
}

/// `sum_i ln Gamma(a_i) - ln Gamma(sum_i a_i)` of each row; NaN unless all are positive.
struct Norms<'a>(&'a [f32], usize, &'a mut [f64]);

impl Loop for Norms<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Norms(a, k, out) = self;
        let mut turn: Vec<f64> = a.iter().map(|a| positive(*a)).collect();
        let mut totals = vec![0.; out.len()];
        sums(&turn, k, &mut totals);
        for x in &mut turn {
            *x = lgamma_positive::<FMA>(*x);
        }
        sums(&turn, k, out);
        for (out, total) in out.iter_mut().zip(&totals) {
            *out -= lgamma_positive::<FMA>(*total);
        }
    }
}

/// `digamma(sum_i a_i) - digamma(a_i)`.
struct Gaps<'a>(&'a [f32], usize, &'a mut [f64]);

impl Loop for Gaps<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Gaps(a, k, out) = self;
        for (out, a) in out.iter_mut().zip(a) {
            *out = positive(*a);
        }
        let mut totals = vec![0.; out.len() / k];
        sums(out, k, &mut totals);
        for x in &mut totals {
            *x = digamma_positive::<FMA>(*x);
        }
        for x in out.iter_mut() {
            *x = digamma_positive::<FMA>(*x);
        }
        for (row, total) in out.chunks_exact_mut(k).zip(&totals) {
            row.iter_mut().for_each(|x| *x = total - *x);
        }
    }
}

#[inline(always)]
fn positive(a: f32) -> f64 {
    if a > 0. { f64::from(a) } else { f64::NAN }
}

/// A coordinate: whether it is zero or outside, and its logarithm, 0 there.
#[inline(always)]
pub(super) fn coordinate<const FMA: bool>(x: f64, log: bool) -> (bool, bool, f64) {
    let zero = x == if log { f64::NEG_INFINITY } else { 0. };
    let outside = (x < 0. && !log) || x == f64::INFINITY;
    let y = if log { x } else { ln::<FMA>(x) };
    (zero, outside, if zero | outside { 0. } else { y })
}

struct Values<'a> {
    a: &'a [f32],
    x: &'a [f32],
    norms: &'a [f64],
    categories: usize,
    log: bool,
    out: &'a mut [f32],
}

impl Values<'_> {
    /// The terms `(a - 1) ln x` with their limits, and the points; infinite where the term is -inf.
    #[inline(always)]
    fn terms<const FMA: bool, const LOG: bool>(&self, terms: &mut [f64], points: &mut [f64]) {
        let len = self.a.len().min(TURN.max(self.categories));
        let (a, x) = (&self.a[..len], &self.x[..len]);
        let (terms, points) = (&mut terms[..len], &mut points[..len]);
        for i in 0..len {
            let (power, x) = (f64::from(a[i]) - 1., f64::from(x[i]));
            let (zero, outside, y) = coordinate::<FMA>(x, LOG);
            let limit = if power == 0. {
                0.
            } else {
                -f64::INFINITY * power
            };
            let limit = if zero { limit } else { 0. };
            let limit = if outside { f64::NEG_INFINITY } else { limit };
            terms[i] = power * y + limit;
            let point = if LOG { exp::<FMA>(x) } else { x };
            let repelled = terms[i] == f64::NEG_INFINITY;
            points[i] = if repelled { f64::INFINITY } else { point };
        }
    }
}

impl Loop for Values<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let k = self.categories;
        let (mut terms, mut points) = (vec![0.; self.a.len()], vec![0.; self.a.len()]);
        if self.log {
            self.terms::<FMA, true>(&mut terms, &mut points);
        } else {
            self.terms::<FMA, false>(&mut terms, &mut points);
        }
        let tolerance = tolerance(DType::F32, k);
        let rows = terms.chunks_exact(k).zip(points.chunks_exact(k));
        for (((terms, points), norm), out) in rows.zip(self.norms).zip(self.out) {
            let (mut total, mut sum) = (-norm, -1.);
            for i in 0..k {
                total += terms[i];
                sum += points[i];
            }
            let outside = sum.abs() > tolerance;
            let value = if outside { f64::NEG_INFINITY } else { total };
            // NaN stays.
            let lost = (sum + norm).is_nan();
            *out = if lost { f64::NAN } else { value } as f32;
        }
    }
}

/// The slopes to the concentrations, or to the value, times the weights of the rows.
struct Slopes<'a> {
    a: &'a [f32],
    x: &'a [f32],
    /// [`Gaps`] where the slopes are to the concentrations.
    gaps: Option<&'a [f64]>,
    weights: &'a [f64],
    categories: usize,
    log: bool,
    out: &'a mut [f32],
}

impl Loop for Slopes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        if self.log {
            self.by::<FMA, true>()
        } else {
            self.by::<FMA, false>()
        }
    }
}

impl Slopes<'_> {
    #[inline(always)]
    fn by<const FMA: bool, const LOG: bool>(self) {
        let len = self.out.len();
        let (a, x, out) = (&self.a[..len], &self.x[..len], &mut self.out[..len]);
        let mut spread = vec![0.; len];
        for (weight, row) in self
            .weights
            .iter()
            .zip(spread.chunks_exact_mut(self.categories))
        {
            row.fill(*weight);
        }
        let spread = &spread[..len];
        match self.gaps {
            Some(gaps) => {
                let gaps = &gaps[..len];
                for i in 0..len {
                    let (_, _, y) = coordinate::<FMA>(f64::from(x[i]), LOG);
                    out[i] = weigh(spread[i], y + gaps[i]) as f32;
                }
            }
            None => {
                for i in 0..len {
                    let (power, x) = (f64::from(a[i]) - 1., f64::from(x[i]));
                    let (zero, outside, _) = coordinate::<FMA>(x, LOG);
                    let slope = if LOG { power } else { power / x };
                    out[i] = weigh(spread[i], if zero | outside { 0. } else { slope }) as f32;
                }
            }
        }
    }
}

impl Op for Density {
    const NAME: &'static str = "dirichlet-log-prob";

    fn forward(&mut self, inputs: &[Tensor], _: bool) -> candle_core::Result<Vec<Fresh>> {
        let (a, x) = (View::new(&inputs[0])?, View::new(&inputs[1])?);
        let (a, x, k) = (a.f32()?, x.f32()?, self.categories);
        let count: usize = self.rows.iter().product();
        let norms = |row: usize, out: &mut [f64]| {
            dispatch(Norms(&a[row * k..][..out.len() * k], k, out));
        };
        // Once for all rows that share them.
        let own = a.len() == count * k;
        let shared = if own {
            vec![]
        } else {
            self.build(a.len() / k, 1, norms)
        };
        let out = self.build(count, 1, |row, out: &mut [f32]| {
            let len = out.len();
            let mut fresh = vec![0.; if own { len } else { 0 }];
            if own {
                norms(row, &mut fresh);
            }
            let again = cycle(&shared, row, if own { 0 } else { len });
            dispatch(Values {
                a: &cycle(a, row * k, len * k),
                x: &cycle(x, row * k, len * k),
                norms: if own { &fresh } else { &again },
                categories: k,
                log: self.log,
                out,
            });
        });
        Ok(vec![fresh(out, self.rows.as_slice())])
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        outputs: &[Option<Reached>],
        needs: &[bool],
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let Some(Some(reached)) = outputs.first() else {
            return Ok(vec![None; inputs.len()]);
        };
        let value = reached.value.contiguous()?;
        let (value, gradient) = (View::new(&value)?, View::new(&reached.gradient)?);
        let (value, gradient) = (value.f32()?, gradient.f32()?);
        let (a, x) = (View::new(&inputs[0])?, View::new(&inputs[1])?);
        let (a, x, k) = (a.f32()?, x.f32()?, self.categories);
        let len = value.len() * k;
        let gaps = |row: usize, out: &mut [f64]| {
            dispatch(Gaps(&a[row * k..][..out.len()], k, out));
        };
        let own = a.len() == len;
        let shared = if own || !needs[0] {
            vec![]
        } else {
            self.build(a.len() / k, k, gaps)
        };
        let slopes = |to_a: bool, offset: usize, out: &mut [f32]| {
            let rows = offset / k..(offset + out.len()) / k;
            let weights: Vec<f64> = value[rows.clone()]
                .iter()
                .zip(&gradient[rows])
                .map(|(v, g)| {
                    if *v == f32::NEG_INFINITY {
                        0.
                    } else {
                        f64::from(*g)
                    }
                })
                .collect();
            let mut fresh = vec![0.; if own && to_a { out.len() } else { 0 }];
            if own && to_a {
                gaps(offset / k, &mut fresh);
            }
            let again = cycle(&shared, offset, if own || !to_a { 0 } else { out.len() });
            dispatch(Slopes {
                a: &cycle(a, offset, out.len()),
                x: &cycle(x, offset, out.len()),
                gaps: to_a.then_some(if own { &fresh } else { &again }),
                weights: &weights,
                categories: k,
                log: self.log,
                out,
            });
        };
        let chunk = self.group() * k;
        let mut results = vec![];
        for (i, input) in inputs.iter().enumerate() {
            results.push(if needs[i] {
                let n = input.elem_count();
                let sums = reduce(len, n, chunk, |at, out: &mut [f32]| slopes(i == 0, at, out));
                Some(Tensor::from_vec(sums, input.shape(), input.device())?)
            } else {
                None
            });
        }
        Ok(results)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::family::logits::tests::{agree, tensor};
    use candle_core::Device;

    /// Points on the simplex in f32, and as logarithms.
    fn points(dims: &[usize], log: bool) -> Result<Tensor> {
        let x = (tensor(dims, 5, 0.9)? + 1.)?;
        let x = x.broadcast_div(&x.sum_keepdim(D::Minus1)?)?;
        Ok(if log { x.log()? } else { x })
    }

    /// The composed path in f64, where it is what the conformance tests compare with central differences.
    fn wide(a: &Tensor, x: &Tensor, log: bool) -> Result<Tensor> {
        let [a, x] = [a.to_dtype(DType::F64)?, x.to_dtype(DType::F64)?];
        Ok(composed(&a, &x, log)?.to_dtype(DType::F32)?)
    }

    #[test]
    fn fused_is_composed() -> Result<()> {
        let cases: &[(&[usize], &[usize])] = &[
            (&[3], &[3]),
            (&[1], &[1]),
            (&[40, 10], &[40, 10]),
            (&[10], &[400, 10]),
            (&[5000, 10], &[5000, 10]),
            (&[10], &[5000, 10]),
            (&[7, 3], &[900, 7, 3]),
            (&[2, 1, 4], &[6, 2, 5, 4]),
            (&[30, 4], &[4]),
            (&[2000], &[20, 2000]),
        ];
        for (a, x) in cases {
            for log in [false, true] {
                let a = (tensor(a, 3, 2.4)? + 2.5)?;
                let x = points(x, log)?;
                agree(
                    &format!("{:?} {:?} {log}", a.dims(), x.dims()),
                    &[a, x],
                    |t| dirichlet_log_prob(&t[0], &t[1], log),
                    |t| wide(&t[0], &t[1], log),
                    4e-5,
                )?;
            }
        }
        Ok(())
    }

    /// Limits, points off the simplex, NaN, and concentrations without meaning, in all pairs.
    #[test]
    fn edges_are_composed() -> Result<()> {
        let (infinity, nan) = (f32::INFINITY, f32::NAN);
        let x = [
            [0.25f32, 0.25, 0.5],
            [0., 0.5, 0.5],
            [0., 0., 1.],
            [0., 0.25, 0.5],
            [0.25, 0.25, 0.501],
            [0.25, 0.25, 0.500_001],
            [-0.25, 0.75, 0.5],
            [infinity, 0., 0.],
        ];
        let a = [
            [1f32, 1., 1.],
            [2., 0.5, 1.],
            [0.5, 2., 3.],
            [0.5, 0.5, 0.5],
            [1e-3, 1e4, 7.],
        ];
        let a = Tensor::new(&a, &Device::Cpu)?.unsqueeze(1)?;
        let x = Tensor::new(&x, &Device::Cpu)?;
        for log in [false, true] {
            let x = if log { x.abs()?.log()? } else { x.clone() };
            let x = x.broadcast_as((5, x.dim(0)?, 3))?.contiguous()?;
            // Infinite values have no weighted sum.
            let bounded = |t: Tensor| -> Result<Tensor> { Ok(t.clamp(-1e4f32, 1e4f32)?) };
            agree(
                &format!("{log}"),
                &[a.clone(), x],
                |t| bounded(dirichlet_log_prob(&t[0], &t[1], log)?),
                |t| bounded(composed(&t[0], &t[1], log)?),
                1e-4,
            )?;
        }
        let none = Tensor::new(&[[-1f32, 2.], [0., 1.], [nan, 1.]], &Device::Cpu)?;
        let half = Tensor::new(&[0.5f32, 0.5], &Device::Cpu)?;
        for pair in [
            [&none, &half],
            [&(half.ones_like()? * 2.)?, &none.narrow(0, 2, 1)?],
        ] {
            let got = dirichlet_log_prob(pair[0], pair[1], false)?.to_vec1::<f32>()?;
            assert!(got.iter().all(|p| p.is_nan()), "{got:?}");
        }
        Ok(())
    }
}

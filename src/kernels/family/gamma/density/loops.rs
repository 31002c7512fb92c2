//! The vectorized loops of Dirichlet densities, over whole rows of `k` numbers.

use super::TURN;
use crate::kernels::family::gamma::simplex::{coordinate, tolerance};
use crate::kernels::graph::node::weigh;
use crate::kernels::machine::simd::Loop;
use crate::kernels::number::double::exp;
use crate::kernels::number::{digamma_positive, lgamma_positive};
use candle_core::DType;

/// Sums of rows.
#[inline(always)]
fn sums(x: &[f64], k: usize, out: &mut [f64]) {
    for (row, out) in x.chunks_exact(k).zip(out) {
        *out = row.iter().fold(0., |sum, x| sum + x);
    }
}

/// `sum_i ln Gamma(a_i) - ln Gamma(sum_i a_i)` of each row; NaN unless all are positive.
pub(super) struct Norms<'a>(
    pub(super) &'a [f32],
    pub(super) usize,
    pub(super) &'a mut [f64],
);

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
pub(super) struct Gaps<'a>(
    pub(super) &'a [f32],
    pub(super) usize,
    pub(super) &'a mut [f64],
);

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

pub(super) struct Values<'a> {
    pub(super) a: &'a [f32],
    pub(super) x: &'a [f32],
    pub(super) norms: &'a [f64],
    pub(super) categories: usize,
    pub(super) log: bool,
    pub(super) out: &'a mut [f32],
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
pub(super) struct Slopes<'a> {
    pub(super) a: &'a [f32],
    pub(super) x: &'a [f32],
    /// [`Gaps`] where the slopes are to the concentrations.
    pub(super) gaps: Option<&'a [f64]>,
    pub(super) weights: &'a [f64],
    pub(super) categories: usize,
    pub(super) log: bool,
    pub(super) out: &'a mut [f32],
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

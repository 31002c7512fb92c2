//! Gaussian formulas in double precision, for the dtypes that have no vectors of their own on the CPU.

use super::Spread;
use crate::error::Result;
use crate::kernels::elementwise::{Formula, formula, formula_sum};
use crate::kernels::number::HALF_LN_TAU;
use crate::kernels::number::Real;
use candle_core::Tensor;

impl Spread {
    /// (ln scale, scale)
    #[inline(always)]
    fn of<R: Real>(self, spread: R) -> (R, R) {
        match self {
            Spread::Scale => (spread.ln(), spread),
            Spread::LogVar => (spread * 0.5, (spread * 0.5).exp()),
        }
    }
}

#[derive(Clone, Copy)]
struct Density(Spread);

impl Formula<3> for Density {
    #[inline(always)]
    fn at<R: Real>(self, [x, loc, spread]: [R; 3]) -> R {
        let (log_scale, scale) = self.0.of(spread);
        x.standard(loc, scale).square() * -0.5 - log_scale - HALF_LN_TAU
    }
}

#[derive(Clone, Copy)]
struct DensityStandard;

impl Formula<1> for DensityStandard {
    #[inline(always)]
    fn at<R: Real>(self, [x]: [R; 1]) -> R {
        x.square() * -0.5 - HALF_LN_TAU
    }
}

/// With t = (loc_p - loc_q) / scale_q and h = ln(scale_p / scale_q): `(t^2 + (e^h - 1)^2) / 2 + (e^h - 1 - h)`.
#[derive(Clone, Copy)]
struct Divergence([Spread; 2]);

impl Formula<4> for Divergence {
    #[inline(always)]
    fn at<R: Real>(self, [loc, spread, other, to]: [R; 4]) -> R {
        let h = match self.0 {
            [Spread::Scale, Spread::Scale] => {
                let d = (spread - to) / to;
                // The difference keeps its digits near zero, the quotient far out.
                if d.value().abs() < 0.5 {
                    d.ln_1p()
                } else {
                    spread.log_over(to)
                }
            }
            [Spread::LogVar, Spread::LogVar] => (spread - to) * 0.5,
            [kind, other] => kind.of(spread).0 - other.of(to).0,
        };
        let t = (loc - other) / self.0[1].of(to).1;
        (t.square() + h.exp_m1().square()) * 0.5 + h.exp_minus_line()
    }
}

#[derive(Clone, Copy)]
struct KlStandard(Spread);

impl Formula<2> for KlStandard {
    #[inline(always)]
    fn at<R: Real>(self, [loc, spread]: [R; 2]) -> R {
        let standard = R::constant(if self.0 == Spread::Scale { 1. } else { 0. });
        Divergence([self.0; 2]).at([loc, spread, R::constant(0.), standard])
    }
}

fn total<F: Formula<K>, const K: usize>(f: F, x: [&Tensor; K], event: bool) -> Result<Tensor> {
    if event {
        formula_sum(f, x)
    } else {
        formula(f, x)
    }
}

pub(super) fn log_prob(kind: Spread, arguments: [&Tensor; 3], event: bool) -> Result<Tensor> {
    total(Density(kind), arguments, event)
}

pub(super) fn standard_log_prob(value: &Tensor) -> Result<Tensor> {
    formula_sum(DensityStandard, [value])
}

pub(super) fn kl(kinds: [Spread; 2], arguments: [&Tensor; 4], event: bool) -> Result<Tensor> {
    total(Divergence(kinds), arguments, event)
}

pub(super) fn kl_standard(kind: Spread, loc: &Tensor, spread: &Tensor) -> Result<Tensor> {
    total(KlStandard(kind), [loc, spread], loc.rank() > 0)
}

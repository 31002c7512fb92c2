//! What is asked of a distribution of observed elements, with its gradients.

use super::marginal::{Marginal, Pattern, add};
use crate::kernels::linear::triangular::factor::substitute;
use std::f64::consts::TAU;

/// What is asked of a marginal.
pub(super) trait Quantity: Send + Sync + 'static {
    const NAME: &'static str;

    /// Numbers of a result.
    fn width(d: usize) -> usize;

    /// The results for the rows of a pattern.
    fn values(marginal: &Marginal, rest: &[&[f64]], out: &mut [&mut [f64]]);

    /// Writes gradients to the rests, zero before, and adds those to the factor.
    fn slopes(
        marginal: &Marginal,
        rest: &[&[f64]],
        gradient: &[&[f64]],
        to_rest: &mut [&mut [f64]],
        to_factor: &mut [f64],
    );
}

/// `-|R^-1 r|^2 / 2 - sum_k ln R_kk - n ln(2 pi) / 2`.
pub(super) struct LogProb;

impl Quantity for LogProb {
    const NAME: &'static str = "observed-log-prob";

    fn width(_: usize) -> usize {
        1
    }

    fn values(marginal: &Marginal, rest: &[&[f64]], out: &mut [&mut [f64]]) {
        let n = marginal.pattern.observed.len();
        let logs = (0..n).map(|k| marginal.root[k * n + k].ln());
        let constant = logs.fold(0.5 * n as f64 * TAU.ln(), |sum, log| sum + log);
        for (rest, out) in rest.iter().zip(out) {
            let mut z = marginal.pick(rest);
            substitute(&marginal.root, &mut z);
            out[0] = 0. - constant - 0.5 * z.iter().fold(0., |sum, z| sum + z * z);
        }
    }

    /// With `u = S_oo^-1 r`: `-u` to r, and `u (L_o^T u)^T - S_oo^-1 L_o` to the factor.
    fn slopes(
        marginal: &Marginal,
        rest: &[&[f64]],
        gradient: &[&[f64]],
        to_rest: &mut [&mut [f64]],
        to_factor: &mut [f64],
    ) {
        let observed = &marginal.pattern.observed;
        let mut total = 0.;
        for ((rest, gradient), to_rest) in rest.iter().zip(gradient).zip(to_rest) {
            let g = gradient[0];
            if g == 0. {
                continue;
            }
            total += g;
            let mut u = marginal.pick(rest);
            marginal.precision(&mut u);
            let v = marginal.combine(observed, u.iter().copied());
            for (i, u) in observed.iter().zip(&u) {
                to_rest[*i] = -g * u;
                add(to_factor, *i, g * u, &v);
            }
        }
        for j in 0..marginal.d {
            let column = |i: &usize| if j <= *i { marginal.row(*i)[j] } else { 0. };
            let mut column: Vec<f64> = observed.iter().map(column).collect();
            marginal.precision(&mut column);
            for (i, x) in observed.iter().zip(column) {
                if j <= *i {
                    to_factor[i * marginal.d + j] -= total * x;
                }
            }
        }
    }
}

/// What the missing elements' means differ by from `loc`: `S_mo S_oo^-1 r`; 0 for the observed.
pub(super) struct Mean;

impl Quantity for Mean {
    const NAME: &'static str = "conditional-mean";

    fn width(d: usize) -> usize {
        d
    }

    fn values(marginal: &Marginal, rest: &[&[f64]], out: &mut [&mut [f64]]) {
        for (rest, out) in rest.iter().zip(out) {
            let mut a = marginal.pick(rest);
            marginal.precision(&mut a);
            let v = marginal.combine(&marginal.pattern.observed, a.into_iter());
            for i in &marginal.pattern.missing {
                out[*i] = marginal.row(*i).iter().zip(&v).map(|(l, v)| l * v).sum();
            }
        }
    }

    /// With `a = S_oo^-1 r`, `v = L_o^T a`, `w = L_m^T g` and `h = S_oo^-1 L_o w`: `h` to r, `g v^T` to `L_m`,
    /// `a (w - L_o^T h)^T - h v^T` to `L_o`.
    fn slopes(
        marginal: &Marginal,
        rest: &[&[f64]],
        gradient: &[&[f64]],
        to_rest: &mut [&mut [f64]],
        to_factor: &mut [f64],
    ) {
        let Pattern {
            observed, missing, ..
        } = marginal.pattern;
        for ((rest, gradient), to_rest) in rest.iter().zip(gradient).zip(to_rest) {
            if missing.iter().all(|i| gradient[*i] == 0.) {
                continue;
            }
            let mut a = marginal.pick(rest);
            marginal.precision(&mut a);
            let v = marginal.combine(observed, a.iter().copied());
            let mut w = marginal.combine(missing, missing.iter().map(|i| gradient[*i]));
            let mut h = marginal.products(&w);
            marginal.precision(&mut h);
            let fitted = marginal.combine(observed, h.iter().copied());
            w.iter_mut()
                .zip(fitted)
                .for_each(|(w, fitted)| *w -= fitted);
            for i in missing {
                add(to_factor, *i, gradient[*i], &v);
            }
            for (i, (a, h)) in observed.iter().zip(a.iter().zip(&h)) {
                to_rest[*i] = *h;
                add(to_factor, *i, *a, &w);
                add(to_factor, *i, -h, &v);
            }
        }
    }
}

/// `S_mm - S_mo S_oo^-1 S_om`, 0 in the rows and columns of the observed.
pub(super) struct Covariance;

impl Covariance {
    /// `K = S_mo S_oo^-1` and `P = L_m - K L_o`, with `P P^T` the covariance, by row.
    fn parts(marginal: &Marginal) -> Vec<(Vec<f64>, Vec<f64>)> {
        let row = |i: &usize| {
            let own = marginal.row(*i);
            let mut k = marginal.products(own);
            marginal.precision(&mut k);
            let mut p = marginal.combine(&marginal.pattern.observed, k.iter().map(|k| -k));
            p.iter_mut().zip(own).for_each(|(p, own)| *p += own);
            (k, p)
        };
        marginal.pattern.missing.iter().map(row).collect()
    }
}

impl Quantity for Covariance {
    const NAME: &'static str = "conditional-covariance";

    fn width(d: usize) -> usize {
        d * d
    }

    fn values(marginal: &Marginal, _: &[&[f64]], out: &mut [&mut [f64]]) {
        let parts = Self::parts(marginal);
        let missing = &marginal.pattern.missing;
        let Some((first, others)) = out.split_first_mut() else {
            return;
        };
        for (i, (_, a)) in missing.iter().zip(&parts) {
            for (j, (_, b)) in missing.iter().zip(&parts) {
                first[i * marginal.d + j] = a.iter().zip(b).map(|(a, b)| a * b).sum();
            }
        }
        others
            .iter_mut()
            .for_each(|other| other.copy_from_slice(first));
    }

    /// With `G` made symmetric and doubled: `G P` to `L_m` and `-K^T G P` to `L_o`; K is where the covariance is least, so
    /// its own change does not count.
    fn slopes(
        marginal: &Marginal,
        _: &[&[f64]],
        gradient: &[&[f64]],
        _: &mut [&mut [f64]],
        to_factor: &mut [f64],
    ) {
        let (parts, d) = (Self::parts(marginal), marginal.d);
        let Pattern {
            observed, missing, ..
        } = marginal.pattern;
        for (i, (k, _)) in missing.iter().zip(&parts) {
            let mut row = vec![0.; d];
            for (j, (_, p)) in missing.iter().zip(&parts) {
                let both = |g: &&[f64]| g[i * d + j] + g[j * d + i];
                let g: f64 = gradient.iter().map(both).sum();
                row.iter_mut().zip(p).for_each(|(row, p)| *row += g * p);
            }
            add(to_factor, *i, 1., &row);
            for (o, k) in observed.iter().zip(k) {
                add(to_factor, *o, -k, &row);
            }
        }
    }
}

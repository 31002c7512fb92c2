//! The products in f64.

use super::{Design, Number, TILE};

impl Number for f64 {
    const ROUNDING: f64 = 1e-13;

    fn of(x: f64) -> f64 {
        x
    }

    fn correlate(x: &Design<f64>, rows: &[usize], _: &[f64], r: &[f64], out: &mut [f64]) {
        if x.stride == 0 {
            return out.fill(0.);
        }
        let classes = r.len() / x.stride;
        for (row, out) in rows.iter().zip(out.chunks_exact_mut(classes)) {
            let x_row = x.row(*row).as_chunks::<TILE>().0;
            for (r, out) in r.chunks_exact(x.stride).zip(out) {
                let mut sums = [0.; TILE];
                for (x, r) in x_row.iter().zip(r.as_chunks::<TILE>().0) {
                    for l in 0..TILE {
                        sums[l] += x[l] * r[l];
                    }
                }
                *out = sums.into_iter().sum();
            }
        }
    }

    fn combine(x: &Design<f64>, rows: &[usize], _: &[f64], w: &[f64], out: &mut [f64]) {
        let classes = (out.len() / x.stride.max(1)).max(1);
        for (row, w) in rows.iter().zip(w.chunks_exact(classes)) {
            for (out, w) in out.chunks_exact_mut(x.stride).zip(w) {
                for (out, x) in out.iter_mut().zip(x.row(*row)) {
                    *out += w * x;
                }
            }
        }
    }
}

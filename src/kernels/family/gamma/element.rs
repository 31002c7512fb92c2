//! What the draws need from a floating-point type, for f32 (vectorized) and f64 (scalar).

use super::{implicit, sample};
use crate::kernels::graph::node::weigh;
use crate::kernels::machine::simd::{Loop, dispatch};
use crate::kernels::number::single;
use crate::kernels::random::Stream;
use candle_core::WithDType;

/// The numbers of a draw, one block at a time. `log` tells whether values are logarithms.
pub(super) trait Element: WithDType {
    /// Draws of concentration `a` and rate `rate` (1 without).
    fn draws(
        stream: Stream,
        block: u64,
        a: &[Self],
        rate: Option<&[Self]>,
        log: bool,
        out: &mut [Self],
    );

    /// Gradient of each draw's concentration: `gradient * dx/da`.
    fn concentration_gradient(
        a: &[Self],
        rate: Option<&[Self]>,
        log: bool,
        value: &[Self],
        gradient: &[Self],
        out: &mut [Self],
    );

    /// Replaces rows of `k` logarithms by log-softmax or, unless `log`, softmax; `norms[row]` gets the log of the sum.
    fn normalise(k: usize, log: bool, rows: &mut [Self], norms: &mut [Self]);

    /// Gradient of each concentration of rows that [`normalise`](Element::normalise) made.
    fn simplex_gradient(
        k: usize,
        log: bool,
        a: &[Self],
        value: &[Self],
        norms: &[Self],
        gradient: &[Self],
        out: &mut [Self],
    );
}

struct Draws<'a> {
    stream: Stream,
    block: u64,
    a: &'a [f32],
    rate: Option<&'a [f32]>,
    log: bool,
    out: &'a mut [f32],
}

impl Loop for Draws<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        sample::logs::<FMA>(self.stream, self.block, self.a, self.out);
        if let Some(rate) = self.rate {
            for (y, rate) in self.out.iter_mut().zip(rate) {
                *y -= single::ln::<FMA>(*rate);
            }
        }
        if !self.log {
            for y in self.out.iter_mut() {
                *y = single::exp::<FMA>(*y);
            }
        }
    }
}

struct ConcentrationGradient<'a> {
    a: &'a [f32],
    rate: Option<&'a [f32]>,
    log: bool,
    value: &'a [f32],
    gradient: &'a [f32],
    out: &'a mut [f32],
}

impl Loop for ConcentrationGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let mut y = [0.; crate::kernels::random::BLOCK];
        let y = &mut y[..self.out.len()];
        y.copy_from_slice(self.value);
        if !self.log {
            for y in y.iter_mut() {
                *y = single::ln::<FMA>(*y);
            }
        }
        if let Some(rate) = self.rate {
            for (y, rate) in y.iter_mut().zip(rate) {
                *y += single::ln::<FMA>(*rate);
            }
        }
        implicit::derivatives::<FMA>(self.a, y, self.out);
        for ((out, gradient), x) in self.out.iter_mut().zip(self.gradient).zip(self.value) {
            let factor = match self.log {
                true => *gradient,
                false => weigh(*gradient, *x),
            };
            *out = weigh(factor, *out);
        }
    }
}

struct Normalise<'a> {
    k: usize,
    log: bool,
    rows: &'a mut [f32],
    norms: &'a mut [f32],
}

impl Loop for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let mut shifted = self.rows.to_vec();
        let mut peaks = vec![0.; self.norms.len()];
        for (row, peak) in shifted.chunks_mut(self.k).zip(peaks.iter_mut()) {
            *peak = row
                .iter()
                .fold(f32::NEG_INFINITY, |m, y| if *y > m { *y } else { m });
            for y in row {
                *y -= *peak;
            }
        }
        for y in shifted.iter_mut() {
            *y = single::exp::<FMA>(*y);
        }
        for (row, norm) in shifted.chunks(self.k).zip(self.norms.iter_mut()) {
            *norm = row.iter().sum();
        }
        if !self.log {
            for ((row, e), sum) in self
                .rows
                .chunks_mut(self.k)
                .zip(shifted.chunks(self.k))
                .zip(self.norms.iter())
            {
                let inverse = 1. / sum;
                for (x, e) in row.iter_mut().zip(e) {
                    *x = e * inverse;
                }
            }
        }
        for norm in self.norms.iter_mut() {
            *norm = single::ln::<FMA>(*norm);
        }
        for ((row, norm), peak) in self
            .rows
            .chunks_mut(self.k)
            .zip(self.norms.iter_mut())
            .zip(&peaks)
        {
            if self.log {
                // The peak apart: added to the norm it would round away what makes the row sum to 1.
                for y in row {
                    *y = (*y - peak) - *norm;
                }
            }
            *norm += peak;
        }
    }
}

struct SimplexGradient<'a> {
    k: usize,
    log: bool,
    a: &'a [f32],
    value: &'a [f32],
    norms: &'a [f32],
    gradient: &'a [f32],
    out: &'a mut [f32],
}

impl Loop for SimplexGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let mut y = self.value.to_vec();
        let mut x = self.value.to_vec();
        if self.log {
            for x in x.iter_mut() {
                *x = single::exp::<FMA>(*x);
            }
        } else {
            for y in y.iter_mut() {
                *y = single::ln::<FMA>(*y);
            }
        }
        for (row, norm) in y.chunks_mut(self.k).zip(self.norms) {
            for y in row {
                *y += norm;
            }
        }
        implicit::derivatives::<FMA>(self.a, &y, self.out);
        for ((out, x), gradient) in self
            .out
            .chunks_mut(self.k)
            .zip(x.chunks(self.k))
            .zip(self.gradient.chunks(self.k))
        {
            pull_back(self.log, x, gradient, out);
        }
    }
}

/// Multiplies derivatives of log-gammas by the gradient that reaches them through log-softmax or softmax.
#[inline(always)]
fn pull_back<T: WithDType>(log: bool, x: &[T], gradient: &[T], out: &mut [T]) {
    let mut total = T::zero();
    for (x, g) in x.iter().zip(gradient) {
        total += if log { *g } else { weigh(*x, *g) };
    }
    for ((out, x), g) in out.iter_mut().zip(x).zip(gradient) {
        let factor = if log {
            *g - weigh(total, *x)
        } else {
            weigh(*x, *g - total)
        };
        *out = weigh(factor, *out);
    }
}

impl Element for f32 {
    fn draws(
        stream: Stream,
        block: u64,
        a: &[f32],
        rate: Option<&[f32]>,
        log: bool,
        out: &mut [f32],
    ) {
        dispatch(Draws {
            stream,
            block,
            a,
            rate,
            log,
            out,
        })
    }

    fn concentration_gradient(
        a: &[f32],
        rate: Option<&[f32]>,
        log: bool,
        value: &[f32],
        gradient: &[f32],
        out: &mut [f32],
    ) {
        dispatch(ConcentrationGradient {
            a,
            rate,
            log,
            value,
            gradient,
            out,
        })
    }

    fn normalise(k: usize, log: bool, rows: &mut [f32], norms: &mut [f32]) {
        dispatch(Normalise {
            k,
            log,
            rows,
            norms,
        })
    }

    fn simplex_gradient(
        k: usize,
        log: bool,
        a: &[f32],
        value: &[f32],
        norms: &[f32],
        gradient: &[f32],
        out: &mut [f32],
    ) {
        dispatch(SimplexGradient {
            k,
            log,
            a,
            value,
            norms,
            gradient,
            out,
        })
    }
}

impl Element for f64 {
    fn draws(
        stream: Stream,
        block: u64,
        a: &[f64],
        rate: Option<&[f64]>,
        log: bool,
        out: &mut [f64],
    ) {
        let mut rng = stream.scalar(block);
        for (i, (out, a)) in out.iter_mut().zip(a).enumerate() {
            let y = sample::log_f64(&mut rng, *a) - rate.map_or(0., |rate| rate[i].ln());
            *out = if log { y } else { y.exp() };
        }
    }

    fn concentration_gradient(
        a: &[f64],
        rate: Option<&[f64]>,
        log: bool,
        value: &[f64],
        gradient: &[f64],
        out: &mut [f64],
    ) {
        for i in 0..out.len() {
            let y = if log { value[i] } else { value[i].ln() };
            let y = y + rate.map_or(0., |rate| rate[i].ln());
            let factor = if log {
                gradient[i]
            } else {
                weigh(gradient[i], value[i])
            };
            out[i] = weigh(factor, implicit::derivative(a[i], y));
        }
    }

    fn normalise(k: usize, log: bool, rows: &mut [f64], norms: &mut [f64]) {
        for (row, norm) in rows.chunks_mut(k).zip(norms) {
            let peak = row
                .iter()
                .fold(f64::NEG_INFINITY, |m, y| if *y > m { *y } else { m });
            let sum: f64 = row.iter().map(|y| (y - peak).exp()).sum();
            let rest = sum.ln();
            *norm = peak + rest;
            for y in row {
                let l = (*y - peak) - rest;
                *y = if log { l } else { l.exp() };
            }
        }
    }

    fn simplex_gradient(
        k: usize,
        log: bool,
        a: &[f64],
        value: &[f64],
        norms: &[f64],
        gradient: &[f64],
        out: &mut [f64],
    ) {
        let mut x = value.to_vec();
        for i in 0..out.len() {
            let y = if log { value[i] } else { value[i].ln() };
            if log {
                x[i] = value[i].exp();
            }
            out[i] = implicit::derivative(a[i], y + norms[i / k]);
        }
        for ((out, x), gradient) in out.chunks_mut(k).zip(x.chunks(k)).zip(gradient.chunks(k)) {
            pull_back(log, x, gradient, out);
        }
    }
}

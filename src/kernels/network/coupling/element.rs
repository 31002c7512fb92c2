//! The elementwise part of a coupling on slices: rows of `width` changing columns beside what the network says of them.

use super::Map;
use crate::kernels::elementwise::spline::{Gradients, Spline, Values};
use crate::kernels::machine::simd::{Loop, dispatch};
use crate::kernels::number::single;

/// A chunk's changing columns, in one direction of the map.
#[derive(Clone, Copy)]
pub(super) struct Element {
    pub(super) map: Map,
    pub(super) inverse: bool,
    pub(super) width: usize,
}

impl Element {
    /// From arguments `b` to results, in place, adding each row's sum of log-slopes to its log-det. What the network says
    /// stays, but for log-scales, which come out clamped.
    pub(super) fn forward(self, said: &mut [f32], b: &mut [f32], log_det: &mut [f32]) {
        match self.map {
            Map::Affine { bound } => dispatch(Forward {
                element: self,
                bound: bound as f32,
                scales: said,
                b,
                log_det,
            }),
            Map::Shift => dispatch(Add {
                minus: self.inverse,
                to: b,
                from: said,
            }),
            Map::Spline { bins, bound } => {
                let mut logs = vec![0.; b.len()];
                dispatch(Values {
                    spline: self.spline(bins, bound),
                    y: b,
                    log_slope: &mut logs,
                    raw: said,
                });
                for (log_det, logs) in log_det.iter_mut().zip(logs.chunks_exact(self.width)) {
                    *log_det += sum(logs);
                }
            }
        }
    }

    /// From arguments `b` and the results' gradients to the arguments', in place; into `g_said` the gradients of what the
    /// network said.
    pub(super) fn backward(
        self,
        said: &[f32],
        b: &[f32],
        gb: &mut [f32],
        g_log_det: &[f32],
        g_said: &mut [f32],
    ) {
        match self.map {
            Map::Affine { bound } => dispatch(Backward {
                element: self,
                bound: bound as f32,
                scales: said,
                b,
                gb,
                g_log_det,
                g_scales: g_said,
            }),
            Map::Shift => {
                g_said.fill(0.);
                dispatch(Add {
                    minus: self.inverse,
                    to: g_said,
                    from: gb,
                })
            }
            Map::Spline { bins, bound } => {
                let mut gl = Vec::with_capacity(b.len());
                let rows = g_log_det.iter();
                rows.for_each(|g| gl.resize(gl.len() + self.width, *g));
                dispatch(Gradients {
                    spline: self.spline(bins, bound),
                    x: b,
                    raw: said,
                    gl: &gl,
                    gx: gb,
                    g_raw: g_said,
                })
            }
        }
    }

    fn spline(self, bins: usize, bound: f64) -> Spline {
        Spline::within(bound, bins, self.inverse)
    }
}

/// In the same order on every machine.
#[inline(always)]
pub(super) fn sum(row: &[f32]) -> f32 {
    let mut lanes = [0f32; 16];
    for part in row.chunks(16) {
        lanes.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
    }
    lanes.iter().sum()
}

/// `to + from`, or `to - from`.
struct Add<'a> {
    minus: bool,
    to: &'a mut [f32],
    from: &'a [f32],
}

impl Loop for Add<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let sign = if self.minus { -1. } else { 1. };
        for (to, from) in self.to.iter_mut().zip(self.from) {
            *to += sign * from;
        }
    }
}

/// `b e^s + t`, or `(b - t) e^-s`, for rows of as many raw log-scales and then as many shifts.
struct Forward<'a> {
    element: Element,
    bound: f32,
    scales: &'a mut [f32],
    b: &'a mut [f32],
    log_det: &'a mut [f32],
}

impl Loop for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (Element { width, inverse, .. }, bound) = (self.element, self.bound);
        let scales = self.scales.chunks_exact_mut(2 * width);
        let rows = self.b.chunks_exact_mut(width).zip(scales);
        for ((b, scales), log_det) in rows.zip(self.log_det) {
            let (s, t) = scales.split_at_mut(width);
            if bound < f32::INFINITY {
                for s in s.iter_mut() {
                    *s = bound * single::tanh::<FMA>(*s / bound);
                }
            }
            if inverse {
                for ((b, s), t) in b.iter_mut().zip(&*s).zip(t) {
                    *b = (*b - *t) * single::exp::<FMA>(-*s);
                }
                *log_det -= sum(s);
            } else {
                for ((b, s), t) in b.iter_mut().zip(&*s).zip(t) {
                    *b = *b * single::exp::<FMA>(*s) + *t;
                }
                *log_det += sum(s);
            }
        }
    }
}

struct Backward<'a> {
    element: Element,
    bound: f32,
    /// The log-scales clamped.
    scales: &'a [f32],
    b: &'a [f32],
    gb: &'a mut [f32],
    g_log_det: &'a [f32],
    /// Of the raw log-scales and of the shifts.
    g_scales: &'a mut [f32],
}

impl Loop for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Element { width, inverse, .. } = self.element;
        let inverse_bound = 1. / self.bound;
        let scales = self.scales.chunks_exact(2 * width);
        let rows = self.b.chunks_exact(width);
        let rows = rows.zip(self.gb.chunks_exact_mut(width));
        let rows = rows.zip(scales.zip(self.g_scales.chunks_exact_mut(2 * width)));
        for (((b, gb), (scales, g_scales)), g_log_det) in rows.zip(self.g_log_det) {
            let ((s, t), (gs, gt)) = (scales.split_at(width), g_scales.split_at_mut(width));
            let (b, gb, s, t) = (&b[..width], &mut gb[..width], &s[..width], &t[..width]);
            let (gs, gt) = (&mut gs[..width], &mut gt[..width]);
            for j in 0..width {
                let share = s[j] * inverse_bound;
                let slope = 1. - share * share;
                if inverse {
                    let e = single::exp::<FMA>(-s[j]);
                    gt[j] = -gb[j] * e;
                    gs[j] = slope * (gt[j] * (b[j] - t[j]) - g_log_det);
                    gb[j] *= e;
                } else {
                    let e = single::exp::<FMA>(s[j]);
                    gt[j] = gb[j];
                    gb[j] *= e;
                    gs[j] = slope * (gb[j] * b[j] + g_log_det);
                }
            }
        }
    }
}

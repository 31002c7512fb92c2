//! The elementwise part of an affine coupling on slices: rows of `width` changing columns, beside rows of as many raw
//! log-scales and then as many shifts.

use super::Mode;
use crate::kernels::math;
use crate::kernels::simd::Loop;

#[inline(always)]
fn clamp<const FMA: bool>(raw: &mut [f32], bound: f32) {
    if bound == f32::INFINITY {
        return;
    }
    for s in raw {
        *s = bound * math::tanh::<FMA>(*s / bound);
    }
}

/// Clamps the log-scales in their place.
pub(super) struct Clamp<'a>(pub(super) f64, pub(super) usize, pub(super) &'a mut [f32]);

impl Loop for Clamp<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for row in self.2.chunks_exact_mut(2 * self.1) {
            clamp::<FMA>(&mut row[..self.1], self.0 as f32);
        }
    }
}

/// `b e^s + t`, or `(b - t) e^-s`, in place; adds the sum of s, or of -s, to the row's log-det. The log-scales come out
/// clamped.
pub(super) struct Forward<'a> {
    pub(super) mode: Mode,
    pub(super) width: usize,
    pub(super) scales: &'a mut [f32],
    pub(super) b: &'a mut [f32],
    pub(super) log_det: &'a mut [f32],
}

impl Loop for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (width, bound) = (self.width, self.mode.bound as f32);
        let scales = self.scales.chunks_exact_mut(2 * width);
        let rows = self.b.chunks_exact_mut(width).zip(scales);
        for ((b, scales), log_det) in rows.zip(self.log_det) {
            let (s, t) = scales.split_at_mut(width);
            clamp::<FMA>(s, bound);
            // The same order of the sum on every machine.
            let mut lanes = [0f32; 16];
            for part in s.chunks(16) {
                lanes.iter_mut().zip(part).for_each(|(sum, s)| *sum += s);
            }
            let sum: f32 = lanes.iter().sum();
            if self.mode.inverse {
                for ((b, s), t) in b.iter_mut().zip(s).zip(t) {
                    *b = (*b - *t) * math::exp::<FMA>(-*s);
                }
                *log_det -= sum;
            } else {
                for ((b, s), t) in b.iter_mut().zip(s).zip(t) {
                    *b = *b * math::exp::<FMA>(*s) + *t;
                }
                *log_det += sum;
            }
        }
    }
}

/// From the results `b` and their gradients to the arguments and theirs, in place; into `g_scales` the gradients of the raw
/// log-scales and of the shifts.
pub(super) struct Backward<'a> {
    pub(super) mode: Mode,
    pub(super) width: usize,
    pub(super) scales: &'a [f32],
    pub(super) b: &'a mut [f32],
    pub(super) gb: &'a mut [f32],
    pub(super) g_log_det: &'a [f32],
    pub(super) g_scales: &'a mut [f32],
}

impl Loop for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let width = self.width;
        let inverse_bound = 1. / self.mode.bound as f32;
        let scales = self.scales.chunks_exact(2 * width);
        let rows = self
            .b
            .chunks_exact_mut(width)
            .zip(self.gb.chunks_exact_mut(width));
        let rows = rows.zip(scales.zip(self.g_scales.chunks_exact_mut(2 * width)));
        for (((b, gb), (scales, g_scales)), g_log_det) in rows.zip(self.g_log_det) {
            let ((s, t), (gs, gt)) = (scales.split_at(width), g_scales.split_at_mut(width));
            let (b, gb, s, t) = (&mut b[..width], &mut gb[..width], &s[..width], &t[..width]);
            let (gs, gt) = (&mut gs[..width], &mut gt[..width]);
            for j in 0..width {
                let share = s[j] * inverse_bound;
                let slope = 1. - share * share;
                if self.mode.inverse {
                    let e = math::exp::<FMA>(-s[j]);
                    gs[j] = slope * (-gb[j] * b[j] - g_log_det);
                    gt[j] = -gb[j] * e;
                    gb[j] *= e;
                    b[j] = b[j] * math::exp::<FMA>(s[j]) + t[j];
                } else {
                    let less = b[j] - t[j];
                    gs[j] = slope * (gb[j] * less + g_log_det);
                    gt[j] = gb[j];
                    gb[j] *= math::exp::<FMA>(s[j]);
                    b[j] = less * math::exp::<FMA>(-s[j]);
                }
            }
        }
    }
}

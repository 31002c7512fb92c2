//! Where things lie: transposition, padded channels-last images, packed weights.

use super::Geometry;
use super::tile::{self, LANES};
use crate::kernels::machine::simd::{Loop, dispatch};

/// `to[j * to_stride + i] = from[i * from_stride + j]` for `i < rows`, `j < columns`.
pub(super) fn transpose(
    from: &[f32],
    from_stride: usize,
    rows: usize,
    columns: usize,
    to: &mut [f32],
    to_stride: usize,
) {
    dispatch(Transpose {
        from,
        from_stride,
        rows,
        columns,
        to,
        to_stride,
    })
}

struct Transpose<'a> {
    from: &'a [f32],
    from_stride: usize,
    rows: usize,
    columns: usize,
    to: &'a mut [f32],
    to_stride: usize,
}

impl Loop for Transpose<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (fs, ts) = (self.from_stride, self.to_stride);
        for i in (0..self.rows).step_by(B) {
            for j in (0..self.columns).step_by(B) {
                if i + B <= self.rows && j + B <= self.columns {
                    turn(&self.from[i * fs + j..], fs, &mut self.to[j * ts + i..], ts);
                } else {
                    for k in i..self.rows.min(i + B) {
                        for l in j..self.columns.min(j + B) {
                            self.to[l * ts + k] = self.from[k * fs + l];
                        }
                    }
                }
            }
        }
    }
}

/// Rows and columns of a block.
const B: usize = 8;

/// Transposes one block.
#[inline(always)]
fn turn(from: &[f32], from_stride: usize, to: &mut [f32], to_stride: usize) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        let reach = |stride: usize| (B - 1) * stride + B;
        if from.len() >= reach(from_stride) && to.len() >= reach(to_stride) {
            // SAFETY: the feature was detected, and the last element read and written is inside.
            return unsafe { turn_avx2(from.as_ptr(), from_stride, to.as_mut_ptr(), to_stride) };
        }
    }
    for k in 0..B {
        for l in 0..B {
            to[l * to_stride + k] = from[k * from_stride + l];
        }
    }
}

// The compiler makes scalar moves of the plain loop, five times slower.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn turn_avx2(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
    use std::arch::x86_64::*;
    // SAFETY: the caller's.
    unsafe {
        // Rows k and k + 4 side by side, first their left halves, then their right ones.
        let pair = |k: usize, half: usize| {
            let low = _mm_loadu_ps(from.add(k * from_stride + half));
            let high = _mm_loadu_ps(from.add((k + 4) * from_stride + half));
            _mm256_set_m128(high, low)
        };
        for half in [0, 4] {
            let (a, b) = (pair(0, half), pair(1, half));
            let (c, d) = (pair(2, half), pair(3, half));
            let (ab, ab_) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            let (cd, cd_) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
            let columns = [
                _mm256_shuffle_ps::<0x44>(ab, cd),
                _mm256_shuffle_ps::<0xEE>(ab, cd),
                _mm256_shuffle_ps::<0x44>(ab_, cd_),
                _mm256_shuffle_ps::<0xEE>(ab_, cd_),
            ];
            for (l, column) in columns.into_iter().enumerate() {
                _mm256_storeu_ps(to.add((half + l) * to_stride), column);
            }
        }
    }
}

impl Geometry {
    /// One image (channels first or last) into a zero-padded channels-last one.
    pub(super) fn pad_image(&self, image: &[f32], last: bool, to: &mut [f32], spare: &mut [f32]) {
        let g = self;
        let line = g.w * g.c;
        let image = if last || g.c == 1 {
            image
        } else {
            transpose(image, g.h * g.w, g.c, g.h * g.w, spare, g.c);
            &*spare
        };
        // Only the frame is cleared: zeros everywhere would write every element twice.
        let (top, side) = (g.padding.0 * g.padded_w() * g.c, g.padding.1 * g.c);
        let (above, rest) = to.split_at_mut(top);
        let (inside, below) = rest.split_at_mut(rest.len() - top);
        above.fill(0.);
        below.fill(0.);
        for (y, to) in inside.chunks_exact_mut(line + 2 * side).enumerate() {
            to[..side].fill(0.);
            to[side..side + line].copy_from_slice(&image[y * line..][..line]);
            to[side + line..].fill(0.);
        }
    }

    /// `weight [O, C, T]` as the right side of the forward product: rows (t, c), columns o, in panels.
    pub(super) fn pack_forward(&self, weight: &[f32], to: &mut [f32], spare: &mut [f32]) {
        let (taps, depth) = (self.taps(), self.taps() * self.c);
        let mut first = 0;
        for panel in panels(self.wide_o()) {
            let live = panel.min(self.o.saturating_sub(first));
            let spare = &mut spare[..depth * panel];
            spare.fill(0.);
            transpose(&weight[first * depth..], depth, live, depth, spare, panel);
            let to = &mut to[first * depth..][..depth * panel];
            for (row, to) in to.chunks_exact_mut(panel).enumerate() {
                let (t, c) = (row / self.c, row % self.c);
                to.copy_from_slice(&spare[(c * taps + t) * panel..][..panel]);
            }
            first += panel;
        }
    }

    /// `weight [O, C, T]` as the right side of the products for the input's gradient: for each class of input pixels
    /// (row and column modulo the stride) the taps that reach it, rows (tap, o), columns c, in panels.
    pub(super) fn pack_backward(&self, weight: &[f32], to: &mut [f32], spare: &mut [f32]) {
        let (taps, depth) = (self.taps(), self.taps() * self.c);
        let (wide_o, wide_c) = (self.wide_o(), self.wide_c());
        to.fill(0.);
        let mut start = 0;
        let spare = &mut spare[..depth];
        // Where the rows of each tap begin: (start of the class, rows of the class, first row).
        let mut places = vec![(0, 0, 0); taps];
        for class in self.classes() {
            let rows = class.taps.len() * wide_o;
            for (i, tap) in class.taps.iter().enumerate() {
                places[*tap] = (start, rows, i * wide_o);
            }
            start += rows * wide_c;
        }
        for o in 0..self.o {
            transpose(&weight[o * depth..], taps, self.c, taps, spare, self.c);
            for (tap, (start, rows, row)) in places.iter().enumerate() {
                let line = &spare[tap * self.c..][..self.c];
                let mut first = 0;
                for panel in panels(wide_c) {
                    let live = panel.min(self.c.saturating_sub(first));
                    let at = start + rows * first + (row + o) * panel;
                    to[at..at + live].copy_from_slice(&line[first..first + live]);
                    first += panel;
                }
            }
        }
    }
}

/// The widths of the panels of `columns` columns.
fn panels(columns: usize) -> impl Iterator<Item = usize> {
    let wide = tile::panel();
    (0..columns.div_ceil(wide)).map(move |i| wide.min(columns - i * wide))
}

/// The next multiple of the lane count.
pub(super) fn wide(columns: usize) -> usize {
    columns.div_ceil(LANES) * LANES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposes_of_every_size_and_stride() {
        for (rows, columns) in [(1, 1), (8, 8), (3, 17), (16, 9), (23, 40), (0, 4)] {
            let (fs, ts) = (columns + 3, rows + 2);
            let from: Vec<f32> = (0..rows * fs).map(|i| i as f32).collect();
            let mut to = vec![-1.; columns * ts];
            transpose(&from, fs, rows, columns, &mut to, ts);
            for j in 0..columns {
                for i in 0..ts {
                    let want = if i < rows { from[i * fs + j] } else { -1. };
                    assert_eq!(to[j * ts + i], want, "{rows} x {columns} at {i}, {j}");
                }
            }
        }
    }
}

//! Transposes of matrices on slices.

use crate::kernels::machine::buffer;
use crate::kernels::machine::simd::{Loop, dispatch};

/// The transpose of `w` [rows, columns], row after row.
pub(crate) fn transposed(w: &[f32], [rows, columns]: [usize; 2]) -> Vec<f32> {
    buffer::build(w.len(), (16 * rows).max(1), |start, to| {
        let (first, some) = (start / rows, to.len() / rows);
        transpose(&w[first..], columns, rows, some, to, rows);
    })
}

/// `to[j * to_stride + i] = from[i * from_stride + j]` for `i < rows`, `j < columns`.
pub(crate) fn transpose(
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

//! Sixteen f32 lanes that stay in registers.
//!
//! LLVM vectorizes most array loops of this crate, but not those whose sums live in several `[f32; 16]` across the
//! iterations of an outer loop: it unrolls the lanes first and finds no way back (13 times slower, measured on the
//! mixture). Such loops are written over [`Lanes`], one implementation for each instruction set.

/// Sixteen numbers.
pub(crate) type Tile = [f32; 16];

/// Sixteen lanes. `fma` rounds once or twice, as the machine does.
pub(crate) trait Lanes: Copy {
    fn load(tile: &Tile) -> Self;
    fn store(self, tile: &mut Tile);
    fn splat(x: f32) -> Self;
    /// Asks memory for what will be loaded soon.
    fn prefetch(tile: &Tile);
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    /// `self * b + c`
    fn fma(self, b: Self, c: Self) -> Self;
    /// NaN lanes may be passed over.
    fn max(self, other: Self) -> Self;
    /// The largest lane, by halving.
    fn highest(self) -> f32;
    /// The sum of the lanes, by halving: the same order on every machine.
    fn total(self) -> f32;
    /// The [`Self::total`] of each, row by row.
    #[inline(always)]
    fn totals(all: [[Self; 4]; 4]) -> Tile {
        std::array::from_fn(|n| all[n / 4][n % 4].total())
    }
}

/// A computation over lanes. Implement with `#[inline(always)]` on `run` and on everything it calls.
pub(crate) trait Lanewise {
    type Output;
    fn run<V: Lanes, const FMA: bool>(self) -> Self::Output;
}

/// Runs with the best instruction set of this machine.
pub(crate) fn dispatch<W: Lanewise>(w: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
        fn v4<W: Lanewise>(w: W) -> W::Output {
            w.run::<x86::V4, true>()
        }
        #[target_feature(enable = "avx2,fma")]
        fn v3<W: Lanewise>(w: W) -> W::Output {
            w.run::<x86::V3, true>()
        }
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("fma")
        {
            // SAFETY: the features were detected above.
            return unsafe { v4(w) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the features were detected above.
            return unsafe { v3(w) };
        }
        w.run::<Plain<false>, false>()
    }
    #[cfg(target_arch = "aarch64")]
    return w.run::<Plain<true>, true>();
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    w.run::<Plain<false>, false>()
}

/// Lanes as an array, for every other machine.
#[derive(Clone, Copy)]
pub(crate) struct Plain<const FMA: bool>(Tile);

impl<const FMA: bool> Plain<FMA> {
    #[inline(always)]
    fn map(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Plain(std::array::from_fn(|l| f(self.0[l], other.0[l])))
    }
}

impl<const FMA: bool> Lanes for Plain<FMA> {
    #[inline(always)]
    fn load(tile: &Tile) -> Self {
        Plain(*tile)
    }
    #[inline(always)]
    fn store(self, tile: &mut Tile) {
        *tile = self.0;
    }
    #[inline(always)]
    fn splat(x: f32) -> Self {
        Plain([x; 16])
    }
    #[inline(always)]
    fn prefetch(_: &Tile) {}
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.map(other, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.map(other, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.map(other, |a, b| a * b)
    }
    #[inline(always)]
    fn fma(self, b: Self, c: Self) -> Self {
        Plain(std::array::from_fn(|l| {
            crate::kernels::machine::simd::fma::<FMA>(self.0[l], b.0[l], c.0[l])
        }))
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.map(other, larger)
    }
    #[inline(always)]
    fn highest(self) -> f32 {
        halve(self.0, larger)
    }
    #[inline(always)]
    fn total(self) -> f32 {
        halve(self.0, |a, b| a + b)
    }
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
fn halve(mut a: Tile, f: impl Fn(f32, f32) -> f32) -> f32 {
    for width in [8, 4, 2, 1] {
        for l in 0..width {
            a[l] = f(a[l], a[l + width]);
        }
    }
    a[0]
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Lanes, Tile};
    use std::arch::x86_64::*;

    /// One AVX-512 register. Only [`super::dispatch`] picks it, after detection.
    #[derive(Clone, Copy)]
    pub(super) struct V4(__m512);

    // SAFETY of all blocks below: values of V4 and V3 exist only inside functions that `dispatch` entered after it had
    // detected the features, and a tile is 16 readable and writable floats.
    impl Lanes for V4 {
        #[inline(always)]
        fn load(tile: &Tile) -> Self {
            V4(unsafe { _mm512_loadu_ps(tile.as_ptr()) })
        }
        #[inline(always)]
        fn store(self, tile: &mut Tile) {
            unsafe { _mm512_storeu_ps(tile.as_mut_ptr(), self.0) }
        }
        #[inline(always)]
        fn splat(x: f32) -> Self {
            V4(unsafe { _mm512_set1_ps(x) })
        }
        #[inline(always)]
        fn prefetch(tile: &Tile) {
            unsafe { _mm_prefetch::<_MM_HINT_T0>(tile.as_ptr().cast()) }
        }
        #[inline(always)]
        fn add(self, other: Self) -> Self {
            V4(unsafe { _mm512_add_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            V4(unsafe { _mm512_sub_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            V4(unsafe { _mm512_mul_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn fma(self, b: Self, c: Self) -> Self {
            V4(unsafe { _mm512_fmadd_ps(self.0, b.0, c.0) })
        }
        #[inline(always)]
        fn max(self, other: Self) -> Self {
            V4(unsafe { _mm512_max_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn highest(self) -> f32 {
            unsafe { _mm512_reduce_max_ps(self.0) }
        }
        #[inline(always)]
        fn total(self) -> f32 {
            unsafe { _mm512_reduce_add_ps(self.0) }
        }
        #[inline(always)]
        fn totals(all: [[Self; 4]; 4]) -> Tile {
            let [a, b, c, d] = all;
            let first = halve_pairs(
                halve_columns(a[0], b[0], c[0], d[0]),
                halve_columns(a[1], b[1], c[1], d[1]),
            );
            let second = halve_pairs(
                halve_columns(a[2], b[2], c[2], d[2]),
                halve_columns(a[3], b[3], c[3], d[3]),
            );
            let mut out = [0.; 16];
            unsafe {
                let low = _mm512_shuffle_ps::<0x88>(first, second);
                let high = _mm512_shuffle_ps::<0xDD>(first, second);
                V4(_mm512_add_ps(low, high)).store(&mut out);
            }
            out
        }
    }

    /// Each of four registers halved twice, to a quarter of one.
    #[inline(always)]
    fn halve_columns(a: V4, b: V4, c: V4, d: V4) -> __m512 {
        unsafe {
            let ab = _mm512_add_ps(
                _mm512_shuffle_f32x4::<0x44>(a.0, b.0),
                _mm512_shuffle_f32x4::<0xEE>(a.0, b.0),
            );
            let cd = _mm512_add_ps(
                _mm512_shuffle_f32x4::<0x44>(c.0, d.0),
                _mm512_shuffle_f32x4::<0xEE>(c.0, d.0),
            );
            _mm512_add_ps(
                _mm512_shuffle_f32x4::<0x88>(ab, cd),
                _mm512_shuffle_f32x4::<0xDD>(ab, cd),
            )
        }
    }

    /// Quarters halved to pairs.
    #[inline(always)]
    fn halve_pairs(a: __m512, b: __m512) -> __m512 {
        unsafe {
            _mm512_add_ps(
                _mm512_shuffle_ps::<0x44>(a, b),
                _mm512_shuffle_ps::<0xEE>(a, b),
            )
        }
    }

    /// Two AVX2 registers.
    #[derive(Clone, Copy)]
    pub(super) struct V3(__m256, __m256);

    impl Lanes for V3 {
        #[inline(always)]
        fn load(tile: &Tile) -> Self {
            unsafe {
                V3(
                    _mm256_loadu_ps(tile.as_ptr()),
                    _mm256_loadu_ps(tile.as_ptr().add(8)),
                )
            }
        }
        #[inline(always)]
        fn store(self, tile: &mut Tile) {
            unsafe {
                _mm256_storeu_ps(tile.as_mut_ptr(), self.0);
                _mm256_storeu_ps(tile.as_mut_ptr().add(8), self.1);
            }
        }
        #[inline(always)]
        fn splat(x: f32) -> Self {
            unsafe { V3(_mm256_set1_ps(x), _mm256_set1_ps(x)) }
        }
        #[inline(always)]
        fn prefetch(tile: &Tile) {
            unsafe { _mm_prefetch::<_MM_HINT_T0>(tile.as_ptr().cast()) }
        }
        #[inline(always)]
        fn add(self, other: Self) -> Self {
            unsafe {
                V3(
                    _mm256_add_ps(self.0, other.0),
                    _mm256_add_ps(self.1, other.1),
                )
            }
        }
        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            unsafe {
                V3(
                    _mm256_sub_ps(self.0, other.0),
                    _mm256_sub_ps(self.1, other.1),
                )
            }
        }
        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            unsafe {
                V3(
                    _mm256_mul_ps(self.0, other.0),
                    _mm256_mul_ps(self.1, other.1),
                )
            }
        }
        #[inline(always)]
        fn fma(self, b: Self, c: Self) -> Self {
            unsafe {
                V3(
                    _mm256_fmadd_ps(self.0, b.0, c.0),
                    _mm256_fmadd_ps(self.1, b.1, c.1),
                )
            }
        }
        #[inline(always)]
        fn max(self, other: Self) -> Self {
            unsafe {
                V3(
                    _mm256_max_ps(self.0, other.0),
                    _mm256_max_ps(self.1, other.1),
                )
            }
        }
        #[inline(always)]
        fn highest(self) -> f32 {
            unsafe {
                let a = _mm256_max_ps(self.0, self.1);
                let a = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
                let a = _mm_max_ps(a, _mm_movehl_ps(a, a));
                _mm_cvtss_f32(_mm_max_ss(a, _mm_movehdup_ps(a)))
            }
        }
        #[inline(always)]
        fn total(self) -> f32 {
            unsafe {
                let a = _mm256_add_ps(self.0, self.1);
                let a = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
                let a = _mm_add_ps(a, _mm_movehl_ps(a, a));
                _mm_cvtss_f32(_mm_add_ss(a, _mm_movehdup_ps(a)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every operation once, on the lanes of the instruction set.
    struct All(Tile, Tile);

    impl Lanewise for All {
        type Output = Vec<f32>;
        #[inline(always)]
        fn run<V: Lanes, const FMA: bool>(self) -> Vec<f32> {
            let (a, b) = (V::load(&self.0), V::load(&self.1));
            let mut out = vec![a.highest(), a.mul(b).total()];
            let all: [[V; 4]; 4] = std::array::from_fn(|i| {
                std::array::from_fn(|j| a.fma(V::splat(i as f32), b.mul(V::splat(j as f32 - 0.7))))
            });
            let totals = all.map(|row| row.map(|v| v.total())).concat();
            assert_eq!(V::totals(all).to_vec(), totals);
            out.extend(totals);
            for v in [
                a.add(b),
                a.sub(b),
                a.mul(b),
                a.fma(b, V::splat(0.1)),
                a.max(b),
            ] {
                let mut tile = [0.; 16];
                v.store(&mut tile);
                out.extend(tile);
            }
            out
        }
    }

    #[test]
    fn instruction_sets_agree() {
        let a: Tile = std::array::from_fn(|l| ((l * 7 + 3) % 16) as f32 / 3.);
        let b: Tile = std::array::from_fn(|l| ((l * 5 + 1) % 16) as f32 / 7. - 1.);
        let got = dispatch(All(a, b));
        let fused = All(a, b).run::<Plain<true>, true>();
        let separate = All(a, b).run::<Plain<false>, false>();
        assert!(got == fused || got == separate, "{got:?}\n{fused:?}");
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            #[target_feature(enable = "avx2,fma")]
            fn v3(all: All) -> Vec<f32> {
                all.run::<x86::V3, true>()
            }
            // SAFETY: detected above.
            assert_eq!(unsafe { v3(All(a, b)) }, fused);
        }
    }
}

//! Run-time choice of instruction set: a loop is written once, compiled for each level, and the best is called.
//!
//! Loops are plain array code that LLVM vectorizes; `FMA` tells them whether `mul_add` is one instruction (where it is
//! not, it would be a library call). Same level, same bits; AVX2, AVX-512 and NEON give the same bits as each other as
//! long as a loop fixes the order of its sums itself (lane arrays of 16, never a plain `sum()`).

/// A loop over slices. Implement with `#[inline(always)]` on `run` and on everything it calls.
pub(crate) trait Loop {
    type Output;
    fn run<const FMA: bool>(self) -> Self::Output;
}

/// Runs the loop with the best instruction set of this machine.
pub(crate) fn dispatch<L: Loop>(l: L) -> L::Output {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
        fn v4<L: Loop>(l: L) -> L::Output {
            l.run::<true>()
        }
        #[target_feature(enable = "avx2,fma")]
        fn v3<L: Loop>(l: L) -> L::Output {
            l.run::<true>()
        }
        // std caches the detection: each test is one load.
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("fma")
        {
            // SAFETY: the features were detected above.
            return unsafe { v4(l) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the features were detected above.
            return unsafe { v3(l) };
        }
        l.run::<false>()
    }
    // NEON with fused multiply-add is part of the aarch64 baseline.
    #[cfg(target_arch = "aarch64")]
    return l.run::<true>();
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    l.run::<false>()
}

/// `a * b + c`, fused where that is one instruction.
#[inline(always)]
pub(crate) fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `a * b + c` in double precision, fused where that is one instruction.
#[inline(always)]
pub(crate) fn fma64<const FMA: bool>(a: f64, b: f64, c: f64) -> f64 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

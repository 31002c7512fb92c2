//! Standard gamma draws as logarithms.
//!
//! The method of Marsaglia and Tsang (2000): with `d = a - 1/3`, `c = 1 / sqrt(9 d)` and a standard normal z,
//! `g = d (1 + c z)^3` is accepted when `ln u < z^2 / 2 + d - d v + d ln v`, `v = (1 + c z)^3`. Below a = 1 a draw for
//! a + 1 is multiplied by `u^(1/a)`; in logarithms that is `+ ln(u) / a`, which never underflows.
//!
//! With w = c z the bound is `3 d (ln(1 + w) - w + w^2/2 - w^3/3)`, the remainder of a Taylor series of order `d w^4`:
//! computed as such it keeps its digits however large the concentration.

use crate::kernels::machine::simd::fma;
use crate::kernels::number::single;
use crate::kernels::random::{BLOCK, Lanes, Scalar, Stream};
use rand_distr::Distribution;

/// Lanes of one proposal: what one call of [`Lanes::normals`] gives.
const GROUP: usize = 32;

/// Rounds of redrawing what was rejected. At most 5 % are, so this is never reached; it bounds the loop.
const ROUNDS: usize = 64;

/// The remainder `3 (w - w^2/2 + w^3/3 - ln(1 + w))`, not negative, given `log = ln(1 + w)`.
#[inline(always)]
fn remainder<const FMA: bool>(w: f32, log: f32) -> f32 {
    // 3 w^4 (1/4 - w/5 + w^2/6 - ...), to 1e-6 for |w| < 1/4.
    let mut p = 3. / 12.;
    for k in [
        -3. / 11.,
        3. / 10.,
        -3. / 9.,
        3. / 8.,
        -3. / 7.,
        3. / 6.,
        -3. / 5.,
        3. / 4.,
    ] {
        p = fma::<FMA>(p, w, k);
    }
    let w2 = w * w;
    let near = p * w2 * w2;
    let cubic = w * fma::<FMA>(w, fma::<FMA>(w, 1. / 3., -0.5), 1.);
    if w.abs() < 0.25 {
        near
    } else {
        3. * (cubic - log)
    }
}

/// ln u for u uniform in (0, 1] from 31 bits.
#[inline(always)]
fn ln_uniform<const FMA: bool>(bits: u32) -> f32 {
    single::ln_positive::<FMA>(((bits >> 1) as i32 as f32 + 0.5) * (1. / 2_147_483_648.))
}

/// One proposal for each lane: ln g, and whether it is rejected.
#[inline(always)]
fn propose<const FMA: bool>(lanes: &mut Lanes, a: &[f32; GROUP]) -> ([f32; GROUP], [u32; GROUP]) {
    let z = lanes.normals::<FMA>();
    let bits = [lanes.next(), lanes.next(), lanes.next(), lanes.next()];
    let mut y = [0.; GROUP];
    let mut reject = [0; GROUP];
    for l in 0..GROUP {
        let a = a[l];
        let accept = bits[l / 16][l % 16];
        let boost = bits[2 + l / 16][l % 16];
        let small = a < 1.;
        let d = if small { a + 2. / 3. } else { a - 1. / 3. };
        let w = z[l] / (9. * d).sqrt();
        let inside = w > -1.;
        let log = single::ln_positive::<FMA>(if inside { 1. + w } else { 1. });
        // Comparisons are false for NaN: a concentration without meaning is accepted at once.
        let refused = ln_uniform::<FMA>(accept) > -d * remainder::<FMA>(w, log);
        reject[l] = u32::from((w <= -1.) | refused);
        let shift = if small {
            ln_uniform::<FMA>(boost) / a
        } else {
            0.
        };
        let draw = single::ln_positive::<FMA>(d) + (3. * log + shift);
        let valid = (a > 0.) & (a <= f32::MAX);
        // Infinity and NaN stay; zero and below have no distribution.
        y[l] = if valid {
            draw
        } else if a > 0. {
            a
        } else {
            f32::NAN
        };
    }
    (y, reject)
}

/// Fills one block of at most [`BLOCK`] elements: `out[i]` is ln g for concentration `a[i]`.
#[inline(always)]
pub(crate) fn logs<const FMA: bool>(stream: Stream, block: u64, a: &[f32], out: &mut [f32]) {
    let mut lanes = stream.lanes(block);
    let mut rejected = [0u16; BLOCK];
    let mut count = 0;
    let mut group = [1.; GROUP];
    for (first, (a, out)) in a.chunks(GROUP).zip(out.chunks_mut(GROUP)).enumerate() {
        group[..a.len()].copy_from_slice(a);
        let (y, reject) = propose::<FMA>(&mut lanes, &group);
        out.copy_from_slice(&y[..out.len()]);
        for (l, reject) in reject[..a.len()].iter().enumerate() {
            rejected[count] = (first * GROUP + l) as u16;
            count += *reject as usize;
        }
    }
    for _ in 0..ROUNDS {
        let mut left = 0;
        let mut from = 0;
        while from < count {
            let n = GROUP.min(count - from);
            let mut index = [0; GROUP];
            for l in 0..n {
                index[l] = rejected[from + l] as usize;
                group[l] = a[index[l]];
            }
            let (y, reject) = propose::<FMA>(&mut lanes, &group);
            for l in 0..n {
                out[index[l]] = y[l];
                // `left` never passes `from`: the list shrinks in place.
                rejected[left] = index[l] as u16;
                left += reject[l] as usize;
            }
            from += n;
        }
        count = left;
        if count == 0 {
            break;
        }
    }
}

/// ln g for concentration `a` in double precision.
pub(crate) fn log_f64(rng: &mut Scalar, a: f64) -> f64 {
    if !(a > 0. && a < f64::INFINITY) {
        return if a > 0. { a } else { f64::NAN };
    }
    let (d, shift) = if a < 1. {
        (a + 2. / 3., ln_uniform_f64(rng) / a)
    } else {
        (a - 1. / 3., 0.)
    };
    let c = 1. / (9. * d).sqrt();
    let mut log = 0.;
    for _ in 0..ROUNDS {
        let z: f64 = rand_distr::StandardNormal.sample(rng);
        let w = c * z;
        let u = ln_uniform_f64(rng);
        if w <= -1. {
            continue;
        }
        log = w.ln_1p();
        let remainder = if w.abs() < 0.05 {
            let p = (4..16).rev().fold(0., |p, k| 1. / f64::from(k) - w * p);
            3. * p * (w * w) * (w * w)
        } else {
            3. * (w * (1. - w * (0.5 - w / 3.)) - log)
        };
        if u <= -d * remainder {
            break;
        }
    }
    d.ln() + (3. * log + shift)
}

fn ln_uniform_f64(rng: &mut Scalar) -> f64 {
    let bits = rand::RngCore::next_u64(rng);
    (((bits >> 12) as f64 + 0.5) * (1. / 4_503_599_627_370_496.)).ln()
}

//! Seeded streams of random numbers, cut into blocks so that any thread can compute any block.
//!
//! The numbers of draw `n` are a pure function of (key, n, block): a block has its own generator, seeded by mixing the
//! three. Two generators: 16 interleaved xoshiro128++ for vectorized loops, one xoshiro256++ for scalar samplers.

use crate::kernels::machine::buffer;
use crate::kernels::machine::simd::{Loop, dispatch};
use crate::kernels::number::single;
use rand_distr::Distribution;

/// Elements per generator of the vectorized fills.
pub(crate) const BLOCK: usize = 4096;

/// One draw: a tensor's worth of random numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    pub(crate) key: u64,
    pub(crate) draw: u64,
}

/// The finalizer of splitmix64 (Steele, Lea and Flood 2014): every input bit reaches every output bit.
#[inline(always)]
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Combines two words; not symmetric, and `combine(a, b)` with distinct `b` differ for fixed `a`.
#[inline(always)]
pub(crate) fn combine(a: u64, b: u64) -> u64 {
    mix(mix(a.wrapping_add(0x9E37_79B9_7F4A_7C15)).rotate_left(23) ^ mix(b ^ 0xD1B5_4A32_D192_ED03))
}

impl Stream {
    fn seed(&self, block: u64) -> u64 {
        combine(combine(self.key, self.draw), block)
    }

    /// The vectorized generator of a block.
    #[inline(always)]
    pub(crate) fn lanes(&self, block: u64) -> Lanes {
        Lanes::new(self.seed(block))
    }

    /// The scalar generator of a block. It shares no state with the vectorized one.
    pub(crate) fn scalar(&self, block: u64) -> Scalar {
        let seed = combine(self.seed(block), 1);
        Scalar {
            s: std::array::from_fn(|i| combine(seed, i as u64)),
        }
    }
}

/// 16 xoshiro128++ generators (Blackman and Vigna 2021) side by side.
pub(crate) struct Lanes {
    s: [[u32; 16]; 4],
}

impl Lanes {
    #[inline(always)]
    fn new(seed: u64) -> Self {
        let words = |start: u64| -> [u64; 16] {
            std::array::from_fn(|l| combine(seed, 2 * l as u64 + start))
        };
        let (a, b) = (words(2), words(3));
        let s = [
            a.map(|a| a as u32),
            a.map(|a| (a >> 32) as u32),
            b.map(|b| b as u32),
            // The all-zero state is the one that xoshiro never leaves.
            b.map(|b| (b >> 32) as u32 | 1),
        ];
        Lanes { s }
    }

    #[inline(always)]
    pub(crate) fn next(&mut self) -> [u32; 16] {
        let mut out = [0; 16];
        let [s0, s1, s2, s3] = &mut self.s;
        for l in 0..16 {
            out[l] = s0[l].wrapping_add(s3[l]).rotate_left(7).wrapping_add(s0[l]);
            let t = s1[l] << 9;
            s2[l] ^= s0[l];
            s3[l] ^= s1[l];
            s1[l] ^= s2[l];
            s0[l] ^= s3[l];
            s2[l] ^= t;
            s3[l] = s3[l].rotate_left(11);
        }
        out
    }

    /// Uniforms in the open interval (0, 1), from 23 bits: neither end is reachable.
    #[inline(always)]
    pub(crate) fn uniforms(&mut self) -> [f32; 16] {
        self.next()
            .map(|b| ((b >> 9) as i32 as f32 + 0.5) * (1. / 8_388_608.))
    }

    /// 32 standard normals by the method of Box and Muller (1958). The radius comes from 31 bits, so tails reach 6.6.
    #[inline(always)]
    pub(crate) fn normals<const FMA: bool>(&mut self) -> [f32; 32] {
        let (a, b) = (self.next(), self.next());
        let mut out = [0.; 32];
        for l in 0..16 {
            // In (0, 1]: a radius of zero is possible, an infinite one is not.
            let u = ((a[l] >> 1) as i32 as f32 + 0.5) * (1. / 2_147_483_648.);
            let radius = (-2. * single::ln_positive::<FMA>(u)).max(0.).sqrt();
            let turn = (b[l] >> 8) as i32 as f32 * (1. / 16_777_216.);
            let (s, c) = single::sin_cos_turns::<FMA>(turn);
            out[l] = radius * c;
            out[16 + l] = radius * s;
        }
        out
    }
}

/// xoshiro256++ (Blackman and Vigna 2021), for samplers that draw a varying number of words.
pub(crate) struct Scalar {
    s: [u64; 4],
}

impl rand::RngCore for Scalar {
    fn next_u64(&mut self) -> u64 {
        let s = &mut self.s;
        let out = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        out
    }

    fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// Writes block number `block` of a draw of standard normals; `out` holds at most [`BLOCK`] elements.
/// Fused kernels call it with a buffer on the stack.
///
/// The loop is written out, here and below: a closure for the next group would be called from two places, stay a function
/// of its own without this one's instruction set, and be fifty times slower.
#[inline(always)]
pub(crate) fn normal_block<const FMA: bool>(stream: Stream, block: u64, out: &mut [f32]) {
    let mut lanes = stream.lanes(block);
    let mut groups = out.chunks_exact_mut(32);
    for group in &mut groups {
        group.copy_from_slice(&lanes.normals::<FMA>());
    }
    let rest = groups.into_remainder();
    if !rest.is_empty() {
        rest.copy_from_slice(&lanes.normals::<FMA>()[..rest.len()]);
    }
}

/// As [`normal_block`], of uniforms in the open interval (0, 1).
#[inline(always)]
pub(crate) fn uniform_block(stream: Stream, block: u64, out: &mut [f32]) {
    let mut lanes = stream.lanes(block);
    let mut groups = out.chunks_exact_mut(16);
    for group in &mut groups {
        group.copy_from_slice(&lanes.uniforms());
    }
    let rest = groups.into_remainder();
    if !rest.is_empty() {
        rest.copy_from_slice(&lanes.uniforms()[..rest.len()]);
    }
}

/// `len` standard normals.
pub(crate) fn normals(stream: Stream, len: usize) -> Vec<f32> {
    struct Fill<'a>(Stream, u64, &'a mut [f32]);
    impl Loop for Fill<'_> {
        type Output = ();
        #[inline(always)]
        fn run<const FMA: bool>(self) {
            normal_block::<FMA>(self.0, self.1, self.2);
        }
    }
    buffer::build(len, BLOCK, |offset, out| {
        dispatch(Fill(stream, (offset / BLOCK) as u64, out))
    })
}

/// `len` uniforms in the open interval (0, 1).
pub(crate) fn uniforms(stream: Stream, len: usize) -> Vec<f32> {
    struct Fill<'a>(Stream, u64, &'a mut [f32]);
    impl Loop for Fill<'_> {
        type Output = ();
        #[inline(always)]
        fn run<const FMA: bool>(self) {
            uniform_block(self.0, self.1, self.2);
        }
    }
    buffer::build(len, BLOCK, |offset, out| {
        dispatch(Fill(stream, (offset / BLOCK) as u64, out))
    })
}

/// `len` draws of a scalar sampler, `BLOCK` per generator.
pub(crate) fn scalars<T: Copy + Send + Sync>(
    stream: Stream,
    len: usize,
    sample: impl Fn(&mut Scalar) -> T + Sync,
) -> Vec<T> {
    scalars_at(stream, len, |rng, _| sample(rng))
}

/// As [`scalars`], of a sampler that is told which draw it makes.
pub(crate) fn scalars_at<T: Copy + Send + Sync>(
    stream: Stream,
    len: usize,
    sample: impl Fn(&mut Scalar, usize) -> T + Sync,
) -> Vec<T> {
    buffer::build(len, BLOCK, |offset, out| {
        let mut rng = stream.scalar((offset / BLOCK) as u64);
        for (i, x) in out.iter_mut().enumerate() {
            *x = sample(&mut rng, offset + i);
        }
    })
}

/// `len` standard normals in double precision, by rand_distr's ziggurat.
pub(crate) fn normals_f64(stream: Stream, len: usize) -> Vec<f64> {
    scalars(stream, len, |rng| rand_distr::StandardNormal.sample(rng))
}

/// `len` uniforms in the open interval (0, 1) in double precision, from 52 bits.
pub(crate) fn uniforms_f64(stream: Stream, len: usize) -> Vec<f64> {
    scalars(stream, len, |rng| {
        let bits = rand::RngCore::next_u64(rng);
        ((bits >> 12) as f64 + 0.5) * (1. / 4_503_599_627_370_496.)
    })
}

/// A whole number uniform on `0..bound`, without bias (Lemire 2019). `bound` is positive.
pub(crate) fn below(rng: &mut Scalar, bound: u64) -> u64 {
    let threshold = bound.wrapping_neg() % bound;
    loop {
        let wide = u128::from(rand::RngCore::next_u64(rng)) * u128::from(bound);
        if wide as u64 >= threshold {
            return (wide >> 64) as u64;
        }
    }
}

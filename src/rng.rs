//! Seeded, splittable random numbers, independent of the number of threads.

use crate::check;
use crate::error::{Error, Result};
use crate::kernels::random::{self, Stream};
use crate::shape;
use candle_core::{DType, Device, Shape, Tensor};

/// A seeded source of random tensors.
///
/// What it is: every sampler of the crate takes `&mut Rng`. A draw's bits are a pure function of (seed, number of the
/// draw, block), so they are the same at any number of threads and in every run, and on CPUs with fused multiply-add
/// (any x86-64 with AVX2, any aarch64) the same from machine to machine. `Rng` is not `Clone`: two copies would hand out
/// the same numbers twice. Use [`split`](Rng::split) or [`fork`](Rng::fork) for independent sources.
///
/// On CUDA and Metal the numbers are drawn on the CPU and copied, so that a seed means the same everywhere.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_prob::Rng;
/// # fn main() -> candle_prob::Result<()> {
/// let mut rng = Rng::new(7);
/// let noise = rng.normal((2, 3), DType::F32, &Device::Cpu)?;
/// let again = Rng::new(7).normal((2, 3), DType::F32, &Device::Cpu)?;
/// assert_eq!(noise.to_vec2::<f32>()?, again.to_vec2::<f32>()?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct Rng {
    key: u64,
    draws: u64,
}

/// The whole state of an [`Rng`], for checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RngState {
    /// What seed, splits and forks have made.
    pub key: u64,
    /// How many draws have been made.
    pub draws: u64,
}

// Tags keep the uses of a key apart: `split` and `fork` never meet each other or a draw.
const SPLIT: u64 = 0x5350_4C49_5400_0001;
const FORK: u64 = 0x464F_524B_0000_0002;

impl Rng {
    /// The source of a seed.
    pub fn new(seed: u64) -> Self {
        Rng {
            key: random::combine(0x6361_6E64_6C65, seed),
            draws: 0,
        }
    }

    /// A new independent source; calling it again gives another one.
    pub fn split(&mut self) -> Rng {
        let Stream { key, draw } = self.stream();
        Rng {
            key: random::combine(random::combine(key, SPLIT), draw),
            draws: 0,
        }
    }

    /// The independent source of a name. It depends on this source's key and the name only, not on what was drawn before,
    /// so adding a draw elsewhere does not change it.
    pub fn fork(&self, name: &str) -> Rng {
        let key = name
            .bytes()
            .fold(random::combine(self.key, FORK), |key, byte| {
                random::combine(key, u64::from(byte))
            });
        Rng { key, draws: 0 }
    }

    /// The state, to be written into a checkpoint.
    pub fn state(&self) -> RngState {
        RngState {
            key: self.key,
            draws: self.draws,
        }
    }

    /// Continues from a saved state.
    pub fn from_state(state: RngState) -> Self {
        Rng {
            key: state.key,
            draws: state.draws,
        }
    }

    /// The next draw.
    pub(crate) fn stream(&mut self) -> Stream {
        let draw = self.draws;
        self.draws += 1;
        Stream {
            key: self.key,
            draw,
        }
    }

    /// Standard normals.
    ///
    /// Errors: `dtype` is not a floating-point type; more elements than memory could hold.
    pub fn normal(
        &mut self,
        shape: impl Into<Shape>,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        self.fill(
            "Rng::normal",
            shape.into(),
            dtype,
            device,
            random::normals,
            random::normals_f64,
        )
    }

    /// Uniforms in the open interval (0, 1): `ln(u)` and `ln(1 - u)` are always finite.
    ///
    /// Errors: `dtype` is not a floating-point type; more elements than memory could hold.
    pub fn uniform(
        &mut self,
        shape: impl Into<Shape>,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        // Rounded to half precision a draw would be an end.
        let top = match dtype {
            DType::F16 => 1. - 2f32.powi(-11),
            DType::BF16 => 1. - 2f32.powi(-8),
            _ => 1.,
        };
        let single = |stream, len| {
            let mut draws = random::uniforms(stream, len);
            if top < 1. {
                let inside = |x: &mut f32| *x = x.clamp(2f32.powi(-24), top);
                draws.iter_mut().for_each(inside);
            }
            draws
        };
        let (op, double) = ("Rng::uniform", random::uniforms_f64);
        self.fill(op, shape.into(), dtype, device, single, double)
    }

    /// A random permutation of `0..n` by the shuffle of Fisher and Yates.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut rng = self.stream().scalar(0);
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, random::below(&mut rng, i as u64 + 1) as usize);
        }
        order
    }

    /// `n` whole numbers, uniform on `0..bound`.
    ///
    /// Errors: `bound` is zero; more numbers than memory could hold.
    pub fn integers(&mut self, n: usize, bound: usize) -> Result<Vec<usize>> {
        check::at_least_one("Rng::integers", &[("bound", bound)])?;
        shape::draws("Rng::integers", &[n], &[])?;
        Ok(random::scalars(self.stream(), n, |rng| {
            random::below(rng, bound as u64) as usize
        }))
    }

    fn fill(
        &mut self,
        op: &'static str,
        shape: Shape,
        dtype: DType,
        device: &Device,
        single: impl Fn(Stream, usize) -> Vec<f32>,
        double: impl Fn(Stream, usize) -> Vec<f64>,
    ) -> Result<Tensor> {
        shape::draws(op, shape.dims(), &[])?;
        let stream = self.stream();
        let len = shape.elem_count();
        match dtype {
            DType::F64 => Ok(Tensor::from_vec(double(stream, len), shape, device)?),
            DType::F32 => Ok(Tensor::from_vec(single(stream, len), shape, device)?),
            dtype if dtype.is_float() => {
                Ok(Tensor::from_vec(single(stream, len), shape, device)?.to_dtype(dtype)?)
            }
            found => Err(Error::DType {
                op,
                arg: "dtype",
                expected: "a floating-point dtype".into(),
                found,
            }),
        }
    }
}

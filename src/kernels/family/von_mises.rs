//! Draws of the von Mises distribution.

use crate::error::Result;
use crate::kernels::machine::buffer::build;
use crate::kernels::random::{BLOCK, Scalar, Stream};
use crate::shape;
use candle_core::{DType, Device, Tensor};
use rand::RngCore;
use std::f64::consts::PI;

/// One draw by the method of Best and Fisher (1979): a wrapped Cauchy proposal. Its parameter is
/// `s = (1 + sqrt(1 + 4 k^2)) / (2 k)`, used here as s - 1, which keeps its digits for large k.
fn draw(rng: &mut Scalar, k: f64) -> f64 {
    let mut uniform = || ((rng.next_u64() >> 12) as f64 + 0.5) * (1. / 4_503_599_627_370_496.);
    if !(k > 1e-8) {
        // Uniform to within rounding; NaN for a concentration without meaning.
        let t = PI * (2. * uniform() - 1.);
        return if k >= 0. { t } else { f64::NAN };
    }
    let root = (1. + 4. * k * k).sqrt();
    let excess = (1. + 1. / (root + 2. * k)) / (2. * k);
    loop {
        let z = (PI * uniform()).cos();
        // 1 - cos of the proposed angle.
        let versine = excess * (1. - z) / (1. + excess + z);
        let c = k * (excess + versine);
        let u = uniform();
        if c * (2. - c) > u || (c / u).ln() + 1. >= c {
            let t = 2. * (0.5 * versine).sqrt().min(1.).asin();
            return if uniform() < 0.5 { -t } else { t };
        }
    }
}

/// Draws around 0, of shape `samples ++ shape of concentration`, without gradient.
pub(crate) fn draws(concentration: &Tensor, samples: &[usize], stream: Stream) -> Result<Tensor> {
    let k = concentration
        .detach()
        .to_device(&Device::Cpu)?
        .to_dtype(DType::F64)?
        .flatten_all()?
        .to_vec1::<f64>()?;
    let shape = shape::draws("Distribution::sample", samples, concentration.dims())?;
    let out = build(shape.iter().product(), BLOCK, |offset, out| {
        let mut rng = stream.scalar((offset / BLOCK) as u64);
        for (i, x) in out.iter_mut().enumerate() {
            *x = draw(&mut rng, k[(offset + i) % k.len()]);
        }
    });
    Ok(Tensor::from_vec(out, shape, &Device::Cpu)?
        .to_dtype(concentration.dtype())?
        .to_device(concentration.device())?)
}

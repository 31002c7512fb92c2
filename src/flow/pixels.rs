//! From pixels that are whole numbers to densities and back.

use crate::Rng;
use crate::check;
use crate::conditional::Conditional;
use crate::distribution::Distribution;
use crate::error::{Error, Result};
use crate::kernels::reduce::range::{End, first_outside};
use crate::shape;
use candle_core::Tensor;

/// Pixels of `levels` whole values with uniform noise, on [0, 1]: uniform dequantization.
///
/// Formula: `x = (v + u) / levels`, u uniform on (0, 1). The mean of `log p(x)` over u bounds the log-mass of v from below,
/// up to `levels` nats per dim that [`bits_per_dim`] counts.
///
/// Shapes: any, kept. Gradients: none are needed. Errors: pixels that are not floating point or outside 0 to levels - 1;
/// fewer than two levels.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::{Rng, flow::dequantize};
/// # fn main() -> candle_prob::Result<()> {
/// let pixels = Tensor::new(&[0f32, 255.], &Device::Cpu)?;
/// let x = dequantize(&pixels, 256, &mut Rng::new(0))?.to_vec1::<f32>()?;
/// assert!(x[0] < 1. / 256. && x[1] > 255. / 256. && x[1] <= 1.);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: in f32 the sum may round to the next whole number, so x may be 1.
///
/// Source: Theis, van den Oord and Bethge (2016), A note on the evaluation of generative models, section 3.1.
pub fn dequantize(pixels: &Tensor, levels: usize, rng: &mut Rng) -> Result<Tensor> {
    check_pixels("flow::dequantize", pixels, levels)?;
    let noise = rng.uniform(pixels.shape(), pixels.dtype(), pixels.device())?;
    Ok(((pixels + noise)? / levels as f64)?)
}

/// Pixels with noise that a model of it draws, and the log-density of that noise: variational dequantization.
///
/// Formula: `x = (v + u) / levels` with u from `q(u | v / levels)`; `log p(x) - log q(u | v)` bounds the log-mass of v from
/// below, as in [`dequantize`], whose q is uniform and has log-density 0. The difference goes into [`bits_per_dim`].
///
/// Shapes: pixels are `batch ++ event` of q. `q` gets `pixels / levels` and returns a distribution on (0, 1) with that
/// event, its batch dims the last of the pixels' before the event; results are x in the pixels' shape and log q `batch`.
///
/// Gradients: pathwise to all that q has, so that bound trains p and q together.
///
/// Errors: those of [`dequantize`] and of q; a distribution whose shape does not fit the pixels.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::bijector::{Chain, Sigmoid};
/// use candle_prob::distribution::{Distribution, Normal};
/// use candle_prob::flow::{ImageContext, RealNvpImageConfig, dequantize_by, real_nvp_image};
/// use candle_prob::{Rng, init};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = candle_nn::VarMap::new();
/// let vb = init::seeded(&vars, 1, DType::F32, &Device::Cpu);
/// let config = RealNvpImageConfig {
///     image: [1, 8, 8],
///     scales: 1,
///     channels: 8,
///     context: ImageContext::PerPixel(1),
///     ..Default::default()
/// };
/// let flow = real_nvp_image(&config, vb)?;
/// let zeros = Tensor::zeros((1, 8, 8), DType::F32, &Device::Cpu)?;
/// let base = Normal::new(&zeros, &zeros.ones_like()?)?.to_event(3)?;
/// let q = |x: &Tensor| base.clone().transformed_by(Chain::new(flow.given(x)?, Sigmoid));
/// let pixels = Tensor::ones((5, 1, 8, 8), DType::F32, &Device::Cpu)?;
/// let (x, log_q) = dequantize_by(&pixels, 256, &q, &mut Rng::new(2))?;
/// assert_eq!((x.dims(), log_q.dims()), (&[5, 1, 8, 8][..], &[5][..]));
/// # Ok(())
/// # }
/// ```
///
/// Source: Ho, Chen, Srinivas, Duan and Abbeel (2019), Flow++, section 3.1.
pub fn dequantize_by<Q>(
    pixels: &Tensor,
    levels: usize,
    q: &Q,
    rng: &mut Rng,
) -> Result<(Tensor, Tensor)>
where
    Q: Conditional,
    Q::Output: Distribution,
{
    let op = "flow::dequantize_by";
    check_pixels(op, pixels, levels)?;
    let noise = q.given(&(pixels / levels as f64)?)?;
    let tail = [noise.batch_shape(), noise.event_shape()].concat();
    let lead = shape::last_dims(op, "pixels", pixels.dims(), &tail)?;
    let (u, log_q) = noise.sample_and_log_prob(lead, rng)?;
    Ok((((pixels + u)? / levels as f64)?, log_q))
}

/// Refuses pixels that are no values of so many levels.
fn check_pixels(op: &'static str, pixels: &Tensor, levels: usize) -> Result<()> {
    shape::float(op, "pixels", pixels)?;
    check::at_least(op, "levels", levels, 2)?;
    let most = (levels - 1) as f64;
    if let Some(found) = first_outside(pixels, End::Closed(0.), End::Closed(most))? {
        let expected = format!("numbers from 0 to {most}");
        return Err(Error::value(op, "pixels", expected, found));
    }
    Ok(())
}

/// Bits for each dim of data that were whole numbers of `levels` values, from log-densities on [0, 1] in nats.
///
/// Formula: `(-log_prob / dims + ln levels) / ln 2`.
///
/// Shapes: any, kept. Units: nats in, bits out. Gradients: to `log_prob`. Errors: a dtype that is not floating point, no
/// dims, no levels.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::flow::bits_per_dim;
/// # fn main() -> candle_prob::Result<()> {
/// // The uniform density says nothing: eight bits.
/// let log_prob = Tensor::new(&[0f64], &Device::Cpu)?;
/// assert_eq!(bits_per_dim(&log_prob, 784, 256)?.to_vec1::<f64>()?, [8.]);
/// # Ok(())
/// # }
/// ```
///
/// Source: Papamakarios, Pavlakou and Murray (2017), Masked autoregressive flow, appendix E.
pub fn bits_per_dim(log_prob: &Tensor, dims: usize, levels: usize) -> Result<Tensor> {
    let op = "flow::bits_per_dim";
    shape::float(op, "log_prob", log_prob)?;
    check::at_least_one(op, &[("dims", dims), ("levels", levels)])?;
    let bit = 2f64.ln();
    Ok(log_prob.affine(-1. / (dims as f64 * bit), (levels as f64).ln() / bit)?)
}

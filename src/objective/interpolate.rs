//! Paths between latents, and points between batches.

use crate::error::{Error, Result};
use crate::rng::Rng;
use crate::{check, shape};
use candle_core::{D, DType, Device, Tensor};

/// Points on the straight line from one latent to another, both ends included.
///
/// Formula: `(1 - t) from + t to`, t from 0 to 1 in equal steps.
///
/// Shapes: two tensors of shape `S` to `[steps] ++ S`. Gradients: to both.
///
/// Errors: fewer than two steps; ends of two shapes, dtypes or devices.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::interpolate;
/// # fn main() -> candle_prob::Result<()> {
/// let (from, to) = (Tensor::new(&[0f32, 1.], &Device::Cpu)?, Tensor::new(&[2f32, 1.], &Device::Cpu)?);
/// assert_eq!(interpolate(&from, &to, 3)?.to_vec2::<f32>()?, [[0., 1.], [1., 1.], [2., 1.]]);
/// # Ok(())
/// # }
/// ```
pub fn interpolate(from: &Tensor, to: &Tensor, steps: usize) -> Result<Tensor> {
    let op = "objective::interpolate";
    let at = times(op, from, to, steps)?;
    let points = at.iter().map(|t| (from * (1. - t))? + (to * *t)?);
    let points: candle_core::Result<Vec<Tensor>> = points.collect();
    Ok(Tensor::stack(&points?, 0)?)
}

/// Points on the arc from one latent to another, both ends included: under a normal prior of many dimensions draws lie near a
/// sphere, and the straight line leads through its inside, where there are none.
///
/// Formula: `(sin((1 - t) w) from + sin(t w) to) / sin w`, w the angle between both; the straight line where w is 0.
///
/// Shapes: two tensors of vectors, `S ++ [D]`, to `[steps] ++ S ++ [D]`. Gradients: to both, along fixed weights: the angle is
/// taken for a constant.
///
/// Errors: fewer than two steps; ends of two shapes, dtypes or devices; a vector that has no direction, because it is 0 or not
/// finite, or two that point in opposite ones, between which there is no shortest arc.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::objective::interpolate_spherical;
/// # fn main() -> candle_prob::Result<()> {
/// let (from, to) = (Tensor::new(&[3f64, 0.], &Device::Cpu)?, Tensor::new(&[0f64, 3.], &Device::Cpu)?);
/// let middle = interpolate_spherical(&from, &to, 3)?.get(1)?.to_vec1::<f64>()?;
/// assert!(middle.iter().all(|x| (x - 3. / 2f64.sqrt()).abs() < 1e-12));
/// # Ok(())
/// # }
/// ```
///
/// Source: Shoemake (1985), Animating rotation with quaternion curves, section 3.3; for latents: White (2016), Sampling
/// generative networks, section 2.1.
pub fn interpolate_spherical(from: &Tensor, to: &Tensor, steps: usize) -> Result<Tensor> {
    let op = "objective::interpolate_spherical";
    let at = times(op, from, to, steps)?;
    shape::vectors(op, "from", from)?;
    let (a, b) = (directions(op, "from", from)?, directions(op, "to", to)?);
    // Twice the arc tangent keeps its digits for small angles and for large ones, which the arc cosine does not.
    let length = |x: Tensor| -> Result<Vec<f64>> {
        let norm = x.sqr()?.sum(D::Minus1)?.sqrt()?;
        Ok(norm.flatten_all()?.to_vec1()?)
    };
    let (apart, along) = (length((&a - &b)?)?, length((a + b)?)?);
    let angles: Vec<f64> = apart
        .iter()
        .zip(along)
        .map(|(x, y)| 2. * x.atan2(y))
        .collect();
    if let Some(angle) = angles
        .iter()
        .find(|w| **w >= std::f64::consts::PI * (1. - 1e-12))
    {
        let expected = "vectors that do not point in opposite directions";
        return Err(Error::value(
            op,
            "to",
            expected,
            format!("an angle of {angle}"),
        ));
    }
    let mut lead = from.dims().to_vec();
    lead[from.rank() - 1] = 1;
    let scaled = |x: &Tensor, t: f64| -> Result<Tensor> {
        let weights = angles.iter().map(|w| match *w {
            0. => t,
            w => (t * w).sin() / w.sin(),
        });
        let weights = Tensor::from_iter(weights, x.device())?.reshape(lead.as_slice())?;
        Ok(x.broadcast_mul(&weights.to_dtype(x.dtype())?)?)
    };
    let points = at
        .iter()
        .map(|t| Ok((scaled(from, 1. - t)? + scaled(to, *t)?)?));
    let points: Result<Vec<Tensor>> = points.collect();
    Ok(Tensor::stack(&points?, 0)?)
}

/// A point between each example of one batch and one of another: where a gradient penalty looks at a critic.
///
/// Formula: `a_n from_n + (1 - a_n) to_n`, with `a_n` uniform in [0, 1], one for each example.
///
/// Shapes: two batches `[N] ++ S` to one. Gradients: none.
///
/// Errors: a tensor without dims; batches of two shapes, dtypes or devices.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_prob::{Rng, objective::interpolate_random};
/// # fn main() -> candle_prob::Result<()> {
/// let real = Tensor::ones((4, 2), DType::F32, &Device::Cpu)?;
/// let between = interpolate_random(&real, &real.zeros_like()?, &mut Rng::new(0))?.to_vec2::<f32>()?;
/// assert!(between.iter().all(|x| x[0] == x[1] && (0. ..=1.).contains(&x[0])));
/// # Ok(())
/// # }
/// ```
///
/// Source: Gulrajani, Ahmed, Arjovsky, Dumoulin and Courville (2017), Improved training of Wasserstein GANs, algorithm 1.
pub fn interpolate_random(from: &Tensor, to: &Tensor, rng: &mut Rng) -> Result<Tensor> {
    let op = "objective::interpolate_random";
    ends(op, from, to)?;
    let Some((count, event)) = from.dims().split_first() else {
        return Err(Error::shape(op, "from", "[N] ++ S", from.dims()));
    };
    let shape = [&[*count], vec![1; event.len()].as_slice()].concat();
    let share = rng.uniform(shape, from.dtype(), from.device())?;
    let (from, to) = (from.detach(), to.detach());
    Ok((from.broadcast_mul(&share)? + to.broadcast_mul(&(1. - share)?)?)?)
}

/// Two ends of one kind.
fn ends(op: &'static str, from: &Tensor, to: &Tensor) -> Result<()> {
    shape::float(op, "from", from)?;
    shape::same_kind(op, "to", to, from)?;
    shape::exactly(op, "to", to.dims(), from.dims())
}

/// The steps from 0 to 1, for ends that fit.
fn times(op: &'static str, from: &Tensor, to: &Tensor, steps: usize) -> Result<Vec<f64>> {
    check::at_least(op, "steps", steps, 2)?;
    ends(op, from, to)?;
    let last = (steps - 1) as f64;
    Ok((0..steps).map(|step| step as f64 / last).collect())
}

/// Vectors of length 1, in f64 on the CPU.
fn directions(op: &'static str, arg: &'static str, x: &Tensor) -> Result<Tensor> {
    let x = x.detach().to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
    let norm = x.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
    for length in norm.flatten_all()?.to_vec1::<f64>()? {
        if !(length > 0. && length.is_finite()) {
            let found = format!("one of length {length}");
            return Err(Error::value(op, arg, "vectors with a direction", found));
        }
    }
    Ok(x.broadcast_div(&norm)?)
}

//! How fast neighbouring paths drift apart.

use super::super::step::Place;
use super::super::{Propagation, Scheme, State, Weights};
use super::Walk;
use crate::check;
use crate::dual::Dual;
use crate::error::Result;
use crate::kernels::reduce;
use crate::rng::Rng;
use candle_core::{D, DType, Device, Tensor};

/// What [`lyapunov`] returns, of K directions.
#[derive(Debug, Clone)]
pub struct Lyapunov {
    /// `ln` of how much each layer stretches each direction, `[N, K, ..]`, f64.
    pub growth: Tensor,
    /// The exponents over the whole time, `[K, ..]`, f64: the mean of `growth` over layers, divided by h. Positive where
    /// neighbouring paths drift apart.
    pub exponents: Tensor,
}

/// Finite-time Lyapunov exponents along the path of each example: how fast small differences of the state grow.
///
/// Formula: K random directions are led along the path by the derivative of each layer. After each they are made orthonormal
/// again, one after the other; the logarithms of the lengths on the way are the growth, their sum over the time the exponents. After a
/// long time the first is that of nearly all differences, and the first k add up to the growth of k-dimensional volumes, after any
/// time where k is all of the state: for Verlet and leapfrog, which keep volumes, to 0.
///
/// The state is y, and what goes with it: z for Verlet, the velocity `(y_j - y_{j-1}) / h` for leapfrog.
///
/// Shapes: see [`Lyapunov`]; y is `[.., s]` or `[B, s, H, W]`, and each exponent of an example one number.
///
/// Errors: those of [`Propagation::forward`]; no direction, or more than the state has numbers.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::dynamics::{Force, Memory, Propagation, Scheme, State, Weights, analysis};
/// use candle_prob::{Activation, Rng};
/// # fn main() -> candle_prob::Result<()> {
/// // y' = -y and y' = -2 y.
/// let (scheme, activation) = (Scheme::Rk4(Force::Single), Activation::Identity);
/// let law = Propagation { scheme, activation, step: 0.1, memory: Memory::Constant };
/// let kernel = Tensor::new(&[[-1f64, 0.], [0., -2.]], &Device::Cpu)?;
/// let weights = Weights::new(&kernel.broadcast_as((200, 2, 2))?);
/// let state = State::new(&Tensor::new(&[[1f64, 1.]], &Device::Cpu)?);
/// let found = analysis::lyapunov(&law, &state, &weights, 2, &mut Rng::new(0))?;
/// let exponents = found.exponents.flatten_all()?.to_vec1::<f64>()?;
/// assert!((exponents[0] + 1.).abs() < 0.1 && (exponents[0] + exponents[1] + 3.).abs() < 1e-4);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: a direction that a layer leads to 0 has growth -inf, then and from then on.
///
/// Source: Benettin, Galgani, Giorgilli and Strelcyn (1980), Lyapunov characteristic exponents for smooth dynamical systems and for
/// Hamiltonian systems.
pub fn lyapunov(
    law: &Propagation,
    state: &State,
    weights: &Weights,
    directions: usize,
    rng: &mut Rng,
) -> Result<Lyapunov> {
    const OP: &str = "dynamics::analysis::lyapunov";
    let walk = Walk::new(OP, law, state, weights)?;
    let (batch, event) = (walk.batch().to_vec(), walk.event());
    let rows = batch.iter().product::<usize>();
    let (step, count) = (law.step, walk.stacks.count());
    let beside = walk.place.z.as_ref().map_or(0, |z| features(z, event));
    let size = features(&walk.place.y, event) + beside;
    check::count_in(OP, "directions", directions, 1..=size, "directions")?;
    // What goes with y is a difference of leapfrog's, h times a velocity.
    let unit = match law.scheme {
        Scheme::Leapfrog(..) => step,
        _ => 1.,
    };
    let shapes = |growth: Tensor, exponents: Tensor| -> Result<Lyapunov> {
        Ok(Lyapunov {
            growth: growth.reshape([&[count, directions], batch.as_slice()].concat())?,
            exponents: exponents.reshape([&[directions], batch.as_slice()].concat())?,
        })
    };
    if rows == 0 {
        let nothing = Tensor::zeros(0, DType::F64, &Device::Cpu)?;
        return shapes(nothing.clone(), nothing);
    }
    let y = walk.place.y.value();
    let draws = rng.normal((directions, rows, size), y.dtype(), y.device())?;
    let mut frame = orthonormal(&draws)?.0;
    let mut place = walk.place.clone();
    let mut growth = vec![];
    for j in 0..count {
        let moving = set_off(&place, &frame, unit, event)?;
        let next = walk.law.forward(&moving, &walk.stacks.layer(j)?)?;
        let (turned, lengths) = orthonormal(&arrived(&next, &frame, unit, event)?)?;
        frame = turned;
        growth.push(lengths);
        place = Place {
            y: Dual::constant(next.y.value()),
            z: next.z.map(|z| Dual::constant(z.value())),
        };
    }
    let growth = Tensor::stack(&growth, 0)?;
    let exponents = (growth.sum(0)? / (count as f64 * step))?;
    shapes(growth, exponents)
}

/// Numbers of one example.
fn features(x: &Dual, event: usize) -> usize {
    let dims = x.value().dims();
    dims[dims.len() - event..].iter().product()
}

/// The place, moving along each direction of the frame.
fn set_off(place: &Place, frame: &Tensor, unit: f64, event: usize) -> Result<Place> {
    let directions = frame.dim(0)?;
    let along = |x: &Dual, start: usize, scale: f64| -> Result<(Dual, usize)> {
        let width = features(x, event);
        let part = (frame.narrow(D::Minus1, start, width)? * scale)?;
        let part = part.reshape([&[directions], x.value().dims()].concat())?;
        Ok((Dual::new(x.value(), &part)?, width))
    };
    let (y, width) = along(&place.y, 0, 1.)?;
    let z = match &place.z {
        Some(z) => Some(along(z, width, unit)?.0),
        None => None,
    };
    Ok(Place { y, z })
}

/// The tangents of a place, `[K, rows, size]`.
fn arrived(place: &Place, frame: &Tensor, unit: f64, event: usize) -> Result<Tensor> {
    let (directions, rows) = (frame.dim(0)?, frame.dim(1)?);
    let of = |x: &Dual| -> Result<Tensor> {
        let tangent = match x.tangent() {
            Some(tangent) => tangent.clone(),
            None => Tensor::zeros(
                [&[directions], x.value().dims()].concat(),
                frame.dtype(),
                frame.device(),
            )?,
        };
        Ok(tangent.reshape((directions, rows, features(x, event)))?)
    };
    let y = of(&place.y)?;
    match &place.z {
        Some(z) => Ok(Tensor::cat(&[y, (of(z)? / unit)?], D::Minus1)?),
        None => Ok(y),
    }
}

/// Orthonormal directions, one after the other (Gram and Schmidt), with the logarithms of the lengths, `[K, rows]` in f64.
fn orthonormal(x: &Tensor) -> Result<(Tensor, Tensor)> {
    let (mut frame, mut lengths): (Vec<Tensor>, Vec<Tensor>) = (vec![], vec![]);
    let product = |a: &Tensor, b: &Tensor| reduce::sum(&(a * b)?)?.unsqueeze(D::Minus1);
    for k in 0..x.dim(0)? {
        let mut direction = x.get(k)?;
        // Twice, against rounding.
        for _ in 0..2 {
            for other in &frame {
                let share = other.broadcast_mul(&product(&direction, other)?)?;
                direction = (direction - share)?;
            }
        }
        let length = product(&direction, &direction)?.sqrt()?;
        let some = length.gt(0f64)?;
        let divisor = some.where_cond(&length, &length.ones_like()?)?;
        frame.push(direction.broadcast_div(&divisor)?);
        let length = length.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
        lengths.push(length.squeeze(D::Minus1)?.log()?);
    }
    Ok((Tensor::stack(&frame, 0)?, Tensor::stack(&lengths, 0)?))
}

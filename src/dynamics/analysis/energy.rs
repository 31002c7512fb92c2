//! Energies along a path.

use super::super::operator::{Side, affine};
use super::super::step::{Law, Layer, Place};
use super::super::{Force, Propagation, Scheme, State, Weights};
use super::Walk;
use crate::dual::Dual;
use crate::error::{Error, Result};
use crate::kernels::network::activation::Activation;
use candle_core::{D, DType, Device, Tensor};

/// The energy of each state along the path: what the differential equation conserves where weights are constant in time.
///
/// Formula, with `Phi' = sigma`, `Phi(0) = 0` for activations that are 0 at 0 (`ln cosh` for tanh), z and `v = y'` read at whole steps:
///
/// - Verlet, `z' = -sigma(K y + b_z)` and `y' = sigma(K^T z + b)`: `sum Phi(K y + b_z) + sum Phi(K^T z + b)`.
/// - Leapfrog with the definite force, `K = -C^T C`: `|C v|^2 / 2 + sum Phi(K y + b)`.
/// - Leapfrog with the double force: `|v|^2 / 2 + sum Phi(K y + b)`.
///
/// At whole steps `z_j = z_{j-1/2} - h/2 sigma(K y_j + b_z)` and `v_j = (y_j - y_{j-1}) / h + h/2 f(y_j)`: the energy's error is of
/// order h^2 and does not grow, as both methods are symplectic. Read at half steps it would be of order h. Where weights change from
/// layer to layer the energy changes with them: each state has that of the layer which it enters, the last state that of the last
/// layer.
///
/// Shapes: `[N + 1, ..]` for the examples of y, f64.
///
/// Errors: those of [`Propagation::forward`]; another scheme, or another force of leapfrog, which conserve nothing; an activation
/// whose integral is not elementary (softplus, SiLU, GELU).
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::Activation;
/// use candle_prob::dynamics::{Memory, Propagation, Scheme, State, Weights, analysis};
/// # fn main() -> candle_prob::Result<()> {
/// let kernel = Tensor::new(&[[2f64, 1.], [-1., 2.], [0., 1.]], &Device::Cpu)?;
/// let weights = Weights::new(&kernel.broadcast_as((500, 3, 2))?);
/// let (scheme, activation) = (Scheme::Verlet, Activation::Tanh);
/// let law = Propagation { scheme, activation, step: 0.1, memory: Memory::Constant };
/// let state = State::new(&Tensor::new(&[[0.1f64, 0.1]], &Device::Cpu)?);
/// let energies = analysis::energies(&law, &state, &weights)?.flatten_all()?.to_vec1::<f64>()?;
/// assert_eq!(energies.len(), 501);
/// assert!(energies.iter().all(|e| (e / energies[0] - 1.).abs() < 0.02));
/// # Ok(())
/// # }
/// ```
///
/// Source: Haber and Ruthotto (2017), Stable architectures for deep neural networks, section 4.2, for the systems; the energies follow by
/// differentiation.
pub fn energies(law: &Propagation, state: &State, weights: &Weights) -> Result<Tensor> {
    const OP: &str = "dynamics::analysis::energies";
    let conserves = matches!(
        law.scheme,
        Scheme::Verlet | Scheme::Leapfrog(Force::Definite | Force::Double, _)
    );
    if !conserves {
        let expected = "Verlet, or leapfrog with a definite or a double force";
        let found = format!("{:?}", law.scheme);
        return Err(Error::value(OP, "scheme", expected, found));
    }
    if potential(law.activation, 0.).is_none() {
        let expected = "an activation with an elementary integral";
        let found = format!("{:?}", law.activation);
        return Err(Error::value(OP, "activation", expected, found));
    }
    let walk = Walk::new(OP, law, state, weights)?;
    let event = walk.event();
    // After the last layer by that layer's weights.
    let mut last = None;
    let before = walk.stacked(|law, before, after, layer| {
        last = Some((*law, after.clone(), layer.clone()));
        energy(law, before, layer, event)
    })?;
    let Some((law, place, layer)) = last else {
        return Ok(before);
    };
    let after = energy(&law, &place, &layer, event)?.unsqueeze(0)?;
    Ok(Tensor::cat(&[before, after], 0)?)
}

fn energy(law: &Law, at: &Place, layer: &Layer, event: usize) -> Result<Tensor> {
    // The arguments of sigma are what the same forces are without it.
    let plain = Law {
        activation: Activation::Identity,
        ..*law
    };
    let h = law.step;
    let beside = || {
        Error::value(
            "dynamics::analysis::energies",
            "z",
            "what goes with y",
            "none",
        )
    };
    let (y, z) = (&at.y, at.z.as_ref().ok_or_else(beside)?);
    let potential = |x: &Dual| potentials(law.activation, x.value(), event);
    let velocity = |force| -> Result<Dual> {
        let slope = law.force(force, y, layer)?;
        z.scale(1. / h)?.add(&slope.scale(h / 2.)?)
    };
    let (kinetic, argument) = match law.scheme {
        Scheme::Leapfrog(Force::Definite, _) => {
            let v = velocity(Force::Definite)?;
            // K = -C^T C, without the bias.
            let bare = Layer {
                kernel: layer.kernel.clone(),
                bias: None,
                second_bias: None,
            };
            let kv = plain.force(Force::Definite, &v, &bare)?;
            let squares = summed(&(v.mul(&kv)?.value() * -0.5)?, event)?;
            (squares, plain.force(Force::Definite, y, layer)?)
        }
        Scheme::Leapfrog(force, _) => {
            let v = velocity(force)?;
            let squares = summed(&(v.sqr()?.value() * 0.5)?, event)?;
            let bias = layer.bias.as_ref();
            let inner = affine(&layer.kernel, Side::Plain, y, bias, plain.activation)?;
            (squares, inner)
        }
        _ => {
            let whole = z.sub(&law.drives_z(y, layer)?.scale(h / 2.)?)?;
            let kinetic = potential(&plain.drives_y(&whole, layer)?)?;
            (kinetic, plain.drives_z(y, layer)?)
        }
    };
    Ok((kinetic + potential(&argument)?)?)
}

/// The sum over the features, in f64.
fn summed(x: &Tensor, event: usize) -> Result<Tensor> {
    let x = x.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
    Ok(x.flatten_from(x.rank() - event)?.sum(D::Minus1)?)
}

/// `sum Phi(x)` over the features.
fn potentials(activation: Activation, x: &Tensor, event: usize) -> Result<Tensor> {
    let x = x.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
    let numbers = x.flatten_all()?.to_vec1::<f64>()?;
    let of = |x: &f64| potential(activation, *x).unwrap_or(f64::NAN);
    let numbers: Vec<f64> = numbers.iter().map(of).collect();
    summed(&Tensor::from_vec(numbers, x.shape(), x.device())?, event)
}

/// An integral of the activation; none where it is not elementary. Does not overflow before it is a number no more.
fn potential(activation: Activation, x: f64) -> Option<f64> {
    let square = x * x / 2.;
    Some(match activation {
        Activation::Identity => square,
        Activation::Relu if x > 0. => square,
        Activation::Relu if x.is_nan() => x,
        Activation::Relu => 0.,
        Activation::LeakyRelu(_) if x > 0. => square,
        Activation::LeakyRelu(slope) => slope * square,
        Activation::Elu if x > 0. => square,
        Activation::Elu => x.exp_m1() - x,
        // ln cosh.
        Activation::Tanh if x.abs() < 1. => (2. * (x / 2.).sinh().powi(2)).ln_1p(),
        Activation::Tanh => x.abs() + (-2. * x.abs()).exp().ln_1p() - std::f64::consts::LN_2,
        // ln(1 + e^x).
        Activation::Sigmoid => x.max(0.) + (-x.abs()).exp().ln_1p(),
        Activation::Softplus | Activation::Silu | Activation::Gelu => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn potentials_are_integrals() -> Result<()> {
        let all = [
            Activation::Identity,
            Activation::Relu,
            Activation::LeakyRelu(0.2),
            Activation::Elu,
            Activation::Tanh,
            Activation::Sigmoid,
        ];
        let x: Vec<f64> = (-40..=40).map(|i| f64::from(i) * 0.07 + 0.003).collect();
        for activation in all {
            let at = Tensor::from_slice(&x, x.len(), &Device::Cpu)?;
            let slopes = activation.forward(&at)?.to_vec1::<f64>()?;
            for (x, slope) in x.iter().zip(slopes) {
                let of = |x| potential(activation, x).unwrap_or(f64::NAN);
                let got = (of(x + 1e-5) - of(x - 1e-5)) / 2e-5;
                assert!(
                    (got - slope).abs() < 1e-9,
                    "{activation:?} {x}: {got} {slope}"
                );
            }
        }
        // Far from 0, and near.
        let tanh = |x| potential(Activation::Tanh, x).unwrap_or(f64::NAN);
        assert_eq!((tanh(1e300), tanh(-1e300)), (1e300, 1e300));
        assert!((tanh(1e-8) - 5e-17).abs() < 1e-31);
        assert_eq!(potential(Activation::Sigmoid, -1e300), Some(0.));
        assert!(potential(Activation::Relu, f64::NAN).is_some_and(f64::is_nan));
        Ok(())
    }
}

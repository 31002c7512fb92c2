//! The test of Lemma 1.

use super::super::{Propagation, Scheme, State, Weights};
use super::eigenvalues::{Eigenvalues, eigenvalues_of};
use super::jacobians;
use crate::check;
use crate::error::Result;
use crate::kernels::reduce::norm;
use candle_core::{Device, Tensor};

/// What [`stability`] returns.
#[derive(Debug, Clone)]
pub struct Stability {
    /// The eigenvalues of the [Jacobian](super::jacobians) of each layer at the state before it, `[N, .., n]`.
    pub eigenvalues: Eigenvalues,
    /// By how much a layer stretches what it stretches most, to first order: `[N, ..]`, f64. For Euler's method the `max |1 + h lambda|`
    /// of Lemma 1.
    pub growth: Tensor,
}

impl Stability {
    /// The largest growth of all layers and examples; 0 of nothing.
    pub fn largest(&self) -> Result<f64> {
        Ok(norm::largest(&self.growth)?)
    }

    /// Whether no growth is more than 1 and `tolerance`.
    ///
    /// Errors: a tolerance that is negative or not finite.
    pub fn stable(&self, tolerance: f64) -> Result<bool> {
        check::non_negative("Stability::stable", "tolerance", tolerance)?;
        Ok(self.largest()? <= 1. + tolerance)
    }
}

/// Whether the layers are stable along the path of each example: the test of Lemma 1, layer by layer.
///
/// Formula: for the eigenvalues `lambda` of the Jacobian J of the layer's force at the state before it (not of K), the largest
/// of `|1 + h lambda|` for Euler's method and of `|1 + w + w^2/2 + w^3/6 + w^4/24|` with `w = h lambda` for Runge-Kutta. For leapfrog
/// and Verlet, where J is that of the second-order equation, the largest root of `r^2 - (2 + h^2 lambda) r + 1`: it is 1 where
/// `h^2 lambda` is from -4 to 0, and more elsewhere. A growth up to 1 is stable.
///
/// Without diffusion the eigenvalues of the antisymmetric force are imaginary, so that an Euler step always violates the test.
///
/// Shapes: see [`Stability`]; y is `[.., s]` or `[B, s, H, W]`.
///
/// Errors: those of [`Propagation::forward`] and [`eigenvalues`](super::eigenvalues()).
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_prob::Activation;
/// use candle_prob::dynamics::{Force, Memory, Propagation, Scheme, State, Weights, analysis};
/// # fn main() -> candle_prob::Result<()> {
/// let kernel = Tensor::new(&[[-2f64, 0.], [2., -2.]], &Device::Cpu)?; // K_-
/// let weights = Weights::new(&kernel.broadcast_as((10, 2, 2))?);
/// let (scheme, activation) = (Scheme::Euler(Force::Single), Activation::Tanh);
/// let law = Propagation { scheme, activation, step: 0.1, memory: Memory::Constant };
/// let state = State::new(&Tensor::new(&[[0.1f64, 0.1], [0., 0.5]], &Device::Cpu)?);
/// let found = analysis::stability(&law, &state, &weights)?;
/// assert_eq!(found.growth.dims(), [10, 2]);
/// assert!(found.stable(0.)?);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: an eigenvalue of 0 or of `-4 / h^2` is a double root for leapfrog and Verlet, of which rounding makes a growth of up to
/// `1 + 1e-7`: test those with a tolerance.
///
/// Source: Haber and Ruthotto (2017), Stable architectures for deep neural networks, Lemma 1 and eq. 3.9.
pub fn stability(law: &Propagation, state: &State, weights: &Weights) -> Result<Stability> {
    let jacobians = jacobians(law, state, weights)?;
    let found = eigenvalues_of("dynamics::analysis::stability", "state", &jacobians)?;
    let shape = found.real.dims();
    let (outer, size) = shape.split_at(shape.len() - 1);
    let real = found.real.flatten_all()?.to_vec1::<f64>()?;
    let imaginary = found.imaginary.flatten_all()?.to_vec1::<f64>()?;
    let growth: Vec<f64> = real
        .chunks(size[0].max(1))
        .zip(imaginary.chunks(size[0].max(1)))
        .map(|(re, im)| {
            let all = re.iter().zip(im);
            all.fold(0f64, |most, (re, im)| {
                most.max(amplification(law.scheme, law.step, (*re, *im)))
            })
        })
        .collect();
    Ok(Stability {
        growth: Tensor::from_vec(growth, outer, &Device::Cpu)?,
        eigenvalues: found,
    })
}

type Complex = (f64, f64);

/// |r| of the largest root of the scheme for `y' = lambda y`, or `y'' = lambda y`.
fn amplification(scheme: Scheme, h: f64, (re, im): Complex) -> f64 {
    match scheme {
        Scheme::Euler(_) => (1. + h * re).hypot(h * im),
        Scheme::Rk4(_) => {
            let w = (h * re, h * im);
            // By Horner's rule: 1 + w (1 + w/2 (1 + w/3 (1 + w/4))).
            let (re, im) = (1..=4).rev().fold((1., 0.), |sum, n| {
                let (re, im) = times(w, sum);
                (1. + re / f64::from(n), im / f64::from(n))
            });
            re.hypot(im)
        }
        Scheme::Leapfrog(..) | Scheme::Verlet => {
            let q = (h * h * re, h * h * im);
            // Half of the sum of the roots is 1 + q/2, half of their difference the root of q + q^2/4.
            let square = times(q, q);
            let (a, b) = root((q.0 + square.0 / 4., q.1 + square.1 / 4.));
            let (c, d) = (1. + q.0 / 2., q.1 / 2.);
            (c + a).hypot(d + b).max((c - a).hypot(d - b))
        }
    }
}

fn times((a, b): Complex, (c, d): Complex) -> Complex {
    (a * c - b * d, a * d + b * c)
}

/// The square root with a real part that is not negative.
fn root((re, im): Complex) -> Complex {
    let length = re.hypot(im);
    if length == 0. {
        return (0., 0.);
    }
    // The larger part first; the other follows from it without cancellation.
    let larger = ((length + re.abs()) / 2.).sqrt();
    let smaller = im / (2. * larger);
    match re >= 0. {
        true => (larger, smaller),
        false => (smaller.abs(), larger.copysign(im)),
    }
}

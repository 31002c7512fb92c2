//! Schemes of propagation: which force drives the features, which method leads them along it, what is kept for the way back.

use crate::check;
use crate::error::Result;

/// The right-hand side `f(y)` of a layer with operator `K` and bias `b`.
///
/// `K y` is a dense product, `K [m, s]` as in a linear layer, or a convolution, `K [m, s, k, k]`; `K^T` is its exact transpose.
/// Rows of features are multiplied by `K^T` from the right: what the paper writes as `Y K` is our `K^T`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Force {
    /// `sigma(K y + b)`, K square (equation 2.1). Stable only where the eigenvalues of its Jacobian have real parts of about 0.
    Single,
    /// `sigma(1/2 (K - K^T - gamma I) y + b)`, K square (4.12). Its Jacobian has real parts of about 0 and, with `gamma > 0`,
    /// a little below, which takes up what Euler's method adds.
    Antisymmetric {
        /// The amount of diffusion, 0 or more.
        gamma: f64,
    },
    /// `sigma(-C^T C y + b)` with C the kernel, of any size (4.14). For [`Scheme::Leapfrog`]: along a first-order equation it
    /// contracts, and what it contracts cannot be learned from (section 3).
    Definite,
    /// `-K^T sigma(K y + b)`, K of any size: two layers, whose Jacobian is symmetric and, where sigma does not fall, has no
    /// positive eigenvalue. By Euler's method the parabolic layer, by leapfrog the second-order one.
    Double,
}

/// What leapfrog takes for the state before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// `y_-1 = y_0`: at rest half a step before the start, so that the first step is `y_1 = y_0 + h^2 f(y_0)`. It tends to the
    /// solution at rest, with an error of order h; of order h^2 is a given difference of `-h^2/2 f(y_0)`.
    Rest,
    /// `y_-1 = 0`: the first step is `y_1 = 2 y_0 + h^2 f(y_0)`, the paper's (4.16). The velocity `y_0 / h` grows with the
    /// number of layers, so there is no limit of many layers.
    Zero,
}

/// How features go from layer to layer, in steps of h.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scheme {
    /// `y += h f(y)`: forward Euler, of order 1. With [`Force::Single`] the residual network (2.1), with
    /// [`Force::Antisymmetric`] (4.12), with [`Force::Double`] the parabolic network.
    Euler(Force),
    /// The classical Runge-Kutta method, of order 4 in the time that a layer's weights hold.
    Rk4(Force),
    /// `y_{j+1} = 2 y_j - y_{j-1} + h^2 f(y_j)` for the second-order equation `y'' = f(y)` (4.16), of order 2. Reversible.
    Leapfrog(Force, Start),
    /// `z += -h sigma(K y + b_z)`, then `y += h sigma(K^T z + b)`, for K of any size (4.17). Of order 2, z read at whole steps,
    /// where the weights stand still; of order 1 where they move, since both half steps have the same. Reversible.
    Verlet,
}

/// What is kept of the way through the layers for the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Memory {
    /// As good as nothing: of more than 32 layers Verlet and leapfrog go back by the inverse step; fewer keep their states, as
    /// their steps may be so long that nothing could be rebuilt. Euler's method and Runge-Kutta recompute the states between
    /// checkpoints, one in about sqrt(N) layers. Images in f32 are recomputed, one at a time, whatever the memory and the scheme,
    /// but for Runge-Kutta, [`Force::Definite`] and the activations `Silu`, `Gelu` and `LeakyRelu` of a negative slope; their
    /// weights' gradients take sums in double precision, two for each thread and one of all images.
    ///
    /// What was rebuilt is compared with the start and with a few states on a long way. A drift beyond 1e-3 (single precision;
    /// 1e-8 in double) of the largest value of a row (of an image) is an error of the backward pass that asks for
    /// [`Memory::States`]; rows without an upstream gradient may drift. From a row that is not finite at its end nothing can be
    /// rebuilt: its gradients are NaN.
    #[default]
    Constant,
    /// The state before every layer.
    States,
}

/// Up to so many layers are not rebuilt.
const FEW: usize = 32;

impl Memory {
    /// Whether the states of so many layers are kept.
    pub(super) fn states(self, scheme: Scheme, layers: usize) -> bool {
        self == Memory::States || scheme.reversible() && layers <= FEW
    }
}

impl Force {
    /// Whether K has to be square.
    pub(super) fn square(self) -> bool {
        matches!(self, Force::Single | Force::Antisymmetric { .. })
    }
}

impl Scheme {
    /// The force; none for Verlet, whose two equations have one each.
    pub(super) fn force(self) -> Option<Force> {
        match self {
            Scheme::Euler(force) | Scheme::Rk4(force) | Scheme::Leapfrog(force, _) => Some(force),
            Scheme::Verlet => None,
        }
    }

    /// Whether a step has an inverse.
    pub(super) fn reversible(self) -> bool {
        matches!(self, Scheme::Leapfrog(..) | Scheme::Verlet)
    }

    /// Refuses a diffusion below 0.
    pub(super) fn check(self, op: &'static str) -> Result<()> {
        match self.force() {
            Some(Force::Antisymmetric { gamma }) => check::non_negative(op, "gamma", gamma),
            _ => Ok(()),
        }
    }
}

//! Ordinary differential equations as layers.
//!
//! [`solve`] leads a state along `dy/dt = f(t, y)` by a [`Solver`]: [`Rk4`] with equal steps, [`Dopri5`] with steps that adapt
//! to the error, or one of your own.
//!
//! # Networks that are stable by design
//!
//! A [`Network`] is such an equation with weights of its own at each time: its N layers are N steps of `h = T / N` by a
//! [`Scheme`], and whether small changes of the features grow, die out or stay is a matter of the equation and the method, and not
//! of luck with the weights. [`Propagation`] is the same as functions of tensors, [`network`] builds it with parameters,
//! [`analysis`] says what it does to the features.
//!
//! ```
//! use candle_core::{DType, Device, Module};
//! use candle_nn::VarMap;
//! use candle_prob::dynamics::{KernelShape, NetworkConfig, Prolongation, network};
//! use candle_prob::{Rng, init};
//! # fn main() -> candle_prob::Result<()> {
//! // From 4 layers to 32 over the same time: each level starts as what the one before has become.
//! let seeded = |vars: &VarMap| init::seeded(vars, 0, DType::F32, &Device::Cpu);
//! let config = NetworkConfig::new(KernelShape::dense(2), 4, 5.);
//! let mut net = network(&config, seeded(&VarMap::new()))?;
//! for _level in 0..3 {
//!     // .. train the weights here, with `optim::Adam` or a Gauss-Newton method ..
//!     net = net.prolong(Prolongation::Linear, seeded(&VarMap::new()))?;
//! }
//! let points = Rng::new(0).normal((100, 2), DType::F32, &Device::Cpu)?;
//! assert_eq!((net.forward(&points)?.dims(), net.config().layers), ([100, 2].as_slice(), 32));
//! # Ok(())
//! # }
//! ```
//!
//! ## Which scheme
//!
//! | network | scheme | K | when |
//! | --- | --- | --- | --- |
//! | Hamiltonian, Verlet's method (4.17) | [`Scheme::Verlet`] | any size | first choice: stable for all weights, reversible |
//! | antisymmetric (4.12) | `Euler(Antisymmetric { gamma })` | square | no second set of features; a small `gamma` takes up the growth of Euler's steps |
//! | leapfrog with `-C^T C` (4.14), (4.16) | `Leapfrog(Definite, ..)` | any size | second-order equations, waves; reversible |
//! | second-order | `Leapfrog(Double, ..)` | any size | the same with a layer of its own in between |
//! | parabolic | `Euler(Double)` | any size | features that are to be smoothed: it forgets differences, as heat does |
//! | residual network (2.1) | `Euler(Single)` | square | the baseline: differences grow or die out as the weights have it |
//! | any of these forces, accurately | `Rk4(force)` | as the force | few layers over a long time, with four times the work |
//!
//! An equation is stable where the eigenvalues of the Jacobian of f have real parts of 0 or less; what it is to learn must not
//! have died out, so they should be about 0 (3.11). The discrete steps need a small h besides: Euler's is stable where
//! `|1 + h lambda| <= 1` (lemma 1), which eigenvalues on the imaginary axis miss by `h^2 |lambda|^2 / 2` a step; Verlet's and
//! leapfrog's are stable up to `h |lambda| <= 2` with `lambda^2` of the linear second-order equation, for weights that change
//! slowly. Smooth weights over the layers are part of it: `objective::regularization` penalizes jumps.
//!
//! ## Definitions
//!
//! `K y` is a dense product or a convolution with zeros at the border, stride 1 and an odd kernel; `K^T` is the exact transpose.
//! The paper writes features as rows, `Y K`: that K is our `K^T` in (2.1), (4.12) and (4.16). Layer j has the weights of the time
//! `j h` and keeps them for its step. With weights that stand still Euler's method is of order 1, leapfrog and Verlet of order 2,
//! Runge-Kutta of order 4. With weights that move, sampled at `j h`: 1, 2 and 1 (Verlet's two half steps share their weights), and
//! Runge-Kutta with weights from the middle of each step has order 2.
//!
//! Verlet's z is at half steps, `z_{-1/2}` being 0 where none is given. Read it at whole steps for energies and for the second
//! order: `z_j = z_{j-1/2} - h/2 sigma(K y_j + b_z)`. Leapfrog's start is a [`Start`].
//!
//! ## Rounding
//!
//! Each layer rounds its state once, and the way back rounds as much: over N layers that is of the order of N roundings times what
//! the propagation makes of them, a factor of about 1 where it is stable. Leapfrog keeps the difference of its last states, since
//! `2 y_j - y_{j-1}` cancels: 10,000 layers of `y'' = -tanh(y)` over a time of 10 are off by 3e-6 in single precision, by 7e-3 in
//! the other form. A chaotic propagation (leapfrog with h = 1 in the paper's example 2) is determined for some 20 layers in single
//! and 100 in double precision. There, and where features die out, states cannot be rebuilt: with
//! [`Memory::Constant`] the backward pass is then an error that asks for [`Memory::States`], never a wrong gradient.
//!
//! ## What the paper says otherwise
//!
//! - Before (4.13), eliminating z from `z' = -grad f(y)`, `y' = z` gives `y'' = -grad f(y)`, not `+`; and `|z|^2 / 2 + f(y)` is
//!   not what these networks keep. With `Phi' = sigma` and weights that stand still, (4.13) with K = -C^T C keeps
//!   `|C y'|^2 / 2 + sum Phi(K y + b)`, the second-order network `|y'|^2 / 2 + sum Phi(K y + b)`, and the augmented system (4.15)
//!   `sum Phi(K^T z + b) + sum Phi(K y + b_z)`.
//! - (4.15) and (4.17) have one bias for both equations, which fits a square K alone: here b and `b_z` are of their own sizes.
//! - (4.16) begins with `2 y_0`, which is `y_{-1} = 0` and not a start at rest.
//! - (4.18) to (4.21) have the signs of z and y exchanged, K and its transpose too, and a minus within `sigma'`. From (4.17) follow
//!   `dz_{j+1/2} = dz_{j-1/2} - h sigma'(K y_j + b_z) (K dy_j + dK y_j + db_z)` and
//!   `dy_{j+1} = dy_j + h sigma'(K^T z_{j+1/2} + b) (K^T dz_{j+1/2} + dK^T z_{j+1/2} + db)`, which [`Propagation::tangent`] solves.
//!
//! Source: Haber and Ruthotto (2017), Stable architectures for deep neural networks; Hairer, Lubich and Wanner (2006), Geometric
//! Numerical Integration, sections I.1 and VI.3, for the methods.

pub mod analysis;
mod dopri5;
mod fused;
mod layers;
mod network;
mod operator;
mod prolong;
mod propagation;
mod rk4;
mod scheme;
mod solver;
mod state;
mod step;
mod weights;

pub use dopri5::Dopri5;
pub use network::{Biases, KernelShape, Network, NetworkConfig, network};
pub use prolong::{Prolongation, prolong};
pub use propagation::Propagation;
pub use rk4::Rk4;
pub use scheme::{Force, Memory, Scheme, Start};
pub use solver::{Solution, Solver, VectorField, advance, equal_steps, solve};
pub use state::{State, Tangent};
pub use weights::Weights;

//! Ordinary differential equations as layers.
//!
//! [`solve`] leads a state along `dy/dt = f(t, y)` by a [`Solver`]: [`Rk4`] with equal steps, [`Dopri5`] with steps that adapt
//! to the error, or one of your own.
//!
//! A [`Network`] is such an equation with weights of its own at each time: N layers are N steps of a [`Scheme`], whose stability
//! is that of the network. [`Propagation`] is the same as functions of tensors.

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
pub use network::{KernelShape, Network, NetworkConfig, network};
pub use prolong::{Prolongation, prolong};
pub use propagation::Propagation;
pub use rk4::Rk4;
pub use scheme::{Force, Memory, Scheme, Start};
pub use solver::{Solution, Solver, VectorField, advance, equal_steps, solve};
pub use state::{State, Tangent};
pub use weights::Weights;

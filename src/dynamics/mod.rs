//! Ordinary differential equations as layers.
//!
//! [`solve`] leads a state along `dy/dt = f(t, y)` by a [`Solver`]: [`Rk4`] with equal steps, [`Dopri5`] with steps that adapt
//! to the error, or one of your own.

mod dopri5;
mod rk4;
mod solver;

pub use dopri5::Dopri5;
pub use rk4::Rk4;
pub use solver::{Solution, Solver, VectorField, advance, equal_steps, solve};

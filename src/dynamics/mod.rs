//! Dynamics: ordinary differential equations as layers.

mod ode;

pub use ode::{Solution, Solver, solve};

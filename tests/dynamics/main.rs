//! Differential equations and their solvers; networks whose layers are steps of one.

mod analysis;
mod cases;
mod gradients;
mod laws;
mod network;
mod reference;
mod solvers;
#[path = "../support/mod.rs"]
mod support;

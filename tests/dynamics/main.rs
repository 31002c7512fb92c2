//! Differential equations and their solvers; networks whose layers are steps of one.

mod reference;
mod solvers;
#[path = "../support/mod.rs"]
mod support;

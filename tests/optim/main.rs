//! Optimizers and checkpoints.

mod checkpoint;
mod minimax;
mod optimizers;
#[path = "../support/mod.rs"]
mod support;

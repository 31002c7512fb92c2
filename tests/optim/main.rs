//! Optimizers and checkpoints.

mod checkpoint;
mod optimizers;
#[path = "../support/mod.rs"]
mod support;

//! Optimizers and checkpoints.

mod checkpoint;
mod ema;
mod minimax;
mod optimizers;
#[path = "../support/mod.rs"]
mod support;

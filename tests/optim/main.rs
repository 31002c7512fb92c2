//! Optimizers and checkpoints.

mod checkpoint;
mod ema;
mod minimax;
mod optimizers;
mod second_order;
#[path = "../support/mod.rs"]
mod support;

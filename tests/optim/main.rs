//! Optimizers and checkpoints.

mod checkpoint;
mod optimizers;

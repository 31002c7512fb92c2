//! Objectives: the parts of variational bounds.

#[path = "../support/mod.rs"]
mod support;

mod adversarial;
mod bottleneck;
mod bottleneck_curve;
mod chapter;
mod diagnostics;
mod elbo;
mod free_bits;
mod gradient_penalty;
mod importance;
mod information_bounds;
mod linear_gaussian;
mod mmd;
mod priors;
mod rate;
mod regularization;
mod score;
mod surrogate;
mod total_correlation;
mod vq;

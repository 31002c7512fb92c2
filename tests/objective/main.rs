//! Objectives: the parts of variational bounds.

#[path = "../support/mod.rs"]
mod support;

mod elbo;
mod priors;
mod rate;
mod vq;

//! Networks, their layers and heads.

mod autoencoder;
mod conv;
mod heads;
mod layers;
mod likelihoods;

#[path = "../support/mod.rs"]
mod support;

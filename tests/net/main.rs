//! Networks, their layers and heads.

mod autoencoder;
mod conv;
mod heads;
mod layers;
mod likelihoods;
mod quantizer;
mod residual_quantizer;
#[path = "../support/mod.rs"]
mod support;

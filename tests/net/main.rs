//! Networks, their layers and heads.

mod autoencoder;
mod batch_norm;
mod conv;
mod dcgan;
mod decoder;
mod dropout;
mod duals;
mod heads;
mod layers;
mod likelihoods;
mod pixel_cnn;
mod pool;
mod quantizer;
mod residual_batch_norm;
mod residual_quantizer;
mod spectral_norm;
mod vq_vae2;

#[path = "../support/mod.rs"]
mod support;

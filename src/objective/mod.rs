//! Objectives: plain functions from distributions to named, unreduced parts in nats. The caller averages.
//!
//! - [`elbo`](elbo()): the evidence lower bound of variational autoencoders, beta-VAE included.
//! - [`vib`], [`gmvib`]: the variational information bottleneck, with one code and with a mixture of codes.
//! - [`DistortionRate`]: what every variational objective returns, and how its parts add up.
//! - [`Rate`]: a prior with its divergence, in closed form; [`MonteCarlo`]: any prior for any posterior, such as a flow or a
//!   mixture. [`sample_latents`]: the draws with both log-densities, for bounds that reduce them otherwise.
//! - [`vq`](vq()): the losses of vector quantization.

mod bottleneck;
mod distortion_rate;
mod elbo;
mod rate;
mod vq;

pub use bottleneck::{BottleneckConfig, Gmvib, gmvib, vib};
pub use distortion_rate::DistortionRate;
pub use elbo::{ElboConfig, elbo};
pub use rate::{Latents, MonteCarlo, Rate, sample_latents};
pub use vq::{Vq, vq};

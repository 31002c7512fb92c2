//! Probability on the [`candle`](candle_core) tensor library: distributions whose draws have gradients, divergences,
//! normalizing flows, variational and vector-quantized autoencoders, generative adversarial networks, stable deep networks,
//! information bottlenecks and estimators of information, feature selection.
//!
//! A distribution:
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use candle_prob::Rng;
//! use candle_prob::distribution::{Distribution, Gamma, Kl};
//!
//! fn main() -> candle_prob::Result<()> {
//!     let shape = Tensor::new(&[0.5f32, 2.], &Device::Cpu)?;
//!     let gamma = Gamma::new(&shape, &shape.ones_like()?)?; // a batch of two
//!     let draws = gamma.sample(&[1000], &mut Rng::new(0))?; // [1000, 2], with gradients to both parameters
//!     let log_prob = gamma.log_prob(&draws)?; // [1000, 2], in nats
//!     let kl = gamma.kl(&Gamma::new(&shape, &shape)?)?; // [2], in closed form
//!     assert_eq!((log_prob.dims(), kl.dims()), ([1000, 2].as_slice(), [2].as_slice()));
//!     Ok(())
//! }
//! ```
//!
//! A flow, fitted to points of the unit square:
//!
//! ```
//! use candle_core::{DType, Device};
//! use candle_nn::VarMap;
//! use candle_prob::distribution::{Distribution, MultivariateNormalDiag};
//! use candle_prob::flow::{NeuralSplineConfig, neural_spline};
//! use candle_prob::optim::{Adam, AdamConfig, Optimizer};
//! use candle_prob::{Rng, init};
//!
//! fn main() -> candle_prob::Result<()> {
//!     let vars = VarMap::new();
//!     let vb = init::seeded(&vars, 0, DType::F32, &Device::Cpu);
//!     let flow = neural_spline(&NeuralSplineConfig::default(), vb)?;
//!     let model = MultivariateNormalDiag::standard(2, DType::F32, &Device::Cpu)?.transformed_by(flow)?;
//!     let mut adam = Adam::new(&vars, &AdamConfig::default())?;
//!     let x = Rng::new(0).uniform((256, 2), DType::F32, &Device::Cpu)?;
//!     for _step in 0..100 {
//!         adam.backward_step(&model.log_prob(&x)?.mean_all()?.neg()?)?;
//!     }
//!     Ok(())
//! }
//! ```
//!
//! A variational information bottleneck on Gaussian codes:
//!
//! ```
//! use candle_core::{D, DType, Device, Module, Tensor};
//! use candle_nn::VarMap;
//! use candle_prob::distribution::{Bernoulli, Distribution, MultivariateNormalDiag};
//! use candle_prob::objective::{BottleneckConfig, vib};
//! use candle_prob::optim::{Adam, AdamConfig, Optimizer};
//! use candle_prob::{Activation, Conditional, Result, Rng, init, net};
//!
//! fn main() -> Result<()> {
//!     let (mut rng, vars) = (Rng::new(0), VarMap::new());
//!     let vb = init::seeded(&vars, 0, DType::F32, &Device::Cpu);
//!     let x = rng.normal((256, 8), DType::F32, &Device::Cpu)?;
//!     let y = x.sum_keepdim(D::Minus1)?.gt(0f32)?.to_dtype(DType::F32)?;
//!
//!     let encoder = net::NormalHead::new(8, 2, net::ScaleForm::LogVar, vb.pp("encoder"))?;
//!     let decoder = net::mlp(&[2, 16, 1], Activation::Relu, vb.pp("decoder"))?;
//!     let likelihood = |z: &Tensor| Bernoulli::new(&decoder.forward(z)?)?.to_event(1);
//!     let prior = MultivariateNormalDiag::standard(2, DType::F32, &Device::Cpu)?;
//!     let config = BottleneckConfig::default();
//!     let mut adam = Adam::new(&vars, &AdamConfig::default())?;
//!     for _step in 0..100 {
//!         let parts = vib(&encoder.given(&x)?, &prior, &likelihood, &y, &config, &mut rng)?;
//!         adam.backward_step(&parts.total.mean_all()?)?;
//!     }
//!     Ok(())
//! }
//! ```
//!
//! The rooms:
//!
//! - [`distribution`]: families and combinators, their traits, and KL divergences in closed form.
//! - [`bijector`]: invertible maps with their log-determinants.
//! - [`flow`]: recipes that assemble bijectors and networks.
//! - [`dynamics`]: ordinary differential equations as layers, and layers as steps of one: stable networks of any depth.
//! - [`divergence`]: f-divergences, Renyi and Wasserstein distances, Monte-Carlo estimates; how good samples are.
//! - [`information`]: entropies and informations of tables and of samples, and what a representation keeps of its input and its
//!   label.
//! - [`select`]: feature selection by the l2,0 norm and its rivals.
//! - [`net`]: dense networks, convolutions and image encoders, pooling, batch and spectral normalization, DCGAN; heads that turn
//!   features into a distribution, likelihoods of data, priors of latents.
//! - [`objective`]: variational bounds and bottlenecks, returned as named parts; rates in closed form or from draws; what a
//!   latent-variable model has learned; bounds of mutual information; losses of critics and generators, gradient penalties;
//!   smoothness of weights.
//! - [`optim`]: fused Adam and SGD, games of two players, averages of weights, Newton and Gauss-Newton methods, clipping,
//!   schedules, checkpoints of the whole training state.
//! - [`conditional`]: from a context to a distribution.
//! - [`detach`]: the same value with constants in the place of parameters.
//! - [`dual`]: forward-mode derivatives of tensor expressions and of models along their parameters.
//! - [`rng`], [`init`]: seeded randomness and seeded parameters.
//! - `testing` (feature `testing`): the conformance harness for distributions and gradients.
//! - [`special`]: special functions of tensors.
//! - [`neighbours`]: exact nearest neighbours.
//! - [`error`]: the error type.

#![deny(missing_docs)]
// `!(x > 0.)` refuses NaN, which `x <= 0.` does not.
#![allow(clippy::neg_cmp_op_on_partial_ord)]

pub mod bijector;
mod check;
pub mod conditional;
pub mod detach;
pub mod distribution;
pub mod divergence;
pub mod dual;
pub mod dynamics;
pub mod error;
pub mod flow;
pub mod information;
pub mod init;
mod kernels;
pub mod neighbours;
pub mod net;
pub mod objective;
pub mod optim;
pub mod rng;
pub mod select;
mod shape;
pub mod special;
#[cfg(feature = "testing")]
pub mod testing;

pub use candle_core as candle;
pub use conditional::Conditional;
pub use detach::Detach;
pub use error::{Error, Result};
pub use kernels::network::activation::Activation;
pub use rng::Rng;

// The README's example is a doctest.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

//! Composable probabilistic layers and losses on the [`candle`](candle_core) tensor library.
//!
//! The rooms:
//!
//! - [`distribution`]: families and combinators, their traits, and KL divergences in closed form.
//! - [`bijector`]: invertible maps with their log-determinants.
//! - [`flow`]: recipes that assemble bijectors and networks.
//! - [`dynamics`]: ordinary differential equations as layers.
//! - [`divergence`]: f-divergences, Renyi and Wasserstein distances, Monte-Carlo estimates.
//! - [`select`]: feature selection by the l2,0 norm and its rivals.
//! - [`net`]: dense networks, convolutions and image encoders, and heads that turn features into a distribution.
//! - [`objective`]: bottleneck objectives, returned as named parts; rates in closed form or from draws.
//! - [`optim`]: fused Adam and SGD, clipping, schedules, checkpoints of the whole training state.
//! - [`conditional`]: from a context to a distribution.
//! - [`dual`]: forward-mode derivatives of tensor expressions.
//! - [`rng`], [`init`]: seeded randomness and seeded parameters.
//! - `testing` (feature `testing`): the conformance harness for distributions and gradients.
//! - [`special`]: special functions of tensors.
//! - [`error`]: the error type.

#![deny(missing_docs)]
// `!(x > 0.)` refuses NaN, which `x <= 0.` does not.
#![allow(clippy::neg_cmp_op_on_partial_ord)]

pub mod bijector;
mod check;
pub mod conditional;
pub mod distribution;
pub mod divergence;
pub mod dual;
pub mod dynamics;
pub mod error;
pub mod flow;
pub mod init;
mod kernels;
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
pub use error::{Error, Result};
pub use kernels::network::activation::Activation;
pub use rng::Rng;

// The README's example is a doctest.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

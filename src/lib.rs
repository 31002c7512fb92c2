//! Composable probabilistic layers and losses on the [`candle`](candle_core) tensor library.
//!
//! The rooms:
//!
//! - [`distribution`]: families and combinators, their traits, and KL divergences in closed form.
//! - [`conditional`]: from a context to a distribution.
//! - [`rng`], [`init`]: seeded randomness and seeded parameters.
//! - [`error`]: the error type.

#![deny(missing_docs)]

pub mod conditional;
pub mod distribution;
pub mod error;
pub mod init;
mod kernels;
pub mod rng;
mod shape;

pub use candle_core as candle;
pub use conditional::Conditional;
pub use error::{Error, Result};
pub use rng::Rng;

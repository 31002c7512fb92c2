//! The conformance harness: what this crate's own tests use, for downstream distributions, bijectors and layers too.
//!
//! Enable the feature `testing` in your dev-dependencies. Every check returns an error that says what was expected and
//! what was found, so a test is `harness.everything()?`.

mod bijector;
mod distribution;
mod gradient;

pub use bijector::{Bounds, check_bijector};
pub use distribution::Conformance;
pub use gradient::{check_gradient, numeric_gradient};

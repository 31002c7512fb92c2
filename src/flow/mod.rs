//! Flows: recipes that assemble bijectors and networks.
//!
//! A flow is a bijector from a base distribution's draws to data: `transform` generates, `inverse` leads data to the base.
//! The density is that of [`transformed_by`](crate::distribution::Distribution::transformed_by). A recipe takes a config and
//! a `VarBuilder`; what it gives owns the networks' variables and is a bijector itself.

mod real_nvp;

pub use real_nvp::{RealNvp, RealNvpConfig, real_nvp};

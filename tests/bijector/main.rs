//! Bijectors, one by one.

mod conformance;
mod reversible;
mod spline;
#[path = "../support/mod.rs"]
mod support;

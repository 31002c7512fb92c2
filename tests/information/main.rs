//! Information quantities and estimators.

#[path = "../support/mod.rs"]
mod support;
mod tables;

//! Selection of features.

mod data;
mod l20;
mod regression;
mod selectors;
#[path = "../support/mod.rs"]
mod support;
mod supports;

//! Information quantities and estimators.

mod knn;
#[path = "../support/mod.rs"]
mod support;
mod tables;

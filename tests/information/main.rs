//! Information quantities and estimators.

mod categorical;
mod iterative;
mod knn;
#[path = "../support/mod.rs"]
mod support;
mod tables;

//! Bijectors, one by one.

mod conformance;
mod reversible;
mod spline;

//! Objectives: plain functions from distributions to named, unreduced parts in nats. The caller averages.

pub mod bottleneck;

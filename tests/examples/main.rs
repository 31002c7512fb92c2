//! The examples: what they are made of, and the programs.

#[path = "../../examples/common/mod.rs"]
mod common;
mod data;
mod programs;
mod regions;
mod scores;
#[path = "../support/mod.rs"]
mod support;

//! Recipes of flows.

mod autoregressive;
mod detach;
mod ffjord;
mod fused;
mod images;
mod planar;
mod reference;
mod state;
#[path = "../support/mod.rs"]
mod support;
mod training;
mod univariate;

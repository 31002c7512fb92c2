//! Recipes of flows, and the differential equations under the continuous ones.

mod autoregressive;
mod detach;
mod ffjord;
mod fused;
mod images;
mod ode;
mod planar;
mod reference;
mod state;
#[path = "../support/mod.rs"]
mod support;
mod training;
mod univariate;

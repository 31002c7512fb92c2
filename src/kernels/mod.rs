//! The engine room: fused, threaded, vectorized operations and their gradients.
//!
//! One function per hot expression, with the signature of its reference expression. It takes the fused path when
//! [`graph::fused`] says so and composes candle operations otherwise: on other devices, and where candle differentiates
//! twice. What has no expression in candle operations (formulas, gamma draws, mixtures' distribution functions, triangular
//! solves) goes over the CPU from other devices, and refuses a second backward pass by its name (`graph::first_only`). Only
//! here may code name candle's custom operations and storages, rayon, SIMD features or `unsafe`.
//!
//! The rooms from the bottom up; each imports only from those before it (`tests/house/architecture.rs`):
//!
//! - `machine`: instruction sets, buffers, tiles, matrix products.
//! - `number`: functions of one or a few numbers, in f32, in f64 and with their derivatives.
//! - `graph`: nodes of candle's graph. `random`: seeded streams.
//! - `elementwise`: one number from several broadcast arguments, as one node; formulas and maps; splines.
//! - `reduce`: sums, softmax, norms and ranges.
//! - `network`: dense, convolutional, coupling and continuous networks, each as one node.
//! - `family`: draws and densities of families of distributions.
//! - `linear`: triangular factors, polar decompositions, designs of features, nearest neighbours.
//! - `step`: a variable and its optimizer state in one in-place pass.

pub(crate) mod elementwise;
pub(crate) mod family;
pub(crate) mod graph;
pub(crate) mod linear;
pub(crate) mod machine;
pub(crate) mod network;
pub(crate) mod number;
pub(crate) mod random;
pub(crate) mod reduce;
pub(crate) mod step;

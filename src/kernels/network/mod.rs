//! Networks as single nodes.
//!
//! - `dense`: dense layers, one after the other. `activation`: activation functions.
//! - `coupling`: coupling and autoregressive flows with their conditioners. `continuous`: flows along an ODE.
//! - `conv2d`: convolutions, chains of them, residual blocks. `max_positions`: the largest value of each channel over an image.

pub(crate) mod activation;
pub(crate) mod continuous;
pub(crate) mod conv2d;
pub(crate) mod coupling;
pub(crate) mod dense;
pub(crate) mod max_positions;

//! Networks as single nodes.
//!
//! - `inputs`: the tensors of layers as a node's inputs. `rows`: a batch in chunks, there and back. `sums`: gradients of inputs,
//!   added up. `transpose`: transposes of matrices.
//! - `activation`: activation functions. `dense`: dense layers, one after the other. `dropout`: elements left out at random.
//! - `flow`: what the nodes of flows share. `coupling`: coupling and autoregressive flows with their conditioners.
//!   `continuous`: flows along an ODE.
//! - `batch_norm`: batch normalization.
//! - `spectral`: weights over their spectral norm.
//! - `propagation`: layers of a discretized differential equation, each with its own weights.
//! - `conv2d`: convolutions, chains of them, residual blocks. `max_positions`: the largest value of each channel over an image.

pub(crate) mod activation;
pub(crate) mod batch_norm;
pub(crate) mod continuous;
pub(crate) mod conv2d;
pub(crate) mod coupling;
pub(crate) mod dense;
pub(crate) mod dropout;
pub(crate) mod flow;
pub(crate) mod inputs;
pub(crate) mod max_positions;
pub(crate) mod propagation;
pub(crate) mod rows;
pub(crate) mod spectral;
pub(crate) mod sums;
pub(crate) mod transpose;

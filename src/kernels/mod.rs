//! The engine room: fused, threaded, vectorized operations and their gradients.
//!
//! One function per hot expression, with the signature of its reference expression. It takes the fused path when
//! [`fused`] says so and composes candle operations otherwise: on other devices, and where candle differentiates twice. What has
//! no expression in candle operations (formulas, gamma draws, mixtures' distribution functions, triangular solves) goes over the
//! CPU from other devices, and refuses a second backward pass by its name (`first_only`). Only here may code name candle's custom operations and
//! storages, rayon, SIMD features or `unsafe`.
//!
//! - `node`: a fused operation with any number of inputs and outputs as one place in candle's graph.
//! - `pointwise`: one number from several broadcast arguments; formulas differentiated by dual numbers.
//! - `gaussian`: draws, rates, densities and divergences of Gaussians with independent elements.
//! - `gemm`: matrix products on slices.
//! - `dense`: dense layers, one after the other, as one node.
//! - `logits`: log-masses of discrete families. `mixture`: mixtures of diagonal normals.
//! - `lanes`: sixteen f32 that stay in registers.
//! - `simd`: run-time choice of instruction set. `math`: the vectorized elementary functions.
//! - `max_positions`: the largest value of each channel over an image.
//! - `activation`: activation functions. `map`: elementwise nodes. `composed`: their forms in candle operations.
//! - `spline`: monotone rational-quadratic splines, one for each element.
//! - `gamma`: gamma and Dirichlet draws with implicit gradients.
//! - `count`: draws and exact masses of the counting families.
//! - `buffer`: views of tensors and parallel filling of fresh buffers. `random`: seeded streams.
//! - `mixture_cdf`: distribution functions of mixtures and their inverses. `root`: roots of rising functions.
//! - `reversible`: a chain of invertible steps that keeps no activation.
//! - `triangular`: solves with lower-triangular matrices and Cholesky factors.
//! - `design`: products with a design matrix of features in rows.
//! - `neighbours`: exact nearest neighbours.
//! - `range`: whether a tensor's elements lie in an interval.
//! - `update`: a variable and its optimizer state in one in-place pass (`adam`, `sgd`). `master`: the f32 copies that
//!   variables of half precision are updated in. `norm`: a tensor to one number.

pub(crate) mod activation;
pub(crate) mod adam;
pub(crate) mod buffer;
mod composed;
pub(crate) mod continuous;
pub(crate) mod conv2d;
pub(crate) mod count;
pub(crate) mod coupling;
pub(crate) mod dense;
pub(crate) mod design;
pub(crate) mod first_only;
pub(crate) mod gamma;
pub(crate) mod gaussian;
pub(crate) mod gemm;
pub(crate) mod lanes;
pub(crate) mod logits;
pub(crate) mod map;
pub(crate) mod master;
pub(crate) mod math;
pub(crate) mod math64;
pub(crate) mod max_positions;
pub(crate) mod mixture;
pub(crate) mod mixture_cdf;
pub(crate) mod neighbours;
pub(crate) mod node;
pub(crate) mod norm;
pub(crate) mod pointwise;
pub(crate) mod polar;
pub(crate) mod random;
pub(crate) mod range;
pub(crate) mod reduce;
pub(crate) mod reversible;
pub(crate) mod root;
pub(crate) mod sgd;
pub(crate) mod simd;
pub(crate) mod special;
pub(crate) mod spline;
pub(crate) mod triangular;
pub(crate) mod update;

use candle_core::{DType, Tensor};

/// Whether the fused f32 CPU path applies to all of these tensors.
///
/// The fused paths have first derivatives only. Candle differentiates twice when the variable
/// `CANDLE_GRAD_DO_NOT_DETACH` is set, so then what can be composed is: slower, but never a wrong second derivative.
pub(crate) fn fused(tensors: &[&Tensor]) -> bool {
    tensors
        .iter()
        .all(|t| t.device().is_cpu() && t.dtype() == DType::F32)
        && !second_derivatives()
}

pub(crate) fn second_derivatives() -> bool {
    // Read once per thread, as candle does.
    thread_local! {
        static ON: bool = std::env::var("CANDLE_GRAD_DO_NOT_DETACH").is_ok_and(|s| !s.is_empty() && s != "0");
    }
    ON.with(|on| *on)
}

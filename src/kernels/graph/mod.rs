//! Places in candle's graph, and what is known there of derivatives.
//!
//! - `node`: a fused operation with any number of inputs and outputs as one place in the graph.
//!   `op`: what such an operation is; `passing`: how gradients pass through it.
//! - `first_only`: gradients that refuse a second backward pass by name.
//! - `late`: gradients multiplied by what is known only later.
//! - `chain`: steps one after the other that keep little of what lies between them.
//!   `drift`: what was rebuilt beside what was.

pub(crate) mod chain;
pub(crate) mod drift;
pub(crate) mod first_only;
pub(crate) mod late;
pub(crate) mod node;
mod op;
mod passing;

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

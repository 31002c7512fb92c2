//! What the processor gives: instruction sets, registers, memory that is filled in parallel, matrix products.
//!
//! - `simd`: run-time choice of instruction set. `lanes`: sixteen f32 that stay in registers.
//! - `buffer`: views of tensors and parallel filling of fresh buffers. `tiles`: the walk over broadcast arguments; sums in blocks.
//! - `gemm`: matrix products on slices.

pub(crate) mod buffer;
pub(crate) mod gemm;
pub(crate) mod lanes;
pub(crate) mod simd;
pub(crate) mod tiles;

//! Networks: dense layers and chains of them, and heads that turn features into a distribution.
//!
//! Each is built by a function that takes its sizes and, last, a `VarBuilder`; each is a candle `Module` (and with it a
//! `ModuleT`), a head is a [`Conditional`](crate::Conditional).

mod dense;
mod mlp;

pub use dense::{Dense, dense};
pub use mlp::{Mlp, mlp};

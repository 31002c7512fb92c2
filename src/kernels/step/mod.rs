//! A variable and its optimizer state in one in-place pass.
//!
//! - `update`: the pass. `adam`, `sgd`, `optimistic`, `average`: the rules. `ahead`: any of them without a change of the state.
//! - `master`: the f32 copies that variables of half precision are updated in.

pub(crate) mod adam;
mod ahead;
pub(crate) mod average;
pub(crate) mod master;
pub(crate) mod optimistic;
pub(crate) mod sgd;
pub(crate) mod update;

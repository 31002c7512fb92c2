//! A variable and its optimizer state in one in-place pass.
//!
//! - `update`: the pass. `adam`, `sgd`: the rules. `master`: the f32 copies that variables of half precision are updated in.

pub(crate) mod adam;
pub(crate) mod master;
pub(crate) mod sgd;
pub(crate) mod update;

//! Flows: recipes that assemble bijectors and networks.
//!
//! A flow is a bijector from a base distribution's draws to data: `transform` generates, `inverse` leads data to the base.
//! The density is that of [`transformed_by`](crate::distribution::Distribution::transformed_by). A recipe takes a config and
//! a `VarBuilder`; what it gives owns the networks' variables and is a bijector itself.

use crate::error::{Error, Result};
use crate::shape;
use candle_core::Tensor;

mod ffjord;
mod real_nvp;

pub use ffjord::{Ffjord, FfjordConfig, Path, ffjord};
pub use real_nvp::{RealNvp, RealNvpConfig, real_nvp};

/// The context for arguments of these leading dims, in a flow that takes one of `width`.
fn context_for(
    op: &'static str,
    context: Option<&Tensor>,
    width: usize,
    batch: &[usize],
) -> Result<Option<Tensor>> {
    match context {
        None if width == 0 => Ok(None),
        None => {
            let expected = format!("one of width {width}: call `given` first");
            Err(Error::value(op, "context", expected, "none"))
        }
        Some(context) => {
            let full = [batch, &[width]].concat();
            if shape::broadcast(context.dims(), &full).as_ref() != Some(&full) {
                let expected = format!("a shape that broadcasts to {full:?}");
                return Err(Error::shape(op, "context", expected, context.dims()));
            }
            Ok(Some(context.broadcast_as(full)?))
        }
    }
}

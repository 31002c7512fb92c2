//! An encoder's codes of samples with their labels, checked.

use super::check;
use super::targets::{Known, Targets};
use crate::error::{Error, Result};
use crate::shape;
use candle_core::Tensor;

/// Samples with their codes and labels.
pub(super) struct Encoded {
    /// `p(x, z) = p(x) p(z | x)`, `[N, C]`, in double precision.
    pub(super) masses: Tensor,
    pub(super) known: Known,
}

impl Encoded {
    pub(super) fn new(
        op: &'static str,
        p_z_given_x: &Tensor,
        targets: Targets,
        weights: Option<&Tensor>,
    ) -> Result<Self> {
        let arg = "p_z_given_x";
        let [samples, codes] = shape::dims(op, arg, p_z_given_x.dims(), "[N, C]")?;
        if samples == 0 || codes == 0 {
            let expected = "[N, C], both at least 1";
            return Err(Error::shape(op, arg, expected, p_z_given_x.dims()));
        }
        let encoder = check::probabilities(op, arg, p_z_given_x, 1)?;
        let known = targets.known(op, samples, p_z_given_x)?;
        let masses = match weights {
            None => (encoder / samples as f64)?,
            Some(weights) => {
                shape::same_kind(op, "weights", weights, p_z_given_x)?;
                shape::exactly(op, "weights", weights.dims(), &[samples])?;
                let (p_x, _) = check::normalized(op, "weights", weights)?;
                encoder.broadcast_mul(&p_x.unsqueeze(1)?)?
            }
        };
        Ok(Encoded { masses, known })
    }
}

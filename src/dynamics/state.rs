//! Where a propagation stands.

use crate::detach::Detach;
use candle_core::Tensor;

/// Features on their way through the layers, `[.., s]` or, for convolutions, images `[B, s, H, W]`.
#[derive(Debug, Clone)]
pub struct State {
    /// The features `y_j`.
    pub y: Tensor,
    /// What goes with them. Verlet: `z_{j-1/2}`, with m features (none: 0). Leapfrog: the last difference `y_j - y_{j-1}` (none:
    /// what [`Start`](super::Start) says). None for the other schemes.
    ///
    /// Leapfrog in differences, `d += h^2 f(y)`, then `y += d`, rounds far less than `2 y_j - y_{j-1}` does.
    pub z: Option<Tensor>,
}

impl State {
    /// Features at the start, alone.
    pub fn new(y: &Tensor) -> Self {
        State {
            y: y.clone(),
            z: None,
        }
    }
}

impl Detach for State {
    fn detach(&self) -> Self {
        State {
            y: self.y.detach(),
            z: self.z.detach(),
        }
    }
}

/// A direction in which state and weights move; what is none stands still.
///
/// Shapes: each as what it belongs to in [`State`] and [`Weights`](super::Weights).
#[derive(Debug, Clone, Default)]
pub struct Tangent {
    /// Of the features.
    pub y: Option<Tensor>,
    /// Of what goes with them; the state has to have it.
    pub z: Option<Tensor>,
    /// Of the kernels.
    pub kernel: Option<Tensor>,
    /// Of the biases; the weights have to have them.
    pub bias: Option<Tensor>,
    /// Of Verlet's biases `b_z`; the weights have to have them.
    pub second_bias: Option<Tensor>,
}

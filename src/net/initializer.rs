//! Initializers of the parameters of layers.

use crate::kernels::network::activation::Activation;
use candle_nn::Init;
use candle_nn::init::{FanInOut, NonLinearity, NormalOrUniform};

/// Normal with standard deviation `gain / sqrt(fan in)`, the gain being that of the activation: the variance of the signal
/// is kept from layer to layer (He, Zhang, Ren and Sun 2015, eq. 10). Uniform weights in `+- 1 / sqrt(fan in)`, as torch
/// has them, shrink it to a sixth in every ReLU layer, and a deep encoder then spends its first epochs on a plateau.
pub(super) fn weight(activation: Activation) -> Init {
    Init::Kaiming {
        dist: NormalOrUniform::Normal,
        fan: FanInOut::FanIn,
        non_linearity: non_linearity(activation),
    }
}

/// [`weight`] where the shape does not tell how many terms a sum has.
pub(super) fn weight_of(fan_in: f64, activation: Activation) -> Init {
    Init::Randn {
        mean: 0.,
        stdev: non_linearity(activation).gain() / fan_in.sqrt(),
    }
}

fn non_linearity(activation: Activation) -> NonLinearity {
    match activation {
        Activation::Identity | Activation::Sigmoid | Activation::Softplus => NonLinearity::Linear,
        Activation::Tanh => NonLinearity::Tanh,
        Activation::Relu | Activation::Elu | Activation::Silu | Activation::Gelu => {
            NonLinearity::ReLU
        }
        Activation::LeakyRelu(slope) => {
            NonLinearity::ExplicitGain((2. / (1. + slope * slope)).sqrt())
        }
    }
}

/// Uniform in `+- 1 / sqrt(fan in)`.
pub(super) fn bias(fan_in: f64) -> Init {
    let bound = 1. / fan_in.sqrt();
    Init::Uniform {
        lo: -bound,
        up: bound,
    }
}

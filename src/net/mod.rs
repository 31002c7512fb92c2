//! Networks: dense layers and chains of them, convolutions, image encoders and residual networks, an input layer that
//! selects features, heads that turn features into a distribution, and likelihoods that turn raw output into one over
//! data.
//!
//! Each is built by a function that takes its sizes and, last, a `VarBuilder`; each is a candle `Module` (and with it a
//! `ModuleT`), a head is a [`Conditional`](crate::Conditional).

mod conv;
mod dense;
mod head;
mod initializer;
mod likelihood;
mod logits_head;
mod masked;
mod mlp;
mod residual;
mod selective;

pub(crate) use conv::in_turn;
pub use conv::{
    Conv2d, Conv2dConfig, ConvEncoder, ConvEncoderConfig, Positions, conv_encoder, conv2d,
};
pub use dense::{Dense, dense};
pub use head::{DirichletHead, LogisticNormalHead, NormalComponentsHead, NormalHead, ScaleForm};
pub use likelihood::{
    BernoulliLikelihood, CategoricalLikelihood, ContinuousBernoulliLikelihood, LaplaceLikelihood,
    Likelihood, LogisticMixtureConfig, LogisticMixtureLikelihood, NormalLikelihood, OptimalNormal,
    OptimalNormalLikelihood, SharedBy,
};
pub use logits_head::{BernoulliHead, CategoricalHead};
pub use masked::{MaskedMlp, MaskedMlpConfig, masked_mlp};
pub use mlp::{Mlp, mlp};
pub(crate) use residual::zero_conv2d;
pub use residual::{ResidualNet, ResidualNetConfig, residual_net};
pub use selective::{SelectiveInput, selective_input};

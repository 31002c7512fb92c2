//! Networks: dense layers and chains of them, convolutions and transposed ones, pooling, image encoders and decoders, residual
//! networks, autoregressive ones over grids of classes, an input layer that selects features, batch normalization, layers of
//! spectral norm 1, the networks of DCGAN, autoencoders, vector quantizers, dropout. Heads that turn features into a distribution,
//! likelihoods that turn a decoder's raw output into one over data, and priors that learn.
//!
//! Each is built by a function that takes its sizes and, last, a `VarBuilder`; each is a candle `Module` (and with it a
//! `ModuleT`; what has state is that alone), a head is a [`Conditional`](crate::Conditional).

mod autoencoder;
mod batch_norm;
mod conv;
mod conv_decoder;
mod conv_transpose;
mod dcgan;
mod dense;
mod dropout;
mod head;
mod initializer;
mod kmeans;
mod likelihood;
mod logits_head;
mod masked;
mod masked_conv;
mod mixture_prior;
mod mlp;
mod pixel_cnn;
mod pool;
mod quantizer;
mod residual;
mod residual_batch_norm;
mod residual_quantizer;
mod selective;
mod spectral_norm;
mod vamp_prior;
mod vq_vae2;

pub use autoencoder::Autoencoder;
pub use batch_norm::{BatchNorm, BatchNormConfig, batch_norm};
pub(crate) use conv::in_turn;
pub use conv::{
    Conv2d, Conv2dConfig, ConvEncoder, ConvEncoderConfig, Positions, conv_encoder, conv2d,
};
pub use conv_decoder::{ConvDecoder, ConvDecoderConfig, conv_decoder};
pub use conv_transpose::{ConvTranspose2d, ConvTranspose2dConfig, conv_transpose2d};
pub use dcgan::{
    DcganConfig, DcganDiscriminator, DcganGenerator, DiscriminatorNorm, dcgan_discriminator,
    dcgan_generator,
};
pub use dense::{Dense, dense};
pub use dropout::{dropout, dropout2d};
pub use head::{DirichletHead, LogisticNormalHead, NormalComponentsHead, NormalHead, ScaleForm};
pub use likelihood::{
    BernoulliLikelihood, CategoricalLikelihood, ContinuousBernoulliLikelihood, LaplaceLikelihood,
    Likelihood, LogisticMixtureConfig, LogisticMixtureLikelihood, NormalLikelihood, OptimalNormal,
    OptimalNormalLikelihood, SharedBy,
};
pub use logits_head::{BernoulliHead, CategoricalHead};
pub use masked::{MaskedMlp, MaskedMlpConfig, masked_mlp};
pub use masked_conv::{ConvMask, MaskedConv2d, MaskedConv2dConfig, masked_conv2d};
pub use mixture_prior::{MixturePrior, MixturePriorConfig};
pub use mlp::{Mlp, mlp};
pub use pixel_cnn::{PixelCnn, PixelCnnConfig, PixelDistribution, pixel_cnn};
pub use pool::{Pool2d, Pool2dConfig, Pooling};
pub use quantizer::{
    Codebook, Quantized, VectorQuantizer, VectorQuantizerConfig, vector_quantizer,
};
pub(crate) use residual::zero_conv2d;
pub use residual::{ResidualNet, ResidualNetConfig, residual_net};
pub use residual_batch_norm::{ResidualBatchNormNet, residual_batch_norm_net};
pub use residual_quantizer::{
    ResidualQuantized, ResidualQuantizer, ResidualQuantizerConfig, residual_quantizer,
};
pub use selective::{SelectiveInput, selective_input};
pub use spectral_norm::{
    SpectralConstraint, SpectralLayer, SpectralNorm, SpectralNormConfig, spectral_norm,
};
pub use vamp_prior::{VampPrior, VampPriorConfig};
pub use vq_vae2::{TwoLevels, VqVae2, VqVae2Config, vq_vae2};

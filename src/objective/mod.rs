//! Objectives: plain functions from distributions to named, unreduced parts in nats. The caller averages.
//!
//! - [`elbo`](elbo()): the evidence lower bound of variational autoencoders, beta-VAE included.
//! - [`importance_weighted`]: the bound of importance-weighted autoencoders with three estimators of its gradient; [`iwae_bound`],
//!   [`renyi_bound`], [`effective_sample_size`] of log-weights.
//! - [`score_function`], [`vimco`]: gradients for posteriors whose draws have none.
//! - [`vib`], [`gmvib`], [`ceb`], [`nonlinear_ib`], [`categorical_bottleneck`], [`surrogate_bottleneck`]: the family of the information
//!   bottleneck, of one interface: each has a decoder cross-entropy and a rate, which are a [`DistortionRate`]. Their weights in
//!   one another's terms: [`Tradeoff`].
//! - [`decoder_cross_entropy`], [`prediction_cross_entropy`], [`error_bound`]: what a label costs, given the code or the input.
//!   [`Surrogate`], [`covariance_entropy_bound`], [`norm_entropy_bound`]: bounds on entropies of codes, which
//!   [`zero_entropy_noise`] keeps from falling below 0; [`pairwise_information`], [`SoftClustering`]: codes with Gaussian noise.
//! - [`DistortionRate`]: what every variational objective returns, and how its parts add up.
//! - [`FreeBitsPerDimension`], [`FreeBitsPerGroup`], [`FreeBitsTotal`], [`Capacity`]: what stands in the place of the rate so that
//!   codes are used. Weights that change in training are an `optim::Schedule`.
//! - [`beta_tc`], [`decompose_rate`]: the rate in three parts, of which the total correlation is one. [`dip()`]: codes without
//!   correlation. [`info_vae`], [`wae`]: codes that as a whole are distributed as the prior.
//! - What a model has learned: [`log_likelihood()`] by importance sampling, [`rate_per_dimension`], [`active_units()`],
//!   [`mutual_information()`], [`information_gap()`]; [`interpolate()`], [`interpolate_spherical`].
//! - [`information_bounds`]: variational bounds of a mutual information, from a critic's scores or a conditional.
//! - [`gradient_penalty()`]: what keeps critics Lipschitz, two- and one-sided, R1 and R2, at [`interpolate_random`] points.
//! - [`Rate`]: a prior with its divergence, in closed form; [`MonteCarlo`]: any prior for any posterior, such as a flow or a
//!   mixture. [`sample_latents`]: the draws with both log-densities, for bounds that reduce them otherwise.
//! - [`vq`](vq()): the losses of vector quantization.
//! - [`ClassificationLoss`]: convex losses of a classifier's scores, with their first and second derivatives.
//! - [`regularization`]: quadratic penalties of weights, with what second-order methods need of them.
//! - [`AdversarialLoss`]: games of a critic and a generator, from raw scores; [`f_gan`]: the bound behind [`FGan`].
//!
//! Parts of each example are there for an empty batch too, and have no elements; numbers of a batch, as a covariance or a
//! discrepancy, are refused where there is no example. A reconstruction is `decoder.given(&posterior.mean()?)?.mean()?`, a drawn
//! example `decoder.given(&prior.sample(&[n], rng)?)?.sample(&[], rng)?`.

mod active_units;
mod adversarial;
mod bottleneck;
mod capacity;
mod classification;
mod dip;
mod distortion_rate;
mod elbo;
mod free_bits;
mod gradient_penalty;
mod importance;
mod info_vae;
pub mod information_bounds;
mod information_gap;
mod interpolate;
mod log_likelihood;
mod mutual_information;
mod per_dimension;
mod rate;
pub mod regularization;
mod score;
mod total_correlation;
mod vimco;
mod vq;

pub use crate::divergence::{FGanBound, f_gan};
pub use active_units::{ACTIVE_VARIANCE, ActiveUnits, active_units};
pub use adversarial::{
    AdversarialLoss, CriticLoss, FGan, FGanGenerator, FGanOrder, GeneratorLoss, Hinge,
    LeastSquares, Negated, NonSaturating, Relativistic, RelativisticAverage, Saturating,
    Wasserstein,
};
pub use bottleneck::{
    BottleneckConfig, CategoricalBottleneck, CategoricalConfig, CategoricalRate, ConvexFunction,
    Gmvib, NonlinearIb, NonlinearIbConfig, PairwiseInformation, SoftClustering, Surrogate,
    SurrogateBottleneck, SurrogateConfig, SurrogateRate, Tradeoff, Uncertainties,
    ZERO_ENTROPY_VARIANCE, categorical_bottleneck, ceb, covariance_entropy_bound,
    decoder_cross_entropy, error_bound, gmvib, gmvib_code_rate, nonlinear_ib, norm_entropy_bound,
    norm_of_entropy, pairwise_information, prediction_cross_entropy, surrogate_bottleneck, vib,
    zero_entropy_noise, zero_entropy_posterior,
};
pub use capacity::Capacity;
pub use classification::{ClassificationLoss, Curvature};
pub use dip::{Dip, DipConfig, DipCovariance, dip};
pub use distortion_rate::DistortionRate;
pub use elbo::{ElboConfig, elbo};
pub use free_bits::{FreeBitsPerDimension, FreeBitsPerGroup, FreeBitsTotal};
pub use gradient_penalty::{GradientPenalty, GradientPenaltyForm, gradient_penalty};
pub use importance::{
    ImportanceConfig, ImportanceGradient, ImportanceWeighted, effective_sample_size,
    importance_weighted, iwae_bound, renyi_bound,
};
pub use info_vae::{InfoVae, InfoVaeConfig, Wae, WaeConfig, info_vae, wae};
pub use information_gap::{InformationGap, information_gap};
pub use interpolate::{interpolate, interpolate_random, interpolate_spherical};
pub use log_likelihood::{LogLikelihood, LogLikelihoodConfig, log_likelihood};
pub use mutual_information::mutual_information;
pub use per_dimension::rate_per_dimension;
pub use rate::{Latents, MonteCarlo, Rate, sample_detached_latents, sample_latents};
pub use score::{Baseline, MovingAverage, ScoreFunction, score_function};
pub use total_correlation::{
    BetaTc, BetaTcConfig, MinibatchSampler, RateParts, beta_tc, decompose_rate,
};
pub use vimco::vimco;
pub use vq::{Vq, vq};

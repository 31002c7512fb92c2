//! The family of the information bottleneck.
//!
//! A stochastic code Z of the input X should tell much about the label Y and little else about X. All objectives of the family
//! minimise
//!
//! ```text
//!   decoder cross-entropy H_theta[Y|Z] + beta * regularizer  =  distortion + beta * rate
//! ```
//!
//! and return the parts as a [`DistortionRate`] (or a struct that turns into one by `into()`), of the shape of the batch and in
//! nats, so that a training loop takes any of them and steps on `total.mean_all()`:
//!
//! | objective | the rate, on average over the batch | bounds from above |
//! |---|---|---|
//! | [`vib`] | `KL(p(z\|x) \|\| r(z))` | `I[X;Z]` |
//! | [`gmvib`] | the same of K codes and their weight | `I[X;Z]` |
//! | [`ceb`] | `KL(e(z\|x) \|\| b(z\|y))` | `I[X;Z\|Y]` |
//! | [`nonlinear_ib`] | `u(I)` of a bound by pairs of codes | `u(I[X;Z])` |
//! | [`categorical_bottleneck`] | the exact term of a categorical code | `I[X;Z]`, `I[X;Z\|Y]`, `H[Z]` or `H[Z\|Y]` themselves |
//! | [`surrogate_bottleneck`] | `E\|Z\|^2`, `log Var[Z]` or `log Var[Z\|Y]` | but for the first, `H[Z]` and `H[Z\|Y]` |
//!
//! A function `Fn(&Batch, &mut Rng) -> Result<DistortionRate>` is the interface. What weight in one is which weight in another is
//! a [`Tradeoff`]'s. Averaged over the data the distortion bounds `I[Y;Z] >= H[Y] - distortion`. The decoder is any
//! [`Conditional`](crate::Conditional) whose output is a distribution over labels.
//!
//! Entropies of continuous codes are bounded from below only where there is noise: [`zero_entropy_noise`] makes
//! `I[X;Z|Y] <= H[Z|Y] <= H[Z]` hold as for discrete codes.

mod categorical;
mod ceb;
mod cross_entropy;
mod entropy_bound;
mod gmvib;
mod labels;
mod noise;
mod nonlinear_ib;
mod soft_clustering;
mod surrogate;
mod tradeoff;
mod vib;

pub use categorical::{
    CategoricalBottleneck, CategoricalConfig, CategoricalRate, categorical_bottleneck,
};
pub use ceb::ceb;
pub use cross_entropy::{decoder_cross_entropy, error_bound, prediction_cross_entropy};
pub use entropy_bound::{covariance_entropy_bound, norm_entropy_bound, norm_of_entropy};
pub use gmvib::{Gmvib, gmvib, gmvib_code_rate};
pub use noise::{ZERO_ENTROPY_VARIANCE, zero_entropy_noise, zero_entropy_posterior};
pub use nonlinear_ib::{
    ConvexFunction, NonlinearIb, NonlinearIbConfig, PairwiseInformation, nonlinear_ib,
    pairwise_information,
};
pub use soft_clustering::{SoftClustering, Uncertainties};
pub use surrogate::{
    Surrogate, SurrogateBottleneck, SurrogateConfig, SurrogateRate, surrogate_bottleneck,
};
pub use tradeoff::Tradeoff;
pub use vib::vib;

use super::{DistortionRate, ElboConfig};

/// Settings of the variational objectives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BottleneckConfig {
    /// Weight of the rate, `beta >= 0`. At 0 the rate is reported and has no influence.
    pub beta: f64,
    /// Monte-Carlo samples of the code for each example, at least 1.
    pub samples: usize,
}

impl Default for BottleneckConfig {
    /// The values of Zuo (2023), section 3.2.
    fn default() -> Self {
        BottleneckConfig {
            beta: 1e-3,
            samples: 12,
        }
    }
}

impl BottleneckConfig {
    /// The same numbers as the bound names them.
    fn bound(&self) -> ElboConfig {
        ElboConfig {
            beta: self.beta,
            samples: self.samples,
        }
    }
}

impl From<Gmvib> for DistortionRate {
    fn from(objective: Gmvib) -> Self {
        objective.parts
    }
}

impl From<SurrogateBottleneck> for DistortionRate {
    fn from(objective: SurrogateBottleneck) -> Self {
        objective.parts
    }
}

impl From<NonlinearIb> for DistortionRate {
    fn from(objective: NonlinearIb) -> Self {
        objective.parts
    }
}

impl From<CategoricalBottleneck> for DistortionRate {
    fn from(objective: CategoricalBottleneck) -> Self {
        objective.parts
    }
}

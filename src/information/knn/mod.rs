//! Entropies and informations estimated from samples, by the distances to nearest neighbours.
//!
//! | function | of | source |
//! |---|---|---|
//! | [`entropy`] | `H(X)`, continuous | Kozachenko and Leonenko (1987) |
//! | [`mutual_information`] | `I(X; Y)`, both continuous; two forms, [`Ksg`] | Kraskov, Stoegbauer and Grassberger (2004) |
//! | [`conditional_mutual_information`] | `I(X; Y given Z)`, all continuous | Frenzel and Pompe (2007) |
//! | [`label_mutual_information`] | `I(X; Y)`, X continuous and Y a class | Ross (2014) |
//! | [`mixed_mutual_information`] | `I(X; Y)`, of mixtures of continuous and discrete | Gao, Kannan, Oh and Viswanath (2017) |
//! | [`kl_divergence`] | the KL divergence of p from q, continuous | Wang, Kulkarni and Verdu (2009) |
//!
//! Every one returns an [`Estimate`]: the raw value in nats, which may be negative, with what it rests on and
//! [`Warning`]s where that is little. With [`KnnConfig::shuffles`] it has a [`Null`] too: what the same estimator says
//! of the same samples once they are made independent. Nothing is added to the samples and nothing is scaled unless
//! [`KnnConfig::jitter`] asks for it. A scale matters where a space has several dimensions, or several spaces are
//! joined: give each coordinate about the same, by its standard deviation say, if none is meant.
//!
//! What no estimator of this kind can do: see more than `psi(N) - psi(k)` nats in N samples
//! ([`Warning::Samples`]), and tell near from far in many dimensions ([`Warning::Dimensions`]), where values shrink
//! towards 0.
//!
//! Ties: samples that are equal are none of a density. Informations of them are finite, but of another law; an entropy
//! is `-inf`. [`Estimate::ties`] says how many there are.

mod conditional;
mod config;
mod counts;
mod entropy;
mod estimate;
mod kl_divergence;
mod labels;
mod mixed;
mod mutual_information;
mod pair;
mod space;

pub use conditional::conditional_mutual_information;
pub use config::KnnConfig;
pub use entropy::entropy;
pub use estimate::{Estimate, Null, Warning};
pub use kl_divergence::kl_divergence;
pub use labels::label_mutual_information;
pub use mixed::mixed_mutual_information;
pub use mutual_information::{Ksg, mutual_information};

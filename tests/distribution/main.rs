//! Families, combinators, mixtures, and the divergences between them.

mod capabilities;
mod combinators;
mod conformance;
mod count_draws;
mod detach;
mod dirichlet;
mod discrete;
mod divergence;
mod empty_batch;
mod extremes;
mod fuzz;
mod gamma;
mod golden_draws;
mod golden_kl;
mod implicit_gradients;
mod long_sums;
mod mixture;
mod moments;
mod multivariate_normal;
mod near_equal_kl;
mod normal;
mod observed;
mod reference;
mod rejects;
mod sample_quality;
#[path = "../support/mod.rs"]
mod support;
mod to_laplace;
mod truncated;
mod zero_upstream;

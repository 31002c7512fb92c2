//! Draws, densities and divergences of families of distributions.
//!
//! - `gaussian`: draws, densities and divergences of Gaussians with independent elements.
//! - `gamma`: gamma and Dirichlet draws with implicit gradients. `count`: draws and exact masses of the counting families.
//! - `logits`: log-masses of discrete families. `mixture`: mixtures of diagonal normals.
//! - `mixture_cdf`: distribution functions of mixtures and their inverses. `von_mises`: draws on the circle.

pub(crate) mod count;
pub(crate) mod gamma;
pub(crate) mod gaussian;
pub(crate) mod logits;
pub(crate) mod mixture;
pub(crate) mod mixture_cdf;
pub(crate) mod von_mises;

//! Flows: recipes that assemble bijectors and networks.
//!
//! A flow is a bijector from a base distribution's draws to data: `transform` generates, `inverse` leads data to the base.
//! The density is that of [`transformed_by`](crate::distribution::Distribution::transformed_by). A recipe takes a config and
//! a `VarBuilder`; what it gives owns the networks' variables and is a bijector itself: a [`VectorFlow`], an [`ImageFlow`], a
//! [`PlanarFlow`], a [`Ffjord`] or a [`Univariate`].
//!
//! `given(context)` is the flow under a context, whose leading dims broadcast to those of the arguments. Draws for each of many
//! contexts come from a base of their batch, so that shapes are `sample ++ batch ++ event` as everywhere:
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use candle_nn::VarMap;
//! use candle_prob::distribution::{Distribution, Expanded, MultivariateNormalDiag};
//! use candle_prob::flow::{RealNvpConfig, real_nvp};
//! use candle_prob::{Rng, init};
//! # fn main() -> candle_prob::Result<()> {
//! let vb = init::seeded(&VarMap::new(), 1, DType::F32, &Device::Cpu);
//! let flow = real_nvp(&RealNvpConfig { features: 4, context: 2, ..Default::default() }, vb)?;
//! let contexts = Tensor::new(&[[0f32, 1.], [1., 0.], [1., 1.]], &Device::Cpu)?;
//! let base = MultivariateNormalDiag::standard(4, DType::F32, &Device::Cpu)?;
//! let model = Expanded::new(base, &[3])?.transformed_by(flow.given(&contexts)?)?;
//! let x = model.sample(&[100], &mut Rng::new(0))?;
//! assert_eq!(x.dims(), [100, 3, 4]);
//! assert_eq!(model.log_prob(&x)?.dims(), [100, 3]);
//! # Ok(())
//! # }
//! ```
//!
//! In a latent-variable model a flow is a prior, a posterior or both; the rate is that of
//! [`MonteCarlo`](crate::objective::MonteCarlo). A posterior under the encoder's features is [`iaf`] or [`planar`], whose draws
//! and their log-densities are cheap; it is drawn from and scored in one pass and never inverted. A prior is inverted at the
//! draws of the posterior, which [`real_nvp`] and [`maf`] do in one pass.
//!
//! ```
//! use candle_core::{DType, Device, Module, Tensor};
//! use candle_nn::VarMap;
//! use candle_prob::distribution::{Distribution, MultivariateNormalDiag};
//! use candle_prob::flow::{MafConfig, RealNvpConfig, iaf, real_nvp};
//! use candle_prob::net::{BernoulliLikelihood, NormalHead, ScaleForm, mlp};
//! use candle_prob::objective::{ElboConfig, MonteCarlo, elbo};
//! use candle_prob::{Activation, Conditional, Rng, init};
//! # fn main() -> candle_prob::Result<()> {
//! let (device, dtype) = (Device::Cpu, DType::F32);
//! let vb = init::seeded(&VarMap::new(), 1, dtype, &device);
//! let features = mlp(&[6, 16], Activation::Tanh, vb.pp("features"))?;
//! let head = NormalHead::new(16, 2, ScaleForm::LogVar, vb.pp("head"))?;
//! let flow = iaf(&MafConfig { features: 2, context: 16, ..Default::default() }, vb.pp("posterior"))?;
//! let coupling = real_nvp(&RealNvpConfig { features: 2, ..Default::default() }, vb.pp("prior"))?;
//! let network = mlp(&[2, 16, 6], Activation::Tanh, vb.pp("decoder"))?;
//! let likelihood = BernoulliLikelihood::new(&[6])?;
//! let decoder = |z: &Tensor| likelihood.given(&network.forward(z)?);
//!
//! let x = Tensor::ones((4, 6), dtype, &device)?;
//! let h = features.forward(&x)?;
//! let posterior = head.given(&h)?.transformed_by(flow.given(&h)?)?;
//! let prior = MultivariateNormalDiag::standard(2, dtype, &device)?.transformed_by(coupling)?;
//! let config = ElboConfig::default();
//! let parts = elbo(&posterior, &MonteCarlo(&prior), &decoder, &x, &config, &mut Rng::new(0))?;
//! assert_eq!(parts.total.dims(), [4]);
//! # Ok(())
//! # }
//! ```
//!
//! A file of the variables is the whole model but for the config, which is code. Masks, orders and Glow's first
//! rotations follow from it; bounds, activations and solvers are not in the shapes of the variables, so
//! [`Checkpoint::config`](crate::optim::Checkpoint::config) writes it beside them and refuses a file of another one.

use crate::error::{Error, Result};
use crate::shape;
use candle_core::Tensor;

mod autoregressive;
mod conditioner;
mod ffjord;
mod glow;
mod image;
mod nice;
mod pixels;
mod planar;
mod real_nvp;
mod real_nvp_image;
mod spline;
mod univariate;
mod vector;

pub use autoregressive::{MafConfig, autoregressive_spline, iaf, maf};
pub use ffjord::{Ffjord, FfjordConfig, Path, ffjord};
pub use glow::{GlowConfig, glow};
pub use image::{ImageContext, ImageFlow};
pub use nice::{NiceConfig, nice};
pub use pixels::{bits_per_dim, dequantize, dequantize_by};
pub use planar::{PlanarConfig, PlanarFlow, planar};
pub use real_nvp::{RealNvpConfig, real_nvp};
pub use real_nvp_image::{ConditionerNorm, RealNvpImageConfig, real_nvp_image};
pub use spline::{NeuralSplineConfig, neural_spline};
pub use univariate::{Latent, Univariate, UnivariateConfig, univariate};
pub use vector::VectorFlow;

/// Refuses a context that a flow which takes one of `width` does not take; `like` is one of its weights.
fn check_context(op: &'static str, context: &Tensor, width: usize, like: &Tensor) -> Result<()> {
    shape::same_kind(op, "context", context, like)?;
    if context.dims().last() != Some(&width) || width == 0 {
        let expected = format!("[.., {width}]");
        return Err(Error::shape(op, "context", expected, context.dims()));
    }
    Ok(())
}

/// The leading dims of an argument [.., features].
fn batch_of<'a>(
    [op, arg]: [&'static str; 2],
    x: &'a Tensor,
    features: usize,
    like: &Tensor,
) -> Result<&'a [usize]> {
    shape::same_kind(op, arg, x, like)?;
    shape::last_dim(op, arg, x.dims(), features)
}

/// Refuses to go without a context in a flow that takes one of `width`.
fn check_given(op: &'static str, context: Option<&Tensor>, width: usize) -> Result<()> {
    if context.is_some() || width == 0 {
        return Ok(());
    }
    Err(not_given(op, width))
}

/// The error of a flow that takes a context of `width` and has none.
fn not_given(op: &'static str, width: usize) -> Error {
    let expected = format!("one of width {width}: call `given` first");
    Error::value(op, "context", expected, "none")
}

/// The context for arguments of these leading dims, in a flow that takes one of `width`.
fn context_for(
    op: &'static str,
    context: Option<&Tensor>,
    width: usize,
    batch: &[usize],
) -> Result<Option<Tensor>> {
    check_given(op, context, width)?;
    let Some(context) = context else {
        return Ok(None);
    };
    let full = [batch, &[width]].concat();
    shape::broadcast_to(op, "context", context.dims(), &full)?;
    Ok(Some(context.broadcast_as(full)?))
}

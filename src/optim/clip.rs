//! Clipping of gradients and of weights.

use crate::check;
use crate::error::{Error, Result};
use crate::kernels::reduce::norm;
use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor, Var};
use candle_nn::VarMap;
use std::collections::BTreeMap;

/// The global norm of the variables' gradients: the root of the sum of the squares of all elements.
///
/// Variables without a gradient count as zero. It is infinite or NaN when a gradient is.
///
/// Numerics: accumulated in f64, in name order, in fixed blocks: the same bits at any number of threads.
pub fn grad_norm(gradients: &GradStore, vars: &VarMap) -> Result<f64> {
    norm_of(&super::trainable(vars)?, gradients)
}

/// Scales the gradients so that their global norm is at most `max_norm`; returns the norm before.
///
/// What it is: if the global norm exceeds `max_norm`, every gradient is multiplied by `max_norm / norm`.
///
/// Gradients: what is written back into the store is detached. Variables without a gradient are skipped.
///
/// Errors: `max_norm` is negative or NaN (infinity is allowed: it only measures); the norm is not finite, then naming the
/// first variable at fault and leaving the store as it was. See [`clip_grad_norm_or_skip`] for runs that go on.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::{Init, VarMap};
/// use candle_prob::optim::{clip_grad_norm, grad_norm};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let p = vars.get(4, "p", Init::Const(3.), DType::F32, &Device::Cpu)?;
/// let mut gradients = p.sqr()?.sum_all()?.backward()?;
/// assert_eq!(clip_grad_norm(&mut gradients, &vars, 1.)?, 12.);
/// assert!((grad_norm(&gradients, &vars)? - 1.).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
///
/// Numerics: as [`grad_norm`]. The scale is exactly `max_norm / norm`; torch adds 1e-6 to the norm, a difference of at
/// most 1e-6 in any clipped element for `max_norm` up to 1.
///
/// Source: Pascanu, Mikolov and Bengio 2013, Algorithm 1.
pub fn clip_grad_norm(gradients: &mut GradStore, vars: &VarMap, max_norm: f64) -> Result<f64> {
    const OP: &str = "clip_grad_norm";
    let vars = super::trainable(vars)?;
    let norm = clip(OP, gradients, &vars, max_norm)?;
    if norm.is_finite() {
        return Ok(norm);
    }
    let report = super::check::of_gradients(&vars, gradients)?;
    let found = match report.non_finite.first() {
        Some(name) => format!("{norm}: {name} has a non-finite gradient"),
        None => format!("{norm}: the squares overflow"),
    };
    Err(Error::value(OP, "gradients", "a finite norm", found))
}

/// What [`clip_grad_norm_or_skip`] found.
#[derive(Debug, Clone, Copy, PartialEq)]
#[must_use = "gradients that are not finite are still in the store: their step is to be skipped, and skipped steps counted"]
pub enum Clipped {
    /// The norm before; the gradients are at most as long as asked for.
    Norm(f64),
    /// The norm is not finite: the store is as it was, and the step is to be skipped.
    NotFinite,
}

/// [`clip_grad_norm`], with [`Clipped::NotFinite`] instead of an error when the norm is not finite: the store is as it was,
/// and the step is to be skipped. A run that skips most of its steps does not learn, so count them.
///
/// Errors: `max_norm` is negative or NaN.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::{Init, VarMap};
/// use candle_prob::optim::{Clipped, Optimizer, Sgd, SgdConfig, backward, clip_grad_norm_or_skip};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let p = vars.get(4, "p", Init::Const(3.), DType::F32, &Device::Cpu)?;
/// let mut sgd = Sgd::new(&vars, &SgdConfig::default())?;
/// let mut skipped = 0;
/// for scale in [1., f64::INFINITY] {
///     let mut gradients = backward(&(p.sqr()?.sum_all()? * scale)?)?;
///     match clip_grad_norm_or_skip(&mut gradients, &vars, 1.)? {
///         Clipped::Norm(_) => drop(sgd.step(&gradients)?),
///         Clipped::NotFinite => skipped += 1,
///     }
/// }
/// assert_eq!(skipped, 1);
/// # Ok(())
/// # }
/// ```
pub fn clip_grad_norm_or_skip(
    gradients: &mut GradStore,
    vars: &VarMap,
    max_norm: f64,
) -> Result<Clipped> {
    let vars = super::trainable(vars)?;
    let norm = clip("clip_grad_norm_or_skip", gradients, &vars, max_norm)?;
    Ok(match norm.is_finite() {
        true => Clipped::Norm(norm),
        false => Clipped::NotFinite,
    })
}

/// Moves every element of the variables' gradients into `[-bound, bound]`; NaN stays NaN.
///
/// Errors: `bound` is negative or NaN.
pub fn clip_grad_value(gradients: &mut GradStore, vars: &VarMap, bound: f64) -> Result<()> {
    check::at_least("clip_grad_value", "bound", bound, 0.)?;
    for var in super::trainable(vars)?.values() {
        if let Some(gradient) = gradients.get(var) {
            let gradient = gradient.detach();
            let clipped = within(&gradient, bound)?;
            gradients.insert(var, clipped);
        }
    }
    Ok(())
}

/// Moves every element of the weights into `[-limit, limit]`, in place: after each step of a critic that is to be Lipschitz.
/// Returns how many elements were outside.
///
/// What it is: the weights are the variables whose name ends in `weight` or `bias`, those of layers, or is that. What
/// training writes, as running statistics or the vectors of a [spectral norm](crate::net::SpectralNorm), stays as it is, and so do variables of
/// other names. Give it the critic's variables alone, [`under`](crate::optim::under()) its path. The critic's
/// Lipschitz constant is bounded then, by a number that depends on the architecture; where nearly all elements are at a limit, it is
/// too small. NaN stays NaN.
///
/// Errors: a limit that is not a positive finite number; no weight.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::VarMap;
/// use candle_prob::optim::clip_weights;
/// use candle_prob::{Activation, init, net};
/// # fn main() -> candle_prob::Result<()> {
/// let vars = VarMap::new();
/// let critic = net::dense(3, 1, Activation::Identity, init::seeded(&vars, 1, DType::F32, &Device::Cpu))?;
/// assert!(clip_weights(&vars, 0.01)? > 0);
/// assert!(critic.weight().abs()?.max_all()?.to_scalar::<f32>()? <= 0.01);
/// # Ok(())
/// # }
/// ```
///
/// Source: Arjovsky, Chintala and Bottou (2017), Wasserstein generative adversarial networks, algorithm 1, with 0.01.
pub fn clip_weights(vars: &VarMap, limit: f64) -> Result<usize> {
    const OP: &str = "clip_weights";
    check::positive_finite(OP, "limit", limit)?;
    let mut weights = super::trainable(vars)?;
    weights.retain(|name, _| matches!(name.rsplit('.').next(), Some("weight" | "bias")));
    if weights.is_empty() {
        let expected = "variables whose name ends in weight or bias";
        return Err(Error::value(OP, "vars", expected, "none"));
    }
    let mut outside = 0;
    for var in weights.values() {
        let value = var.as_detached_tensor();
        let clipped = within(&value, limit)?;
        // NaN is not equal to itself.
        let moved = (value.eq(&value)? * value.ne(&clipped)?)?;
        let moved = moved.to_dtype(DType::U32)?.sum_all()?.to_scalar::<u32>()?;
        if moved > 0 {
            var.set(&clipped)?;
            outside += moved as usize;
        }
    }
    Ok(outside)
}

/// Every element moved into `[-bound, bound]`; NaN stays NaN.
fn within(x: &Tensor, bound: f64) -> Result<Tensor> {
    // Comparisons rather than minimum and maximum: those do not promise to keep NaN.
    let high = x.ones_like()?.affine(bound, 0.)?;
    let low = high.neg()?;
    let below = x.gt(&high)?.where_cond(&high, x)?;
    Ok(below.lt(&low)?.where_cond(&low, &below)?)
}

fn norm_of(vars: &BTreeMap<String, Var>, gradients: &GradStore) -> Result<f64> {
    let mut total = 0.;
    for var in vars.values() {
        if let Some(gradient) = gradients.get(var) {
            total += norm::sum_of_squares(gradient)?;
        }
    }
    Ok(total.sqrt())
}

fn clip(
    op: &'static str,
    gradients: &mut GradStore,
    vars: &BTreeMap<String, Var>,
    max_norm: f64,
) -> Result<f64> {
    check::at_least(op, "max_norm", max_norm, 0.)?;
    let norm = norm_of(vars, gradients)?;
    if norm.is_finite() && norm > max_norm {
        for var in vars.values() {
            if let Some(gradient) = gradients.get(var) {
                let scaled = (gradient.detach() * (max_norm / norm))?;
                gradients.insert(var, scaled);
            }
        }
    }
    Ok(norm)
}
